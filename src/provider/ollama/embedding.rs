//! Ollama's embeddings: `POST /api/embed`. Source: <https://docs.ollama.com/api/embed>. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use super::pages::failed;
use super::wire::OllamaWire;
use crate::provider::answer::Answer;
use crate::provider::embedding::{EmbedWire, Embedded, Vector, joined};
use crate::provider::lenient::Count;
use crate::provider::{CallError, Embedding, Model};

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseBody {
    embeddings: Vec<Vector>,
    prompt_eval_count: Count,
    error: Option<Value>,
}

impl EmbedWire for OllamaWire {
    fn embed_path(&self, _: &Value) -> Cow<'static, str> {
        "api/embed".into()
    }

    /// A text that exceeds the context is an error: the server would cut it without a word.
    fn one(&self, model: &Model, text: &str, embedding: Embedding) -> Value {
        let mut call = json!({ "model": model.id, "input": text, "truncate": false });
        if let Some(dimensions) = embedding.dimensions {
            call["dimensions"] = json!(dimensions);
        }
        if let Some(num_ctx) = model.sampling.num_ctx {
            call["options"] = json!({ "num_ctx": num_ctx });
        }
        call
    }

    fn request(&self, calls: Vec<Value>) -> Value {
        let mut request = joined(calls);
        if let Some(keep_alive) = self.keep_alive() {
            request["keep_alive"] = keep_alive.clone();
        }
        request
    }

    fn read(&self, answer: Answer<'_>, count: usize) -> Result<Embedded, CallError> {
        let body = answer.reply(|body: &ResponseBody| body.error.as_ref(), failed)?;
        let tokens = body.prompt_eval_count.0;
        Ok(Embedded { vectors: Embedded::in_order(body.embeddings, count)?, tokens, build: None })
    }
}
