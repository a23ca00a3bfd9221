//! Cut prompts: finds in the token counts that a server answered only a part of the prompt. Pure.

use serde_json::Value;

use crate::prompt::{FailureKind, Message, Prompt, least_tokens};
use crate::provider::Reply;
use crate::store::Record;

/// The tokens of the shortest prompt that a server would cut.
const LEAST_CUT: u64 = 128;
/// The fewest tokens that are left of a cut prompt.
const LEAST_LEFT: u64 = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContextSize {
    /// The tokens of prompt and reply together, if the size is known.
    pub(crate) tokens: Option<u64>,
    /// Whether the model's `num_ctx` sets the size.
    pub(crate) is_num_ctx: bool,
    /// The limit of a reply that is sent.
    pub(crate) max_tokens: Option<u32>,
    /// Whether the spec sets that limit.
    pub(crate) sets_max_tokens: bool,
}

impl ContextSize {
    /// The smallest number of tokens of a prompt that fills the context.
    pub(crate) fn exceeded_by(self, messages: &[Message]) -> Option<u64> {
        let size = self.tokens?;
        Some(least_tokens(messages)).filter(|tokens| *tokens >= size)
    }
}

/// Why the server cannot have read all of `sent`. A count that is missing or 0 shows nothing.
pub(crate) fn cut(reply: &Reply, sent: &[Message], context: ContextSize) -> Option<String> {
    let counted = reply.prompt_tokens.filter(|tokens| *tokens > 0)?;
    let what = match context.tokens.filter(|tokens| counted >= *tokens) {
        Some(tokens) => format!("the prompt fills the whole context of {tokens} tokens and was cut"),
        None => {
            let least = missing(counted, reply.cached_tokens.saturating_add(reply.cache_writes), sent)?;
            format!("the prompt has at least {least} tokens, but the server counted {counted}: it cut the prompt")
        }
    };
    Some(format!("{what}; {}", larger(reply, context)))
}

/// How to get a larger context.
pub(super) fn larger(reply: &Reply, context: ContextSize) -> &'static str {
    match reply.build.as_deref() {
        _ if context.is_num_ctx => "raise `num_ctx`",
        Some("fp_ollama") => "the server is an Ollama: use `type = \"ollama\"`, which sets the context by `num_ctx`",
        _ => "give the model a larger context on the server, and write its size as `context_tokens`",
    }
}

/// The lower bound that the count does not reach. The count may leave out tokens from a cache. A shorter prompt fits
/// every context, and what is left of a cut prompt is longer than the counts that some servers make up.
fn missing(counted: u64, cached: u64, sent: &[Message]) -> Option<u64> {
    // Quick: the bound is a token for 4 letters and a space at most.
    let bytes = sent.iter().map(|message| message.content.len() as u64).sum::<u64>();
    if counted.saturating_add(cached) > bytes / 5 + sent.len() as u64 {
        return None;
    }
    let is_short = |least: u64| counted.saturating_add(cached) < least;
    let least = Some(counted).filter(|counted| *counted >= LEAST_LEFT).map(|_| least_tokens(sent))?;
    Some(least).filter(|least| *least >= LEAST_CUT && is_short(*least))
}

/// Whether a recorded answer is about a prompt that was cut. The record counts the tokens of all attempts together.
pub(crate) fn was_cut(record: &Record, prompt: &Prompt, context: ContextSize) -> bool {
    let notes = &record.notes;
    // The record of a pack that was cut is kept, so that the pack is not paid for again.
    let is_answer = record.error.is_none() && record.finish != FailureKind::ContextTooLong.name();
    if !is_answer || record.prompt_tokens == 0 || notes.left_out.is_some() || notes.fallback.is_some() {
        return false;
    }
    let tries: Vec<Value> =
        record.tries.as_deref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let replies = 1 + tries.iter().filter(|attempt| attempt["reply"].is_string()).count() as u64;
    context.tokens.is_some_and(|tokens| record.prompt_tokens >= tokens.saturating_mul(replies))
        || missing(record.prompt_tokens, record.cache_tokens(), &prompt.messages).is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::prompt::{Addressee, Expect};
    use crate::provider::Finish;
    use crate::store::Notes;

    const WORDS: usize = 600;

    fn prompt() -> Prompt {
        let messages = vec![Message::user("speech ".repeat(WORDS))];
        Prompt {
            messages,
            expect: Arc::new(Expect::Text),
            schema: None,
            respondent: None,
            pack: None,
            to: Addressee::Row,
        }
    }

    fn reply(prompt_tokens: Option<u64>, cached_tokens: u64) -> Reply {
        Reply { prompt_tokens, cached_tokens, ..Reply::new("yes", Finish::Stop) }
    }

    #[test]
    fn a_count_below_the_lower_bound_shows_a_cut() {
        let of = |tokens, cached| cut(&reply(tokens, cached), &prompt().messages, ContextSize::default());
        let said = of(Some(512), 0).unwrap();
        assert!(
            said.starts_with("the prompt has at least 600 tokens, but the server counted 512: it cut the"),
            "{said}"
        );
        assert!(said.contains("`context_tokens`"), "{said}");
        assert_eq!((of(Some(600), 0), of(None, 0), of(Some(0), 0), of(Some(90), 510)), (None, None, None, None));
        assert!(of(Some(90), 509).is_some(), "cached tokens count once");
        assert_eq!(of(Some(7), 0), None, "a server that makes up its counts");
        let short = [Message::user("speech ".repeat(100))];
        assert_eq!(cut(&reply(Some(20), 0), &short, ContextSize::default()), None, "every context holds 100 tokens");
    }

    #[test]
    fn the_help_names_what_the_provider_has() {
        let of = |build: Option<&str>, context| {
            let reply = Reply { build: build.map(str::to_owned), ..reply(Some(512), 0) };
            cut(&reply, &prompt().messages, context).unwrap()
        };
        let declared = ContextSize { tokens: Some(512), ..ContextSize::default() };
        assert!(
            of(None, declared).starts_with("the prompt fills the whole context of 512 tokens and was cut; give the")
        );
        assert!(
            of(Some("fp_ollama"), declared).ends_with("use `type = \"ollama\"`, which sets the context by `num_ctx`")
        );
        assert!(of(None, ContextSize { is_num_ctx: true, ..declared }).ends_with("; raise `num_ctx`"));
    }

    #[test]
    fn recorded_answers_are_judged_by_all_their_attempts() {
        let tried =
            |n: usize| Some(serde_json::json!(vec![serde_json::json!({ "reply": "no", "error": "" }); n]).to_string());
        let record = |prompt_tokens, tries| Record { prompt_tokens, tries, attempts: 1, ..Record::default() };
        let context = ContextSize { tokens: Some(1000), ..ContextSize::default() };
        let of = |record: &Record| was_cut(record, &prompt(), context);
        assert!(of(&record(512, None)) && of(&record(1000, None)) && of(&record(2000, tried(1))));
        assert!(!of(&record(700, None)) && !of(&record(1500, tried(1))) && !of(&record(0, None)));
        let notes = |notes| Record { notes, ..record(512, None) };
        assert!(!of(&notes(Notes { left_out: Some(9), ..Notes::default() })));
        assert!(!of(&notes(Notes { cached_tokens: Some(88), ..Notes::default() })));
        assert!(of(&notes(Notes { cached_tokens: Some(87), ..Notes::default() })));
    }
}
