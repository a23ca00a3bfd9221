//! Embeddings of OpenAI and similar servers: `POST /embeddings`. Source:
//! <https://platform.openai.com/docs/api-reference/embeddings/create>. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{OpenAi, reply};
use crate::provider::answer::Answer;
use crate::provider::embedding::{EmbedWire, Embedded, Vector, joined};
use crate::provider::lenient::{Count, Known};
use crate::provider::{CallError, CallErrorKind, Embedding, Model};

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseBody {
    data: Vec<Entry>,
    model: Known<String>,
    usage: Known<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Entry {
    embedding: Vector,
    /// The place of the text in the request, from 0.
    index: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    prompt_tokens: Count,
}

impl EmbedWire for OpenAi {
    fn embed_path(&self, _: &Value) -> Cow<'static, str> {
        "embeddings".into()
    }

    fn one(&self, model: &Model, text: &str, embedding: Embedding) -> Value {
        let mut call = json!({ "model": model.id, "input": text, "encoding_format": "float" });
        if let Some(dimensions) = embedding.dimensions {
            call["dimensions"] = json!(dimensions);
        }
        call
    }

    fn request(&self, calls: Vec<Value>) -> Value {
        joined(calls)
    }

    fn read(&self, answer: Answer<'_>, count: usize) -> Result<Embedded, CallError> {
        let body = answer.reply(|body: &ResponseBody| body.error.as_ref(), reply::failed)?;
        let vectors = placed(body.data, count)?;
        Ok(Embedded { vectors, tokens: body.usage.0.and_then(|usage| usage.prompt_tokens.0), build: body.model.text() })
    }
}

/// The vectors in the order of the texts. The server may list them in another order.
fn placed(data: Vec<Entry>, count: usize) -> Result<Vec<Option<Vector>>, CallError> {
    if data.iter().any(|entry| entry.index.is_none()) {
        return Embedded::in_order(data.into_iter().map(|entry| entry.embedding).collect(), count);
    }
    let mut vectors = vec![None; count];
    for Entry { embedding, index } in data {
        let place = index.and_then(|index| vectors.get_mut(index)).filter(|place| place.is_none());
        let Some(place) = place else {
            let message = "the server returned two vectors for one text, or one for a text that was not sent";
            return Err(CallError::raw(CallErrorKind::Malformed, message));
        };
        *place = Some(embedding);
    }
    Ok(vectors)
}
