//! Messages of a conversation with a model.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    System,
    User,
    Assistant,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) content: String,
    #[serde(skip)]
    pub(crate) shared: Shared,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shared {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

pub(crate) fn system<'a>(parts: impl IntoIterator<Item = Option<&'a str>>) -> Option<String> {
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    Some(parts.join("\n\n")).filter(|text| !text.is_empty())
}

impl Message {
    pub(crate) fn system(content: impl Into<String>) -> Self {
        Message { role: Role::System, content: content.into(), shared: Shared::default() }
    }

    pub(crate) fn user(content: impl Into<String>) -> Self {
        Message { role: Role::User, content: content.into(), shared: Shared::default() }
    }

    pub(crate) fn assistant(content: impl Into<String>) -> Self {
        Message { role: Role::Assistant, content: content.into(), shared: Shared::default() }
    }

    pub(crate) fn for_all(self) -> Self {
        let start = self.content.len();
        Message { shared: Shared { start, end: 0 }, ..self }
    }

    pub(crate) fn around(self, start: &str, end: &str) -> Self {
        let holds = self.content.strip_prefix(start).is_some_and(|rest| rest.ends_with(end));
        let shared = if holds { Shared { start: start.len(), end: end.len() } } else { Shared::default() };
        Message { shared, ..self }
    }

    pub(crate) fn parts(&self) -> (&str, &str, &str) {
        let (start, rest) = self.content.split_at(self.shared.start);
        let (own, end) = rest.split_at(rest.len() - self.shared.end);
        (start, own, end)
    }
}
