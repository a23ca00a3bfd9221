//! A loaded model: all parts of a GGUF file.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::chat::Chat;
use super::family::Family;
use super::gguf::{Gguf, broken};
use super::grammar::Grammars;
use super::transformer::Transformer;
use super::vocabulary::Vocabulary;
use crate::provider::EndpointError;
use crate::provider::weights::{Header, type_name};

pub(crate) struct Model {
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) chat: Chat,
    pub(crate) grammars: Grammars,
    pub(crate) transformer: Transformer,
}

/// The types of tensors that candle reads, by number.
const READABLE: [u32; 15] = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 30];

impl Model {
    /// Whether the model can run, without loading its weights.
    pub(crate) fn check(path: &Path) -> Result<(), EndpointError> {
        let header = Header::read(path)?;
        Family::of(header.architecture())?;
        if let Some((kind, tensor)) = header.types().find(|(kind, _)| !READABLE.contains(kind)) {
            let message = format!("weights of the type `{}` (`{tensor}`) can't be used", type_name(kind));
            let help = "use a `Q4_K_M` or `Q8_0` of the model, or a server such as Ollama or llama.cpp";
            return Err(EndpointError::new(message).help(help));
        }
        let mut gguf = Gguf::open(path)?;
        Transformer::check(&mut gguf)?;
        let vocabulary = Vocabulary::new(&gguf)?;
        Chat::new(&gguf, &vocabulary).map(drop)
    }

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
