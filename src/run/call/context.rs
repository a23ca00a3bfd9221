//! The context guard: does not send a prompt that exceeds the model's context, or shortens it if the spec allows. Pure.

use crate::ask::ContextSize;
use crate::prompt::{Message, shortened};

/// The usual bytes per token.
const USUAL_BYTES: u64 = 4;
/// Tokens reserved for a reply of unknown length.
pub(crate) const USUAL_REPLY: u64 = 256;
const MAX_CUTS: u32 = 10;

/// Why `messages` exceed the context.
pub(crate) fn too_long(messages: &[Message], context: ContextSize) -> Option<String> {
    let (least, size) = context.exceeded_by(messages).zip(context.tokens)?;
    Some(format!("the prompt has at least {least} tokens, which fill the context of {size}; it was not sent"))
}

#[derive(Debug, Default)]
pub(crate) struct Shortening {
    cuts: u32,
    bytes: usize,
}

impl Shortening {
    /// Shortens to the usual size that fits, then by a quarter each time. Also returns the characters left out.
    pub(crate) fn next(
        &mut self,
        whole: &[Message],
        context: Option<u64>,
        max_tokens: Option<u32>,
    ) -> Option<(Vec<Message>, u64)> {
        if self.cuts == MAX_CUTS {
            return None;
        }
        let bytes = match self.cuts {
            0 => whole.iter().map(|message| message.content.len()).sum(),
            _ => self.bytes,
        };
        let room = context.map(|context| context - max_tokens.map_or(USUAL_REPLY, u64::from).min(context / 2));
        let aim = room.map(|room| (room * USUAL_BYTES) as usize).filter(|aim| self.cuts == 0 && aim * 10 < bytes * 9);
        self.bytes = aim.unwrap_or(bytes / 4 * 3);
        self.cuts += 1;
        shortened(whole, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(messages: &[Message]) -> usize {
        messages.iter().map(|message| message.content.len()).sum()
    }

    #[test]
    fn only_a_prompt_that_exceeds_the_context_is_refused() {
        let prompt = |words: usize| vec![Message::user("internationally ".repeat(words))];
        let size = |tokens| ContextSize { tokens: Some(tokens), ..ContextSize::default() };
        assert_eq!(too_long(&prompt(100), size(101)), None, "GPT-4 has one token for the word");
        let message = too_long(&prompt(100), size(100)).unwrap();
        assert!(message.starts_with("the prompt has at least 100 tokens, which fill the context of 100"), "{message}");
        assert_eq!(too_long(&[Message::user(" ".repeat(100_000))], size(100)), None);
    }

    #[test]
    fn a_prompt_is_shortened_to_the_context_and_then_step_by_step() {
        let whole = vec![Message::system("s".repeat(100)), Message::user("x".repeat(9_900))];
        let mut shortening = Shortening::default();
        let (first, left_out) = shortening.next(&whole, Some(1000), Some(200)).unwrap();
        assert!(bytes(&first) <= 3200 && bytes(&first) > 3100 && left_out > 6000, "{}", bytes(&first));
        let (second, more) = shortening.next(&whole, Some(1000), Some(200)).unwrap();
        assert!(bytes(&second) <= 2400 && bytes(&second) > 2300 && more > left_out);
        let mut unknown = Shortening::default();
        assert!(bytes(&unknown.next(&whole, None, None).unwrap().0) <= 7500);
        let mut steps = 0;
        while unknown.next(&whole, None, None).is_some() {
            steps += 1;
        }
        assert_eq!(steps, 9);
        assert_eq!(Shortening::default().next(&[Message::user("hi")], Some(10), None), None);
    }
}
