//! Anthropic's Claude, and servers that speak its Messages protocol: `POST /v1/messages` and `GET /v1/models/{id}`.
//!
//! Sources: <https://platform.claude.com/docs/en/api/messages/create>,
//! <https://platform.claude.com/docs/en/api/models/retrieve>, <https://platform.claude.com/docs/en/api/versioning>,
//! <https://platform.claude.com/docs/en/build-with-claude/structured-outputs>,
//! <https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons>,
//! <https://platform.claude.com/docs/en/api/errors>, and for tokens
//! <https://platform.claude.com/docs/en/build-with-claude/prompt-caching>. Pure.

mod batch;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::answer::Answer;
use super::batch::BatchWire;
use super::fault::Fault;
use super::hosted::{Dialect, Home};
use super::http::Headers;
use super::lenient::{Count, Known, Said, first_said};
use super::stream::{append, field, taken};
use super::structured_output::SchemaOrNone;
use super::subset::{COMMON, subset};
use super::wire::{Wire, encoded, model_page, set, system, unstated};
use super::{Build, Call, CallError, CallErrorKind, Encoded, Finish, Inventory, Listed, Model, Page, Reply, Thoughts};
use crate::prompt::{Message, Role};

/// The tokens of the shortest start of a prompt that a model caches: 512 to 4,096, by the model. A mark on a shorter one has
/// no effect.
const LEAST_CACHED: usize = 512;
/// The assumed bytes of a token.
const BYTES: usize = 4;

/// The protocol requires `max_tokens`.
const DEFAULT_MAX_TOKENS: u32 = 1024;

#[derive(Clone, Debug)]
pub(super) struct Anthropic {
    structured_output: SchemaOrNone,
}

impl Dialect for Anthropic {
    type StructuredOutput = SchemaOrNone;

    const HOME: Home = Home {
        owner: "Anthropic",
        address: "https://api.anthropic.com",
        key: "ANTHROPIC_API_KEY",
        address_env: "ANTHROPIC_BASE_URL",
        version: "v1",
        about_address: "The address without `/v1`, such as `http://10.0.0.5:4000`.",
    };
    const HIGHEST_TEMPERATURE: f64 = 1.0;
    const ABOUT_STRUCTURED_OUTPUT: &'static str = "How the server is asked for JSON: `json_schema`, or `none` for models and \
                                                   servers without structured outputs.";

    fn new(structured_output: SchemaOrNone, _: &Address) -> Self {
        Anthropic { structured_output }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseBody {
    content: Vec<Block>,
    stop_reason: Known<String>,
    stop_details: Known<StopDetails>,
    usage: Known<Usage>,
    model: Known<String>,
    error: Option<Value>,
}

/// Blocks of type `text` are the answer, and those of type `thinking` the thoughts.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Known<String>,
    thinking: Said,
}

#[derive(Deserialize)]
struct StopDetails {
    category: Option<String>,
    explanation: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_read_input_tokens: Count,
    output_tokens: Count,
}

impl Usage {
    /// `input_tokens` excludes the tokens that were written to a cache or read from one.
    fn prompt_tokens(&self) -> Option<u64> {
        let cached = [self.cache_creation_input_tokens.0, self.cache_read_input_tokens.0];
        self.input_tokens.0.map(|tokens| cached.into_iter().flatten().fold(tokens, u64::saturating_add))
    }
}

#[derive(Deserialize)]
struct List {
    data: Vec<ModelEntry>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
    max_input_tokens: Option<u64>,
}

impl Wire for Anthropic {
    const KIND: &'static str = "anthropic";
    const HEADERS: Headers =
        Headers { key: "x-api-key", before_key: "", fixed: &[("anthropic-version", "2023-06-01")] };
    const TELLS_TOKENS: bool = false;
    const DEFAULT_MAX_TOKENS: Option<u32> = Some(DEFAULT_MAX_TOKENS);

    fn option_field(&self, option: &str) -> Option<String> {
        let field = match option {
            "top_k" => "top_k",
            "reasoning_effort" => "output_config.effort",
            "think" | "thinking_tokens" => "thinking",
            _ => return None,
        };
        Some(field.to_owned())
    }

    /// Source: <https://platform.claude.com/docs/en/build-with-claude/extended-thinking> and its page on adaptive thinking.
    fn option_value(&self, option: &str, value: Value) -> Value {
        match (option, value) {
            ("think", Value::Bool(false)) => json!({ "type": "disabled" }),
            ("think", _) => json!({ "type": "adaptive" }),
            ("thinking_tokens", tokens) => json!({ "type": "enabled", "budget_tokens": tokens }),
            (_, value) => value,
        }
    }

    fn path(&self, _: &str) -> Cow<'static, str> {
        "v1/messages".into()
    }

    /// The protocol has no seed. The seed is only part of the call key, so replicates are different calls.
    fn encode(&self, call: &Call<'_>) -> Encoded {
        let sampling = &call.model.sampling;
        let schema = call.schema.filter(|_| self.structured_output == SchemaOrNone::JsonSchema);
        let start = shared_start(call).unwrap_or_default();
        // Bounds of numbers, texts and lists are refused with 400.
        let format = |schema| json!({ "format": { "type": "json_schema", "schema": subset(schema, &COMMON) } });
        let body = set([
            ("model", json!(call.model.id)),
            ("max_tokens", json!(sampling.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS))),
            ("system", told(system(call.messages), start.system)),
            ("messages", turns(call.messages, start.turns)),
            ("temperature", json!(sampling.temperature)),
            ("top_p", json!(sampling.top_p)),
            ("stop_sequences", json!(sampling.stops())),
            ("output_config", json!(schema.map(format))),
        ]);
        let seed = sampling.seed.map(|seed| format!("{seed}\n")).unwrap_or_default();
        encoded(self, &seed, &body, call)
    }

    fn encode_relaxed(&self, call: &Call<'_>, level: usize) -> Option<(Encoded, &'static str)> {
        let relaxed = (self.structured_output, level) == (SchemaOrNone::JsonSchema, 1);
        relaxed.then(|| (Anthropic { structured_output: SchemaOrNone::None }.encode(call), "none"))
    }

    fn decode(&self, answer: Answer<'_>) -> Result<Reply, CallError> {
        match answer.joined(joined) {
            Some(body) => read(Answer { body: &body, ..answer }),
            None => read(answer),
        }
    }

    fn batches(&self) -> Option<&dyn BatchWire> {
        Some(self)
    }

    fn models_path(&self, model: &Model) -> Cow<'static, str> {
        format!("v1/models/{}", model.id).into()
    }

    fn find_model(&self, model: &Model, endpoint: &str, answer: Answer<'_>) -> Result<Build, CallError> {
        let known: Option<ModelEntry> = model_page(model, endpoint, answer, "not_found_error")?;
        let digest = known.map(|known| known.id).filter(|id| !id.is_empty());
        Ok(Build { digest, ..Build::default() })
    }

    fn pages(&self, _: &[&str]) -> Vec<Page> {
        vec![Page { query: Some("limit=1000"), ..Page::get("v1/models") }]
    }

    /// Source: <https://platform.claude.com/docs/en/api/models/list>. A gateway may not have this page.
    fn inventory(&self, _: &[&str], pages: &[Option<Answer<'_>>]) -> Result<Inventory, CallError> {
        let page = pages.first().copied().flatten();
        let Some(List { data, has_more: more }) = Answer::list(page, Fault::error_of)? else {
            return Ok(Inventory::default());
        };
        let listed = |known: ModelEntry| Listed { id: known.id, context: known.max_input_tokens, ..Listed::default() };
        Ok(Inventory { models: data.into_iter().map(listed).collect(), more, ..Inventory::default() })
    }
}

/// The start of a prompt that the server is asked to cache.
#[derive(Clone, Copy, Default)]
struct SharedStart {
    /// Whether the text for all rows is its end.
    system: bool,
    /// The number of the turns after that text, the last of which is its end. 0: none.
    turns: usize,
}

/// The messages that other calls share, if servers may cache them. A cache holds the start of a prompt up to a marked block,
/// so only whole messages count, and one mark at the end is enough.
fn shared_start(call: &Call<'_>) -> Option<SharedStart> {
    if !call.model.sampling.caches_start {
        return None;
    }
    let is_shared = |message: &&Message| message.parts().1.is_empty() && !message.content.is_empty();
    let (system, turns): (Vec<&Message>, Vec<&Message>) =
        call.messages.iter().partition(|message| message.role == Role::System);
    let has_system = !system.is_empty() && system.iter().all(is_shared);
    let shared = turns.iter().take(turns.len().saturating_sub(1)).take_while(|turn| is_shared(turn)).count();
    let shared = if has_system || system.is_empty() { shared } else { 0 };
    let texts = system.iter().filter(|_| has_system).chain(&turns[..shared]);
    let bytes: usize = texts.map(|message| message.content.len()).sum();
    (bytes >= LEAST_CACHED * BYTES).then_some(SharedStart { system: has_system && shared == 0, turns: shared })
}

/// A text, which is a block if it has a mark.
fn told(text: Option<String>, is_marked: bool) -> Value {
    match text {
        Some(text) if is_marked => {
            json!([{ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } }])
        }
        text => json!(text),
    }
}

/// The messages, of which the one with the number `marked`, from 1, has a mark.
fn turns(messages: &[Message], marked: usize) -> Value {
    let turns = messages.iter().filter(|message| message.role != Role::System).zip(1..);
    let turn = |(message, number): (&Message, usize)| match number == marked {
        true => json!({ "role": message.role, "content": told(Some(message.content.clone()), true) }),
        false => json!(message),
    };
    turns.map(turn).collect()
}

fn read(answer: Answer<'_>) -> Result<Reply, CallError> {
    let answered = answer.reply(|answered: &ResponseBody| answered.error.as_ref(), Fault::error_of)?;
    let texts = answered.content.iter().filter(|block| block.kind == "text");
    let text: String = texts.filter_map(|block| block.text.0.as_deref()).collect();
    let finish = match answered.stop_reason.text().as_deref() {
        Some("end_turn" | "stop_sequence") => Finish::Stop,
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("refusal") => return Err(refused(answered.stop_details.0, &text)),
        // `tool_use` and `pause_turn` need tools, which are never sent.
        Some(other) => Finish::Other(other.to_owned()),
        None => unstated(&text, "stop_reason")?,
    };
    let usage = answered.usage.0.unwrap_or_default();
    let thoughts: Vec<String> = answered.content.into_iter().filter_map(|block| first_said([block.thinking])).collect();
    let thoughts = Some(thoughts.join("\n\n")).filter(|thoughts| !thoughts.is_empty());
    Ok(Reply {
        prompt_tokens: usage.prompt_tokens(),
        cached_tokens: usage.cache_read_input_tokens.0.unwrap_or(0),
        cache_writes: usage.cache_creation_input_tokens.0.unwrap_or(0),
        completion_tokens: usage.output_tokens.0,
        build: answered.model.text(),
        thoughts: Thoughts { text: thoughts, tokens: None },
        ..Reply::new(text, finish)
    })
}

/// The reply as if it had not been streamed. Source: <https://platform.claude.com/docs/en/build-with-claude/streaming>.
fn joined(events: Vec<Value>) -> Option<Value> {
    let mut reply = json!({ "content": [] });
    for mut event in events {
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        let block = event["index"].as_u64().map_or(usize::MAX, |index| index as usize);
        match kind.as_str() {
            "message_start" => reply = taken(&mut event, "/message"),
            "content_block_start" => {
                append(field(&mut reply, "content"), json!([taken(&mut event, "/content_block")]));
            }
            "content_block_delta" => {
                let Some(block) = field(&mut reply, "content").get_mut(block) else { continue };
                for name in ["text", "thinking"] {
                    append(field(block, name), taken(&mut event, &format!("/delta/{name}")));
                }
            }
            "message_delta" => {
                append(field(&mut reply, "stop_reason"), taken(&mut event, "/delta/stop_reason"));
                let tokens = taken(&mut event, "/usage/output_tokens");
                append(field(field(&mut reply, "usage"), "output_tokens"), tokens);
            }
            "message" => reply = event,
            _ if !event["error"].is_null() => *field(&mut reply, "error") = taken(&mut event, "/error"),
            _ => {}
        }
    }
    reply.is_object().then_some(reply)
}

fn refused(details: Option<StopDetails>, text: &str) -> CallError {
    let (category, explanation) = details.map_or((None, None), |details| (details.category, details.explanation));
    let category = category.map(|category| format!(" ({category})")).unwrap_or_default();
    let said = explanation.as_deref().unwrap_or(text).trim();
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    CallError::raw(CallErrorKind::Refused, format!("the model refused{category}{said}"))
}

#[cfg(test)]
mod tests;
