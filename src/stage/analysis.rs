//! `type = "analysis"`: one question about each row, answered with a text or with typed columns.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::question::{self, Written};
use super::{Site, Stage, StageConfig};
use crate::document::{self, Diagnostic};
use crate::prompt::{Answer, Bound, Expect, Field, FieldSpec, Message, Prompt};
use crate::registry::Kind;
use crate::table::{Cell, Column, Row};

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
}

impl Analysis {
    /// What an answer is; reports contradictions.
    fn expect(&self, site: &Site<'_>, problems: &mut Vec<Diagnostic>) -> Option<Expect> {
        let mut bad = |key: &str, message: String| {
            problems.push(Diagnostic::error("bad-value", site.path.key(key), message));
        };
        match (&self.output, &self.json_keys) {
            (None, None) => Some(Expect::Text),
            (Some(_), Some(_)) => {
                bad("json_keys", "a stage has `output` or `json_keys`, not both".to_owned());
                None
            }
            (None, Some(keys)) => {
                let twice: HashSet<&String> = keys.iter().collect();
                if keys.is_empty() || twice.len() < keys.len() || keys.iter().any(String::is_empty) {
                    bad("json_keys", "`json_keys` must name at least one key, and each once".to_owned());
                    return None;
                }
                Some(Expect::Record(keys.iter().map(|k| Field::loose(k)).collect()))
            }
            (Some(output), None) if output.is_empty() => {
                bad("output", "`output` has no keys".to_owned());
                None
            }
            (Some(output), None) => {
                let mut fields = Vec::new();
                for (name, spec) in output {
                    match spec.field(name) {
                        Ok(field) => fields.push(field),
                        Err((key, message)) => {
                            let path = site.path.key("output").key(name).key(key);
                            problems.push(Diagnostic::error("bad-value", path, message));
                        }
                    }
                }
                (fields.len() == output.len()).then_some(Expect::Record(fields))
            }
        }
    }
}

impl StageConfig for Analysis {
    fn bind(&self, site: &Site<'_>, problems: &mut Vec<Diagnostic>) -> Option<Arc<dyn Stage>> {
        let before = problems.len();
        let text = self.text_column.as_deref().and_then(|name| question::column(site, "text_column", name, problems));
        let expect = self.expect(site, problems);
        let written = Written { source: self.prompt.as_deref(), file: self.prompt_file.as_deref() };
        if !written.is_given() {
            let problem = Diagnostic::error("missing-field", site.path.clone(), "`prompt` is missing");
            problems.push(problem.help("write the question as `prompt = \"...\"`, or name a file in `prompt_file`"));
            return None;
        }
        let prompt = written.bind(site, text, self.text_column.is_some(), problems)?;
        if problems[before..].iter().any(Diagnostic::is_error) {
            return None;
        }
        let expect = expect?;
        let writes = expect.columns(site.name).into_iter().map(|(name, kind)| Column::new(name, kind)).collect();
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
            writes,
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
    writes: Vec<Column>,
    reads: Vec<usize>,
    needs: Vec<usize>,
}

impl Stage for BoundAnalysis {
    fn writes(&self) -> &[Column] {
        &self.writes
    }

    fn origin(&self, write: usize) -> Vec<&str> {
        let Expect::Record(fields) = &*self.expect else { return Vec::new() };
        let columns = fields.iter().flat_map(|f| std::iter::repeat_n(f.name.as_str(), 1 + usize::from(f.prob)));
        columns.skip(write).take(1).flat_map(|key| ["output", key]).collect()
    }

    fn reads(&self) -> &[usize] {
        &self.reads
    }

    fn needs(&self) -> &[usize] {
        &self.needs
    }

    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, String> {
        if !so_far.is_empty() {
            return Ok(Vec::new());
        }
        let question = Message::user(self.prompt.render(row, &[]).map_err(|message| format!("template: {message}"))?);
        let messages = self.system.iter().map(Message::system).chain([question]).collect();
        Ok(vec![Prompt { messages, expect: self.expect.clone(), schema: self.schema.clone() }])
    }

    fn cells(&self, _: Row<'_>, _: &str, answers: &[Answer]) -> Vec<Cell> {
        answers.concat()
    }

    fn needs_probabilities(&self) -> bool {
        self.expect.needs_probabilities()
    }

    fn meaning(&self) -> Value {
        json!({
            "type": "analysis",
            "prompt": self.prompt.source(),
            "system": self.system,
            "text_column": self.text_column,
            "schema": self.schema.as_deref(),
            "loose": self.expect.is_loose(),
            "columns": self.writes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        })
    }
}
