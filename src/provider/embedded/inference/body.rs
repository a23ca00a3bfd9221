//! The body of a call to an embedded model; the call key hashes everything that can change the answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ENGINE;
use crate::prompt::Message;
use crate::provider::{Call, Encoded, Sampling};

#[derive(Debug, Deserialize)]
pub(crate) struct Body {
    pub(crate) messages: Vec<Message>,
    pub(crate) sampling: Sampling,
    pub(crate) schema: Option<Value>,
    pub(crate) model: String,
}

#[derive(Serialize)]
struct Written<'a> {
    engine: &'static str,
    messages: &'a [Message],
    sampling: &'a Sampling,
    schema: Option<&'a Value>,
}

/// The key does not contain the model's name; it contains the digest of the weights instead.
pub(crate) fn encode(call: &Call<'_>) -> Encoded {
    let sampling = &call.model.sampling;
    let written = Written { engine: ENGINE, messages: call.messages, sampling, schema: call.schema };
    let mut body =
        serde_json::to_vec(&written).expect("text and numbers are always JSON, and a vector takes all bytes");
    body.pop();
    let keyed = body.len();
    body.extend_from_slice(format!(",\"model\":{}}}", Value::from(call.model.id.as_str())).as_bytes());
    Encoded { body, unsent: 0, keyed }
}
