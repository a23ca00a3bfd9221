//! `type = "analysis"`: one question about each row, answered with a text or with typed columns.

use std::sync::Arc;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ask::{AnswerColumns, Ask, BindContext, Stage, StageConfig, StageInfo, distinct};
use super::distributed::Distributions;
use super::evidence::{Evidence, NO_QUOTE};
use super::question::{AnswerFields, CutOff, TextColumn, Written};
use super::row_prompt::{RowFields, RowPrompt};
use super::view::View;
use crate::document::Problems;
use crate::prompt::{self, Addressee, Answer, Expect, Failure, FailureKind, FieldSpec, Message, Prompt};
use crate::registry::Kind;
use crate::table::{Cell, Row};

pub(crate) const KIND: Kind<Box<dyn StageConfig>> =
    Kind::new::<Analysis>("analysis", "One question about each row, answered with a text or with typed columns.");

/// Why a stage with a distribution has no examples.
pub(crate) const NO_EXAMPLES: &str =
    "an answer with `distribution` can't have examples: an example shows one answer, not how probable each is";

/// One question about each row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Analysis {
    /// The question, a Jinja template: `{{ column }}` for any column of the input, `{{ text }}` for the text column,
    /// `{{ row["a column"] }}` for names with spaces. Left out: the text column alone, or `columns`.
    prompt: Option<String>,
    /// A file with the question, instead of `prompt`; relative to the spec.
    prompt_file: Option<String>,
    /// Columns that follow the prompt, each on a line with its name: `title: ...`. Empty ones are left out. A row where
    /// all are empty fails if the prompt reads no other column.
    columns: Option<Vec<String>>,
    /// Instructions for the model that all rows share, without variables.
    system: Option<String>,
    /// The column that the prompt can use as `{{ text }}`; a row where it is empty is skipped.
    text_column: Option<String>,
    /// The keys of a typed answer; each becomes a column. Left out: one text column named after the stage.
    output: Option<IndexMap<String, FieldSpec>>,
    /// Shorthand for `output`: these keys, as nullable texts.
    json_keys: Option<Vec<String>>,
    /// The treatment of a plain text that was cut off at `max_tokens`: `error` asks for a briefer one, and in the end the
    /// row fails; `keep` takes it and adds the column `<stage>_cut_off`. Default: `error`.
    #[serde(default)]
    cut_off: CutOff,
    /// Whether to ask for the words that support each key and to check that the text column contains them. Adds
    /// `<key>_quote`, `_quote_start` and `_quote_end` (characters from 0, the end not included) and `_quote_found`:
    /// `exact`, `normalised` (ignoring case, white space, quotation marks and Unicode forms), `fuzzy` or `no`. Default:
    /// false.
    #[serde(default)]
    quotes: bool,
    /// The minimum similarity of a `fuzzy` quote: 1 - edit distance / length, from 0.5 to 1. Left out: quotes must be
    /// exact or normalised.
    quote_ratio: Option<f64>,
}

impl StageConfig for Analysis {
    fn bind(&self, context: &BindContext<'_>, problems: &mut Problems) -> Option<Stage> {
        let before = problems.mark();
        let text = TextColumn::find(context, self.text_column.as_deref(), problems);
        let answer =
            AnswerFields { output: self.output.as_ref(), json_keys: self.json_keys.as_ref(), cut_off: self.cut_off };
        let expect = answer.expect(context, problems);
        let evidence = Evidence::bind(context, (self.quotes, self.quote_ratio), text, problems);
        if self.quotes && expect.as_ref().is_some_and(Expect::is_text) {
            let message = "a plain text has no keys that a quote could support: write `output`";
            problems.error("bad-value", context.path.key("quotes"), message);
        }
        let written = Written { source: self.prompt.as_deref(), file: self.prompt_file.as_deref() };
        let (columns, system) = (self.columns.as_deref(), self.system.as_deref());
        let fields = RowFields { written, text, columns, system };
        let prompt = fields.bind(context, problems)?;
        if problems.had_errors_since(before) {
            return None;
        }
        let constant = fields.check(context, &prompt, problems);
        let expect = expect?;
        let quote = |key: &str| evidence.iter().flat_map(|_| Evidence::columns(key)).collect();
        let columns = AnswerColumns::of(context.name, &expect, quote);
        let expect = match expect {
            Expect::Record(fields) => Expect::Record(Evidence::asked(evidence.as_ref(), fields.iter())),
            text => text,
        };
        let system = prompt::system([self.system.as_deref(), expect.instruction().as_deref()]);
        let distributions = Distributions::of(&expect, self.system.as_deref());
        let schema = expect.schema();
        let mut meaning = json!({
            "type": KIND.name,
            "prompt": prompt.source(),
            "system": system,
            "text_column": self.text_column,
            "schema": schema,
            "loose": expect.is_loose(),
            "columns": columns.writes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        });
        if let Some(evidence) = &evidence {
            meaning["quote_ratio"] = json!(evidence.ratio());
        }
        if let Some(distributions) = &distributions {
            meaning["distributions"] = distributions.meaning();
        }
        if let Some(block) = prompt.block() {
            meaning["prompt_columns"] = json!(block);
        }
        let info = StageInfo {
            reads: distinct(prompt.reads().into_iter().chain(text.index)),
            uses: distinct(prompt.uses().into_iter().chain(text.index)),
            needs: text.index.into_iter().collect(),
            probabilities: expect.needs_probabilities(),
            constant,
            refuses_examples: distributions.as_ref().map(|_| NO_EXAMPLES),
            most_prompts: 1 + distributions.as_ref().map_or(0, Distributions::more_prompts) as u64,
            ..StageInfo::new(KIND.name, columns, schema.clone(), meaning)
        };
        let (width, schema, expect) = (info.writes.len(), schema.map(Arc::new), Arc::new(expect));
        let ask = BoundAnalysis { prompt, system, expect, schema, evidence, distributions, width };
        Some(Stage { info, ask: Box::new(ask) })
    }
}

#[derive(Debug)]
struct BoundAnalysis {
    prompt: RowPrompt,
    system: Option<String>,
    expect: Arc<Expect>,
    schema: Option<Arc<Value>>,
    evidence: Option<Evidence>,
    distributions: Option<Distributions>,
    width: usize,
}

impl Ask for BoundAnalysis {
    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure> {
        if !so_far.is_empty() {
            let problem = self.distributions.as_ref().and_then(|distributions| distributions.problem(so_far));
            return problem.map_or(Ok(Vec::new()), |problem| Err(FailureKind::OptionMass.because(problem)));
        }
        let question = self.prompt.message(row)?;
        let system = self.system.iter().map(|system| Message::system(system).for_all());
        let messages = system.chain([question]).collect();
        let (expect, schema) = (self.expect.clone(), self.schema.clone());
        let first = Prompt { messages, expect, schema, respondent: None, pack: None, to: Addressee::Row };
        let more = self.distributions.as_ref().map(|distributions| distributions.prompts(&first)).unwrap_or_default();
        Ok([first].into_iter().chain(more).collect())
    }

    fn cells(&self, row: Row<'_>, _: &str, answers: &[Answer]) -> Vec<Cell> {
        let is_plain = self.evidence.is_none() && self.distributions.is_none();
        let Expect::Record(fields) = &*self.expect else { return answers.concat() };
        if is_plain {
            return answers.concat();
        }
        let mut answer = answers.first().cloned().unwrap_or_default().into_iter();
        let mut cells = Vec::with_capacity(self.width);
        // A quote comes before each value.
        let quotes = usize::from(self.evidence.is_some());
        for field in fields.iter().skip(quotes).step_by(1 + quotes) {
            let words = self.evidence.as_ref().map(|evidence| (evidence, answer.next().unwrap_or(Cell::Null)));
            let value: Vec<Cell> = answer.by_ref().take(field.columns().count()).collect();
            answer.by_ref().take(usize::from(field.masses)).for_each(drop);
            let quote = words.map(|(evidence, words)| match value.first() {
                Some(Cell::Null) => NO_QUOTE,
                _ => evidence.quote(row, words),
            });
            cells.extend(value);
            cells.extend(self.distributions.iter().flat_map(|of| of.cells(&field.name, answers)));
            cells.extend(quote.into_iter().flatten());
        }
        cells
    }

    fn unanswered(&self, row: Row<'_>, answers: &[Answer]) -> Vec<Cell> {
        match &self.distributions {
            // Only the probabilities are missing.
            Some(distributions) if answers.len() > distributions.more_prompts() => self.cells(row, "", answers),
            _ => vec![Cell::Null; self.width],
        }
    }

    fn views(&self, info: &StageInfo) -> Vec<View> {
        let typed = info.writes.iter().zip(&info.types).filter(|(_, kind)| kind.is_some());
        let answers: Vec<String> = typed.map(|(column, _)| column.name.clone()).collect();
        info.views().into_iter().chain(self.evidence.iter().map(|evidence| evidence.view(answers.clone()))).collect()
    }
}
