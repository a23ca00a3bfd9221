//! Gemini's embeddings: `POST /v1beta/{model}:batchEmbedContents`. Source: <https://ai.google.dev/api/embeddings>. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fault, Gemini, resource};
use crate::provider::answer::Answer;
use crate::provider::embedding::{EmbedWire, Embedded, Vector};
use crate::provider::{CallError, Embedding, Model};

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseBody {
    embeddings: Vec<ContentEmbedding>,
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContentEmbedding {
    values: Vector,
}

impl EmbedWire for Gemini {
    fn embed_path(&self, call: &Value) -> Cow<'static, str> {
        format!("v1beta/{}:batchEmbedContents", call["model"].as_str().unwrap_or_default()).into()
    }

    fn one(&self, model: &Model, text: &str, embedding: Embedding) -> Value {
        let name = resource(&model.id).trim_start_matches("v1beta/").to_owned();
        let mut call = json!({ "model": name, "content": { "parts": [{ "text": text }] } });
        if let Some(dimensions) = embedding.dimensions {
            call["outputDimensionality"] = json!(dimensions);
        }
        call
    }

    fn request(&self, calls: Vec<Value>) -> Value {
        json!({ "requests": calls })
    }

    /// The server does not count tokens of embeddings.
    fn read(&self, answer: Answer<'_>, count: usize) -> Result<Embedded, CallError> {
        let body = answer.reply(|body: &ResponseBody| body.error.as_ref(), Fault::error_of)?;
        let vectors = body.embeddings.into_iter().map(|embedding| embedding.values).collect();
        Ok(Embedded { vectors: Embedded::in_order(vectors, count)?, tokens: None, build: None })
    }
}
