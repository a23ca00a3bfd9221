//! What would be said to a model, in bytes, and how much of it a server that keeps the beginning of a prompt reads once.

use crate::prompt::Prompt;

/// What the first prompts about rows say, for one answer about each row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// How many prompts there are.
    pub prompts: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes of these that begin a prompt and are the same for all rows.
    pub shared: u64,
    /// The most of those in one prompt.
    pub beginning: u64,
    /// Bytes of templates that are the same for all rows too, but stand behind a row's own text.
    pub behind: u64,
}

impl Said {
    /// Adds a prompt.
    pub fn add(&mut self, prompt: &Prompt) {
        let own = prompt.messages.iter().position(|message| !message.parts().1.is_empty());
        let before = &prompt.messages[..own.unwrap_or(prompt.messages.len())];
        let mut beginning: u64 = before.iter().map(|message| message.content.len() as u64).sum();
        if let Some(message) = own.map(|at| &prompt.messages[at]) {
            beginning += message.shared.start as u64;
            self.behind += message.shared.end as u64;
        }
        self.prompts += 1;
        self.bytes += bytes(prompt);
        self.shared += beginning;
        self.beginning = self.beginning.max(beginning);
    }

    /// Bytes that are read by a server that keeps the beginning which all rows share.
    pub fn read(&self) -> u64 {
        self.bytes - self.shared + self.beginning
    }
}

/// Bytes of a prompt.
pub fn bytes(prompt: &Prompt) -> u64 {
    prompt.messages.iter().map(|message| message.content.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::prompt::{Expect, Message};

    #[test]
    fn what_all_share_counts_as_far_as_nothing_else_stands_before_it() {
        let mut said = Said::default();
        for text in ["We won.", "Peace"] {
            let question = Message::user(format!("Tone?{text} Be brief.")).around("Tone?", " Be brief.");
            let messages = vec![Message::system("Judge.").for_all(), question, Message::user("Now").for_all()];
            let prompt =
                Prompt { messages, expect: Arc::new(Expect::Text), schema: None, respondent: None, pack: None };
            said.add(&prompt);
        }
        let expected = Said { prompts: 2, bytes: 2 * (6 + 5 + 10 + 3) + 12, shared: 2 * 11, beginning: 11, behind: 20 };
        assert_eq!((said, said.read()), (expected, 60 - 11));
    }
}
