//! Forms: remembers what of a request a model's server refuses, though it takes the same in another form.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::prompt::{Message, Prompt, folded};
use crate::provider::{CallError, Model, Refusal, SystemRole};
use crate::store::Notes;

#[derive(Debug, Default)]
pub(crate) struct Forms {
    folds_system: AtomicBool,
    completion_limit: AtomicBool,
    refuses_cache_mark: AtomicBool,
}

/// The form of one request. The call key hashes the form that the spec asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    folds_system: bool,
    completion_limit: bool,
    /// Whether the server is asked to cache what the call shares with others.
    caches_start: bool,
}

impl Forms {
    /// `is_shared`: other calls of the stage have the same start.
    pub(crate) fn known(&self, is_shared: bool) -> Form {
        Form {
            folds_system: self.folds_system.load(Relaxed),
            completion_limit: self.completion_limit.load(Relaxed),
            caches_start: is_shared && !self.refuses_cache_mark.load(Relaxed),
        }
    }

    /// Whether the same call may be answered in another form than `sent`. A `system` that the stage sets does not move
    /// by itself: only the text of fanfold does.
    pub(crate) fn learn(&self, sent: Form, error: &CallError, prompt: &Prompt, model: &Model) -> bool {
        match Refusal::of(error) {
            Some(Refusal::SystemRole) if !sent.folds_system && prompt.system_is_made() => {
                self.folds_system.store(true, Relaxed);
                model.sampling.system_role.is_none_or(|role| role == SystemRole::System)
            }
            Some(Refusal::MaxTokens) if !sent.completion_limit => {
                self.completion_limit.store(true, Relaxed);
                model.sampling.max_tokens.is_some()
            }
            Some(Refusal::CacheMark) if sent.caches_start => {
                self.refuses_cache_mark.store(true, Relaxed);
                true
            }
            _ => false,
        }
    }
}

impl Form {
    pub(crate) fn messages(self, messages: &[Message]) -> Cow<'_, [Message]> {
        if self.folds_system { Cow::Owned(folded(messages)) } else { Cow::Borrowed(messages) }
    }

    pub(crate) fn model(self, model: Cow<'_, Model>) -> Cow<'_, Model> {
        if !self.completion_limit && !self.caches_start {
            return model;
        }
        let mut model = model.into_owned();
        model.sampling.completion_limit = self.completion_limit;
        model.sampling.caches_start = self.caches_start;
        Cow::Owned(model)
    }

    pub(crate) fn note(self, notes: &mut Notes) {
        notes.system_role = self.folds_system.then(|| "user".to_owned());
        notes.token_limit = self.completion_limit.then(|| "max_completion_tokens".to_owned());
    }
}

/// Adds what to write if a server refuses the stage's own `system`.
pub(crate) fn advised(error: CallError) -> CallError {
    if Refusal::of(&error) != Some(Refusal::SystemRole) {
        return error;
    }
    let message =
        format!("{}; write `system_role = \"user\"` for this model to send `system` in the prompt", error.message);
    CallError { message, ..error }
}
