//! Thoughts: finds what a model thought in its text, and the answer after it. Pure.
//!
//! Sources of the marks: the chat templates of the models that write them, and for channels
//! <https://cookbook.openai.com/articles/openai-harmony>.

use serde::de::IgnoredAny;

/// The marks around thoughts, in lower case.
static MARKS: [(&str, &str); 14] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<reason>", "</reason>"),
    ("[think]", "[/think]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|start_thinking|>", "<|end_thinking|>"),
    ("<|thinking|>", "<|/thinking|>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),
];

/// The marks around an answer that follows thoughts, in lower case.
static ANSWERS: [(&str, &str); 4] = [
    ("<answer>", "</answer>"),
    ("<response>", "</response>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|start_response|>", "<|end_response|>"),
];

const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";
/// The start of the last channel of gpt-oss where a server left out the marks.
const BARE: (&str, &str) = ("analysis", "assistantfinal");

/// A reply in two parts.
struct Parts<'a> {
    thoughts: Vec<&'a str>,
    /// `None` if the reply ends inside its thoughts.
    answer: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn plain(answer: &'a str) -> Self {
        Parts { thoughts: Vec::new(), answer: Some(answer) }
    }
}

pub(crate) fn without_thinking(reply: &str) -> Result<&str, String> {
    parts(reply).answer.ok_or_else(|| "it ends inside its thinking".to_owned())
}

pub(crate) fn thoughts(reply: &str) -> Option<String> {
    let thoughts = parts(reply).thoughts.join("\n\n");
    Some(thoughts.trim().to_owned()).filter(|thoughts| !thoughts.is_empty())
}

/// Whether a reply holds anything after its thoughts.
pub(crate) fn has_answer(reply: &str) -> bool {
    parts(reply).answer.is_some_and(|answer| !answer.is_empty())
}

/// Whether a reply is one complete JSON object.
pub(crate) fn is_object(reply: &str) -> bool {
    parts(reply).answer.is_some_and(is_json)
}

fn is_json(text: &str) -> bool {
    text.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn parts(reply: &str) -> Parts<'_> {
    let text = reply.trim_start_matches('\u{feff}').trim();
    let may_think = text.contains(['<', '[', '◁']) || text.starts_with(BARE.0);
    // A mark inside of a string of JSON is a part of the answer.
    if !may_think || is_json(text) {
        return Parts::plain(text);
    }
    let lower = text.to_ascii_lowercase();
    if lower.contains(CHANNEL) {
        return of_channels(text, &lower);
    }
    if let Some(end) = lower.rfind(BARE.1).filter(|_| lower.starts_with(BARE.0)) {
        let thoughts = vec![text[BARE.0.len()..end].trim()];
        return Parts { thoughts, answer: Some(text[end + BARE.1.len()..].trim()) };
    }
    of_marks(text, &lower)
}

/// Some chat templates open the thoughts in the prompt, so that the reply contains only their end.
fn of_marks<'a>(text: &'a str, lower: &str) -> Parts<'a> {
    let end = MARKS.iter().filter_map(|(_, close)| Some(lower.rfind(close)? + close.len())).max().unwrap_or(0);
    let at_line = |at: usize| lower[..at].trim_end_matches([' ', '\t']).chars().last().is_none_or(|c| c == '\n');
    let opened = |from: usize| {
        let found = MARKS.iter().filter_map(|(open, _)| Some(from + lower[from..].find(open)?));
        found.min()
    };
    if let Some(start) = opened(end).filter(|start| at_line(*start)) {
        return Parts { thoughts: vec![bare(&text[..end]), bare(&text[start..])], answer: None };
    }
    let after = text[end..].trim();
    match opened(0).filter(|start| *start < end) {
        _ if end == 0 => Parts::plain(text),
        // The thoughts come after the answer.
        Some(start) if after.is_empty() => {
            Parts { thoughts: vec![bare(&text[start..end])], answer: Some(text[..start].trim()) }
        }
        _ => Parts { thoughts: vec![bare(&text[..end])], answer: Some(unwrapped(after)) },
    }
}

/// The text without the marks at its ends.
fn bare(text: &str) -> &str {
    let mut text = text.trim();
    for (open, close) in MARKS {
        let lower = text.to_ascii_lowercase();
        let start = if lower.starts_with(open) { open.len() } else { 0 };
        let end = if lower[start..].ends_with(close) { text.len() - close.len() } else { text.len() };
        text = text[start..end].trim();
    }
    text
}

fn unwrapped(answer: &str) -> &str {
    let lower = answer.to_ascii_lowercase();
    let inner = ANSWERS.iter().find_map(|(open, close)| {
        let end = if lower.ends_with(close) { answer.len() - close.len() } else { answer.len() };
        lower.starts_with(open).then(|| answer[open.len()..end].trim())
    });
    inner.unwrap_or(answer)
}

/// The channels of gpt-oss: the answer is the message of the last `final` one.
fn of_channels<'a>(text: &'a str, lower: &str) -> Parts<'a> {
    let message = |from: usize| {
        let rest = &text[from..];
        rest[..rest.find("<|").unwrap_or(rest.len())].trim()
    };
    let last = lower.rfind(&format!("{CHANNEL}final"));
    let start = last.and_then(|last| Some(last + lower[last..].find(MESSAGE)? + MESSAGE.len()));
    let before = last.unwrap_or(text.len());
    let bodies = lower[..before].match_indices(MESSAGE).map(|(at, _)| message(at + MESSAGE.len()));
    Parts { thoughts: bodies.filter(|body| !body.is_empty()).collect(), answer: start.map(message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stands_alone_whatever_the_marks_of_the_thoughts() {
        for (open, close) in MARKS {
            for (open, close) in [(open.to_owned(), close.to_owned()), (open.to_uppercase(), close.to_uppercase())] {
                for reply in [
                    format!("{open}Hm, maybe.{close}A plain summary."),
                    format!("\n{open}\nHm, maybe.\n{close}\n\nA plain summary.\n"),
                    format!("Hm, maybe.\n{close}\n\nA plain summary."),
                    format!("A plain summary.\n\n{open}Hm, maybe.{close}"),
                    format!("{open}Hm, maybe.{close}<answer>A plain summary.</answer>"),
                ] {
                    assert_eq!(without_thinking(&reply), Ok("A plain summary."), "{reply}");
                    assert_eq!(thoughts(&reply).as_deref(), Some("Hm, maybe."), "{reply}");
                }
                for endless in
                    [format!("{open}Hm, {{\"a\":1}}"), format!("Well.\n{open} Hm"), format!("{open}a{close}\n{open}b")]
                {
                    assert!(without_thinking(&endless).is_err() && !has_answer(&endless), "{endless}");
                    assert!(thoughts(&endless).is_some(), "{endless}");
                }
                assert!(!has_answer(&format!("{open}Hm.{close}")));
            }
        }
    }

    #[test]
    fn the_answer_of_channels_is_the_final_one() {
        for reply in [
            "<|channel|>analysis<|message|>Hm, maybe.<|end|><|start|>assistant<|channel|>final<|message|>A plain summary.",
            "<|start|>assistant<|channel|>analysis<|message|>Hm, maybe.<|end|><|start|>assistant<|channel|>final<|message|>A plain summary.<|return|>",
            "<|channel|>analysis<|message|>Hm, maybe.<|end|>\n<|channel|>final <|constrain|>json<|message|>A plain summary.<|end|>",
            "analysisHm, maybe.assistantfinalA plain summary.",
        ] {
            assert_eq!(without_thinking(reply), Ok("A plain summary."), "{reply}");
            assert_eq!(thoughts(reply).as_deref(), Some("Hm, maybe."), "{reply}");
        }
        assert!(without_thinking("<|channel|>analysis<|message|>Hm, maybe").is_err());
    }

    #[test]
    fn texts_without_thoughts_are_left_alone() {
        for text in [
            "A plain summary.",
            "2 < 3 and [1]",
            "An analysis of the speech.",
            "{\"a\": \"the marks <think> and </think>\"}",
            "It mentions the mark <think> in a sentence.",
            "<answer>yes</answer>",
        ] {
            assert_eq!((without_thinking(text), thoughts(text)), (Ok(text), None));
        }
        assert!(
            is_object("<think>x</think>{\"a\":1}")
                && is_object("{\"a\":1}")
                && !is_object("{\"a\":")
                && !is_object("a")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r"(<think>|</think>|\[THINK\]|[/THINK]|<\|channel\|>|final|<\|message\|>|analysis|assistantfinal|◁|ä|\{|\n| ){0,12}") {
            let _ = (without_thinking(&text), thoughts(&text));
        }
    }
}
