//! Prompt bytes: measures the first prompts, and how much of them a prefix cache saves.

use crate::ask::{FirstRound, by_pack};
use crate::prompt::{Prompt, pack, together};
use crate::spec::StageSpec;

/// The sizes of the first prompts of rows, for one answer about each row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PromptBytes {
    pub(crate) prompts: u64,
    pub(crate) bytes: u64,
    /// Bytes at the beginning of the prompts that are the same for all rows.
    pub(crate) shared: u64,
    pub(crate) beginning: u64,
    /// Bytes of templates that are the same for all rows but come after the row's own text.
    pub(crate) behind: u64,
}

impl PromptBytes {
    pub(crate) fn add(&mut self, prompt: &Prompt) {
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

    /// Bytes that a server processes if it caches the shared beginning.
    pub(crate) fn read(&self) -> u64 {
        self.bytes - self.shared + self.beginning
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packs {
    pub(crate) count: u64,
    /// Bytes of the first prompts without packs, for one answer about each row.
    pub(crate) single_bytes: u64,
}

impl Packs {
    /// Adds the packs of some rows to the count, and their prompts to `all`.
    pub(crate) fn add(&mut self, stage: &StageSpec, rows: &mut [FirstRound], all: &mut PromptBytes) {
        for rows in by_pack(stage, rows) {
            self.count += 1;
            let mut alike: Vec<Vec<&Prompt>> = Vec::new();
            for prompt in rows.iter().flat_map(|(_, prompts)| prompts) {
                self.single_bytes += bytes(prompt);
                match alike.iter_mut().find(|others| together(others[0], prompt)) {
                    Some(others) => others.push(prompt),
                    None => alike.push(vec![prompt]),
                }
            }
            for prompts in alike {
                if let [one] = prompts.as_slice() { all.add(one) } else { all.add(&pack(&prompts)) }
            }
        }
    }
}

fn bytes(prompt: &Prompt) -> u64 {
    prompt.messages.iter().map(|message| message.content.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::prompt::{Expect, Message};

    #[test]
    fn the_shared_beginning_ends_at_the_first_text_of_a_row() {
        let mut sizes = PromptBytes::default();
        for text in ["We won.", "Peace"] {
            let question = Message::user(format!("Tone?{text} Be brief.")).around("Tone?", " Be brief.");
            let messages = vec![Message::system("Judge.").for_all(), question, Message::user("Now").for_all()];
            let prompt =
                Prompt { messages, expect: Arc::new(Expect::Text), schema: None, respondent: None, pack: None };
            sizes.add(&prompt);
        }
        let expected =
            PromptBytes { prompts: 2, bytes: 2 * (6 + 5 + 10 + 3) + 12, shared: 2 * 11, beginning: 11, behind: 20 };
        assert_eq!((sizes, sizes.read()), (expected, 60 - 11));
    }
}
