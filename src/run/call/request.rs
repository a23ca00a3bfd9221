//! Requests: one call to make, with any number of attempts.

use super::first_answer::FirstAnswer;
use crate::ask::{Replicate, Terms};
use crate::prompt::Prompt;
use crate::run::lane::Lane;
use crate::store::Key;

#[derive(Clone, Copy)]
pub(crate) struct CallRequest<'a> {
    /// The model's index in the spec.
    pub(crate) model: usize,
    pub(crate) replicate: Replicate,
    pub(crate) prompt: &'a Prompt,
    pub(crate) key: Key,
    pub(crate) terms: Terms<'a>,
    pub(crate) lane: &'a Lane,
    /// Whether nothing has been answered about the row, so that the call may go in a batch.
    pub(crate) is_first: bool,
    /// The model that failed, if this call is made as its fallback.
    pub(crate) fallback_of: Option<&'a FirstAnswer>,
}
