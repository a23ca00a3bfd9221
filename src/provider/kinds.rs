//! The registry of provider kinds.

use schemars::JsonSchema;

use super::endpoint::{Config, decode};
use super::hosted::{self, Hosted};
use super::{anthropic, embedded, gemini, mock, ollama, openai};
use crate::document::{self, Node, Path, Problems};
use crate::registry::Kind;

pub(crate) static PROVIDERS: &[Kind<Config>] = &[
    Kind {
        name: "ollama",
        about: "A server of open models, mostly on your own machine.",
        schema: ollama::Ollama::json_schema,
        fields: document::fields_of::<ollama::Ollama>,
        decode: decode::<ollama::Ollama>,
    },
    Kind {
        name: "openai",
        about: "OpenAI, or any server that speaks its chat protocol (vLLM, llama.cpp, LM Studio, gateways).",
        schema: hosted::schema::<openai::OpenAi>,
        fields: document::fields_of::<Hosted<openai::OpenAi>>,
        decode: decode::<Hosted<openai::OpenAi>>,
    },
    Kind {
        name: "anthropic",
        about: "Anthropic's Claude, or any server that speaks its Messages protocol.",
        schema: hosted::schema::<anthropic::Anthropic>,
        fields: document::fields_of::<Hosted<anthropic::Anthropic>>,
        decode: decode::<Hosted<anthropic::Anthropic>>,
    },
    Kind {
        name: "gemini",
        about: "Google's Gemini, or any server that speaks its protocol.",
        schema: hosted::schema::<gemini::Gemini>,
        fields: document::fields_of::<Hosted<gemini::Gemini>>,
        decode: decode::<Hosted<gemini::Gemini>>,
    },
    Kind {
        name: "embedded",
        about: "A model inside the process, on the CPU; no server.",
        schema: embedded::Embedded::json_schema,
        fields: document::fields_of::<embedded::Embedded>,
        decode: decode::<embedded::Embedded>,
    },
    Kind {
        name: "mock",
        about: "Made-up answers, the same for the same call; no model and no network.",
        schema: mock::Mock::json_schema,
        fields: document::fields_of::<mock::Mock>,
        decode: decode::<mock::Mock>,
    },
];

pub(crate) fn default_endpoint(kind: &str) -> Option<Config> {
    let kind = PROVIDERS.iter().find(|row| row.name == kind)?;
    let nothing = Node { value: document::Value::Table(Vec::new()), span: 0..0 };
    (kind.decode)(&nothing, &Path::root(), &mut Problems::default())
}
