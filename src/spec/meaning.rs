//! Meaning: everything in a spec that can change a table, as canonical JSON. Its hash identifies a run, so specs with
//! the same meaning must always have the same JSON.

use serde_json::{Value, json};

use super::language::{Overflow, Repair, Suffix};
use super::pipeline::Spec;
use super::table::StageSpec;

impl Spec {
    /// Returns the hash of the meaning, in hex.
    pub(crate) fn hash(&self) -> String {
        blake3::hash(self.meaning().to_string().as_bytes()).to_hex().to_string()
    }

    /// Returns the meaning of the spec, without comments, order, concurrency or addresses.
    pub(crate) fn meaning(&self) -> Value {
        let models = self.models.iter().map(|(name, m)| {
            let mut meaning = json!({ "provider": self.endpoints[&m.endpoint].endpoint.kind(), "model": m.model });
            if let Some(tokens) = m.context_tokens {
                meaning["context_tokens"] = json!(tokens);
            }
            if !m.fallback.is_empty() {
                meaning["fallback"] = m.fallback.iter().map(|other| self.model(*other).0.as_str()).collect();
            }
            (name.to_string(), meaning)
        });
        let sources = self.sources().map(|(_, s)| (s.name.to_string(), s.source.meaning()));
        let stages = self.stages().map(|(_, s)| {
            let mut meaning = s.settings();
            meaning["input"] = json!(self.table_name(s.input));
            meaning["models"] = self.models_of(s).collect();
            meaning["answers"] = json!(s.answers.layout());
            if let Some(when) = &s.when {
                meaning["when"] = json!(when.source());
            }
            if s.answers.replicates > 1 {
                meaning["replicates"] = json!(s.answers.replicates);
            }
            if let Some(corrections) = &s.corrections {
                meaning["corrections"] = json!(corrections.hash());
            }
            (s.name.to_string(), meaning)
        });
        let transforms = self.transforms().map(|(_, r)| {
            let inputs: Vec<&str> = r.inputs.iter().map(|input| self.table_name(*input)).collect();
            (r.name.clone(), json!({ "inputs": inputs, "reshape": r.transform.info.meaning }))
        });
        let outputs = self.outputs.iter().map(|(name, o)| {
            let mut meaning = json!({ "input": self.table_name(o.input), "path": o.path });
            // A setting that is not written changes nothing.
            meaning.as_object_mut().expect("an object").extend(o.settings.clone());
            (name.to_string(), meaning)
        });
        canonical(json!({
            "seed": self.seed, "models": table(models), "sources": table(sources), "stages": table(stages.chain(transforms)),
            "outputs": table(outputs),
        }))
    }
}

impl StageSpec {
    /// The part of the stage's meaning that has no facet in the lock.
    pub(crate) fn settings(&self) -> Value {
        let mut settings = json!({ "stage": self.stage.info.meaning, "max_attempts": self.max_attempts });
        if self.overflow != Overflow::default() {
            settings["overflow"] = json!(self.overflow);
        }
        if self.repair != Repair::default() {
            settings["repair"] = json!(self.repair);
        }
        if self.suffix == Some(Suffix::Model) {
            settings["suffix"] = json!(self.suffix);
        }
        if self.packs() {
            settings["rows_per_prompt"] = json!(self.rows_per_prompt);
        }
        if self.repeat > 0 {
            settings["repeat"] = json!(self.repeat);
        }
        if let Some(audit) = self.audit {
            settings["audit"] = json!(audit);
        }
        settings
    }
}

/// Returns the same value with the keys of every object sorted.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(String, Value)> = object.into_iter().map(|(k, v)| (k, canonical(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        other => other,
    }
}

fn table(entries: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Object(entries.collect())
}
