//! Requests: one call to make, whatever it takes.

use crate::ask::Terms;
use crate::prompt::Prompt;
use crate::store::Key;

#[derive(Clone, Copy)]
pub struct CallRequest<'a> {
    /// The model's index in the spec.
    pub model: usize,
    /// The number of the replicate, from 0.
    pub replicate: u64,
    pub prompt: &'a Prompt,
    pub key: Key,
    pub terms: Terms<'a>,
}
