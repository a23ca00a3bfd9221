//! Names in a model's `extra`: Ollama ignores a field that it does not know, so options in a wrong place have no effect.
//!
//! Source: `ChatRequest` and `Options` in `api/types.go`. Pure.

use serde_json::{Map, Value};

use crate::document::fields_of;
use crate::name::nearest;
use crate::provider::endpoint::Ignored;
use crate::provider::options::Options;

/// The fields of a chat request.
const FIELDS: [&str; 12] = [
    "model",
    "messages",
    "stream",
    "format",
    "keep_alive",
    "tools",
    "options",
    "think",
    "truncate",
    "shift",
    "logprobs",
    "top_logprobs",
];

/// Options beside [`Options`], each with the field of a model's table that sets it.
const COMMON: [(&str, &str); 7] = [
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("num_predict", "max_tokens"),
    ("max_tokens", "max_tokens"),
    ("seed", "seed"),
    ("stop", "stop"),
    ("num_ctx", "num_ctx"),
];

/// Options that a model's table does not have: Ollama's newer versions ignore most of them, and `num_keep` only matters
/// for a context that shifts.
const OTHERS: [&str; 13] = [
    "num_keep",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "tfs_z",
    "penalize_newline",
    "numa",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "use_mlock",
    "draft_num_predict",
];

pub(super) fn ignored(extra: &Map<String, Value>) -> Vec<Ignored> {
    let top = extra.iter().filter(|(key, _)| !FIELDS.contains(&key.as_str()));
    let top = top.filter_map(|(key, value)| misplaced(key, value).or_else(|| misspelt(&[], key, &FIELDS)));
    let inner = extra.get("options").and_then(Value::as_object).into_iter().flatten();
    let inner = inner.filter(|(key, _)| !is_option(key)).filter_map(|(key, _)| misspelt(&["options"], key, &[]));
    top.chain(inner).collect()
}

/// The help for a field that a model's table does not have, but Ollama has or had as an option.
pub(crate) fn unknown_field_help(key: &str) -> Option<String> {
    let common = COMMON.iter().find(|(name, field)| name != field && *name == key);
    let common = common.map(|(_, field)| format!("did you mean `{field}`?"));
    common.or_else(|| {
        let form = format!("`extra = {{ options = {{ {key} = .. }} }}`");
        OTHERS.contains(&key).then(|| format!("for a version of Ollama that reads it, write {form}"))
    })
}

fn is_option(key: &str) -> bool {
    options().any(|option| option == key)
}

fn options() -> impl Iterator<Item = &'static str> {
    fields_of::<Options>().iter().copied().chain(COMMON.map(|(name, _)| name)).chain(OTHERS)
}

/// An option at the top of `extra`.
fn misplaced(key: &str, value: &Value) -> Option<Ignored> {
    let field = COMMON.iter().find(|(name, _)| *name == key).map(|(_, field)| *field);
    let field = field.or_else(|| fields_of::<Options>().iter().copied().find(|option| *option == key));
    let help = match field {
        Some(field) => format!("write `{field} = {value}` in the table of the model"),
        None if OTHERS.contains(&key) => {
            format!(
                "write `extra = {{ options = {{ {key} = {value} }} }}`; newer versions of Ollama may ignore that too"
            )
        }
        None => return None,
    };
    let message = format!("Ollama ignores `{key}` at the top of a request: it is an option");
    Some(Ignored { path: vec![key.to_owned()], message, help })
}

/// A name like that of an option or a field. Other names may be meant for a gateway.
fn misspelt(table: &[&str], key: &str, fields: &[&'static str]) -> Option<Ignored> {
    let meant = nearest(key, options().chain(fields.iter().copied()))?;
    let path = table.iter().chain([&key]).map(|part| (*part).to_owned()).collect();
    let message = format!("Ollama ignores `{key}`, which it does not know");
    Some(Ignored { path, message, help: format!("did you mean `{meant}`?") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(extra: &Value) -> Vec<String> {
        let ignored = ignored(extra.as_object().unwrap());
        ignored.into_iter().map(|i| format!("{}: {}", i.path.join("."), i.help)).collect()
    }

    #[test]
    fn options_at_the_top_have_a_form_that_works() {
        let extra = json!({ "top_k": 40, "num_predict": 64, "num_thread": 4, "stop": ["END"], "mirostat": 2 });
        assert_eq!(
            found(&extra),
            [
                "top_k: write `top_k = 40` in the table of the model",
                "num_predict: write `max_tokens = 64` in the table of the model",
                "num_thread: write `num_thread = 4` in the table of the model",
                "stop: write `stop = [\"END\"]` in the table of the model",
                "mirostat: write `extra = { options = { mirostat = 2 } }`; newer versions of Ollama may ignore that too",
            ]
        );
    }

    #[test]
    fn fields_that_a_model_does_not_have() {
        assert_eq!(unknown_field_help("num_predict").as_deref(), Some("did you mean `max_tokens`?"));
        assert!(unknown_field_help("tfs_z").unwrap().ends_with("`extra = { options = { tfs_z = .. } }`"));
        assert_eq!(unknown_field_help("seed").or(unknown_field_help("topk")), None);
    }

    #[test]
    fn misspelt_names_are_found_in_both_places() {
        let extra = json!({ "topk": 40, "thinking": false, "options": { "min-p": 0.1, "repetition_penalty": 1.1 } });
        assert_eq!(
            found(&extra),
            [
                "topk: did you mean `top_k`?",
                "thinking: did you mean `think`?",
                "options.min-p: did you mean `min_p`?",
                "options.repetition_penalty: did you mean `repeat_penalty`?",
            ]
        );
    }

    #[test]
    fn what_ollama_reads_and_what_a_gateway_may_read_is_left_alone() {
        for extra in [
            json!({ "think": false, "options": { "top_k": 40, "mirostat": 2, "num_thread": 4 } }),
            json!({ "x_trace": "study-7", "options": {} }),
            json!({ "options": 5 }),
        ] {
            assert_eq!(found(&extra), [""; 0], "{extra}");
        }
    }
}
