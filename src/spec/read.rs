//! Reading: the document's tables become typed, each by its own struct; names do not resolve yet.
//!
//! The structs here are the spec's language for what all kinds share; their doc comments are the JSON Schema's
//! descriptions. What a kind adds to `[sources.x]`, `[stages.x]` and `[providers.x]` is decoded by that kind.

use std::num::NonZeroU32;
use std::sync::Arc;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::assertions::{RawTest, TestTable};
use super::examples::ExampleTable;
use super::limits::{Budget, Limits, Price};
use crate::assertion::ASSERTIONS;
use crate::document::{self, Document, Entry, Node, Path, Problems, Value};
use crate::name::{Name, listed, nearest};
use crate::provider::{Endpoint, PROVIDERS};
use crate::registry::{Kind, find};
use crate::source::{SOURCES, Source};
use crate::stage::{STAGES, StageConfig, TRANSFORMS, TransformConfig};
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
    pub extra: serde_json::Map<String, serde_json::Value>,
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

/// A stage.
pub enum RawStage {
    /// One that asks models: what all kinds share, and what its kind adds.
    Asks(StageTable, Box<dyn StageConfig>),
    /// One that makes a table of tables.
    Reshapes(Box<dyn TransformConfig>),
}

impl RawStage {
    /// The tables that it reads, each with the field that names it.
    pub fn inputs(&self) -> Vec<(&'static str, &str)> {
        match self {
            RawStage::Asks(table, _) => vec![("input", &table.input)],
            RawStage::Reshapes(config) => config.inputs(),
        }
    }
}

/// A spec whose tables are typed, but whose names are still words.
pub struct Raw {
    pub header: Header,
    /// The file's name without its extension.
    pub file: String,
    pub models: IndexMap<Name, ModelTable>,
    pub providers: IndexMap<Name, (Limits, Arc<dyn Endpoint>)>,
    pub sources: IndexMap<Name, Box<dyn Source>>,
    pub stages: IndexMap<Name, RawStage>,
    pub outputs: IndexMap<Name, OutputTable>,
    pub tests: Vec<RawTest>,
    /// Whether a table of this section could not be read, so that a missing name there is no news.
    pub broken: Vec<(&'static str, String)>,
}

impl Raw {
    /// Whether `[section.name]` stands in the document but could not be read.
    pub fn is_broken(&self, section: &str, name: &str) -> bool {
        self.broken.iter().any(|(s, n)| *s == section && n == name)
    }
}

/// The sections of a spec.
pub const SECTIONS: [&str; 6] = ["models", "providers", "sources", "stages", "outputs", "tests"];

/// Reads every table of the document; reports all problems.
pub fn read(document: &Document, problems: &mut Problems) -> Option<Raw> {
    let root = &document.root;
    let Value::Table(entries) = &root.value else {
        problems.error("wrong-type", Path::root(), "a spec is a table, with `[models]`, `[sources]`, `[stages]`");
        return None;
    };
    let header = document::fields_of::<Header>();
    let known: Vec<&str> = header.iter().copied().chain(SECTIONS).collect();
    let own = pick(root, |key| header.contains(&key));
    unknown(entries, &known, &Path::root(), problems);
    let mut raw = Raw {
        header: document::decode(&own, &Path::root(), problems).unwrap_or_default(),
        file: document.name.rsplit(['/', '\\']).next().and_then(|f| f.split('.').next()).unwrap_or_default().to_owned(),
        models: IndexMap::new(),
        providers: IndexMap::new(),
        sources: IndexMap::new(),
        stages: IndexMap::new(),
        outputs: IndexMap::new(),
        tests: Vec::new(),
        broken: Vec::new(),
    };
    for (name, node, path) in tables(root, "models", problems) {
        keep(document::decode(node, &path, problems), "models", name, &mut raw.models, &mut raw.broken);
    }
    for (name, node, path) in tables(root, "providers", problems) {
        let shared = document::fields_of::<Limits>();
        let endpoint = typed(PROVIDERS, "provider", node, &path, shared, problems);
        let limits = document::decode(&pick(node, |key| shared.contains(&key)), &path, problems);
        keep(limits.zip(endpoint.map(|(_, e)| e)), "providers", name, &mut raw.providers, &mut raw.broken);
    }
    for (name, node, path) in tables(root, "sources", problems) {
        let source = typed(SOURCES, "source", node, &path, &[], problems);
        let source = source.map(|(_, mut source)| {
            source.seed(raw.header.seed);
            source
        });
        keep(source, "sources", name, &mut raw.sources, &mut raw.broken);
    }
    for (name, node, path) in tables(root, "stages", problems) {
        keep(stage(node, &path, problems), "stages", name, &mut raw.stages, &mut raw.broken);
    }
    for (name, node, path) in tables(root, "outputs", problems) {
        keep(document::decode(node, &path, problems), "outputs", name, &mut raw.outputs, &mut raw.broken);
    }
    for (node, path) in list(root, "tests", problems) {
        let shared = document::fields_of::<TestTable>();
        let assertion = typed(ASSERTIONS, "test", node, &path, shared, problems);
        let table = document::decode(&pick(node, |key| shared.contains(&key)), &path, problems);
        if let Some((table, (kind, config))) = table.zip(assertion) {
            raw.tests.push(RawTest { path, table, kind: kind.name, config });
        }
    }
    Some(raw)
}

/// Reads a stage of either kind.
fn stage(node: &Node, path: &Path, problems: &mut Problems) -> Option<RawStage> {
    let kind = node.get("type").and_then(Node::as_str);
    if TRANSFORMS.iter().any(|reshape| Some(reshape.name) == kind) {
        return typed(TRANSFORMS, "stage", node, path, &[], problems).map(|(_, config)| RawStage::Reshapes(config));
    }
    let shared = document::fields_of::<StageTable>();
    let stage =
        typed_of(STAGES, &TRANSFORMS.iter().map(|r| r.name).collect::<Vec<_>>(), "stage", node, path, shared, problems);
    let table = document::decode(&pick(node, |key| shared.contains(&key)), path, problems);
    table.zip(stage).map(|(table, (_, config))| RawStage::Asks(table, config))
}

fn keep<T>(
    item: Option<T>,
    section: &'static str,
    name: Name,
    kept: &mut IndexMap<Name, T>,
    broken: &mut Vec<(&'static str, String)>,
) {
    match item {
        Some(item) => drop(kept.insert(name, item)),
        None => broken.push((section, name.into())),
    }
}

/// The tables `[section.name]` with their paths; reports names that are none.
fn tables<'a>(root: &'a Node, section: &str, problems: &mut Problems) -> Vec<(Name, &'a Node, Path)> {
    let path = Path::root().key(section);
    let Some(node) = root.get(section) else { return Vec::new() };
    let Value::Table(entries) = &node.value else {
        let message = format!("`{section}` holds named tables, such as `[{section}.a]`, not {}", node.kind_name());
        problems.error("wrong-type", path, message);
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries {
        match Name::new(entry.key.as_str()) {
            Ok(name) => found.push((name, &entry.node, path.key(&entry.key))),
            Err(message) => drop(problems.error_at_key("bad-name", path.key(&entry.key), message)),
        }
    }
    found
}

/// The tables `[[section]]` with their paths.
fn list<'a>(root: &'a Node, section: &str, problems: &mut Problems) -> Vec<(&'a Node, Path)> {
    let path = Path::root().key(section);
    let Some(node) = root.get(section) else { return Vec::new() };
    if !matches!(node.value, Value::List(_)) {
        let message = format!("`{section}` is a list of tables, not {}", node.kind_name());
        problems.error("wrong-type", path, message);
        return Vec::new();
    }
    node.items().iter().enumerate().map(|(i, node)| (node, path.index(i))).collect()
}

/// Reads `type` by hand and lets that kind decode the rest; `shared` fields are somebody else's.
fn typed<T>(
    kinds: &'static [Kind<T>],
    what: &str,
    node: &Node,
    path: &Path,
    shared: &[&str],
    problems: &mut Problems,
) -> Option<(&'static Kind<T>, T)> {
    typed_of(kinds, &[], what, node, path, shared, problems)
}

/// The same where `others` are types too, of another registry.
fn typed_of<T>(
    kinds: &'static [Kind<T>],
    others: &[&'static str],
    what: &str,
    node: &Node,
    path: &Path,
    shared: &[&str],
    problems: &mut Problems,
) -> Option<(&'static Kind<T>, T)> {
    let Value::Table(entries) = &node.value else {
        problems.error("wrong-type", path.clone(), format!("a {what} is a table, not {}", node.kind_name()));
        return None;
    };
    let Some(kind) = node.get("type") else {
        let names = listed(kinds.iter().map(|k| k.name).chain(others.iter().copied()));
        problems
            .error("missing-field", path.clone(), "`type` is missing")
            .help(format!("the {what} types are {names}"));
        return None;
    };
    let Some(name) = kind.as_str() else {
        problems.error("wrong-type", path.key("type"), format!("`type` must be text, not {}", kind.kind_name()));
        return None;
    };
    let kind = find(kinds, others, name, (what, &path.key("type")), problems)?;
    let own = (kind.fields)();
    let known: Vec<&str> = ["type"].iter().chain(shared).chain(own).copied().collect();
    let before = problems.mark();
    unknown(entries, &known, path, problems);
    let unknown_fields = problems.had_errors_since(before);
    let decoded = (kind.decode)(&pick(node, |key| own.contains(&key)), path, problems);
    decoded.filter(|_| !unknown_fields).map(|item| (kind, item))
}

/// The node with only those of its entries whose key is wanted.
fn pick(node: &Node, wanted: impl Fn(&str) -> bool) -> Node {
    let value = match &node.value {
        Value::Table(entries) => Value::Table(entries.iter().filter(|e| wanted(&e.key)).cloned().collect()),
        other => other.clone(),
    };
    Node { value, span: node.span.clone() }
}

fn unknown(entries: &[Entry], known: &[&str], path: &Path, problems: &mut Problems) {
    for entry in entries.iter().filter(|e| !known.contains(&e.key.as_str())) {
        let message = format!("there is no field `{}` here", entry.key);
        let problem = problems.error_at_key("unknown-field", path.key(&entry.key), message);
        match nearest(&entry.key, known.iter().copied()) {
            Some(near) => problem.meant(Some(near)),
            None => problem.help(format!("the fields are {}", listed(known.iter().copied()))),
        };
    }
}
