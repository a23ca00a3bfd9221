//! `type = "analysis"`: one question about each row, answered with a text or with typed columns.

use std::sync::Arc;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::evidence::{Evidence, NO_QUOTE};
use super::question::{self, Answered, Written};
use super::{Site, Stage, StageConfig};
use crate::document::{self, Problems};
use crate::prompt::{Answer, Bound, Expect, Failure, FailureKind, FieldSpec, Message, Prompt};
use crate::registry::Kind;
use crate::table::{Cell, Column, Row, Type};

/// The row of the registry.
pub const KIND: Kind<Box<dyn StageConfig>> = Kind {
    name: "analysis",
    about: "One question about each row, answered with a text or with typed columns.",
    schema: |generator| generator.subschema_for::<Analysis>(),
    fields: document::fields_of::<Analysis>,
    decode: |node, path, problems| {
        document::decode::<Analysis>(node, path, problems).map(|a| Box::new(a) as Box<dyn StageConfig>)
    },
};

/// One question about each row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Analysis {
    /// The question, a Jinja template: `{{ column }}` for any column of the input, `{{ text }}` for the text column,
    /// `{{ row["a column"] }}` for names with spaces.
    prompt: Option<String>,
    /// A file with the question, instead of `prompt`; relative to the spec.
    prompt_file: Option<String>,
    /// What all rows share: instructions for the model, without variables.
    system: Option<String>,
    /// The column that `{{ text }}` stands for; a row where it is empty is skipped.
    text_column: Option<String>,
    /// The keys of a typed answer; each becomes a column. Left out: one text column named after the stage.
    output: Option<IndexMap<String, FieldSpec>>,
    /// Shorthand for `output`: these keys, as texts that may be null.
    json_keys: Option<Vec<String>>,
    /// Whether to ask for the words that support each key and to check that they stand in the text column. Adds
    /// `<key>_quote`, `_quote_start` and `_quote_end` (characters from 0, the end not included) and `_quote_found`: `exact`,
    /// `normalised` (but for case, white space, quotation marks and Unicode forms), `fuzzy` or `no`. Default: false.
    #[serde(default)]
    quotes: bool,
    /// The least similarity at which a quote counts as found `fuzzy`: 1 - edit distance / length, from 0.5 to 1. Left out:
    /// quotes must be exact or normalised.
    quote_ratio: Option<f64>,
}

impl StageConfig for Analysis {
    fn bind(&self, site: &Site<'_>, problems: &mut Problems) -> Option<Arc<dyn Stage>> {
        let before = problems.mark();
        let text = self.text_column.as_deref().and_then(|name| question::column(site, "text_column", name, problems));
        let answered = Answered { output: self.output.as_ref(), json_keys: self.json_keys.as_ref() };
        let expect = answered.expect(site, problems);
        let asked = (self.quotes, self.quote_ratio);
        let evidence = Evidence::bind(site, asked, (self.text_column.as_deref(), text), problems);
        if self.quotes && expect == Some(Expect::Text) {
            let message = "a plain text has no keys that a quote could support: write `output`";
            problems.error("bad-value", site.path.key("quotes"), message);
        }
        let written = Written { source: self.prompt.as_deref(), file: self.prompt_file.as_deref() };
        if !written.is_given() {
            problems
                .error("missing-field", site.path.clone(), "`prompt` is missing")
                .help("write the question as `prompt = \"...\"`, or name a file in `prompt_file`");
            return None;
        }
        let prompt = written.bind(site, text, self.text_column.is_some(), problems)?;
        if problems.had_errors_since(before) {
            return None;
        }
        let mut writes: Vec<Column> = Vec::new();
        let mut origins = Vec::new();
        let expect = match expect? {
            Expect::Text => {
                writes.push(Column::new(site.name, Type::Text));
                Expect::Text
            }
            Expect::Record(fields) => {
                for field in &fields {
                    writes.extend(field.columns().map(|(name, kind)| Column::new(name, kind)));
                    writes.extend(evidence.iter().flat_map(|_| Evidence::columns(&field.name)));
                    origins.resize(writes.len(), field.name.clone());
                }
                Expect::Record(Evidence::asked(evidence.as_ref(), fields.iter()))
            }
        };
        let mut reads = prompt.reads();
        reads.extend(text);
        reads.sort_unstable();
        reads.dedup();
        let instruction = expect.instruction();
        let system = [self.system.clone(), instruction].into_iter().flatten().collect::<Vec<_>>().join("\n\n");
        Some(Arc::new(BoundAnalysis {
            prompt,
            system: (!system.is_empty()).then_some(system),
            text_column: self.text_column.clone(),
            schema: expect.schema().map(Arc::new),
            expect: Arc::new(expect),
            evidence,
            writes,
            origins,
            reads,
            needs: text.into_iter().collect(),
        }))
    }
}

/// An analysis bound to its input.
#[derive(Debug)]
struct BoundAnalysis {
    prompt: Bound,
    system: Option<String>,
    /// The column that `text` stands for.
    text_column: Option<String>,
    expect: Arc<Expect>,
    schema: Option<Arc<Value>>,
    evidence: Option<Evidence>,
    writes: Vec<Column>,
    /// The key in `output` of each of these columns.
    origins: Vec<String>,
    reads: Vec<usize>,
    needs: Vec<usize>,
}

impl Stage for BoundAnalysis {
    fn writes(&self) -> &[Column] {
        &self.writes
    }

    fn origin(&self, write: usize) -> Vec<&str> {
        self.origins.get(write).iter().flat_map(|key| ["output", key.as_str()]).collect()
    }

    fn labels(&self, write: usize) -> Vec<String> {
        let Expect::Record(fields) = &*self.expect else { return Vec::new() };
        let field = fields.iter().find(|field| field.name == self.writes[write].name);
        field.map(|field| field.kind.labels()).unwrap_or_default()
    }

    fn reads(&self) -> &[usize] {
        &self.reads
    }

    fn needs(&self) -> &[usize] {
        &self.needs
    }

    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure> {
        if !so_far.is_empty() {
            return Ok(Vec::new());
        }
        let question = self.prompt.message(row).map_err(|message| FailureKind::Template.because(message))?;
        let system = self.system.iter().map(|system| Message::system(system).for_all());
        let messages = system.chain([question]).collect();
        let (expect, schema) = (self.expect.clone(), self.schema.clone());
        Ok(vec![Prompt { messages, expect, schema, respondent: None, pack: None }])
    }

    fn cells(&self, row: Row<'_>, _: &str, answers: &[Answer]) -> Vec<Cell> {
        let (Some(evidence), Expect::Record(fields)) = (&self.evidence, &*self.expect) else { return answers.concat() };
        let mut answer = answers.concat().into_iter();
        let mut cells = Vec::with_capacity(self.writes.len());
        // The fields come in pairs, each value behind its quote.
        for field in fields.iter().skip(1).step_by(2) {
            let words = answer.next().unwrap_or(Cell::Null);
            let value: Vec<Cell> = answer.by_ref().take(field.columns().count()).collect();
            let quote = if value.first() == Some(&Cell::Null) { NO_QUOTE } else { evidence.quote(row, words) };
            cells.extend(value.into_iter().chain(quote));
        }
        cells
    }

    fn needs_probabilities(&self) -> bool {
        self.expect.needs_probabilities()
    }

    fn meaning(&self) -> Value {
        let mut meaning = json!({
            "type": "analysis",
            "prompt": self.prompt.source(),
            "system": self.system,
            "text_column": self.text_column,
            "schema": self.schema.as_deref(),
            "loose": self.expect.is_loose(),
            "columns": self.writes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        });
        if let Some(evidence) = &self.evidence {
            meaning["quote_ratio"] = json!(evidence.ratio());
        }
        meaning
    }
}
