//! Messages: what is said to a model.

use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that all rows share.
    System,
    /// The question about a row.
    User,
    /// A reply of the model, when it is asked again.
    Assistant,
}

/// One message of a conversation with a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// How much of it is the same for all rows.
    #[serde(skip)]
    pub shared: Shared,
}

/// How much of a message is the same for all rows that are asked alike, by its template: so many bytes at its start and at
/// its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Bytes at the start.
    pub start: usize,
    /// Bytes at the end.
    pub end: usize,
}

/// A system text of the parts that exist, separated by blank lines; `None` without any.
pub fn system<'a>(parts: impl IntoIterator<Item = Option<&'a str>>) -> Option<String> {
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    Some(parts.join("\n\n")).filter(|text| !text.is_empty())
}

impl Message {
    /// A system message.
    pub fn system(content: impl Into<String>) -> Self {
        Message { role: Role::System, content: content.into(), shared: Shared::default() }
    }

    /// A user message.
    pub fn user(content: impl Into<String>) -> Self {
        Message { role: Role::User, content: content.into(), shared: Shared::default() }
    }

    /// A reply of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Message { role: Role::Assistant, content: content.into(), shared: Shared::default() }
    }

    /// The message, all of which is the same for all rows.
    pub fn for_all(self) -> Self {
        let start = self.content.len();
        Message { shared: Shared { start, end: 0 }, ..self }
    }

    /// The message, whose `start` and `end` are the same for all rows. Where it does not begin and end with them, it counts
    /// as a row's own.
    pub fn around(self, start: &str, end: &str) -> Self {
        let holds = self.content.strip_prefix(start).is_some_and(|rest| rest.ends_with(end));
        let shared = if holds { Shared { start: start.len(), end: end.len() } } else { Shared::default() };
        Message { shared, ..self }
    }

    /// Its start that all rows share, what is the row's own, and its end that all rows share.
    pub fn parts(&self) -> (&str, &str, &str) {
        let (start, rest) = self.content.split_at(self.shared.start);
        let (own, end) = rest.split_at(rest.len() - self.shared.end);
        (start, own, end)
    }
}
