//! Call keys: hashes of everything that can change an answer.

use crate::provider::{Build, Encoded};
use crate::store::Key;

/// The version of the call key format. A new version makes all recorded answers unusable.
pub(crate) const KEY_VERSION: &str = "fanfold-call-1";

/// The hash that identifies a call; `replicate` counts from 0.
pub(crate) fn call_key(kind: &str, build: &Build, encoded: &Encoded, replicate: u64, respondent: Option<u64>) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in [KEY_VERSION, kind, build.digest.as_deref().unwrap_or("")] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    hasher.update(&encoded.body[..encoded.keyed]);
    for (tag, number) in [(0, Some(replicate).filter(|r| *r > 0)), (1, respondent)] {
        if let Some(number) = number {
            hasher.update(&[tag]).update(&number.to_le_bytes());
        }
    }
    Key(hasher.finalize().as_bytes()[..16].try_into().expect("a hash has 32 bytes"))
}
