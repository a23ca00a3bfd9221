//! The lock file: reads and writes `<spec>.lock`.
//!
//! ```text
//! [tool]              version of the call keys
//! [spec]              hash of the spec's meaning
//! [sources.NAME]      rows, columns, hash of the values
//! [models.NAME]       provider, id, request fields other than the conversation, build
//! [paraphrases.NAME]  wordings of a prompt that a model has written
//! [reshapes.NAME]     inputs, settings and rows of a transform
//! [stages.NAME]       settings, hash of the rendered prompts, row counts
//! [outputs.NAME]      rows, columns, hash of the values, row counts
//! ```
//!
//! The file is for git: it contains no secrets, times, addresses, or paths that are not in the spec.
//! In JSON, `null` means not known yet; a field that is known to be empty is omitted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ask::KEY_VERSION;
use crate::models::KnownBuild;
use crate::provider::{Build, Service};
use crate::spec::{Paraphrases, lock_of};
use crate::store::{Manifest, StoreError};
use crate::table::files::{clean, folder_of, write_whole};

/// The version of the file format; newer versions are refused.
const VERSION: u32 = 1;

const HEAD: &str = "# What this pipeline's tables were made from, and what they are. Written by `fanfold run`, checked by\n\
                    # `fanfold verify`; keep it in git. Hashes are BLAKE3.\n";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    pub(crate) version: u32,
    pub(crate) tool: LockedTool,
    pub(crate) spec: LockedSpec,
    #[serde(default)]
    pub(crate) sources: BTreeMap<String, LockedSource>,
    #[serde(default)]
    pub(crate) models: BTreeMap<String, LockedModel>,
    /// The wordings of prompts that models have written, by the stages that measure them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) paraphrases: Paraphrases,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[serde(rename = "reshapes")]
    pub(crate) transforms: BTreeMap<String, LockedTransform>,
    #[serde(default)]
    pub(crate) stages: BTreeMap<String, LockedStage>,
    #[serde(default)]
    pub(crate) outputs: BTreeMap<String, LockedOutput>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedTool {
    /// The version of fanfold that wrote the lock. Not a facet, since a new version alone changes no table.
    pub(crate) fanfold: String,
    pub(crate) calls: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedSpec {
    /// The hash of [`crate::spec::Spec::meaning`].
    pub(crate) meaning: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedSource {
    pub(crate) rows: u64,
    pub(crate) content: String,
    /// `name: type` of each column.
    pub(crate) columns: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedModel {
    pub(crate) provider: String,
    pub(crate) model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) context_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) fallback: Vec<String>,
    /// The fields of each request other than the conversation and the model, by path in the body: `options.num_ctx`.
    pub(crate) sent: Option<BTreeMap<String, toml::Value>>,
    #[serde(default)]
    pub(crate) build: LockedBuild,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedBuild {
    pub(crate) digest: Option<String>,
    pub(crate) quantization: Option<String>,
    pub(crate) template: Option<String>,
    /// The builds that the replies name, sorted; empty if they name none.
    #[serde(skip_serializing_if = "is_known_empty")]
    pub(crate) replies: Option<Vec<String>>,
    /// What is only reported; texts are hashed.
    #[serde(default, skip_serializing_if = "Service::is_empty")]
    pub(crate) service: Service,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedTransform {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) settings: String,
    pub(crate) rows: Option<u64>,
    /// The looks at the test part of a split, each with the hash of the prompts. A look is named by the rows that were
    /// seen. Not facets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) looks: BTreeMap<String, String>,
}

impl LockedTransform {
    /// How often the test part was looked at, and with how many different prompts. `None` if never.
    pub(crate) fn looked(&self) -> Option<Looked> {
        let prompts: BTreeSet<&String> = self.looks.values().collect();
        let looked = Looked { looks: self.looks.len(), prompts: prompts.len() };
        Some(looked).filter(|looked| looked.looks > 0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Looked {
    pub(crate) looks: usize,
    pub(crate) prompts: usize,
}

impl From<Build> for LockedBuild {
    fn from(Build { digest, quantization, template, service }: Build) -> Self {
        let hashed = |text: String| blake3::hash(text.as_bytes()).to_hex().to_string();
        let messages = Some(service.messages.join("\n")).filter(|text| !text.is_empty());
        let service = Service {
            system: service.system.map(hashed),
            messages: messages.map(hashed).into_iter().collect(),
            ..service
        };
        LockedBuild { digest, quantization, template, replies: None, service }
    }
}

/// A stage; after the run, `rows = answered + failed + skipped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedStage {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) input: String,
    pub(crate) models: Vec<String>,
    /// `dealt`, `wide` or `long`.
    pub(crate) layout: String,
    pub(crate) replicates: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rows_per_prompt: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) when: Option<String>,
    /// The hash of the values of people that replace answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) corrections: Option<String>,
    /// Of an `embed`, what its vectors are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vectors: Option<LockedVectors>,
    /// The hash of all other settings: templates, questions, answer columns, attempts.
    pub(crate) settings: String,
    /// The hash of the first prompts of all rows, in the order of the rows.
    pub(crate) prompts: Option<String>,
    /// The hash of the JSON Schemas of the first prompts.
    pub(crate) answers: Option<String>,
    pub(crate) rows: Option<u64>,
    pub(crate) answered: Option<u64>,
    pub(crate) failed: Option<u64>,
    pub(crate) skipped: Option<u64>,
}

/// The vectors of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedVectors {
    /// Their length. Before the run, only that of the spec is known.
    pub(crate) dimensions: Option<u64>,
    pub(crate) normalised: bool,
}

/// An output; if it is a stage's table, `rows = answered + failed + skipped` after the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockedOutput {
    pub(crate) input: String,
    pub(crate) path: String,
    pub(crate) rows: Option<u64>,
    pub(crate) answered: Option<u64>,
    pub(crate) failed: Option<u64>,
    pub(crate) skipped: Option<u64>,
    /// The hash of the values, `missing`, or `unreadable: ` with the reason.
    pub(crate) content: Option<String>,
    /// `name: type` in Parquet; only names in CSV and JSON Lines, whose columns have no types.
    pub(crate) columns: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub(crate) struct LockError {
    pub(crate) path: PathBuf,
    pub(crate) message: String,
}

impl Lock {
    pub(crate) fn new(meaning: &str) -> Self {
        Lock {
            version: VERSION,
            tool: LockedTool { fanfold: env!("CARGO_PKG_VERSION").to_owned(), calls: KEY_VERSION.to_owned() },
            spec: LockedSpec { meaning: meaning.to_owned() },
            ..Lock::default()
        }
    }

    pub(crate) fn path_of(spec: &Path) -> PathBuf {
        lock_of(spec)
    }

    /// Whether it holds nothing but wordings, since no run has finished.
    pub(crate) fn is_bare(&self) -> bool {
        self.spec.meaning.is_empty()
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let of_toml = |error: toml::de::Error| format!("it is not a lock file: {}", error.message());
        let Version { version } = toml::from_str(text).map_err(of_toml)?;
        if version > VERSION {
            return Err(format!("a newer fanfold wrote it (version {version}; this one reads {VERSION})"));
        }
        let lock: Lock = toml::from_str(text).map_err(of_toml)?;
        let stages = lock.stages.iter().map(|(name, s)| ("stage", name, s.rows, [s.answered, s.failed, s.skipped]));
        let outputs = lock.outputs.iter().map(|(name, o)| ("output", name, o.rows, [o.answered, o.failed, o.skipped]));
        match stages.chain(outputs).find(|(.., rows, counts)| !adds_up(*rows, *counts)) {
            Some((what, name, ..)) => Err(format!("the rows of {what} `{name}` don't add up")),
            None => Ok(lock),
        }
    }

    pub(crate) fn read(path: &Path) -> Result<Option<Self>, LockError> {
        let wrong = |message: String| LockError { path: path.to_owned(), message };
        match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(error.to_string())),
            Ok(text) => Lock::parse(&text).map(Some).map_err(wrong),
        }
    }

    pub(crate) fn to_toml(&self) -> String {
        let tables = toml::to_string_pretty(self).expect("names, texts and numbers are always TOML");
        format!("{HEAD}{tables}")
    }

    /// Writes the lock to `path` atomically. The caller must hold the run's lock.
    pub(crate) fn write(&self, path: &Path) -> Result<(), StoreError> {
        clean(folder_of(path), Some(path));
        write_whole(path, self.to_toml().as_bytes()).map_err(StoreError::io(path))
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        drop_nulls(&mut json);
        json
    }

    /// The lock in a run's manifest; `None` if the run covered only some rows or stages.
    pub(crate) fn of_manifest(manifest: &Manifest) -> Option<Self> {
        serde_json::from_value(manifest.lock.clone()?).ok()
    }

    pub(crate) fn builds(&self) -> Vec<KnownBuild> {
        let known = self.models.iter().map(|(name, model)| KnownBuild {
            name: name.clone(),
            provider: model.provider.clone(),
            id: model.model.clone(),
            build: self.build(name),
            server: None,
        });
        known.collect()
    }

    /// The build of a model; empty if the lock does not contain it.
    pub(crate) fn build(&self, model: &str) -> Build {
        let LockedBuild { digest, quantization, template, .. } =
            self.models.get(model).map(|model| model.build.clone()).unwrap_or_default();
        Build { digest, quantization, template, ..Build::default() }
    }
}

fn is_known_empty(replies: &Option<Vec<String>>) -> bool {
    replies.as_ref().is_some_and(Vec::is_empty)
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(table) = value {
        table.retain(|_, inner| !inner.is_null());
        table.values_mut().for_each(drop_nulls);
    }
}

fn adds_up(rows: Option<u64>, counts: [Option<u64>; 3]) -> bool {
    let sum = counts.into_iter().flatten().try_fold(0, u64::checked_add);
    counts == [None; 3] || rows.is_some() && sum == rows
}
