//! Options: settings of a model that only some providers take. [`Wire::option_field`](super::wire::Wire::option_field)
//! names the field of a request that holds one. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An option that is `None` is not sent. The order is that of the fields in a request, which the call key hashes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// Tokens are drawn from this many of the likeliest ones. Ollama, `openai` servers other than OpenAI, Anthropic,
    /// Gemini.
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    /// The least probability of a token that is drawn, as a share of the likeliest one's. Ollama, `openai` servers other
    /// than OpenAI.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    min_p: Option<f64>,
    /// Locally typical sampling: the share of probability that is kept. Ollama.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    typical_p: Option<f64>,
    /// The penalty on tokens that were used before; 1 is none. Ollama.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    repeat_penalty: Option<f64>,
    /// How many of the last tokens `repeat_penalty` covers; 0 is none, -1 the whole context. Ollama.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    repeat_last_n: Option<i32>,
    /// The penalty on tokens that were used at all, from -2 to 2. Ollama, `openai`, Gemini.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -2, max = 2))]
    presence_penalty: Option<f64>,
    /// The penalty on tokens for each time that they were used, from -2 to 2. Ollama, `openai`, Gemini.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -2, max = 2))]
    frequency_penalty: Option<f64>,
    /// The number of threads of the processor. Ollama, which loads the model again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    num_thread: Option<u32>,
    /// The number of layers on the GPU; -1 lets Ollama decide. Ollama, which loads the model again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    num_gpu: Option<i32>,
    /// The GPU that holds small tensors. Ollama, which loads the model again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    main_gpu: Option<u32>,
    /// The number of prompt tokens that are processed at once. Ollama, which loads the model again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    num_batch: Option<u32>,
    /// Whether the weights are mapped into memory instead of read. Ollama, which loads the model again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    use_mmap: Option<bool>,
    /// How much a model thinks before it answers: `none`, `minimal`, `low`, `medium`, `high`, or another word of the
    /// provider. Sent in the provider's own words: `think` for Ollama, `thinkingLevel` for Gemini, `effort` for Anthropic.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<String>,
    /// Whether a model thinks before it answers. Ollama, Anthropic, Gemini, and `openai` servers other than OpenAI. vLLM,
    /// SGLang and llama.cpp hand it to the model's template as `enable_thinking`.
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<bool>,
    /// The most tokens of the thoughts. Anthropic, Gemini, OpenRouter, Alibaba.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    thinking_tokens: Option<u32>,
}

/// The least and the greatest value of the options with limits.
static RANGES: [(&str, f64, f64); 8] = [
    ("min_p", 0.0, 1.0),
    ("typical_p", 0.0, 1.0),
    ("repeat_penalty", 0.0, f64::INFINITY),
    ("repeat_last_n", -1.0, f64::INFINITY),
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
    ("num_gpu", -1.0, f64::INFINITY),
    ("num_batch", 1.0, f64::INFINITY),
];

impl Options {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Options::default()
    }

    /// The options that are set, by name.
    pub(crate) fn set(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(set)) => set,
            _ => Map::new(),
        }
    }

    /// The values out of range, each as a sentence, by the name of the option.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let set = self.set();
        let wrong = RANGES.iter().filter(|(name, least, most)| {
            set.get(*name).and_then(Value::as_f64).is_some_and(|value| !(*least..=*most).contains(&value))
        });
        let problem = |(name, least, most): &(&'static str, f64, f64)| {
            let range = if most.is_finite() { format!("from {least} to {most}") } else { format!("{least} or more") };
            (*name, format!("`{name}` must be {range}"))
        };
        wrong.map(problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::fields_of;

    #[test]
    fn every_option_is_optional_and_its_range_belongs_to_a_field() {
        assert!(Options::default().set().is_empty() && Options::default().is_empty());
        let fields = fields_of::<Options>();
        assert!(RANGES.iter().all(|(name, ..)| fields.contains(name)));
    }

    #[test]
    fn values_out_of_range_are_named() {
        let options = Options { min_p: Some(1.5), repeat_last_n: Some(-2), num_batch: Some(512), ..Options::default() };
        let problems = options.problems();
        assert_eq!(
            problems,
            [
                ("min_p", "`min_p` must be from 0 to 1".to_owned()),
                ("repeat_last_n", "`repeat_last_n` must be -1 or more".to_owned())
            ]
        );
    }
}
