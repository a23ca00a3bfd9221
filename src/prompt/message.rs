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

/// The messages without the role `system`: its text precedes the first message of the user, so that turns alternate.
pub(crate) fn folded(messages: &[Message]) -> Vec<Message> {
    let texts = messages.iter().filter(|message| message.role == Role::System).map(|message| message.content.as_str());
    let mut texts: Vec<&str> = texts.collect();
    let mut turns: Vec<Message> = messages.iter().filter(|message| message.role != Role::System).cloned().collect();
    if texts.is_empty() {
        return turns;
    }
    let asked = turns.first().is_some_and(|first| first.role == Role::User).then(|| turns.remove(0).content);
    texts.extend(asked.as_deref());
    turns.insert(0, Message::user(texts.join("\n\n")));
    turns
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_text_moves_into_the_first_message_of_the_user() {
        let system = || Message::system("Be brief.");
        let (asked, answered) = (|| Message::user("Good?"), || Message::assistant("yes"));
        let joined = || Message::user("Be brief.\n\nGood?");
        assert_eq!(folded(&[system(), asked()]), [joined()]);
        assert_eq!(folded(&[system(), asked(), answered(), asked()]), [joined(), answered(), asked()]);
        assert_eq!(folded(&[asked(), answered(), asked()]), [asked(), answered(), asked()]);
        assert_eq!(folded(&[system(), answered()]), [Message::user("Be brief."), answered()]);
    }
}
