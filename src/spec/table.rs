//! Tables: the list of the sources, stages and transforms of a spec, each after the tables that it reads.

use std::sync::Arc;

use super::columns::{Answers, Relation};
use super::corrections::Corrections;
use super::language::{Audit, Order, Overflow, Repair, Suffix};
use crate::name::Name;
use crate::prompt::BoundCondition;
use crate::source::Source;
use crate::stage::{Stage, Transform};
use crate::table::{Guard, MaxFailed};

/// A table of a spec, as an index into the list of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableId(pub(super) usize);

#[derive(Debug)]
pub(crate) enum TableSpec {
    Source(SourceSpec),
    /// Rows derived from other tables without a model.
    Transform(TransformSpec),
    /// The rows of another table with the answers of models.
    Stage(Box<StageSpec>),
}

#[derive(Debug)]
pub(crate) struct SourceSpec {
    pub(crate) name: Name,
    pub(crate) source: Box<dyn Source>,
    pub(crate) relation: Relation,
}

#[derive(Debug)]
pub(crate) struct TransformSpec {
    /// The stage's name. Other tables of a stage have its name with a part, such as `.groups`.
    pub(crate) name: String,
    /// Whether only the stage itself reads the table.
    pub(crate) is_inner: bool,
    /// The inputs, in the order in which the transform reads them.
    pub(crate) inputs: Vec<TableId>,
    pub(crate) transform: Transform,
    pub(crate) relation: Relation,
}

#[derive(Clone, Debug)]
pub(crate) struct StageSpec {
    pub(crate) name: Name,
    /// The stage in the spec, if this is a universe of its grid.
    pub(crate) grid: Option<Name>,
    pub(crate) input: TableId,
    pub(crate) stage: Arc<Stage>,
    pub(crate) models: Vec<usize>,
    /// Their names in the table. A universe of a grid may ask models of other names, with other settings.
    pub(crate) model_names: Vec<String>,
    pub(crate) answers: Answers,
    pub(crate) suffix: Option<Suffix>,
    pub(crate) relation: Relation,
    /// The number of columns at the beginning of `relation` that come from the input.
    pub(crate) given: usize,
    /// A row for which this condition is false is skipped.
    pub(crate) when: Option<Arc<BoundCondition>>,
    /// A row is skipped if one of these guards shows that a column for the prompts is missing.
    pub(crate) guards: Vec<Guard>,
    pub(crate) workers: usize,
    pub(crate) batch_size: usize,
    /// The number of rows per part, a multiple of `rows_per_prompt`.
    pub(crate) chunk_size: u64,
    pub(crate) rows_per_prompt: u64,
    /// The sample that is also asked row by row.
    pub(crate) audit: Option<Audit>,
    /// How often the same requests are made before: 1 for the calls that measure repeatability, else 0.
    pub(crate) repeat: u64,
    pub(crate) corrections: Option<Arc<Corrections>>,
    pub(crate) order: Option<Order>,
    pub(crate) max_failed: Option<MaxFailed>,
    pub(crate) max_attempts: u32,
    pub(crate) overflow: Overflow,
    pub(crate) repair: Repair,
}

impl TableSpec {
    pub(crate) fn name(&self) -> &str {
        match self {
            TableSpec::Source(source) => source.name.as_str(),
            TableSpec::Transform(transform) => &transform.name,
            TableSpec::Stage(stage) => stage.name.as_str(),
        }
    }

    pub(crate) fn relation(&self) -> &Relation {
        match self {
            TableSpec::Source(source) => &source.relation,
            TableSpec::Transform(transform) => &transform.relation,
            TableSpec::Stage(stage) => &stage.relation,
        }
    }

    pub(crate) fn inputs(&self) -> &[TableId] {
        match self {
            TableSpec::Source(_) => &[],
            TableSpec::Transform(transform) => &transform.inputs,
            TableSpec::Stage(stage) => std::slice::from_ref(&stage.input),
        }
    }

    pub(crate) fn as_source(&self) -> Option<&SourceSpec> {
        if let TableSpec::Source(source) = self { Some(source) } else { None }
    }

    pub(crate) fn as_transform(&self) -> Option<&TransformSpec> {
        if let TableSpec::Transform(transform) = self { Some(transform) } else { None }
    }

    pub(crate) fn as_stage(&self) -> Option<&StageSpec> {
        if let TableSpec::Stage(stage) = self { Some(stage) } else { None }
    }
}

impl TransformSpec {
    /// The first input that has the values of a column, and its column, if the table has the rows of all inputs.
    pub(crate) fn stacked(&self, column: usize) -> Option<(usize, usize)> {
        let place = |input| Some((input, self.transform.work.stacked(input, column)?));
        (0..self.inputs.len()).find_map(place)
    }
}

impl StageSpec {
    pub(crate) fn width(&self) -> usize {
        self.answers.width()
    }

    /// The index of the model that the row's model calls; of a stage with one kind of models, the last one.
    pub(crate) fn sub(&self) -> usize {
        self.models.len() - 1
    }

    /// The names of the models, in words.
    pub(crate) fn models_in_words(&self) -> String {
        match (self.stage.info.most_sub_prompts, self.model_names.as_slice()) {
            (1.., [root, sub]) => format!("{root}, which calls {sub}"),
            (_, names) => names.join(", "),
        }
    }

    pub(crate) fn packs(&self) -> bool {
        self.rows_per_prompt > 1
    }

    /// Whether `max_failed` lets all of `rows` fail. Their number may be unknown.
    pub(crate) fn may_all_fail(&self, rows: Option<u64>) -> bool {
        self.max_failed.is_some_and(|most| most.is_all(rows))
    }
}
