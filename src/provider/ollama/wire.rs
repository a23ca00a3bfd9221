//! Ollama's chat protocol: `POST /api/chat`, `GET /api/tags`, `POST /api/show` and `GET /api/version`.
//!
//! Sources: <https://docs.ollama.com/api>, and for `truncate` and `shift` the field comments of `api/types.go`. Pure.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::inventory;
use super::keep_alive::KeepAlive;
use super::pages::{ModelPage, Tags, Version, failed, tagged};
use crate::name::nearest;
use crate::prompt::Message;
use crate::provider::answer::Answer;
use crate::provider::embedding::EmbedWire;
use crate::provider::fault::is_about_format;
use crate::provider::lenient::{Count, Known, Said, first_said};
use crate::provider::scores::{LIKELIEST, Scored, tokens};
use crate::provider::stream::{append, field, taken};
use crate::provider::structured_output::StructuredOutput;
use crate::provider::wire::{Wire, encoded, portable_seed};
use crate::provider::{
    Build, Call, CallError, CallErrorKind, Encoded, Finish, Inventory, Model, Page, Reply, Service, Thoughts, Timings,
};

const SHOW: &str = "api/show";
const VERSION: &str = "api/version";

/// Always sent, because the server's default depends on its memory and version.
pub(crate) const DEFAULT_NUM_CTX: u32 = 4096;

#[derive(Clone, Debug)]
pub(super) struct OllamaWire {
    pub(super) structured_output: StructuredOutput,
    /// The end of every body, after the keyed part: `keep_alive` does not change an answer.
    tail: Vec<u8>,
    keep_alive: Option<Value>,
}

/// The value of `format` for any JSON.
static ANY_JSON: LazyLock<Value> = LazyLock::new(|| Value::from("json"));

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: &'a [Message],
    stream: bool,
    /// Known since Ollama 0.12.6. Older servers cut the prompt to exactly `num_ctx` tokens, which the token count
    /// shows.
    truncate: bool,
    /// Always false: a reply that fills the context ends with `length` and does not push the prompt out.
    shift: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a Value>,
    /// Known since Ollama 0.12.11; older servers ignore this field and the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u8>,
    options: Options<'a>,
}

#[derive(Serialize)]
struct Options<'a> {
    num_ctx: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_predict: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseBody {
    message: Option<MessageBody>,
    done: bool,
    done_reason: Known<String>,
    prompt_eval_count: Count,
    eval_count: Count,
    logprobs: Known<Vec<Scored>>,
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MessageBody {
    content: Option<String>,
    thinking: Said,
}

impl OllamaWire {
    pub(super) fn new(structured_output: StructuredOutput, keep_alive: Option<&KeepAlive>) -> Self {
        let field = keep_alive.map(|keep_alive| format!(",\"keep_alive\":{}", keep_alive.value()));
        let tail = format!("{}}}", field.unwrap_or_default()).into_bytes();
        OllamaWire { structured_output, tail, keep_alive: keep_alive.map(|keep_alive| keep_alive.value().clone()) }
    }

    pub(super) fn keep_alive(&self) -> Option<&Value> {
        self.keep_alive.as_ref()
    }

    fn format<'a>(&self, schema: &'a Value) -> Option<&'a Value> {
        match self.structured_output {
            StructuredOutput::JsonSchema => Some(schema),
            StructuredOutput::JsonObject => Some(&ANY_JSON),
            StructuredOutput::None => None,
        }
    }
}

impl Wire for OllamaWire {
    const KIND: &'static str = "ollama";
    const HOLDS_ONE_MODEL: bool = true;
    const TAKES_SCHEMAS: bool = true;

    fn option_field(&self, option: &str) -> Option<String> {
        match option {
            "think" | "reasoning_effort" => Some("think".to_owned()),
            "thinking_tokens" => None,
            _ => Some(format!("options.{option}")),
        }
    }

    /// `think` is a truth value or a level.
    fn option_value(&self, option: &str, value: Value) -> Value {
        if option == "reasoning_effort" && value == "none" { json!(false) } else { value }
    }

    fn path(&self, _: &str) -> Cow<'static, str> {
        "api/chat".into()
    }

    fn encode(&self, call: &Call<'_>) -> Encoded {
        let sampling = &call.model.sampling;
        let body = Body {
            model: &call.model.id,
            messages: call.messages,
            stream: false,
            truncate: false,
            shift: false,
            format: call.schema.and_then(|schema| self.format(schema)),
            logprobs: sampling.logprobs.then_some(true),
            top_logprobs: sampling.logprobs.then_some(LIKELIEST),
            options: Options {
                num_ctx: sampling.num_ctx.unwrap_or(DEFAULT_NUM_CTX),
                temperature: sampling.temperature,
                top_p: sampling.top_p,
                num_predict: sampling.max_tokens,
                seed: sampling.seed.map(portable_seed),
                stop: &sampling.stop,
            },
        };
        let mut call = encoded(self, "", &body, call);
        call.body.pop(); // the closing brace, which `tail` has
        call.keyed = call.body.len();
        call.body.extend_from_slice(&self.tail);
        call
    }

    fn encode_relaxed(&self, call: &Call<'_>, level: usize) -> Option<(Encoded, &'static str)> {
        let (structured_output, name) = self.structured_output.relaxed(level)?;
        Some((OllamaWire { structured_output, ..self.clone() }.encode(call), name))
    }

    /// Ollama says in words that it can't hold a reply to a format.
    fn may_relax(&self, rejection: &CallError) -> bool {
        is_about_format(&rejection.message)
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

    fn models_path(&self, _: &Model) -> Cow<'static, str> {
        "api/tags".into()
    }

    fn find_model(&self, model: &Model, endpoint: &str, answer: Answer<'_>) -> Result<Build, CallError> {
        if answer.status == 404 {
            let message = format!("{endpoint} doesn't answer as Ollama does (status 404); is it the right address?");
            return Err(CallError::raw(CallErrorKind::Rejected, message));
        }
        if !answer.is_success() {
            return Err(failed(answer));
        }
        let tags: Tags = answer.json()?;
        let wanted = tagged(&model.id);
        if let Some(tag) = tags.models.iter().find(|tag| tagged(&tag.name).eq_ignore_ascii_case(&wanted)) {
            let quantization = tag.details.as_ref().and_then(|details| details.quantization_level.clone());
            return Ok(Build { digest: tag.digest.clone(), quantization, ..Build::default() });
        }
        let meant = match nearest(&model.id, tags.models.iter().map(|tag| tag.name.as_str())) {
            Some(near) => format!(" (or did you mean `{near}`?)"),
            None => String::new(),
        };
        let id = &model.id;
        let message = format!("model `{id}` is not pulled on {endpoint}; run `ollama pull {id}`{meant}");
        Err(CallError::raw(CallErrorKind::UnknownModel, message))
    }

    fn build_pages(&self, model: &Model) -> Vec<Page> {
        vec![Page { body: Some(json!({ "model": model.id })), ..Page::get(SHOW) }, Page::get(VERSION)]
    }

    fn add_page(&self, build: &mut Build, page: &Page, answer: Answer<'_>) {
        if !answer.is_success() {
            return;
        }
        if page.path == VERSION {
            build.service.software = answer.json::<Version>().ok().map(|version| version.software());
        } else if let Ok(shown) = answer.json::<ModelPage>() {
            build.service = Service { software: build.service.software.take(), ..shown.service() };
            let level = shown.details.and_then(|details| details.quantization_level);
            build.quantization = build.quantization.take().or(level);
            build.template = shown.template.map(|template| blake3::hash(template.as_bytes()).to_hex().to_string());
        }
    }

    fn timings(&self, answer: Answer<'_>) -> Timings {
        inventory::timings(answer)
    }

    fn pages(&self, ids: &[&str]) -> Vec<Page> {
        inventory::pages(ids)
    }

    fn inventory(&self, ids: &[&str], pages: &[Option<Answer<'_>>]) -> Result<Inventory, CallError> {
        inventory::read(ids, pages)
    }

    fn is_listed_as(&self, id: &str, listed: &str) -> bool {
        tagged(id).eq_ignore_ascii_case(&tagged(listed))
    }

    fn unreachable(&self, endpoint: &str) -> String {
        format!("no Ollama at {endpoint}; is `ollama serve` running?")
    }

    fn enforced_properties(&self) -> usize {
        usize::MAX
    }

    fn context_tokens(&self, model: &Model) -> Option<u64> {
        Some(model.sampling.num_ctx.unwrap_or(DEFAULT_NUM_CTX).into())
    }
}

fn read(answer: Answer<'_>) -> Result<Reply, CallError> {
    let answered = answer.reply(|answered: &ResponseBody| answered.error.as_ref(), failed)?;
    if !answered.done {
        return Err(CallError::raw(CallErrorKind::Truncated, "the reply ended before it was done (no `done: true`)"));
    }
    let finish = match answered.done_reason.text().as_deref() {
        None | Some("stop") => Finish::Stop,
        Some("length") => Finish::Length,
        Some(other) => Finish::Other(other.to_owned()),
    };
    let said = answered.message.unwrap_or_default();
    Ok(Reply {
        prompt_tokens: answered.prompt_eval_count.0,
        completion_tokens: answered.eval_count.0,
        tokens: tokens(answered.logprobs.0),
        thoughts: Thoughts { text: first_said([said.thinking]), tokens: None },
        ..Reply::new(said.content.unwrap_or_default(), finish)
    })
}

/// The reply as if it had not been streamed: the texts of all lines, and of all other fields the last value.
fn joined(lines: Vec<Value>) -> Option<Value> {
    let mut reply = json!({});
    for mut line in lines {
        for name in ["content", "thinking"] {
            let said = taken(&mut line, &format!("/message/{name}"));
            append(field(field(&mut reply, "message"), name), said);
        }
        append(field(&mut reply, "logprobs"), taken(&mut line, "/logprobs"));
        for (name, value) in line.as_object()?.iter().filter(|(name, value)| *name != "message" && !value.is_null()) {
            reply[name] = value.clone();
        }
    }
    Some(reply)
}

#[cfg(test)]
mod tests;
