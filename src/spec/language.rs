//! The language: the fields that all kinds share, one struct for each table of a spec. The doc comments are the
//! descriptions in the JSON Schema. Each kind of source, stage, provider and test decodes its further fields itself.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::limits::{Budget, Price};
use crate::assertion::Severity;
use crate::name::Name;
use crate::table::MaxFailed;

/// What stands at the top of a spec beside its tables.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The pipeline's name. Default: the name of the file.
    pub name: Option<Name>,
    /// Everything random derives from it; it is sent to models that take a seed. Left out: no seed is sent, but to
    /// replicates and respondents, which have seeds of their own.
    pub seed: Option<u64>,
    /// What a run may spend.
    pub budget: Option<Budget>,
    /// Whether paths may leave the folder of the spec. Default: false.
    #[serde(default)]
    pub allow_outside: bool,
}

/// A model: where it is and how it picks its words.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelTable {
    /// A provider type (`embedded`, `ollama`, `openai`, `anthropic`, `gemini`, `mock`) with its defaults, or a name in
    /// `[providers]`.
    pub provider: String,
    /// The provider's id of the model, such as `llama3.2`. Embedded: a built-in model (`fanfold models list`), the path
    /// of a `.gguf` file, or the name of a model that Ollama has pulled.
    pub model: String,
    /// 0 always takes the likeliest word; the highest is 1 for `anthropic`, 2 for `gemini`, 5 for others. Left out: not
    /// sent, the server decides (some models refuse any); embedded: 0.
    pub temperature: Option<f64>,
    /// The share of probability that words are drawn from (nucleus sampling), above 0 and at most 1.
    pub top_p: Option<f64>,
    /// The most tokens of a reply; a reply that is cut off is an error, not an answer. Left out: the server decides;
    /// anthropic: 1024, embedded: 512.
    pub max_tokens: Option<u32>,
    /// Texts that end the reply.
    #[serde(default)]
    pub stop: Vec<String>,
    /// The seed for this model. Default: the spec's. Anthropic has none: another seed asks again, and sends the same.
    pub seed: Option<u64>,
    /// What it costs, in US dollars per million tokens: `{ input = 0.15, output = 0.6 }`. Needed for a `budget` in `usd`,
    /// but of models of one's own (Ollama, embedded, mock).
    pub price: Option<Price>,
    /// Ollama: the context size in tokens, prompt and reply together. Always sent, since the server's own default
    /// depends on its memory. Default: 4096. Embedded: the same; by default the model's own.
    pub num_ctx: Option<u32>,
    /// How many tokens its context holds, prompt and reply together, for models on servers other than Ollama: a prompt that
    /// can't fit is not sent.
    pub context_tokens: Option<NonZeroU32>,
    /// Models that are asked in its place, one after the other, when it gives no answer to a row; a column
    /// `<stage>_model` says who answered. Default: none, the row fails.
    #[serde(default)]
    pub fallback: Vec<String>,
    /// What is added to the body of every request, verbatim and as part of the call: `extra = { top_k = 40 }`. A table is
    /// merged into the table of that name; what fanfold sets itself can't be set here. For providers with a server.
    #[serde(default)]
    pub extra: Map<String, Value>,
}

/// What all stages that ask models share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageTable {
    /// The source or the stage whose rows it reads.
    pub input: String,
    /// The models, by name.
    pub models: Vec<String>,
    /// A condition on the row, a Jinja expression over the input's columns such as `language != "en"`: a row for which it
    /// is false is skipped and goes on with nulls.
    pub when: Option<String>,
    /// `true`: every model reads every row. `false`: the models share the rows, dealt in turn by row number.
    /// Default: false.
    #[serde(default)]
    pub fanout: bool,
    /// Where the answers of a fan-out go: `wide` gives each model its own columns (`label_llama`), `long` gives each
    /// model its own row and a column `model`. Default: `wide`.
    #[serde(default)]
    pub layout: Layout,
    /// How often each row is asked of the same model; each time is a row of its own, numbered by a column `replicate`. The
    /// n-th is sent the model's seed + n - 1. Default: 1.
    pub replicates: Option<NonZeroU32>,
    /// Lanes of this stage. Default: 4.
    pub workers: Option<NonZeroU32>,
    /// Prompts that each lane keeps in flight. Default: 4.
    pub batch_size: Option<NonZeroU32>,
    /// Rows per part: the unit of commit and the bound of the memory. Taken up to the next multiple of `rows_per_prompt`.
    /// Default: 20000.
    pub chunk_size: Option<NonZeroU32>,
    /// How many rows are asked about in one call: rows 1 to n, n + 1 to 2n and so on, whatever is skipped among them. Rows
    /// whose answer does not come back as it should are asked again by halves, at last alone. A reply may have n times
    /// `max_tokens`, and some for the form. Models that share the rows are dealt packs. Default: 1.
    pub rows_per_prompt: Option<NonZeroU32>,
    /// A sample of rows that is asked one by one as well, to see what `rows_per_prompt` changes:
    /// `audit = { rows = 200 }`. The summary and the manifest compare the answers; the table has those of the packs.
    pub audit: Option<Audit>,
    /// Rows with their answers, which a model is shown before the question in this order:
    /// `examples = [{ row = { text = "..." }, answer = { label = "good" } }]`; the `answer` of a plain text is a text. They
    /// stand behind the system text, the same for all rows. For `analysis` and `fill-missing`; there an example is shown
    /// where the same keys are missing.
    pub examples: Option<Vec<ExampleTable>>,
    /// A file with such rows, instead of `examples`: CSV, TSV, JSON Lines or Parquet, relative to the spec. Columns of the
    /// input are the row, others the keys of the answer (`answer.year` where the input has a column `year` too); `answer`
    /// holds a plain text.
    pub examples_file: Option<String>,
    /// In which order the calls of a fan-out's part go: `row-major` or `model-major` (one model after the other, so that
    /// a server that holds one model at a time seldom switches). Default: `model-major` for Ollama and embedded
    /// models.
    pub order: Option<Order>,
    /// How many rows may fail, a number or a share such as `"5%"`: when more do, the stage stops early. Left out: the
    /// run goes to its end, and any failed row makes the exit code 1.
    pub max_failed: Option<MaxFailed>,
    /// How often a call is tried in all, failures and unusable answers together. Default: 3.
    pub max_attempts: Option<NonZeroU32>,
    /// What becomes of a prompt that is longer than the model's context: `error` fails the row, `truncate_middle` leaves out
    /// the middle of its longest message; the `notes` in the calls table say how many characters. Default: `error`.
    #[serde(default)]
    pub overflow: Overflow,
    /// What becomes of a reply that is not quite JSON: `none` asks again, `lenient` mends how it is written (quotes, commas,
    /// comments) where nothing that it says changes; the `notes` in the calls table say so. Default: `none`.
    #[serde(default)]
    pub repair: Repair,
}

/// A sample of rows that is asked one by one as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// How many rows, drawn from all of them by the spec's seed; those that are skipped drop out.
    pub rows: NonZeroU32,
}

/// A table to write.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputTable {
    /// The stage (or source) whose table it is.
    pub input: String,
    /// The file; `.parquet`, `.csv` or `.jsonl`.
    pub path: String,
}

/// Where the answers of a fan-out go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Side by side.
    #[default]
    Wide,
    /// One below the other.
    Long,
}

/// In which order the calls of a part go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// All models for a row, then the next row.
    RowMajor,
    /// All rows for a model, then the next model.
    ModelMajor,
}

/// What becomes of a prompt that is longer than the model's context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The row fails.
    #[default]
    Error,
    /// The middle of its longest message is left out.
    TruncateMiddle,
}

/// What becomes of a reply that is not quite JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// The model is asked again.
    #[default]
    None,
    /// How it is written is mended where nothing that it says changes.
    Lenient,
}

/// A row with its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExampleTable {
    /// The row: a value for each column of the input that the prompt reads.
    pub row: Map<String, Value>,
    /// The answer: a table of the keys that are asked for, or a text.
    pub answer: Value,
}

/// What all tests share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestTable {
    /// What it is called. Default: its table and what it says.
    pub name: Option<String>,
    /// The output, stage or source whose table it is about.
    pub input: String,
    /// What becomes of a test that does not hold: `error` makes the exit code of `fanfold test` 1, `warn` only tells it.
    /// Default: `error`.
    #[serde(default)]
    pub severity: Severity,
}

/// A whole number of a stage's table, from 1 to `most`.
pub struct Number {
    pub field: &'static str,
    get: fn(&StageTable) -> Option<NonZeroU32>,
    default: u32,
    pub most: u32,
}

impl Number {
    pub fn of(&self, table: &StageTable) -> u32 {
        (self.get)(table).map_or(self.default, NonZeroU32::get)
    }
}

pub const WORKERS: Number = Number { field: "workers", get: |t| t.workers, default: 4, most: 1024 };
pub const BATCH_SIZE: Number = Number { field: "batch_size", get: |t| t.batch_size, default: 4, most: 1024 };
pub const CHUNK_SIZE: Number = Number { field: "chunk_size", get: |t| t.chunk_size, default: 20_000, most: 10_000_000 };
pub const MAX_ATTEMPTS: Number = Number { field: "max_attempts", get: |t| t.max_attempts, default: 3, most: 100 };
pub const REPLICATES: Number = Number { field: "replicates", get: |t| t.replicates, default: 1, most: 10_000 };
pub const ROWS_PER_PROMPT: Number =
    Number { field: "rows_per_prompt", get: |t| t.rows_per_prompt, default: 1, most: 1000 };

/// All numbers of a stage's table.
pub const NUMBERS: [Number; 6] = [WORKERS, BATCH_SIZE, CHUNK_SIZE, MAX_ATTEMPTS, REPLICATES, ROWS_PER_PROMPT];
