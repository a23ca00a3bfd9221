//! The language: the fields that all kinds share, with one struct for each table of a spec. The doc comments are the
//! descriptions in the JSON Schema. Each kind of source, stage, provider and test decodes its other fields itself.

use std::num::NonZeroU32;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::limits::Budget;
use super::prices::Price;
use crate::assertion::Severity;
use crate::name::Name;
use crate::object::Address;
use crate::provider::{Options, SystemRole};
use crate::table::MaxFailed;

/// The fields at the top of a spec.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    /// The pipeline's name. Default: the name of the file.
    pub(crate) name: Option<Name>,
    /// The seed of everything random; it is sent to models that accept one. Without it, a seed is sent only for
    /// replicates and respondents.
    pub(crate) seed: Option<u64>,
    /// The most that a run may spend.
    pub(crate) budget: Option<Budget>,
    /// A file of `fanfold ledger export` that answers calls before any is sent, such as in a clone. Default: a file next
    /// to the spec that has `replay` in its name and was exported from this pipeline.
    pub(crate) replay: Option<String>,
    /// Whether paths may leave the folder of the spec. Default: false.
    #[serde(default)]
    pub(crate) allow_outside: bool,
    /// How the workers of a run on several machines start (`fanfold run --on`). It changes no table.
    #[serde(default)]
    pub(crate) cluster: ClusterTable,
}

/// What the workers of a run on several machines need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterTable {
    /// Modules of the cluster that are loaded first, such as `cuda/12.4`.
    #[serde(default)]
    pub(crate) modules: Vec<String>,
    /// Lines of shell that run on the machine of each worker before it starts, such as the start of a server. A server
    /// in the background ends with the worker.
    pub(crate) before: Option<String>,
    /// The names of environment variables that the workers need, such as the name of an API key. The values are passed by
    /// the engine and never written into the project.
    #[serde(default)]
    pub(crate) env: Vec<String>,
    /// Options of `sbatch` for the workers, such as `--partition=gpu` or `--gres=gpu:1`. Those of `--sbatch` come after
    /// them.
    #[serde(default)]
    pub(crate) sbatch: Vec<String>,
    /// A folder of an object store, such as `s3://bucket/study`, for workers that share no file system. The run is sent
    /// there, and its parts and replies are fetched from there.
    pub(crate) folder: Option<String>,
    /// Where the workers of `--on kubernetes` run.
    pub(crate) kubernetes: Option<KubernetesTable>,
}

impl ClusterTable {
    /// The address in `folder`.
    pub(crate) fn address(&self) -> Option<Address> {
        Address::parse(self.folder.as_deref()?)?.ok()
    }
}

/// The pods of the workers of a run on Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KubernetesTable {
    /// The image, which has `fanfold` on its path.
    pub(crate) image: String,
    /// The claim of the volume with the project, which all pods mount (`ReadWriteMany`). Needed without
    /// `cluster.folder`.
    pub(crate) claim: Option<String>,
    /// The absolute path of the project in the pods. Needed without `cluster.folder`.
    pub(crate) path: Option<String>,
    /// The secret with the variables of `env`. Default: `fanfold`.
    pub(crate) secret: Option<String>,
}

/// A model: its provider and its sampling.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelTable {
    /// A provider type (`embedded`, `ollama`, `openai`, `anthropic`, `gemini`, `mock`) with its defaults, or a name in
    /// `[providers]`.
    pub(crate) provider: String,
    /// The provider's id of the model, such as `llama3.2`. Embedded: a built-in model (`fanfold models list`), the path
    /// of a `.gguf` file, or the name of a model that Ollama has pulled.
    pub(crate) model: String,
    /// 0 always takes the likeliest token. The most is 1 for `anthropic`, 2 for `gemini`, 5 for others. Left out: not
    /// sent, the server decides (some models refuse any); embedded: 0.
    pub(crate) temperature: Option<f64>,
    /// The share of probability that tokens are drawn from (nucleus sampling), above 0 and at most 1.
    pub(crate) top_p: Option<f64>,
    /// The most tokens of a reply. A reply that is cut off is an error, except with `cut_off = "keep"`. Left out: the server decides; anthropic: 1024,
    /// embedded: 512.
    pub(crate) max_tokens: Option<u32>,
    /// Texts that end the reply.
    #[serde(default)]
    pub(crate) stop: Vec<String>,
    /// The seed for this model. Default: the spec's. Anthropic accepts none: another seed makes a new call with the
    /// same request.
    pub(crate) seed: Option<u64>,
    /// Whether the seed is sent. With `false` it only makes calls different, for models that refuse a seed. Default: true.
    #[serde(default = "yes")]
    pub(crate) send_seed: bool,
    /// How the text for all rows is sent, which is the `system` of the stage and how to answer: `system`, `developer`,
    /// `user` (at the start of the first message of the user) or `none`. Default: `system`. If the server refuses that
    /// role, how to answer moves to the user's message by itself; the `system` of a stage does not.
    pub(crate) system_role: Option<SystemRole>,
    /// The price in US dollars per million tokens: `{ input = 0.15, output = 0.6 }`. A `budget` in `usd` needs it,
    /// except for local models (Ollama, embedded, mock) and for models whose price fanfold lists.
    pub(crate) price: Option<Price>,
    /// Ollama and embedded: the context size in tokens, prompt and reply together. Ollama: always sent, since the
    /// server's default depends on its memory. Default: 4096. Embedded: by default the model's context.
    pub(crate) num_ctx: Option<u32>,
    /// The context size in tokens, prompt and reply together, for models on servers other than Ollama. A prompt that is
    /// too long is not sent.
    pub(crate) context_tokens: Option<NonZeroU32>,
    /// Decoded on its own: its fields are those of the model's table.
    #[serde(skip)]
    pub(crate) options: Options,
    /// Models that are asked instead, in this order, when this model has no answer for a row. The column
    /// `<stage>_model` names the model that answered. Default: none, the row fails.
    #[serde(default)]
    pub(crate) fallback: Vec<String>,
    /// Fields that are added to the body of every request, unchanged: `extra = { user = "me" }`. They are part of the
    /// call's key. A table is merged into the table of that name. Fields that fanfold sets are refused. For providers
    /// with a server.
    #[serde(default)]
    pub(crate) extra: Map<String, Value>,
}

fn yes() -> bool {
    true
}

/// What all stages that ask models share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StageTable {
    /// The source or stage whose rows it reads.
    pub(crate) input: String,
    /// The models, by name.
    pub(crate) models: Vec<String>,
    /// A condition on the row: a Jinja expression over the input's columns such as `language != "en"`. A comparison with
    /// null is never true. A row for which it is not true is skipped: its answers are null. A stage that asks about groups
    /// has a condition on the group: over the columns of `group_by`, and `NAME_rows` and `NAME_left_out`, where NAME is
    /// the stage's.
    pub(crate) when: Option<String>,
    /// `true`: every model reads every row. `false`: the models share the rows in turn, by row number. A stage with
    /// several models must say which.
    pub(crate) fanout: Option<bool>,
    /// The layout of the answers of a fan-out. `wide`: one column per model (`label_llama`). `long`: one row per model,
    /// with a column `model`. Default: `wide`.
    #[serde(default)]
    pub(crate) layout: Layout,
    /// The last part of the names of columns that each model of a fan-out has for itself. `name`: the model's name in
    /// the spec. `model`: its id, with `_` for other characters than letters and digits (`label_llama3_2_3b`), and the
    /// name after it if several models have this id. Default: `name`.
    pub(crate) suffix: Option<Suffix>,
    /// How many times the same model is asked about each row. Each time adds a row, numbered by the column `replicate`.
    /// The seed of the n-th is the model's seed + n - 1. Default: 1.
    pub(crate) replicates: Option<NonZeroU32>,
    /// Concurrency: `workers` x `batch_size` prompts are in flight. Default: 4.
    pub(crate) workers: Option<NonZeroU32>,
    /// Prompts in flight for each of the `workers`. Not the rows in a prompt: that is `rows_per_prompt`. Default: 4.
    pub(crate) batch_size: Option<NonZeroU32>,
    /// Rows per part. A part is committed as a whole and held in memory. Rounded up to a multiple of `rows_per_prompt`.
    /// Default: 20000.
    pub(crate) chunk_size: Option<NonZeroU32>,
    /// How many rows one call asks about: rows 1 to n, n + 1 to 2n and so on, including skipped rows. Rows without a
    /// valid answer are asked again in halves, in the end one by one. A reply may have n times `max_tokens` and some
    /// tokens for the form. Models that share the rows take packs in turn. Default: 1.
    pub(crate) rows_per_prompt: Option<NonZeroU32>,
    /// A sample of rows that is also asked one by one, to measure the effect of `rows_per_prompt`: `audit = { rows =
    /// 200 }`. The summary and the manifest compare the answers. The table holds the answers of the packs.
    pub(crate) audit: Option<Audit>,
    /// Rows with their answers, shown to the model before the question, in this order:
    /// `examples = [{ row = { text = "..." }, answer = { label = "good" } }]`. The `answer` of a plain text is a text.
    /// They follow the system text and are the same for all rows. For `analysis` and `fill-missing`, where an example
    /// is shown for rows in which the same keys are missing.
    pub(crate) examples: Option<Vec<ExampleTable>>,
    /// A file with such rows, instead of `examples`: CSV, TSV, JSON Lines or Parquet, relative to the spec. Columns of
    /// the input are the row. Other columns are the keys of the answer (`answer.year` if the input also has a column
    /// `year`). `answer` holds a plain text.
    pub(crate) examples_file: Option<String>,
    /// The order of the calls in a part of a fan-out: `row-major` or `model-major` (one model after the other, so that
    /// a server with one model in memory seldom switches). Default: `model-major` for Ollama and embedded models.
    pub(crate) order: Option<Order>,
    /// The most rows that may fail, as a number or a share such as `"5%"`. With more, the run stops early. Left out:
    /// the run continues, and any failed row makes the exit code 1. A run whose first calls all fail alike stops too,
    /// unless this is `"100%"`.
    pub(crate) max_failed: Option<MaxFailed>,
    /// Attempts per call, including those with unusable answers. Default: 3.
    pub(crate) max_attempts: Option<NonZeroU32>,
    /// A file of values by people that replace answers, such as `corrections.csv`. Its columns are `row` (the key of the
    /// row), `column`, `value` (empty: null), and if you like `by`, `reason`, `model` and `replicate`. They survive every
    /// run and send no call. A column `<stage>_source` names the corrected answers.
    pub(crate) corrections: Option<String>,
    /// The axes of a grid: fields of the stage, or of its models after `model.`, each with a list of levels, such as
    /// `"model.temperature" = [0.0, 0.7]`. The stage is asked once for each combination of levels, which is a universe.
    /// `exclude` lists combinations that are left out. The table has the rows of all universes, with a column `universe`
    /// and one for each axis.
    #[expect(dead_code, reason = "the grid is read from the tree, with the places of its levels")]
    pub(crate) grid: Option<Map<String, Value>>,
    /// The treatment of a prompt that is longer than the model's context: `error` fails the row, `truncate_middle`
    /// leaves out the middle of its longest message. The `notes` in the calls table count the characters. Default:
    /// `error`.
    #[serde(default)]
    pub(crate) overflow: Overflow,
    /// The treatment of a reply that is not valid JSON: `none` asks again, `lenient` repairs JSON syntax (quotes,
    /// commas, comments) without changing any value. The `notes` in the calls table name the repair. Default: `none`.
    #[serde(default)]
    pub(crate) repair: Repair,
}

/// A sample of rows that is also asked one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Audit {
    /// The number of rows, drawn by the spec's seed. Skipped rows are not replaced.
    pub(crate) rows: NonZeroU32,
}

/// A table to write.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputTable {
    /// The stage or source whose table is written.
    pub(crate) input: String,
    /// The file; `.parquet`, `.csv`, `.jsonl`, `.xlsx`, `.dta` (Stata), `.sav` (SPSS) or `.arrow`. A file that ends in
    /// `.md` is a codebook of the columns.
    pub(crate) path: String,
    /// The columns to write, in this order. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) columns: Option<Vec<String>>,
    /// The columns to leave out, instead of `columns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) drop: Option<Vec<String>>,
    /// New names of columns in the file: `rename = { old = "new" }`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) rename: IndexMap<String, String>,
    /// Texts that describe columns, by the name of the column in `input`: `labels = { tone = "Tone of the speech" }`.
    /// For .xlsx, .dta, .sav, .parquet, .arrow and codebooks.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) labels: IndexMap<String, String>,
    /// A second file, `.md` or `.csv`, that describes each column: its question, type, labels, range, missing values,
    /// stage, model and prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) codebook: Option<String>,
    /// Whether missing answers have codes: one for a failed call, one for a question that was not asked. For .sav (-8
    /// and -9, user-missing) and .dta (.a and .b). Default: false, they are all system-missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) missing_codes: bool,
    /// Whether no column of an answer can be in the file: such a column is an error. For sheets of people who code
    /// independently of the models. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) blind: bool,
    /// Whether people change the file: it is written once, and later runs only add new rows at its end. For .csv and
    /// .xlsx. A source can read the file. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) keep: bool,
    /// Empty columns at the end of the sheet that people fill, each with its labels: `fill = { tone = ["glad", "sad"],
    /// note = [] }`. Without labels, any text is allowed. For `keep = true`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub(crate) fill: IndexMap<String, Vec<String>>,
    /// Whether a CSV begins with a byte-order mark, so that Excel reads it as UTF-8. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) bom: bool,
}

/// The layout of the answers of a fan-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Layout {
    /// Side by side.
    #[default]
    Wide,
    /// One below the other.
    Long,
}

/// The last part of the name of a column that one model of a fan-out answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Suffix {
    /// The model's name in the spec.
    Name,
    /// The provider's id of the model.
    Model,
}

/// The order of the calls in a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// All models for a row, then the next row.
    RowMajor,
    /// All rows for a model, then the next model.
    ModelMajor,
}

/// The treatment of a prompt that is longer than the model's context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Overflow {
    /// The row fails.
    #[default]
    Error,
    /// The middle of the longest message is left out.
    TruncateMiddle,
}

/// The treatment of a reply that is not valid JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Repair {
    /// The model is asked again.
    #[default]
    None,
    /// JSON syntax is repaired without changing any value.
    Lenient,
}

/// A row with its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExampleTable {
    /// The row: a value for each column of the input that the prompt reads.
    pub(crate) row: Map<String, Value>,
    /// The answer: a table of the requested keys, or a text.
    pub(crate) answer: Value,
}

/// What all tests share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestTable {
    /// The name. Default: the table and the rule in words.
    pub(crate) name: Option<String>,
    /// The output, stage or source whose table is tested.
    pub(crate) input: String,
    /// The consequence if the test does not hold: `error` makes the exit code of `fanfold test` 1, `warn` is only
    /// reported. Default: `error`.
    #[serde(default)]
    pub(crate) severity: Severity,
}

/// A whole number of a stage's table, from 1 to `most`.
pub(crate) struct Number {
    pub(crate) field: &'static str,
    get: fn(&StageTable) -> Option<NonZeroU32>,
    default: u32,
    pub(crate) most: u32,
}

impl Number {
    pub(crate) fn of(&self, table: &StageTable) -> u32 {
        (self.get)(table).map_or(self.default, NonZeroU32::get)
    }
}

pub(crate) const WORKERS: Number = Number { field: "workers", get: |t| t.workers, default: 4, most: 1024 };
pub(crate) const BATCH_SIZE: Number = Number { field: "batch_size", get: |t| t.batch_size, default: 4, most: 1024 };
pub(crate) const CHUNK_SIZE: Number =
    Number { field: "chunk_size", get: |t| t.chunk_size, default: 20_000, most: 10_000_000 };
pub(crate) const MAX_ATTEMPTS: Number =
    Number { field: "max_attempts", get: |t| t.max_attempts, default: 3, most: 100 };
pub(crate) const REPLICATES: Number = Number { field: "replicates", get: |t| t.replicates, default: 1, most: 10_000 };
pub(crate) const ROWS_PER_PROMPT: Number =
    Number { field: "rows_per_prompt", get: |t| t.rows_per_prompt, default: 1, most: 1000 };

pub(crate) const NUMBERS: [Number; 6] = [WORKERS, BATCH_SIZE, CHUNK_SIZE, MAX_ATTEMPTS, REPLICATES, ROWS_PER_PROMPT];
