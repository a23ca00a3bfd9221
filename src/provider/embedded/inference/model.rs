//! A loaded model: all parts of a GGUF file.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::chat::Chat;
use super::gguf::{Gguf, broken};
use super::grammar::Grammars;
use super::transformer::Transformer;
use super::vocabulary::Vocabulary;
use crate::provider::EndpointError;

pub(crate) struct Model {
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) chat: Chat,
    pub(crate) grammars: Grammars,
    pub(crate) transformer: Transformer,
}

impl Model {
    pub(crate) fn load(path: &Path) -> Result<Self, EndpointError> {
        let gguf = Gguf::open(path)?;
        let vocabulary = Arc::new(Vocabulary::new(&gguf)?);
        let chat = Chat::new(&gguf, &vocabulary)?;
        let (grammars, transformer) = thread::scope(|scope| {
            let grammars = scope.spawn(|| Grammars::new(&vocabulary));
            let transformer = Transformer::load(gguf, vocabulary.len());
            (grammars.join().unwrap_or_else(|_| Err(broken("the vocabulary can't be used"))), transformer)
        });
        Ok(Model { vocabulary, chat, grammars: grammars?, transformer: transformer? })
    }
}
