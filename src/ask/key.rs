//! Call keys: hashes of everything that can change an answer.

use std::sync::Arc;

use crate::prompt::{Addressee, Expect, Message, Prompt};
use crate::provider::{Build, Encoded};
use crate::spec::StageSpec;
use crate::store::Key;

/// The version of the call key format. A new version makes all recorded answers unusable.
pub(crate) const KEY_VERSION: &str = "fanfold-call-1";

/// Which of several calls with the same question a call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replicate {
    /// The number of the replicate, from 0. Each replicate has its own seed.
    pub(crate) number: u64,
    /// How often the same request is made before, to measure repeatability.
    pub(crate) repeat: u64,
}

/// The model that a call asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The kind of the provider.
    pub(crate) kind: &'a str,
    pub(crate) build: &'a Build,
    /// The hash of the server, if the server reports no build.
    pub(crate) server: Option<&'a str>,
}

/// A prompt whose key differs if the settings of the stage or of the asked model differ.
pub(crate) fn probe(stage: &StageSpec) -> Prompt {
    let messages = vec![Message::user(stage.stage.info.meaning.to_string())];
    let schema = Some(Arc::new(serde_json::json!({ "type": "object" })));
    Prompt { messages, expect: Arc::new(Expect::Text), schema, respondent: None, pack: None, to: Addressee::Row }
}

/// The hash that identifies a call.
pub(crate) fn call_key(asked: Asked<'_>, encoded: &Encoded, replicate: Replicate, respondent: Option<u64>) -> Key {
    let Asked { kind, build, server } = asked;
    let mut hasher = blake3::Hasher::new();
    for part in [KEY_VERSION, kind, build.digest.as_deref().unwrap_or("")] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    hasher.update(&encoded.body[..encoded.keyed]);
    let above_zero = |number: u64| Some(number).filter(|number| *number > 0);
    let numbers = [(0, above_zero(replicate.number)), (1, respondent), (2, above_zero(replicate.repeat))];
    for (tag, number) in numbers {
        if let Some(number) = number {
            hasher.update(&[tag]).update(&number.to_le_bytes());
        }
    }
    if let Some(server) = server {
        hasher.update(&[3]).update(server.as_bytes());
    }
    Key(hasher.finalize().as_bytes()[..16].try_into().expect("a hash has 32 bytes"))
}
