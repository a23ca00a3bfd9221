//! The lock: what a pipeline's tables were made from and what they are, as `<spec>.lock` beside the spec, for git.
//!
//! ```text
//! [tool]              the version of how calls are keyed
//! [spec]              the hash of what the spec means
//! [sources.NAME]      rows, columns, hash of the values
//! [models.NAME]       provider, id, what is sent beside the conversation, build
//! [reshapes.NAME]     what it reads, settings, rows
//! [stages.NAME]       settings, hash of the rendered prompts, row accounting
//! [outputs.NAME]      rows, columns, hash of the values, row accounting
//! ```
//!
//! Nothing in it is secret or changes without cause: no times, no addresses, no paths but those that the spec says. A leaf
//! is a **facet**, named by its path: `sources.speeches.rows`. A new field is a new facet without more ado; what is not
//! known before a run is an `Option`, for [`Lock::assume`].

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StoreError;
use crate::table::parquet::{clean, new_file, persist};

/// The version of the file's form; a newer one is refused.
const VERSION: u32 = 1;

/// What stands above the first table.
const HEAD: &str = "# What this pipeline's tables were made from, and what they are. Written by `fanfold run`, checked by\n\
                    # `fanfold verify`; keep it in git. Hashes are BLAKE3.\n";

/// The tables of a lock, causes before results: the order in which drift is told.
const ORDER: [&str; 7] = ["tool", "spec", "sources", "models", "reshapes", "stages", "outputs"];

/// What a pipeline's tables were made from, and what they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The version of this form.
    pub version: u32,
    /// The program.
    pub tool: LockedTool,
    /// The spec.
    pub spec: LockedSpec,
    /// The sources that are read, by name.
    #[serde(default)]
    pub sources: BTreeMap<String, LockedSource>,
    /// The models that are asked, by name.
    #[serde(default)]
    pub models: BTreeMap<String, LockedModel>,
    /// The stages that make a table of tables, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reshapes: BTreeMap<String, LockedReshape>,
    /// The stages that ask models, by name.
    #[serde(default)]
    pub stages: BTreeMap<String, LockedStage>,
    /// The outputs, by name.
    #[serde(default)]
    pub outputs: BTreeMap<String, LockedOutput>,
}

/// The program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedTool {
    /// The version that wrote the lock. No facet: another version alone changes no table.
    pub fanfold: String,
    /// The version of how calls are keyed.
    pub calls: String,
}

/// The spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSpec {
    /// The hash of everything in it that can change a table; comments, order, TOML or YAML don't count.
    pub meaning: String,
}

/// A source as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSource {
    /// Its rows.
    pub rows: u64,
    /// The hash of its values.
    pub content: String,
    /// Its columns, each as `name: type`.
    pub columns: Vec<String>,
}

/// A model as it was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedModel {
    /// The kind of its provider.
    pub provider: String,
    /// The provider's id of it.
    pub model: String,
    /// Tokens that its context holds, where the spec says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// The models that are asked in its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<String>,
    /// What each request holds beside the conversation and the model, by its path in the body: `options.num_ctx`. None
    /// where no request can be written here (the environment lacks something).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<BTreeMap<String, toml::Value>>,
    /// Which build of it.
    #[serde(default)]
    pub build: LockedBuild,
}

/// A build of a model, as far as its provider tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedBuild {
    /// What tells it from others: the digest of the weights, or the id that an alias stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its quantisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// The hash of its chat template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The builds that the replies named, sorted; empty where they name none.
    #[serde(skip_serializing_if = "says_nothing")]
    pub replies: Option<Vec<String>>,
}

/// A stage that makes a table of tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedReshape {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it reads.
    pub inputs: Vec<String>,
    /// The hash of everything else that the spec says of it.
    pub settings: String,
    /// Its rows; before a run only where they don't depend on answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// A stage. Once it has run, `rows = answered + failed + skipped`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedStage {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it reads.
    pub input: String,
    /// The models that it asks, in order.
    pub models: Vec<String>,
    /// Where the answers go: `dealt`, `wide` or `long`.
    pub layout: String,
    /// How often a model is asked about a row.
    pub replicates: u64,
    /// Rows that are asked about in one call, where they are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_per_prompt: Option<u64>,
    /// Rows that are asked one by one as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<u64>,
    /// The condition on its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The hash of everything else that the spec says of it: templates, questions, answer columns, attempts.
    pub settings: String,
    /// The hash of what is asked first about each row, as rendered, in the order of the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<String>,
    /// The hash of the JSON Schemas that these questions come with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<String>,
    /// Rows of its input; before a run only where they don't depend on answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Rows that every model answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<u64>,
    /// Rows with a failed call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    /// Rows that were not asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
}

/// An output. Where it is a stage's table, `rows = answered + failed + skipped` once it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedOutput {
    /// What it holds.
    pub input: String,
    /// Where, as the spec says.
    pub path: String,
    /// Its rows; before a run only where they don't depend on answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Those of rows that every model answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<u64>,
    /// Those of rows with a failed call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    /// Those of rows that were not asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
    /// The hash of its values; `missing` or `unreadable: why` where the file is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Its columns: `name: type` in Parquet, the names in CSV and JSON Lines, which have no types.
    pub columns: Vec<String>,
}

/// A facet that is another one in another lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Its name.
    pub facet: String,
    /// What it was; none: it was not there.
    pub old: Option<String>,
    /// What it is; none: it is not there any more.
    pub new: Option<String>,
}

/// Why a lock can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct LockError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, in words.
    pub message: String,
}

impl Lock {
    /// A lock of a spec with this meaning, whose calls are keyed by version `calls`, without anything in it yet.
    pub fn new(meaning: &str, calls: &str) -> Self {
        Lock {
            version: VERSION,
            tool: LockedTool { fanfold: env!("CARGO_PKG_VERSION").to_owned(), calls: calls.to_owned() },
            spec: LockedSpec { meaning: meaning.to_owned() },
            sources: BTreeMap::new(),
            models: BTreeMap::new(),
            reshapes: BTreeMap::new(),
            stages: BTreeMap::new(),
            outputs: BTreeMap::new(),
        }
    }

    /// Where the lock of the spec at `spec` is: beside it, its name with `.lock` behind.
    pub fn path_of(spec: &Path) -> PathBuf {
        let mut name = spec.as_os_str().to_owned();
        name.push(".lock");
        PathBuf::from(name)
    }

    /// Reads a lock's text; the error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let of_toml = |error: toml::de::Error| format!("it is no lock: {}", error.message());
        let Version { version } = toml::from_str(text).map_err(of_toml)?;
        if version > VERSION {
            return Err(format!("a newer fanfold wrote it (version {version}; this one reads {VERSION})"));
        }
        let lock: Lock = toml::from_str(text).map_err(of_toml)?;
        for (name, stage) in &lock.stages {
            if !adds_up(stage.rows, [stage.answered, stage.failed, stage.skipped]) {
                return Err(format!("the rows of stage `{name}` don't add up"));
            }
        }
        for (name, output) in &lock.outputs {
            if !adds_up(output.rows, [output.answered, output.failed, output.skipped]) {
                return Err(format!("the rows of output `{name}` don't add up"));
            }
        }
        Ok(lock)
    }

    /// The lock at `path`; none if there is no file.
    pub fn read(path: &Path) -> Result<Option<Self>, LockError> {
        let wrong = |message: String| LockError { path: path.to_owned(), message };
        match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(error.to_string())),
            Ok(text) => Lock::parse(&text).map(Some).map_err(wrong),
        }
    }

    /// Its text.
    pub fn to_toml(&self) -> String {
        let tables = toml::to_string_pretty(self).expect("names, texts and numbers are always TOML");
        format!("{HEAD}{tables}")
    }

    /// Writes it to `path`, whole or not at all. Only for who holds the run.
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        clean(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")), Some(path));
        let write = || {
            let mut file = new_file(path)?;
            file.write_all(self.to_toml().as_bytes())?;
            persist(file, path)
        };
        write().map_err(StoreError::io(path))
    }

    /// Its facets with their values, causes before results.
    pub fn facets(&self) -> Vec<(String, String)> {
        let whole = serde_json::to_value(self).unwrap_or_default();
        let mut facets = Vec::new();
        for table in ORDER {
            leaves(table, &whole[table], &mut facets);
        }
        facets.retain(|(facet, _)| facet != "tool.fanfold");
        facets
    }

    /// The facets that are others in `new`, causes before results.
    pub fn drift(&self, new: &Lock) -> Vec<Drift> {
        let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (self.facets().into_iter().collect(), new.facets().into_iter().collect());
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let drift = names.into_iter().map(|facet| {
            let value = |facets: &BTreeMap<String, String>| facets.get(facet).cloned();
            Drift { facet: facet.clone(), old: value(&old), new: value(&new) }
        });
        let mut drift: Vec<Drift> = drift.filter(|drift| drift.old != drift.new).collect();
        let rank = |drift: &Drift| {
            let table = drift.facet.split('.').next().unwrap_or_default();
            ORDER.iter().position(|t| *t == table)
        };
        drift.sort_by_key(rank);
        drift
    }

    /// What moved by itself between this lock and `new`: the build of a model that the spec names as before, and how calls
    /// are keyed. The author of the spec changed none of it, so that nobody may expect other tables.
    pub fn moved(&self, new: &Lock) -> Vec<Drift> {
        let mut drift = self.drift(new);
        drift.retain(|d| d.old.is_some() && d.new.is_some());
        drift.retain(|d| {
            let Some((model, build)) = d.facet.strip_prefix("models.").and_then(|rest| rest.split_once(".build."))
            else {
                return d.facet == "tool.calls";
            };
            let same = |lock: &Lock| lock.models.get(model).map(|m| (m.provider.clone(), m.model.clone()));
            build != "replies" && same(self) == same(new)
        });
        drift
    }

    /// Takes over from `other` what is not known here, so that it is no drift; gives the names of those facets.
    pub fn assume(&mut self, other: &Lock) -> Vec<String> {
        let before = self.facets();
        for (name, model) in &mut self.models {
            let Some(known) = other.models.get(name) else { continue };
            fill(&mut model.sent, &known.sent);
            fill(&mut model.build.digest, &known.build.digest);
            fill(&mut model.build.quantization, &known.build.quantization);
            fill(&mut model.build.template, &known.build.template);
            fill(&mut model.build.replies, &known.build.replies);
        }
        for (name, stage) in &mut self.stages {
            let Some(known) = other.stages.get(name) else { continue };
            fill(&mut stage.rows, &known.rows);
            fill(&mut stage.prompts, &known.prompts);
            fill(&mut stage.answers, &known.answers);
            fill(&mut stage.answered, &known.answered);
            fill(&mut stage.failed, &known.failed);
            fill(&mut stage.skipped, &known.skipped);
        }
        for (name, reshape) in &mut self.reshapes {
            let Some(known) = other.reshapes.get(name) else { continue };
            fill(&mut reshape.rows, &known.rows);
        }
        for (name, output) in &mut self.outputs {
            let Some(known) = other.outputs.get(name) else { continue };
            fill(&mut output.rows, &known.rows);
            fill(&mut output.answered, &known.answered);
            fill(&mut output.failed, &known.failed);
            fill(&mut output.skipped, &known.skipped);
            fill(&mut output.content, &known.content);
        }
        let names = self.facets().into_iter().map(|(facet, _)| facet);
        names.filter(|facet| !before.iter().any(|(known, _)| known == facet)).collect()
    }

    /// The hash of everything in it that decides what the tables are, results left out: known before the tables are.
    pub fn causes(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (facet, value) in self.facets() {
            let result = facet.starts_with("outputs.")
                || facet.ends_with(".build.replies")
                || (facet.starts_with("stages.")
                    && [".answered", ".failed", ".skipped"].iter().any(|end| facet.ends_with(end)));
            if !result {
                for text in [&facet, &value] {
                    hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
                }
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

fn says_nothing(replies: &Option<Vec<String>>) -> bool {
    replies.as_ref().is_none_or(Vec::is_empty)
}

/// Whether the counts, where they are known, are all the rows.
fn adds_up(rows: Option<u64>, counts: [Option<u64>; 3]) -> bool {
    match (rows, counts) {
        (_, [None, None, None]) => true,
        (None, _) => false,
        (Some(rows), counts) => {
            counts.into_iter().map(|c| c.unwrap_or(0)).try_fold(0u64, u64::checked_add) == Some(rows)
        }
    }
}

fn fill<T: Clone>(here: &mut Option<T>, there: &Option<T>) {
    if here.is_none() {
        here.clone_from(there);
    }
}

/// Adds the leaves under `path`; a list is one leaf.
fn leaves(path: &str, value: &Value, out: &mut Vec<(String, String)>) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Null => {}
        Value::Object(table) => table.iter().for_each(|(key, inner)| leaves(&format!("{path}.{key}"), inner, out)),
        Value::Array(items) => out.push((path.to_owned(), items.iter().map(text).collect::<Vec<_>>().join(", "))),
        other => out.push((path.to_owned(), text(other))),
    }
}

#[cfg(test)]
mod tests;
