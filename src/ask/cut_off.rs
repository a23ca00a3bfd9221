//! Cut-off replies: says what used up their tokens, and what to change. Pure.

use super::cut::{ContextSize, larger};
use crate::prompt::{Failure, FailureKind, has_answer, thoughts};
use crate::provider::Reply;

/// A reply with so few tokens was cut off by the end of the context, unless `max_tokens` is smaller still.
const FEW: u64 = 16;

pub(super) fn cut_off(reply: &Reply, context: ContextSize) -> Failure {
    let (asked, said) = (reply.prompt_tokens.unwrap_or(0), reply.completion_tokens);
    let help = larger(reply, context);
    if let Some(size) = context.tokens.filter(|size| asked + said.unwrap_or(0) >= *size) {
        let message = format!("the reply was cut off where the context of {size} tokens was full; {help}");
        return FailureKind::ContextTooLong.because(message);
    }
    let is_early = said.is_some_and(|said| context.max_tokens.map_or(said <= FEW, |limit| said < limit.into()));
    let thought = reply.thoughts.text.is_some() || reply.thoughts.tokens > Some(0) || thoughts(&reply.text).is_some();
    let tokens = said.map_or("some".to_owned(), |said| said.to_string());
    let raise = match (context.max_tokens, context.sets_max_tokens) {
        (Some(_), true) => "raise `max_tokens`".to_owned(),
        (Some(limit), false) => format!("set `max_tokens` to more than {limit}, which is sent when it is left out"),
        (None, _) => "set `max_tokens`, which no setting limits now, or give the model a larger context".to_owned(),
    };
    let message = match (has_answer(&reply.text), thought) {
        (false, false) if is_early && asked > 0 => {
            let message = format!("the prompt of {asked} tokens fills the context: it left room for {tokens}; {help}");
            return FailureKind::ContextTooLong.because(message);
        }
        (false, true) => format!(
            "the thoughts used up all {tokens} tokens, and no answer came; {raise}, or let the model think less: \
             `reasoning_effort = \"low\"` or `think = false`"
        ),
        (false, false) => format!("the reply was cut off after {tokens} tokens without any text; {raise}"),
        (true, _) if is_early => {
            format!("the reply was cut off after {tokens} tokens, as the context was full; {help}")
        }
        (true, _) => format!("the reply was cut off after {tokens} tokens; {raise}"),
    };
    FailureKind::Truncated.because(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Finish, Thoughts};

    fn reply(text: &str, prompt: u64, completion: u64) -> Reply {
        Reply { prompt_tokens: Some(prompt), completion_tokens: Some(completion), ..Reply::new(text, Finish::Length) }
    }

    fn limited(limit: u32) -> ContextSize {
        ContextSize { max_tokens: Some(limit), sets_max_tokens: true, ..ContextSize::default() }
    }

    #[test]
    fn thoughts_that_used_up_the_tokens_are_named() {
        let thoughts = |tokens| Thoughts { text: None, tokens };
        for reply in [
            Reply { thoughts: Thoughts { text: Some("Hm.".into()), tokens: None }, ..reply("", 40, 512) },
            Reply { thoughts: thoughts(Some(512)), ..reply("", 40, 512) },
            reply("<think>Hm.", 40, 512),
            reply("[THINK]Hm.", 40, 512),
            reply("<|channel|>analysis<|message|>Hm.", 40, 512),
        ] {
            let failure = cut_off(&reply, limited(512));
            assert_eq!(failure.kind, FailureKind::Truncated);
            assert!(failure.message.starts_with("the thoughts used up all 512 tokens"), "{failure}");
            assert!(failure.message.contains("raise `max_tokens`") && failure.message.contains("think = false"));
        }
    }

    #[test]
    fn a_context_that_is_full_is_not_called_a_limit_of_replies() {
        let known = ContextSize { tokens: Some(4096), is_num_ctx: true, ..ContextSize::default() };
        for (reply, context) in [
            (reply("", 32_767, 1), ContextSize::default()),
            (reply("", 8_000, 3), limited(512)),
            (reply("half", 4_000, 96), known),
        ] {
            let failure = cut_off(&reply, context);
            assert!(failure.kind == FailureKind::ContextTooLong && failure.message.contains("context"), "{failure}");
            assert!(!failure.message.contains("max_tokens"), "{failure}");
        }
        let early = cut_off(&reply("half", 8_000, 100), limited(512));
        assert!(early.message.contains("as the context was full") && !early.message.contains("raise `max_tokens`"));
    }

    #[test]
    fn the_advice_fits_what_limits_the_reply() {
        assert!(cut_off(&reply("half", 40, 512), limited(512)).message.ends_with("; raise `max_tokens`"));
        let unset = cut_off(&reply("half", 40, 512), ContextSize::default());
        assert!(unset.message.contains("set `max_tokens`, which no setting limits now"), "{unset}");
        let sent = ContextSize { max_tokens: Some(1024), ..ContextSize::default() };
        assert!(cut_off(&reply("half", 40, 1024), sent).message.contains("set `max_tokens` to more than 1024"));
    }
}
