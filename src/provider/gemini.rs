//! Google's Gemini, and servers that speak its protocol: `POST /v1beta/{model}:generateContent` and
//! `GET /v1beta/{model}`.
//!
//! Sources: <https://ai.google.dev/api/generate-content> (`FinishReason`, `BlockReason`, `UsageMetadata`),
//! <https://ai.google.dev/api/models>, <https://ai.google.dev/gemini-api/docs/troubleshooting>, and for schemas
//! <https://ai.google.dev/gemini-api/docs/structured-output>. Pure.

mod batch;
mod embedding;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::address::Address;
use super::answer::Answer;
use super::batch::BatchWire;
use super::embedding::EmbedWire;
use super::fault::Fault;
use super::hosted::{Dialect, Home};
use super::http::Headers;
use super::lenient::{Count, Known};
use super::scores::LIKELIEST;
use super::stream::{append, field, taken};
use super::structured_output::StructuredOutput;
use super::subset::{COMMON, subset};
use super::wire::{Wire, encoded, model_page, portable_seed, set, system, unstated};
use super::{Build, Call, CallError, CallErrorKind, Encoded, Finish, Inventory, Listed, Model, Page, Reply, Thoughts};
use crate::prompt::{Message, Role, Token};

/// The other keywords that `responseJsonSchema` accepts; lengths of texts are not among them.
const BOUNDS: [&str; 3] = ["minimum", "maximum", "maxItems"];

#[derive(Clone, Debug)]
pub(super) struct Gemini {
    structured_output: StructuredOutput,
}

impl Dialect for Gemini {
    type StructuredOutput = StructuredOutput;

    const HOME: Home = Home {
        owner: "Google",
        address: "https://generativelanguage.googleapis.com",
        key: "GEMINI_API_KEY",
        address_env: "GOOGLE_GEMINI_BASE_URL",
        version: "v1beta",
        about_address: "The address without `/v1beta`.",
    };
    const HIGHEST_TEMPERATURE: f64 = 2.0;
    const HAS_EMBEDDINGS: bool = true;
    const ABOUT_STRUCTURED_OUTPUT: &'static str =
        "How the server is asked for JSON: `json_schema`, `json_object`, or `none` for models that know neither.";

    fn new(structured_output: StructuredOutput, _: &Address) -> Self {
        Gemini { structured_output }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResponseBody {
    candidates: Vec<Candidate>,
    prompt_feedback: Known<Feedback>,
    usage_metadata: Known<Usage>,
    model_version: Known<String>,
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Candidate {
    content: Option<Content>,
    finish_reason: Known<String>,
    finish_message: Known<String>,
    logprobs_result: Known<LogprobsResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogprobsResult {
    #[serde(default)]
    chosen_candidates: Vec<Scored>,
    #[serde(default)]
    top_candidates: Vec<Likeliest>,
}

#[derive(Deserialize)]
struct Likeliest {
    #[serde(default)]
    candidates: Vec<Scored>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scored {
    token: String,
    log_probability: f64,
}

impl Scored {
    fn bytes(self) -> (Vec<u8>, f64) {
        (self.token.into_bytes(), self.log_probability.exp())
    }
}

impl LogprobsResult {
    fn tokens(self) -> Vec<Token> {
        let mut likeliest = self.top_candidates.into_iter();
        let tokens = self.chosen_candidates.into_iter().map(|chosen| {
            let (bytes, probability) = chosen.bytes();
            let likeliest = likeliest.next().map(|step| step.candidates.into_iter().map(Scored::bytes).collect());
            Token { bytes, probability, likeliest: likeliest.unwrap_or_default() }
        });
        tokens.collect()
    }
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Usage {
    prompt_token_count: Count,
    candidates_token_count: Count,
    thoughts_token_count: Count,
    /// Part of the prompt's tokens. Source: <https://ai.google.dev/gemini-api/docs/caching>.
    cached_content_token_count: Count,
}

impl Usage {
    /// `candidatesTokenCount` excludes the thoughts, which are billed too.
    fn completion_tokens(&self) -> Option<u64> {
        match (self.candidates_token_count.0, self.thoughts_token_count.0) {
            (None, None) => None,
            (said, thought) => Some(said.unwrap_or(0).saturating_add(thought.unwrap_or(0))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModelEntry {
    version: Option<String>,
    supported_generation_methods: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    models: Vec<Entry>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: String,
    input_token_limit: Option<u64>,
    supported_generation_methods: Option<Vec<String>>,
}

/// Models before 2.5 sort keys by name unless `propertyOrdering` sets an order. JSON Schema has no such keyword.
fn known(schema: &Value) -> Value {
    let mut known = subset(schema, &[&COMMON[..], &BOUNDS].concat());
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        known["propertyOrdering"] = json!(properties.keys().collect::<Vec<_>>());
    }
    known
}

fn resource(id: &str) -> String {
    if id.contains('/') { format!("v1beta/{id}") } else { format!("v1beta/models/{id}") }
}

impl Wire for Gemini {
    const KIND: &'static str = "gemini";
    /// The key is sent in a header: as `?key=` it would be in the logs of every proxy.
    const HEADERS: Headers = Headers { key: "x-goog-api-key", before_key: "", fixed: &[] };

    fn option_field(&self, option: &str) -> Option<String> {
        let field = match option {
            "top_k" => "topK",
            "presence_penalty" => "presencePenalty",
            "frequency_penalty" => "frequencyPenalty",
            "reasoning_effort" => "thinkingConfig.thinkingLevel",
            "think" => "thinkingConfig",
            "thinking_tokens" => "thinkingConfig.thinkingBudget",
            _ => return None,
        };
        Some(format!("generationConfig.{field}"))
    }

    /// Source: <https://ai.google.dev/gemini-api/docs/thinking>. A budget of -1 lets the model decide.
    fn option_value(&self, option: &str, value: Value) -> Value {
        match (option, value.as_bool()) {
            ("think", Some(true)) => json!({ "includeThoughts": true }),
            ("think", Some(false)) => json!({ "thinkingBudget": 0 }),
            _ => value,
        }
    }

    fn path(&self, unsent: &str) -> Cow<'static, str> {
        format!("{}:generateContent", resource(unsent.lines().next().unwrap_or_default())).into()
    }

    /// The model is only in the path, so the call key hashes it before the body.
    fn encode(&self, call: &Call<'_>) -> Encoded {
        let sampling = &call.model.sampling;
        let schema = call.schema.filter(|_| self.structured_output == StructuredOutput::JsonSchema);
        let json = call.schema.is_some() && self.structured_output != StructuredOutput::None;
        let contents = call.messages.iter().filter(|message| message.role != Role::System);
        let config = set([
            ("temperature", json!(sampling.temperature)),
            ("topP", json!(sampling.top_p)),
            ("maxOutputTokens", json!(sampling.max_tokens)),
            ("stopSequences", json!(sampling.stops())),
            ("seed", json!(sampling.seed.map(portable_seed))),
            ("responseLogprobs", json!(sampling.logprobs.then_some(true))),
            ("logprobs", json!(sampling.logprobs.then_some(LIKELIEST))),
            ("responseMimeType", json!(json.then_some("application/json"))),
            ("responseJsonSchema", json!(schema.map(known))),
        ]);
        let body = set([
            ("systemInstruction", json!(system(call.messages).map(|text| json!({ "parts": [{ "text": text }] })))),
            ("contents", contents.map(content).collect()),
            ("generationConfig", Value::Object(config)),
        ]);
        encoded(self, &format!("{}\n", call.model.id), &body, call)
    }

    fn encode_relaxed(&self, call: &Call<'_>, level: usize) -> Option<(Encoded, &'static str)> {
        let (structured_output, name) = self.structured_output.relaxed(level)?;
        Some((Gemini { structured_output }.encode(call), name))
    }

    fn decode(&self, answer: Answer<'_>) -> Result<Reply, CallError> {
        match answer.joined(joined) {
            Some(body) => read(Answer { body: &body, ..answer }),
            None => read(answer),
        }
    }

    fn embeddings(&self) -> Option<&dyn EmbedWire> {
        Some(self)
    }

    fn batches(&self) -> Option<&dyn BatchWire> {
        Some(self)
    }

    fn models_path(&self, model: &Model) -> Cow<'static, str> {
        resource(&model.id).into()
    }

    /// The build of a model is its version. A model that does not generate text is an error.
    fn find_model(&self, model: &Model, endpoint: &str, answer: Answer<'_>) -> Result<Build, CallError> {
        let known: Option<ModelEntry> = model_page(model, endpoint, answer, "NOT_FOUND")?;
        let Some(known) = known else { return Ok(Build::default()) };
        let methods = known.supported_generation_methods.unwrap_or_default();
        if !methods.is_empty()
            && !methods.iter().any(|method| ["generateContent", "embedContent"].contains(&method.as_str()))
        {
            let message = format!("the model `{}` on {endpoint} makes neither texts nor vectors", model.id);
            return Err(CallError::raw(CallErrorKind::UnknownModel, message));
        }
        Ok(Build { digest: known.version.filter(|version| !version.is_empty()), ..Build::default() })
    }

    fn pages(&self, _: &[&str]) -> Vec<Page> {
        vec![Page { query: Some("pageSize=1000"), ..Page::get("v1beta/models") }]
    }

    fn is_listed_as(&self, id: &str, listed: &str) -> bool {
        id.strip_prefix("models/").unwrap_or(id) == listed
    }

    /// Source: <https://ai.google.dev/api/models#method:-models.list>. A gateway may not have this page.
    fn inventory(&self, _: &[&str], pages: &[Option<Answer<'_>>]) -> Result<Inventory, CallError> {
        let page = pages.first().copied().flatten();
        let Some(List { models, next_page_token }) = Answer::list(page, Fault::error_of)? else {
            return Ok(Inventory::default());
        };
        let writes = |entry: &Entry| {
            let methods = entry.supported_generation_methods.as_ref();
            methods.is_none_or(|methods| methods.iter().any(|method| method == "generateContent"))
        };
        let models = models.into_iter().filter(writes).map(|entry| {
            // Models are listed as `models/x` and called as `x`.
            let id = entry.name.strip_prefix("models/").unwrap_or(&entry.name).to_owned();
            Listed { id, context: entry.input_token_limit, ..Listed::default() }
        });
        Ok(Inventory { models: models.collect(), more: next_page_token.is_some(), ..Inventory::default() })
    }
}

fn read(answer: Answer<'_>) -> Result<Reply, CallError> {
    let answered = answer.reply(|answered: &ResponseBody| answered.error.as_ref(), Fault::error_of)?;
    let Some(candidate) = answered.candidates.into_iter().next() else {
        return Err(match answered.prompt_feedback.0.and_then(|feedback| feedback.block_reason) {
            Some(reason) => CallError::raw(CallErrorKind::Refused, format!("the prompt was blocked ({reason})")),
            None => CallError::raw(CallErrorKind::Malformed, "the reply has no candidates"),
        });
    };
    let parts = candidate.content.map(|content| content.parts).unwrap_or_default();
    let (thoughts, said): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| part.thought);
    let text: String = said.into_iter().filter_map(|part| part.text).collect();
    let thoughts: String = thoughts.into_iter().filter_map(|part| part.text).collect();
    let finish = match candidate.finish_reason.text().as_deref() {
        Some("STOP") => Finish::Stop,
        Some("MAX_TOKENS") => Finish::Length,
        Some(
            reason @ ("SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
            | "IMAGE_SAFETY"),
        ) => return Err(withheld(reason, candidate.finish_message.0)),
        None | Some("FINISH_REASON_UNSPECIFIED") => unstated(&text, "finishReason")?,
        Some(other) => Finish::Other(other.to_owned()),
    };
    let usage = answered.usage_metadata.0.unwrap_or_default();
    Ok(Reply {
        prompt_tokens: usage.prompt_token_count.0,
        cached_tokens: usage.cached_content_token_count.0.unwrap_or(0),
        completion_tokens: usage.completion_tokens(),
        build: answered.model_version.text(),
        tokens: candidate.logprobs_result.0.map(LogprobsResult::tokens).unwrap_or_default(),
        thoughts: Thoughts {
            text: Some(thoughts).filter(|thoughts| !thoughts.is_empty()),
            tokens: usage.thoughts_token_count.0,
        },
        ..Reply::new(text, finish)
    })
}

/// The reply as if it had not been streamed: the parts of all chunks, and of all other fields the last value.
fn joined(events: Vec<Value>) -> Option<Value> {
    let (mut reply, mut whole) = (Map::new(), Value::Null);
    for mut event in events {
        let mut candidate = taken(&mut event, "/candidates/0");
        let parts = taken(&mut candidate, "/content/parts");
        if let Value::Object(candidate) = candidate {
            let fields = candidate.into_iter().filter(|(name, value)| name != "content" && !value.is_null());
            fields.for_each(|(name, value)| *field(&mut whole, &name) = value);
            append(field(field(&mut whole, "content"), "parts"), parts);
        }
        let Value::Object(event) = event else { return None };
        reply.extend(event.into_iter().filter(|(name, value)| name != "candidates" && !value.is_null()));
    }
    if whole.is_object() {
        reply.insert("candidates".to_owned(), json!([whole]));
    }
    Some(Value::Object(reply))
}

fn content(message: &Message) -> Value {
    let role = if message.role == Role::Assistant { "model" } else { "user" };
    json!({ "role": role, "parts": [{ "text": message.content }] })
}

fn withheld(reason: &str, message: Option<String>) -> CallError {
    let said = message.map(|message| format!(": {message}")).unwrap_or_default();
    CallError::raw(CallErrorKind::Refused, format!("the provider withheld the reply ({reason}){said}"))
}

#[cfg(test)]
mod tests;
