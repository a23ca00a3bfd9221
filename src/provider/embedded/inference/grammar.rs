//! Grammars of typed answers: the tokens that are allowed next, so that every reply fits its JSON Schema.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::gguf::broken;
use super::vocabulary::Vocabulary;
use crate::provider::EndpointError;

pub(crate) struct Grammars(ParserFactory);

pub(crate) struct Grammar(Matcher);

struct Tokens {
    vocabulary: Arc<Vocabulary>,
    trie: TokTrie,
}

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.vocabulary.further_tokens(text),
            Err(_) => self.trie.greedy_tokenize(bytes),
        }
    }
}

impl Grammars {
    pub(crate) fn new(vocabulary: &Arc<Vocabulary>) -> Result<Self, EndpointError> {
        let words: Vec<Vec<u8>> = (0..vocabulary.len() as u32)
            .map(|token| match vocabulary.is_special(token) {
                true => [&[TokTrie::SPECIAL_TOKEN_MARKER], vocabulary.bytes(token)].concat(),
                false => vocabulary.bytes(token).to_vec(),
            })
            .collect();
        let end = vocabulary.ends().first().copied().unwrap_or_default();
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words);
        let tokens: TokEnv = Arc::new(Tokens { vocabulary: vocabulary.clone(), trie });
        let mut factory =
            ParserFactory::new_simple(&tokens).map_err(|e| broken(&format!("the vocabulary can't be used: {e}")))?;
        factory.quiet();
        Ok(Grammars(factory))
    }

    pub(crate) fn of(&self, schema: &Value) -> Result<Grammar, String> {
        let mut schema = schema.clone();
        // Only the most common spacing of JSON is allowed, so that all text between the values is forced.
        schema["x-guidance"] = json!({ "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " });
        let parser = self.0.create_parser(TopLevelGrammar::from_json_schema(schema));
        let grammar = Grammar(Matcher::new(parser));
        match grammar.0.get_error() {
            Some(error) => Err(format!("the output's schema can't be enforced: {error}")),
            None => Ok(grammar),
        }
    }
}

impl Grammar {
    pub(crate) fn mask(&mut self) -> Result<SimpleVob, String> {
        self.0.compute_mask_or_eos().map_err(|e| format!("the output's schema can't be enforced: {e}"))
    }

    pub(crate) fn take(&mut self, token: u32) -> Result<Vec<u32>, String> {
        self.0.consume_token(token).map_err(|e| format!("the output's schema can't be enforced: {e}"))?;
        Ok(self.forced())
    }

    pub(crate) fn forced(&mut self) -> Vec<u32> {
        if self.is_done() { Vec::new() } else { self.0.consume_ff_tokens() }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.0.is_stopped()
    }
}
