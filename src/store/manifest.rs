//! The manifest: describes a run in `manifest.json` in the run's folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checksum::{is_sealed, seal};
use super::span::CallSpan;
use super::{Audit, ChangesByModel, RowCounts, RunDir, Shares, StoreError};
use crate::plan::RowChoice;
use crate::provider::Build;
use crate::source::Import;
use crate::spec::{ColumnRole, Correction, Spec, StageSpec};
use crate::table::files::write_whole;

const VERSION: u32 = 1;
const FILE: &str = "manifest.json";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    pub(crate) fanfold: String,
    pub(crate) pipeline: String,
    /// The hash of everything in the spec that can change a table.
    pub(crate) spec_hash: String,
    /// [`crate::plan::Plan::identity`], which is also written into the outputs.
    #[serde(default)]
    pub(crate) run: String,
    /// The name that people type. `None` in a run of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The most rows of each source, if the run was limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u64>,
    /// The chosen rows of each source, if they are not the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<RowChoice>,
    /// The settings that were changed for this run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) set: Vec<String>,
    pub(crate) state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<String>,
    /// Answers recorded before this moment (milliseconds since 1970) do not count, because everything was asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fresh_since_ms: Option<i64>,
    /// Answers with this id in the ledger or a lower one do not count. Ids grow even if the clock is set back. `None` in
    /// a run of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fresh_after: Option<i64>,
    /// A number that grows with each start of a run of the project, also if the clock is set back. `None` in a run of an
    /// older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_number: Option<u64>,
    /// The time of the last start, as RFC 3339.
    pub(crate) started_at: String,
    pub(crate) finished_at: Option<String>,
    /// The times of the first and the last call in the calls table and the cost of its calls, if they are known.
    #[serde(default, skip_serializing_if = "CallSpan::is_empty")]
    pub(crate) calls: CallSpan,
    pub(crate) sources: IndexMap<String, SourceEntry>,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[serde(rename = "reshapes")]
    pub(crate) transforms: IndexMap<String, TransformEntry>,
    pub(crate) models: IndexMap<String, ModelEntry>,
    #[serde(default)]
    pub(crate) tables: IndexMap<String, StageShape>,
    pub(crate) stages: IndexMap<String, StageTotals>,
    pub(crate) outputs: IndexMap<String, OutputFacts>,
    /// The calls that workers have sent since the run was started before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) workers: Option<WorkerTotals>,
    /// The calls that servers refused or could not take, by model.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) refusals: IndexMap<String, RefusalTotals>,
    /// A `lock::Lock`: what the tables are made from and, in a finished run, what they contain. `None` for a run of
    /// some rows or stages only.
    pub(crate) lock: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    #[default]
    Running,
    /// The run was stopped and can be resumed.
    Stopped,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceEntry {
    pub(crate) rows: u64,
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) paths: Vec<String>,
    pub(crate) key: Option<String>,
    /// The file with its rows in the project's folder of sources. `None` in a run of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) copy: Option<String>,
    /// What the import read. `None` in a run of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) import: Option<Import>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TransformEntry {
    /// The kind of the transform, such as `split`, `join` or `gather`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) key: Option<String>,
    /// The number of columns at the end that only the stage reading this table can see.
    pub(crate) hidden: usize,
    /// For each input, the columns whose values are those of a column of the input. Empty in a run of an older version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) copies: Vec<IndexMap<String, String>>,
    /// Whether the rows are those of the inputs, one input after the other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_stack: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelEntry {
    pub(crate) provider: String,
    pub(crate) endpoint: String,
    pub(crate) model: String,
    #[serde(flatten)]
    pub(crate) build: Build,
    /// The hash of the server, which is part of the call keys if the server reports no build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    /// Why the server did not confirm the build, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unchecked: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u32>,
    /// Smaller `max_tokens` of earlier runs, whose replies may be in the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) shorter: Vec<u32>,
    /// Where the price was found, if the spec has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listed_price: Option<PriceSource>,
}

/// The source of a price that is not in the spec.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PriceSource {
    /// The day on which the source was read, such as `2026-11-29`.
    pub(crate) read: String,
    pub(crate) source: String,
}

/// A `max_tokens` with which a run asked a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplyLimit {
    pub(crate) provider: String,
    pub(crate) id: String,
    pub(crate) max_tokens: u32,
}

impl ReplyLimit {
    pub(crate) fn all_of_run(manifest: &Manifest) -> impl Iterator<Item = ReplyLimit> {
        manifest.models.values().flat_map(|model| {
            let limits = model.shorter.iter().copied().chain(model.max_tokens);
            let limit =
                |max_tokens| ReplyLimit { provider: model.provider.clone(), id: model.model.clone(), max_tokens };
            limits.map(limit).collect::<Vec<_>>()
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StageTotals {
    pub(crate) rows: u64,
    #[serde(flatten)]
    pub(crate) counts: RowCounts,
    /// Rows in parts that an earlier start of this run committed.
    pub(crate) kept: u64,
    pub(crate) calls: u64,
    pub(crate) from_ledger: u64,
    /// The number of calls that the packed rows would have needed without `rows_per_prompt`, not counting audit calls.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) without_packing: u64,
    pub(crate) attempts: u64,
    /// The attempts in flight that a second signal ended. A server may charge for them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) aborted: u64,
    /// The calls that the end of the run stopped between two tries. The next run continues them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) stopped: u64,
    /// Recorded answers about prompts that the server had cut. Those of a replay are used, those of the ledger are not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) cut: u64,
    /// Recorded answers that may be of another server: an earlier version recorded them without the server.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) other_servers: u64,
    pub(crate) prompt_tokens: u64,
    /// Those of them that the server read from its cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) cached_tokens: u64,
    /// Those of them that the server wrote to its cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) cache_write_tokens: u64,
    pub(crate) completion_tokens: u64,
    /// Those of the replies that were thoughts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) reasoning_tokens: u64,
    /// The number of calls that the rows need if the ledger has no answers.
    #[serde(default)]
    pub(crate) needed: u64,
    /// The cost in US dollars. `None` without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usd: Option<f64>,
    #[serde(default)]
    pub(crate) shares: Shares,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) audit: Option<Audit>,
    /// Of a fresh run, how its answers compare with the answers that they replace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) changes: ChangesByModel,
    pub(crate) errors: IndexMap<String, ErrorKind>,
}

impl Manifest {
    /// The grid that a stage is a universe of, with all its universes.
    pub(crate) fn grid_of(&self, stage: &str) -> Option<(&str, &[String])> {
        let grids = self.transforms.iter().filter(|(_, made)| made.is_stack);
        let mut grids = grids.map(|(grid, made)| (grid.as_str(), made.inputs.as_slice()));
        grids.find(|(_, universes)| universes.iter().any(|universe| universe == stage))
    }
}

/// The calls that the workers of a run have sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerTotals {
    pub(crate) calls: u64,
    pub(crate) attempts: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    /// The cost in US dollars. `None` without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usd: Option<f64>,
}

impl StageTotals {
    /// The rows and calls of several stages together, without what their columns contain.
    pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a StageTotals>) -> StageTotals {
        all.fold(StageTotals::default(), |mut sum, one| {
            sum.rows += one.rows;
            sum.counts.answered += one.counts.answered;
            sum.counts.failed += one.counts.failed;
            sum.counts.skipped += one.counts.skipped;
            sum.kept += one.kept;
            sum.calls += one.calls;
            sum.from_ledger += one.from_ledger;
            sum.without_packing += one.without_packing;
            sum.attempts += one.attempts;
            sum.aborted += one.aborted;
            sum.stopped += one.stopped;
            sum.cut += one.cut;
            sum.other_servers += one.other_servers;
            sum.prompt_tokens += one.prompt_tokens;
            sum.completion_tokens += one.completion_tokens;
            sum.needed += one.needed;
            sum.cached_tokens += one.cached_tokens;
            sum.cache_write_tokens += one.cache_write_tokens;
            sum.reasoning_tokens += one.reasoning_tokens;
            sum.usd = sum.usd.map_or(one.usd, |usd| Some(usd + one.usd.unwrap_or(0.0)));
            for (kind, error) in &one.errors {
                match sum.errors.get_mut(kind) {
                    Some(known) => known.count += error.count,
                    None => drop(sum.errors.insert(kind.clone(), error.clone())),
                }
            }
            sum
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RefusalTotals {
    /// Calls that the server refused because of a limit.
    pub(crate) refused: u64,
    /// Calls that the server was too busy for, or that did not reach it.
    pub(crate) unavailable: u64,
    pub(crate) waited_seconds: f64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorKind {
    pub(crate) count: u64,
    #[serde(default)]
    pub(crate) rows: Vec<String>,
    /// The message of the first row.
    pub(crate) message: String,
    /// The messages, if there are several, the most frequent one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) messages: Vec<ErrorMessage>,
}

/// The failed calls with one message, apart from numbers in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorMessage {
    pub(crate) count: u64,
    pub(crate) rows: Vec<String>,
    pub(crate) message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutputFacts {
    #[serde(default)]
    pub(crate) input: String,
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) columns: usize,
    /// Whether it describes the columns of a table instead of holding its rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) codebook: bool,
    /// What the file holds differently, because its format cannot hold it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sheet: Option<SheetFacts>,
    /// The earlier file at this path, in the run's folder, if the run kept it and wrote a different one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaced: Option<PathBuf>,
}

/// A sheet that people fill. `rows` of its output counts the rows of the sheet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SheetFacts {
    /// The rows that this run has added.
    pub(crate) added: u64,
    /// The rows that people have coded.
    pub(crate) coded: u64,
}

impl Manifest {
    pub(crate) fn start(pipeline: &str, spec_hash: &str, run: &str) -> Self {
        Manifest {
            schema_version: VERSION,
            fanfold: env!("CARGO_PKG_VERSION").to_owned(),
            pipeline: pipeline.to_owned(),
            spec_hash: spec_hash.to_owned(),
            run: run.to_owned(),
            started_at: now(),
            ..Manifest::default()
        }
    }

    pub(crate) fn end(&mut self, state: State) {
        self.state = state;
        self.finished_at = Some(now());
    }

    /// The number of calls that the last start of the run sent, with those of its workers.
    pub(crate) fn sent(&self) -> u64 {
        let own: u64 = self.stages.values().map(|stage| stage.calls).sum();
        own + self.workers.map_or(0, |workers| workers.calls)
    }

    /// Reads the manifest in a run's folder. Returns `None` if there is none or it cannot be read.
    pub(crate) fn read(run: &RunDir) -> Option<Self> {
        let text = std::fs::read_to_string(run.root().join(FILE)).ok()?;
        serde_json::from_str(&text).ok().filter(|_| is_sealed(&text))
    }

    /// The error if there is a manifest that cannot be read.
    pub(crate) fn check(run: &RunDir) -> Result<(), StoreError> {
        let path = run.root().join(FILE);
        if path.exists() && Manifest::read(run).is_none() { Err(StoreError::Damaged { path }) } else { Ok(()) }
    }

    /// The columns that the prompts of `output` read, or of the first output, without those that stages wrote.
    pub(crate) fn reads(&self, output: &str) -> Vec<String> {
        let output = self.outputs.get(output).or(self.outputs.values().next());
        let (mut reads, mut input) = (Vec::new(), output.map(|output| output.input.as_str()));
        while let Some(stage) = input.and_then(|name| self.tables.get(name)) {
            reads.extend(stage.reads.iter().cloned());
            reads.retain(|column| !stage.adds.iter().any(|added| added.name == *column));
            input = Some(&stage.input);
        }
        reads.sort_unstable();
        reads.dedup();
        reads
    }

    /// The labels of a column in the order of the spec.
    pub(crate) fn labels(&self, column: &str) -> Vec<String> {
        let added = self.tables.values().flat_map(|stage| &stage.adds).find(|added| added.name == column);
        let schema = added.and_then(|added| added.schema.as_ref());
        let labels = schema.and_then(|schema| schema["enum"].as_array()).into_iter().flatten();
        labels.filter_map(|label| label.as_str().map(str::to_owned)).collect()
    }

    pub(crate) fn written(run: &RunDir) -> Option<SystemTime> {
        std::fs::metadata(run.root().join(FILE)).and_then(|file| file.modified()).ok()
    }

    pub(crate) fn write(&self, run: &RunDir) -> Result<(), StoreError> {
        let path = run.root().join(FILE);
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let folder = std::fs::create_dir_all(run.root());
        folder.and_then(|()| write_whole(&path, seal(&text).as_bytes())).map_err(StoreError::io(&path))
    }
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// The layout of a stage's table, for readers without the spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StageShape {
    pub(crate) input: String,
    pub(crate) models: Vec<String>,
    /// The names of the models in [`Manifest::models`], if they differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) asked: Vec<String>,
    /// The layout of the answers: `dealt`, `wide` or `long`.
    pub(crate) layout: String,
    pub(crate) replicates: u64,
    /// The columns of the input that the prompts read. Empty in a run of an older version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) reads: Vec<String>,
    /// The number of rows of the stage's table per row of its input.
    pub(crate) fold: u64,
    /// The number of input rows in every part except the last.
    pub(crate) chunk_size: u64,
    pub(crate) adds: Vec<AddedColumn>,
    /// The columns of the input that the stage fills where they are empty.
    pub(crate) fills: Vec<String>,
    /// The values of people that replace answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) corrections: Vec<Correction>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AddedColumn {
    pub(crate) name: String,
    /// The model that gave the answers, if each model has its own columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// The keys of the stage's table in the spec that define the column. Empty for the run's columns (errors, models).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) from: Vec<String>,
    /// The JSON Schema of the value, if the column is one key of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<Value>,
}

impl StageShape {
    pub(crate) fn of(spec: &Spec, stage: &StageSpec) -> StageShape {
        let input = spec.relation(stage.input);
        let name = |column: usize| input.schema.field(column).name().clone();
        StageShape {
            input: spec.table_name(stage.input).to_owned(),
            models: stage.model_names.clone(),
            asked: spec.models_of(stage).map(str::to_owned).filter(|_| stage.grid.is_some()).collect(),
            layout: stage.answers.layout().to_owned(),
            replicates: stage.answers.replicates as u64,
            reads: stage.stage.info.reads.iter().map(|column| name(*column)).collect(),
            fold: stage.answers.fold(),
            chunk_size: stage.chunk_size,
            adds: added(stage),
            fills: stage.stage.info.fills.iter().map(|column| name(*column)).collect(),
            corrections: stage.corrections.iter().flat_map(|corrections| corrections.all().cloned()).collect(),
        }
    }
}

fn added(stage: &StageSpec) -> Vec<AddedColumn> {
    let info = &stage.stage.info;
    let writes = info.writes.len();
    let column = |(place, field): (usize, &Arc<arrow_schema::Field>)| {
        let role = stage.answers.role(writes, place);
        let model = role.model().map(|model| stage.model_names[model].clone());
        let mut column = AddedColumn { name: field.name().clone(), model, from: Vec::new(), schema: None };
        if let ColumnRole::Answer { write, .. } = role {
            column.from = info.origins[write].clone();
            let key = info.answer_key(write);
            column.schema = key.and_then(|key| info.schema.as_ref()?["properties"].get(key)).cloned();
        }
        column
    };
    stage.relation.schema.fields().iter().skip(stage.given).enumerate().map(column).collect()
}
