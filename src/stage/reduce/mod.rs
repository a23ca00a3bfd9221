//! `type = "reduce"`: one answer about many rows. [`gather`] makes one row per group, and [`asking`] asks about it.

mod asking;
mod gather;

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ask::{AnswerColumns, BindContext, Broken, Stage, StageConfig, StageInfo, distinct};
use super::question::{self, AnswerFields, CutOff, TextColumn, Written};
use super::transform::{self, Transform, TransformContext};
use crate::document::{Path, Problems};
use crate::prompt::{self, Bound, FieldSpec, Template};
use crate::registry::Kind;

use asking::{BoundReduce, Strategy};

pub(super) use asking::{hidden, shown};
pub(super) use gather::{Gather, group_columns, group_fields};

pub(crate) const KIND: Kind<Box<dyn StageConfig>> =
    Kind::new::<Reduce>("reduce", "One answer about many rows: of each group, or of the whole table.");

/// One answer about many rows. The table has a row for each group, in the order of their first rows: the grouping
/// columns, `<stage>_rows` (rows that the prompt contains), `<stage>_left_out` (rows left out because an answer that
/// the prompt reads is missing; failed answers never go into a prompt) and the answer. The columns that the prompt
/// reads are held in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reduce {
    /// The columns whose values define a group. Left out: the whole table is one group.
    #[serde(default)]
    group_by: Vec<String>,
    /// The columns that a group's rows are ordered by; nulls last, equal rows in the order of the input. Left out: the
    /// order of the input.
    #[serde(default)]
    order_by: Vec<String>,
    /// Whether the order is descending. Default: false.
    #[serde(default)]
    descending: bool,
    /// The question, a Jinja template over the group's rows: `{% for row in rows %}{{ row.column }}{% endfor %}`. The
    /// grouping columns are variables too.
    prompt: Option<String>,
    /// A file with the question, instead of `prompt`; relative to the spec.
    prompt_file: Option<String>,
    /// Instructions for the model that all groups share, without variables.
    system: Option<String>,
    /// The keys of a typed answer; each becomes a column. Left out: one text column named after the stage.
    output: Option<IndexMap<String, FieldSpec>>,
    /// Shorthand for `output`: these keys, as nullable texts.
    json_keys: Option<Vec<String>>,
    /// The treatment of a plain text that was cut off at `max_tokens`: `error` asks for a briefer one, and in the end the
    /// row fails; `keep` takes it and adds the column `<stage>_cut_off`. Default: `error`.
    #[serde(default)]
    cut_off: CutOff,
    /// Treatment of a group with more than `max_input_tokens`: `single` fails it; `tree` asks about as many rows at a
    /// time as fit, then about these answers, level by level; `fold` asks about consecutive rows together with the
    /// answer so far. Default: `tree`.
    #[serde(default)]
    strategy: Strategy,
    /// The most tokens of a prompt, estimated as 4 bytes per token. Left out: each group is one prompt.
    max_input_tokens: Option<u32>,
    /// The question that combines partial answers, a Jinja template. `tree`: over `answers`, a list of texts, or of
    /// objects with the keys of `output`. `fold`: over `answer`, the answer so far, and `rows`. Left out: fanfold's own
    /// wording.
    combine: Option<String>,
}

const GIVEN: [&str; 3] = ["rows", "answers", "answer"];

impl Reduce {
    fn settings(&self, context: &BindContext<'_>, problems: &mut Problems) {
        let mut bad = |key: &str, message: &str| {
            problems.error("bad-value", context.path.key(key), message);
        };
        if self.max_input_tokens.is_none() && self.strategy == Strategy::Fold {
            bad("strategy", "a fold goes by `max_input_tokens`, which is missing");
        }
        if self.strategy == Strategy::Single && self.combine.is_some() {
            bad("combine", "with `strategy = \"single\"` there is nothing to combine");
        }
        if self.descending && self.order_by.is_empty() {
            bad("descending", "`descending` is for `order_by`, which is missing");
        }
        let with_distribution = self.output.iter().flatten().filter(|(_, field)| !field.distribution.is_empty());
        for (name, _) in with_distribution {
            let message = "a group may be asked about in parts, which have no distribution in common";
            problems
                .error("bad-value", context.path.key("output").key(name).key("distribution"), message)
                .help("leave it out; `analysis` and `survey` have distributions");
        }
    }

    fn templates(&self, read: &dyn Fn(&str) -> Result<String, String>) -> Vec<(&'static str, String)> {
        let file = self.prompt_file.as_deref().and_then(|file| read(file).ok());
        let found = [("prompt", self.prompt.clone()), ("prompt_file", file), ("combine", self.combine.clone())];
        found.into_iter().filter_map(|(key, source)| Some((key, source?))).collect()
    }
}

impl StageConfig for Reduce {
    fn gathers(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Result<Option<Transform>, Broken> {
        let before = problems.mark();
        let input = &context.inputs[0];
        let by = group_columns(context, "group_by", &self.group_by, problems);
        let order = group_columns(context, "order_by", &self.order_by, problems);
        // A broken template reads nothing here; `bind` reports it.
        let names: Vec<String> = input.schema.fields().iter().map(|f| f.name().clone()).collect();
        let mut reads = Vec::new();
        let group = Arc::new(Schema::new(group_fields(context, &by)));
        for (key, source) in self.templates(context.read) {
            let Some(template) = Template::new(&source).ok().and_then(|t| t.bind(&group, None, &GIVEN).ok()) else {
                continue;
            };
            let trial = template.trial("rows", &names);
            reads.extend(trial.reads.iter().filter_map(|name| names.iter().position(|other| other == name)));
            for (name, near) in trial.unknown {
                let message = format!("the template uses `{name}` of a row, but `{}` has no such column", input.name);
                problems.error("unknown-variable", context.path.key(key), message).meant(near.as_deref());
            }
        }
        let reads: Vec<usize> = distinct(reads);
        let mut fields = group_fields(context, &by);
        for column in &reads {
            let field = input.schema.field(*column);
            fields.push(Field::new(hidden(field.name()), DataType::new_list(field.data_type().clone(), true), true));
        }
        let schema = transform::schema(fields, context.path, problems).ok_or(Broken)?;
        if problems.had_errors_since(before) {
            return Err(Broken);
        }
        let used = by.iter().chain(&order).chain(&reads);
        let leaves_out = distinct(used.flat_map(|column| input.guards[*column].iter().copied()));
        let input = input.schema.clone();
        let gather = Gather { schema, by, order, descending: self.descending, reads, leaves_out, input };
        Ok(Some(gather.transform()))
    }

    fn bind(&self, context: &BindContext<'_>, problems: &mut Problems) -> Option<Stage> {
        let before = problems.mark();
        self.settings(context, problems);
        let answer =
            AnswerFields { output: self.output.as_ref(), json_keys: self.json_keys.as_ref(), cut_off: self.cut_off };
        let expect = answer.expect(context, problems);
        let written = Written { source: self.prompt.as_deref(), file: self.prompt_file.as_deref() };
        let fields = context.input.fields();
        let shown = fields.len() - context.hidden;
        let group = Arc::new(Schema::new(fields[..shown].to_vec()));
        let groups = BindContext { input: &group, hidden: 0, ..*context };
        let text = TextColumn::default();
        let prompt = written.bind(&groups, text, &["rows"], problems);
        uses(prompt.as_ref(), &["rows"], context.path.key("prompt"), problems);
        let combine = self.combine.as_deref().filter(|_| self.strategy != Strategy::Single).and_then(|source| {
            let given: &[&str] = if self.strategy == Strategy::Tree { &["answers"] } else { &["answer", "rows"] };
            let combine = question::bind(&groups, (source, "combine"), text, given, problems);
            uses(combine.as_ref(), given, context.path.key("combine"), problems);
            combine
        });
        if problems.had_errors_since(before) {
            return None;
        }
        let (expect, prompt) = (expect?, prompt?);
        let columns = AnswerColumns::of(context.name, &expect, |_| Vec::new());
        let system = prompt::system([self.system.as_deref(), expect.instruction().as_deref()]);
        let tokens = self.max_input_tokens.map(u64::from);
        let keys: Vec<String> = columns.writes.iter().map(|column| column.name.clone()).collect();
        let schema = expect.schema();
        let meaning = json!({
            "type": KIND.name,
            "prompt": prompt.source(),
            "combine": combine.as_ref().map(Bound::source),
            "system": system,
            "strategy": self.strategy,
            "max_input_tokens": tokens,
            "schema": schema,
            "loose": expect.is_loose(),
            "columns": keys,
        });
        let hidden: Vec<usize> = (shown..fields.len()).collect();
        let info = StageInfo {
            reads: hidden.clone(),
            // The hidden columns of a group whose rows are all left out are null, so the group is skipped.
            needs: hidden.iter().take(1).copied().collect(),
            at_once: true,
            probabilities: expect.needs_probabilities(),
            refuses_examples: Some(
                "a reduce can't have examples: it asks about many rows at once, and an example is one row",
            ),
            ..StageInfo::new(KIND.name, columns, schema.clone(), meaning)
        };
        let ask = BoundReduce {
            strategy: self.strategy,
            tokens,
            prompt,
            combine,
            system,
            expect: Arc::new(expect),
            schema: schema.map(Arc::new),
            names: fields[shown..].iter().map(|f| asking::shown(f.name()).to_owned()).collect(),
            hidden,
            rows: shown - 2,
            keys,
            counts: ["_rows", "_left_out"].map(|part| format!("{}{part}", context.name)),
        };
        Some(Stage { info, ask: Box::new(ask) })
    }
}

/// Reports a template that uses none of the variables `given`.
fn uses(template: Option<&Bound>, given: &[&str], at: Path, problems: &mut Problems) {
    let used = |bound: &Bound| given.iter().any(|name| bound.others().iter().any(|other| other == name));
    if template.is_some_and(|bound| !used(bound)) {
        let help = match given[0] {
            "answers" => "write `{% for answer in answers %}{{ answer }}{% endfor %}`",
            "answer" => "write `{{ answer }}` where the answer so far belongs",
            _ => "write `{% for row in rows %}{{ row.column }}{% endfor %}`",
        };
        problems.error("bad-template", at, format!("the template does not use `{}`", given[0])).help(help);
    }
}

#[cfg(test)]
mod tests;
