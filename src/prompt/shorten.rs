//! Shortening: removes the middle of the longest message if a conversation exceeds the context.
//!
//! The beginning and the end stay, because the question is usually there. Examples are never shortened. Pure.

use super::{Message, Role};

const GAP: &str = "\n[…]\n";

/// Also returns the number of characters left out. Returns `None` if nothing must be removed, or nothing would remain.
pub(crate) fn shortened(messages: &[Message], bytes: usize) -> Option<(Vec<Message>, u64)> {
    let whole: usize = messages.iter().map(|message| message.content.len()).sum();
    let is_example = |at: usize| {
        let message = &messages[at];
        at + 1 < messages.len() && message.role != Role::System && message.parts().1.is_empty()
    };
    let candidates = messages.iter().enumerate().filter(|(at, _)| !is_example(*at));
    let (at, longest) = candidates.max_by_key(|(_, message)| message.content.len())?;
    let text = &longest.content;
    let kept = (text.len() + bytes).checked_sub(whole + GAP.len()).filter(|kept| *kept >= 2 && bytes < whole)?;
    let head = text.floor_char_boundary(kept / 2);
    let tail = text.ceil_char_boundary(text.len() - (kept - kept / 2));
    let left_out = text[head..tail].chars().count() as u64;
    let mut messages = messages.to_vec();
    messages[at].content = [&text[..head], GAP, &text[tail..]].concat();
    (left_out > 0).then_some((messages, left_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_the_longest_message_is_left_out() {
        let messages =
            [Message::system("Be brief."), Message::user("Question: ".to_owned() + &"é".repeat(500) + " end?")];
        let (short, left_out) = shortened(&messages, 200).unwrap();
        assert_eq!(short[0], messages[0]);
        let text = &short[1].content;
        assert!(text.starts_with("Question: éé") && text.ends_with("éé end?") && text.contains(GAP), "{text}");
        assert!(text.len() + short[0].content.len() <= 200);
        let left = messages[1].content.chars().count() + GAP.chars().count() - text.chars().count();
        assert_eq!(left as u64, left_out);
        assert_eq!(shortened(&messages, 200).unwrap(), (short, left_out), "the same each time");
    }

    #[test]
    fn examples_stay_whole() {
        let shown = [Message::user("x".repeat(400)).for_all(), Message::assistant("good").for_all()];
        let messages = [shown.to_vec(), vec![Message::user("y".repeat(300))]].concat();
        let (short, left_out) = shortened(&messages, 600).unwrap();
        assert_eq!(
            (&short[..2], left_out),
            (&shown[..], 300 + GAP.chars().count() as u64 - short[2].content.chars().count() as u64)
        );
        assert!(shortened(&messages, 300).is_none(), "nothing of the question would be left");
    }

    #[test]
    fn there_must_be_something_to_leave_out_and_something_to_keep() {
        let messages = [Message::system("x".repeat(50)), Message::user("y".repeat(100))];
        assert!(shortened(&messages, 150).is_none());
        assert!(shortened(&messages, 55).is_none());
        assert!(shortened(&messages, 100).is_some());
        assert!(shortened(&[], 10).is_none());
    }
}
