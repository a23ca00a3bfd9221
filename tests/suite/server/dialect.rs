//! The dialects that the scripted server speaks: what a request says, and how a reply or an error is written.
//!
//! To add a dialect: a variant of [`Dialect`] and an arm in each function.

use serde_json::{Value, json};

use super::answer::hash;
use super::http::Request;
use super::{Asked, Build};

/// Which protocol a request was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `POST /api/chat`
    Ollama,
    /// `POST /v1/chat/completions`
    OpenAi,
    /// `POST /v1/messages`
    Anthropic,
    /// `POST /v1beta/models/{model}:generateContent`
    Gemini,
}

/// What a call says, whatever its dialect.
pub(crate) struct Said {
    /// The model that is asked.
    pub(crate) model: String,
    /// Role and text of each message, as OpenAI names the roles.
    pub(crate) messages: Vec<(String, String)>,
    /// The JSON Schema, if one was sent.
    pub(crate) schema: Option<Value>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Dialect {
    /// The dialect of a call; none for other requests.
    pub(crate) fn of(method: &str, path: &str) -> Option<Dialect> {
        match (method, path) {
            ("POST", "/api/chat" | "/api/embed") => Some(Dialect::Ollama),
            ("POST", path) if path.ends_with("/embeddings") => Some(Dialect::OpenAi),
            ("POST", path) if path.ends_with("/chat/completions") => Some(Dialect::OpenAi),
            ("POST", "/v1/messages") => Some(Dialect::Anthropic),
            ("POST", path) if gemini_model(path).is_some() => Some(Dialect::Gemini),
            _ => None,
        }
    }

    /// What a call says.
    pub(crate) fn read(self, path: &str, body: &Value) -> Said {
        let (model, schema) = match self {
            Dialect::Ollama => (text(&body["model"]), body.get("format").filter(|f| f.is_object())),
            Dialect::OpenAi => (text(&body["model"]), body.pointer("/response_format/json_schema/schema")),
            Dialect::Anthropic => (text(&body["model"]), body.pointer("/output_config/format/schema")),
            Dialect::Gemini => {
                let model = gemini_model(path).unwrap_or_default().to_owned();
                (model, body.pointer("/generationConfig/responseJsonSchema"))
            }
        };
        let system = match self {
            Dialect::Anthropic => body.get("system").map(text),
            Dialect::Gemini => body.pointer("/systemInstruction/parts/0/text").map(text),
            Dialect::Ollama | Dialect::OpenAi => None,
        };
        let talk = body["messages"].as_array().or(body["contents"].as_array()).into_iter().flatten();
        let talk = talk.map(|message| match (self, message["role"].as_str()) {
            (Dialect::Gemini, Some("model")) => ("assistant".to_owned(), text(&message["parts"][0]["text"])),
            (Dialect::Gemini, _) => (text(&message["role"]), text(&message["parts"][0]["text"])),
            _ => (text(&message["role"]), text(&message["content"])),
        });
        let texts = embedded(body).into_iter().map(|text| ("user".to_owned(), text));
        let talk = talk.chain(texts);
        let messages = system.map(|text| ("system".to_owned(), text)).into_iter().chain(talk).collect();
        Said { model, messages, schema: schema.cloned() }
    }

    /// The status and the body of an error: of a model that isn't there (404) or a key that isn't good (else).
    pub(crate) fn error(self, code: u16, message: &str) -> (u16, Value) {
        let missing = code == 404;
        match self {
            Dialect::Ollama => (code, json!({"error": message})),
            Dialect::OpenAi => {
                let code_word = if missing { "model_not_found" } else { "invalid_api_key" };
                (code, json!({"error": {"message": message, "type": "invalid_request_error", "code": code_word}}))
            }
            Dialect::Anthropic => {
                let kind = if missing { "not_found_error" } else { "authentication_error" };
                (code, json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}))
            }
            Dialect::Gemini if missing => {
                (code, json!({"error": {"code": code, "message": message, "status": "NOT_FOUND"}}))
            }
            Dialect::Gemini => {
                let reason = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"});
                let error = json!({"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": [reason]});
                (400, json!({"error": error}))
            }
        }
    }
}

/// The model in the path of a call of Gemini's.
fn gemini_model(path: &str) -> Option<&str> {
    path.strip_prefix("/v1beta/models/")?
        .strip_suffix(":generateContent")
        .or_else(|| path.strip_prefix("/v1beta/models/")?.strip_suffix(":batchEmbedContents"))
}

/// The texts of a request for vectors.
pub(crate) fn embedded(body: &Value) -> Vec<String> {
    let inputs = body["input"].as_array().into_iter().flatten().map(text);
    let requests = body["requests"].as_array().into_iter().flatten();
    inputs.chain(requests.map(|request| text(&request["content"]["parts"][0]["text"]))).collect()
}

/// The vector of a text: four numbers by its hash.
pub(crate) fn vector(text: &str) -> Vec<f64> {
    let bits = hash(&[text]);
    (0..4).map(|i| f64::from((bits >> (16 * i)) as u16) / 1024.0 - 32.0).collect()
}

/// A reply with these vectors, one for each text.
pub(crate) fn with_vectors(asked: &Asked, vectors: Vec<Value>) -> Value {
    match asked.dialect {
        Dialect::Ollama => json!({"model": asked.model, "embeddings": vectors, "prompt_eval_count": asked.tokens()}),
        Dialect::Gemini => {
            json!({"embeddings": vectors.into_iter().map(|values| json!({"values": values})).collect::<Vec<_>>()})
        }
        _ => {
            let entry = |(i, vector): (usize, Value)| json!({"object": "embedding", "index": i, "embedding": vector});
            json!({
                "object": "list", "model": asked.model, "data": vectors.into_iter().enumerate().map(entry).collect::<Vec<_>>(),
                "usage": {"prompt_tokens": asked.tokens(), "total_tokens": asked.tokens()},
            })
        }
    }
}

/// A reply in the dialect of the request, which ends as OpenAI's word `finish` says; `None`: one that has no answer in
/// it.
pub(crate) fn in_dialect(asked: &Asked, text: Option<&str>, finish: &str) -> String {
    let texts = embedded(&asked.body);
    if !texts.is_empty() {
        return with_vectors(asked, texts.iter().map(|text| json!(vector(text))).collect()).to_string();
    }
    // A prompt beyond the context of an Ollama at `/v1` is cut without a word.
    let prompt_tokens = asked.context.unwrap_or(u64::MAX).min(asked.tokens());
    let reply_tokens = text.unwrap_or_default().len().div_ceil(4) as u64;
    let message = json!({"role": "assistant", "content": text.unwrap_or_default()});
    let value = match asked.dialect {
        Dialect::Ollama => json!({
            "model": asked.model, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": true,
            "done_reason": finish, "total_duration": 5_000_000, "load_duration": 1_000_000,
            "prompt_eval_count": prompt_tokens, "prompt_eval_duration": 1_000_000,
            "eval_count": reply_tokens, "eval_duration": 3_000_000,
        }),
        Dialect::OpenAi => {
            let choice = json!({"index": 0, "message": message, "finish_reason": finish});
            let choices = if text.is_some() { vec![choice] } else { vec![] };
            json!({
                "id": format!("chatcmpl-{}", asked.number), "object": "chat.completion", "created": 1_767_225_600,
                "model": asked.model, "system_fingerprint": "fp_scripted", "choices": choices,
                "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": reply_tokens,
                          "total_tokens": prompt_tokens + reply_tokens},
            })
        }
        Dialect::Anthropic => {
            let reason = match finish {
                "stop" => "end_turn",
                "length" => "max_tokens",
                _ => "refusal",
            };
            let content: Vec<Value> = text.map(|text| json!({"type": "text", "text": text})).into_iter().collect();
            json!({
                "id": format!("msg_{}", asked.number), "type": "message", "role": "assistant",
                "model": format!("{}-20260101", asked.model), "content": content, "stop_reason": reason,
                "stop_sequence": null,
                "usage": {"input_tokens": prompt_tokens, "cache_creation_input_tokens": 0,
                          "cache_read_input_tokens": 0, "output_tokens": reply_tokens},
            })
        }
        Dialect::Gemini => {
            let reason = match finish {
                "stop" => "STOP",
                "length" => "MAX_TOKENS",
                _ => "SAFETY",
            };
            let content = json!({"role": "model", "parts": [{"text": "Hm.", "thought": true}, {"text": text}]});
            let candidate = json!({"content": content, "finishReason": reason, "index": 0});
            json!({
                "candidates": if text.is_some() { vec![candidate] } else { vec![] },
                "usageMetadata": {"promptTokenCount": prompt_tokens, "candidatesTokenCount": reply_tokens,
                                  "thoughtsTokenCount": 1, "totalTokenCount": prompt_tokens + reply_tokens + 1},
                "modelVersion": format!("{}-001", asked.model),
            })
        }
    };
    value.to_string()
}

/// A model's name with its tag, as Ollama lists it.
fn tagged(name: &str) -> String {
    if name.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

/// What the server says to requests that are not calls: about its `models`.
pub(crate) fn about(request: &Request, path: &str, models: &[String], build: &Build) -> (u16, Value) {
    let digest = |name: &str| format!("{:016x}", hash(&[name])).repeat(4) + &build.digest;
    let details = json!({"format": "gguf", "family": "llama", "parameter_size": "3B",
                         "quantization_level": build.quantization});
    let named = |name: &String| {
        json!({"name": tagged(name), "model": tagged(name),
        "modified_at": "2026-01-01T00:00:00Z", "size": 1_000_000, "digest": digest(name), "details": details})
    };
    let known = |prefix: &str| path.strip_prefix(prefix).map(|id| (id, models.iter().any(|model| model == id)));
    match (request.method.as_str(), path) {
        ("GET", "/api/tags" | "/api/ps") => (200, json!({"models": models.iter().map(named).collect::<Vec<_>>()})),
        ("GET", "/api/version") => (200, json!({"version": build.version})),
        ("POST", "/api/show") => {
            let asked: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
            let name = asked["model"].as_str().unwrap_or_default().trim_end_matches(":latest").to_owned();
            match models.contains(&name) {
                true => {
                    let shown = json!({"details": details, "template": build.template, "system": build.system,
                                       "parameters": build.parameters, "capabilities": ["completion"]});
                    (200, shown)
                }
                false => Dialect::Ollama.error(404, &format!("model '{name}' not found")),
            }
        }
        ("GET", "/v1/models") => {
            let data = models.iter().map(|id| json!({"id": id, "object": "model", "created": 0, "owned_by": "test"}));
            (200, json!({"object": "list", "data": data.collect::<Vec<_>>()}))
        }
        ("GET", path) if path.starts_with("/v1/models/") => match known("/v1/models/") {
            Some((id, true)) => {
                let id = format!("{id}-20260101{}", build.digest);
                (200, json!({"type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z"}))
            }
            _ => Dialect::Anthropic.error(404, &format!("model: {path}")),
        },
        ("GET", "/v1beta/models") => {
            let named = |id: &String| json!({"name": format!("models/{id}"), "inputTokenLimit": 1_048_576});
            (200, json!({"models": models.iter().map(named).collect::<Vec<_>>()}))
        }
        ("GET", path) if path.starts_with("/v1beta/models/") => match known("/v1beta/models/") {
            Some((id, true)) => {
                let methods = ["generateContent", "countTokens"];
                (
                    200,
                    json!({"name": format!("models/{id}"), "version": format!("001{}", build.digest), "inputTokenLimit": 1_048_576,
                             "outputTokenLimit": 65_536, "supportedGenerationMethods": methods}),
                )
            }
            _ => Dialect::Gemini.error(404, &format!("{path} is not found")),
        },
        _ => (404, json!({"error": "no such page"})),
    }
}

/// What is said to a request without one of these keys, if there are any; in the dialect of its path.
pub(crate) fn wrong_key(request: &Request, path: &str, known: &[String]) -> Option<(u16, Value)> {
    let (dialect, header, before) = if path.starts_with("/v1beta/") {
        (Dialect::Gemini, "x-goog-api-key", "")
    } else if path.starts_with("/v1/messages") || path.starts_with("/v1/models/") {
        (Dialect::Anthropic, "x-api-key", "")
    } else {
        (Dialect::OpenAi, "authorization", "Bearer ")
    };
    let sent = request.headers.iter().find(|(name, _)| name == header).and_then(|(_, key)| key.strip_prefix(before));
    let sent = sent.unwrap_or_default();
    let good = known.is_empty() || known.iter().any(|key| key == sent);
    (!good).then(|| dialect.error(401, &format!("the key {sent} is not valid")))
}
