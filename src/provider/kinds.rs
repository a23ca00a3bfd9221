//! The registry of provider kinds.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::endpoint::{Config, Endpoint, decode};
use super::hosted::{self, Dialect, Hosted};
use super::{anthropic, embedded, gemini, mock, ollama, openai};
use crate::document::{self, Node, Path, Problems};
use crate::registry::Kind;

pub(crate) static PROVIDERS: &[Kind<Config>] = &[
    kind::<ollama::Ollama>("ollama", "A server of open models, mostly on your own machine."),
    dialect::<openai::OpenAi>(
        "OpenAI, or any server that speaks its chat protocol (vLLM, llama.cpp, LM Studio, gateways).",
    ),
    dialect::<anthropic::Anthropic>("Anthropic's Claude, or any server that speaks its Messages protocol."),
    dialect::<gemini::Gemini>("Google's Gemini, or any server that speaks its protocol."),
    kind::<embedded::Embedded>("embedded", "A model inside the process, on the CPU; no server."),
    kind::<mock::Mock>("mock", "Made-up answers, the same for the same call; no model and no network."),
];

const fn kind<T>(name: &'static str, about: &'static str) -> Kind<Config>
where
    T: Endpoint + DeserializeOwned + JsonSchema + 'static,
{
    Kind { name, about, schema: T::json_schema, fields: document::fields_of::<T>, decode: decode::<T> }
}

const fn dialect<D: Dialect>(about: &'static str) -> Kind<Config> {
    Kind { schema: hosted::schema::<D>, ..kind::<Hosted<D>>(D::KIND, about) }
}

pub(crate) fn default_endpoint(kind: &str) -> Option<Config> {
    let kind = PROVIDERS.iter().find(|row| row.name == kind)?;
    let nothing = Node { value: document::Value::Table(Vec::new()), span: 0..0 };
    (kind.decode)(&nothing, &Path::root(), &mut Problems::default())
}
