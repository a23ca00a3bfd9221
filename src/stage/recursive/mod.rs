//! `type = "recursive"`: a model answers a question about a long context by writing programs, which ask another model.
//!
//! A row needs several rounds. [`session`] carries the programs of all rounds out again with the answers so far, and finds
//! what to ask next. Nothing is kept between rounds, so that a resumed run asks the same questions.
//!
//! - `settings`: the bounds of a row
//! - `asking`: the prompts and the cells of a row
//! - `session`: the rounds of a row, from its answers
//! - `calls`: the functions that a program can call
//! - `wording`: what is said to the root model, and how its replies are read
//! - `trajectory`: the rounds as a table
//!
//! Zhang, Kraska and Khattab 2025, "Recursive Language Models", <https://arxiv.org/abs/2512.24601>

mod asking;
mod calls;
mod session;
mod settings;
mod trajectory;
mod wording;

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ask::{AnswerColumns, BindContext, Broken, Stage, StageConfig, StageInfo, distinct};
use super::question::{AnswerFields, CutOff, TextColumn, Written};
use super::reduce::{Gather, group_columns, group_fields, hidden, shown};
use super::transform::{self, Transform, TransformContext};
use crate::document::Problems;
use crate::prompt::{Expect, FieldSpec};
use crate::registry::Kind;
use crate::table::{self, Column, Type};

use asking::{BoundRecursive, ContextColumns};
use settings::{Bounds, NAMES};
use trajectory::TRAJECTORY;

pub(crate) const KIND: Kind<Box<dyn StageConfig>> = Kind::new::<Recursive>(
    "recursive",
    "One answer about a long context: a model writes programs that read it and ask another model.",
);

/// One answer about a context that is too long for a prompt. The root model does not see the context: in each round it
/// writes a program, which reads the variable `context`, asks the sub model and prints. Adds the answer, `NAME_rounds`,
/// `NAME_calls` (the calls to the sub model) and `NAME_trajectory` (the rounds, as JSON), where NAME is the stage's. The
/// table `NAME.trajectory` has a row for each round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Recursive {
    /// The model that writes the programs. A recursive stage has one.
    root: String,
    /// The model that the programs ask. It can be the same.
    sub: String,
    /// The question, a Jinja template over the row, without the context. For groups: over the grouping columns.
    prompt: Option<String>,
    /// A file with the question, instead of `prompt`; relative to the spec.
    prompt_file: Option<String>,
    /// Instructions for the root model that all rows share, without variables.
    system: Option<String>,
    /// The column whose text is the context of each row. Left out: the context is a list of rows, which are those of a
    /// group, each a dict with the `columns`.
    context: Option<String>,
    /// The columns of the rows of a group that the program sees. Without `context`. Default: all.
    columns: Option<Vec<String>>,
    /// The columns whose values define a group. Without `context`. Left out: the whole table is one group.
    #[serde(default)]
    group_by: Vec<String>,
    /// The columns that a group's rows are ordered by; nulls last, equal rows in the order of the input. Left out: the
    /// order of the input.
    #[serde(default)]
    order_by: Vec<String>,
    /// Whether the order is descending. Default: false.
    #[serde(default)]
    descending: bool,
    /// The characters of the beginning of the context that the root model sees in its first prompt. Default: 0.
    #[serde(default)]
    context_head: u32,
    /// The keys of a typed answer; each becomes a column. Left out: one text column named after the stage.
    output: Option<IndexMap<String, FieldSpec>>,
    /// Shorthand for `output`: these keys, as nullable texts.
    json_keys: Option<Vec<String>>,
    /// The most rounds of a row, which are the calls to the root model. Default: 10, at most 100.
    max_rounds: Option<u32>,
    /// The most calls of a row to the sub model. Default: 100, at most 10000.
    max_calls: Option<u32>,
    /// The most calls of a row to the sub model that are in flight at the same time. Default: 16, at most 1000.
    max_parallel_calls: Option<u32>,
    /// The most steps of the programs of a row: statements, expressions, and 64 bytes that are read or written. Default:
    /// 5000000, at most 1000000000.
    max_steps: Option<u32>,
    /// The most memory that the programs of a row take, in megabytes, beside the context. Memory counts also after its
    /// last use. Default: 256, at most 16384.
    max_memory_mb: Option<u32>,
    /// The most characters of a prompt to the sub model. Default: 100000, at most 100000000.
    max_prompt_chars: Option<u32>,
    /// The most printed characters of a round that the root model sees, with the number of those left out. Default:
    /// 4000, at most 1000000.
    max_output_chars: Option<u32>,
}

impl Recursive {
    /// The bounds by their fields. Reports those that are out of range.
    fn bounds(&self, context: &BindContext<'_>, problems: &mut Problems) -> Bounds {
        let given = [
            self.max_rounds,
            self.max_calls,
            self.max_parallel_calls,
            self.max_steps,
            self.max_memory_mb,
            self.max_prompt_chars,
            self.max_output_chars,
        ];
        let numbers = NAMES.iter().zip(given).map(|(bound, given)| {
            let number = given.unwrap_or(bound.default);
            if !(1..=bound.most).contains(&number) {
                let message = format!("`{}` must be from 1 to {}", bound.field, bound.most);
                problems.error("bad-value", context.path.key(bound.field), message);
            }
            u64::from(number)
        });
        Bounds::new(numbers.collect())
    }

    /// The columns that the program sees. Without `columns`, all of the input.
    fn seen(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Vec<usize> {
        match &self.columns {
            Some(names) => {
                let mut seen = Vec::new();
                for (i, name) in names.iter().enumerate() {
                    let place = context.path.key("columns").index(i);
                    seen.extend(context.inputs[0].column(place, name, problems));
                }
                if names.is_empty() {
                    let problem = problems.error("bad-value", context.path.key("columns"), "`columns` is empty");
                    problem.help("name the columns that the program sees, or leave it out");
                }
                distinct(seen)
            }
            None => (0..context.inputs[0].schema.fields().len()).collect(),
        }
    }

    /// Reports fields of groups beside a context that is a text.
    fn unused(&self, context: &BindContext<'_>, problems: &mut Problems) {
        let fields = [
            ("columns", self.columns.is_some()),
            ("group_by", !self.group_by.is_empty()),
            ("order_by", !self.order_by.is_empty()),
            ("descending", self.descending),
        ];
        for (key, _) in fields.into_iter().filter(|(_, is_given)| *is_given && self.context.is_some()) {
            let message = format!("`{key}` is for rows as the context, and `context` names a text");
            problems.error("unused-field", context.path.key(key), message).help("leave one of them out");
        }
        if self.descending && self.order_by.is_empty() && self.context.is_none() {
            let message = "`descending` is for `order_by`, which is missing";
            problems.error("bad-value", context.path.key("descending"), message);
        }
    }
}

impl StageConfig for Recursive {
    fn roles(&self) -> Option<[&'static str; 2]> {
        Some(["root", "sub"])
    }

    fn parts(&self) -> &'static [&'static str] {
        &[TRAJECTORY]
    }

    fn bind_part(&self, _: &str, context: &TransformContext<'_>) -> Option<Transform> {
        trajectory::transform(context)
    }

    fn gathers(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Result<Option<Transform>, Broken> {
        if self.context.is_some() {
            return Ok(None);
        }
        let before = problems.mark();
        let input = &context.inputs[0];
        let by = group_columns(context, "group_by", &self.group_by, problems);
        let order = group_columns(context, "order_by", &self.order_by, problems);
        let reads = self.seen(context, problems);
        let mut fields = group_fields(context, &by);
        for column in &reads {
            let field = input.schema.field(*column);
            let list = DataType::new_list(field.data_type().clone(), true);
            fields.push(Field::new(hidden(field.name()), list, true));
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
        let bounds = self.bounds(context, problems);
        self.unused(context, problems);
        let cut_off = CutOff::default();
        let answer = AnswerFields { output: self.output.as_ref(), json_keys: self.json_keys.as_ref(), cut_off };
        let expect = answer.expect(context, problems);
        if expect.as_ref().is_some_and(Expect::needs_probabilities) {
            let message = "a program writes the answer, so the model reports no probability for `prob`";
            problems.error("bad-value", context.path.key("output"), message).help("leave `prob` out");
        }
        for (name, _) in self.output.iter().flatten().filter(|(_, field)| !field.distribution.is_empty()) {
            let message = "a program writes the answer, so its labels have no distribution";
            problems
                .error("bad-value", context.path.key("output").key(name).key("distribution"), message)
                .help("leave it out; `analysis` and `survey` have distributions");
        }
        let fields = context.input.fields();
        let visible = fields.len() - context.hidden;
        let written = Written { source: self.prompt.as_deref(), file: self.prompt_file.as_deref() };
        let group = Arc::new(Schema::new(fields[..visible].to_vec()));
        let prompt =
            written.bind(&BindContext { input: &group, hidden: 0, ..*context }, TextColumn::default(), &[], problems);
        let columns = match &self.context {
            Some(name) => {
                let column = table::column(context.input, name, "the input", context.path.key("context"), problems);
                ContextColumns::Text(column.unwrap_or_default())
            }
            None => {
                let columns = (visible..fields.len()).map(|i| (i, shown(fields[i].name()).to_owned())).collect();
                ContextColumns::Rows { count: visible.saturating_sub(2), columns }
            }
        };
        if problems.had_errors_since(before) {
            return None;
        }
        let (expect, prompt) = (expect?, prompt?);
        let answers = AnswerColumns::of(context.name, &expect, |_| Vec::new());
        let system = wording::system(self.system.as_deref(), &bounds, &expect, columns.is_text());
        let names: Vec<String> = answers.writes.iter().map(|column| column.name.clone()).collect();
        let meaning = json!({
            "type": KIND.name, "prompt": prompt.source(), "system": system, "context": self.context,
            "columns_of_rows": columns.names(), "context_head": self.context_head, "bounds": bounds.meaning(),
            "schema": expect.schema(), "loose": expect.is_loose(), "columns": names, "version": session::VERSION,
        });
        let added = own_columns(context.name, answers);
        let reads = distinct(prompt.reads().into_iter().chain(columns.reads()));
        let info = StageInfo {
            uses: distinct(prompt.uses().into_iter().chain(columns.reads())),
            reads,
            // The hidden columns of a group whose rows are all left out are null, so the group is skipped.
            needs: columns.reads().into_iter().take(1).collect(),
            most_prompts: bounds.rounds + bounds.calls,
            most_sub_prompts: bounds.calls,
            at_once: true,
            refuses_examples: Some(
                "a recursive stage can't have examples: its model answers with programs in several rounds",
            ),
            ..StageInfo::new(KIND.name, added, None, meaning)
        };
        let head = self.context_head as usize;
        let ask = BoundRecursive { bounds, prompt, system, columns, head, width: names.len(), expect };
        Some(Stage { info, ask: Box::new(ask) })
    }
}

/// The columns of the answer and those of the rounds.
fn own_columns(stage: &str, mut columns: AnswerColumns) -> AnswerColumns {
    let more = [("rounds", Type::Integer), ("calls", Type::Integer), (TRAJECTORY, Type::Text)];
    for (name, kind) in more {
        columns.push(Column::new(format!("{stage}_{name}"), kind), &[name], Vec::new());
    }
    columns
}

#[cfg(test)]
mod tests;
