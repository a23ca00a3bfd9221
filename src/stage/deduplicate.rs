//! `type = "deduplicate"`: groups of rows that are nearly equal, without a model.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Field, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::transform::{
    self, DataError, Pass, Transform, TransformConfig, TransformContext, TransformInfo, Work, sentence,
};
use super::vectors::{VectorSource, is_vector};
use super::view::{Shown, View};
use crate::document::Problems;
use crate::registry::Kind;
use crate::search::{Hit, Vectors, like_texts, like_vectors};
use crate::table::{Guard, Type, cell_at};

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> = Kind::new::<Deduplicate>(
    "deduplicate",
    "Groups of rows that are nearly equal, by words or by vectors, without a model.",
);

/// The rows of a batch that is returned.
const ROWS: usize = 1024;

/// The rows of `input` with the group of near duplicates that each belongs to: `<stage>_group` (a number from 1, in the
/// order of the first rows), `<stage>_rows` (the rows of the group), `<stage>_of` (the key or the number of the group's
/// first row; null for that row itself) and `<stage>_similarity` to it. Rows are taken in order: a row that is like no
/// earlier first row is a first row, any other belongs to the first row that it is most like. The comparison is exact. A
/// row without a text or a vector is in no group. The table is held in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Deduplicate {
    /// The source or the stage whose rows are compared.
    input: String,
    /// The column with texts to compare: the share of shingles (a few words in a row) that two texts have in common, the
    /// Jaccard similarity.
    text_column: Option<String>,
    /// The column with vectors to compare by cosine similarity, instead of texts.
    vector_column: Option<String>,
    /// The least similarity of duplicates, above 0 and at most 1.
    threshold: f64,
    /// The words of a shingle. Default: 3.
    shingle: Option<u32>,
    /// The rows of the table: `all`, or the `first` of each group and the rows without a group. Default: `all`.
    #[serde(default)]
    keep: Keep,
}

/// The rows that a deduplicated table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Keep {
    /// All rows.
    #[default]
    All,
    /// The first row of each group.
    First,
}

const SHINGLE: u32 = 3;

/// What is compared.
#[derive(Clone, Copy, Debug)]
enum Compared {
    Texts { column: usize, shingle: usize },
    Vectors { column: usize },
}

impl Compared {
    fn column(self) -> usize {
        let (Compared::Texts { column, .. } | Compared::Vectors { column }) = self;
        column
    }
}

impl Deduplicate {
    fn compared(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Compared> {
        let input = &context.inputs[0];
        let at = |key: &str| context.path.key(key);
        match (&self.text_column, &self.vector_column) {
            (Some(name), None) => {
                if self.shingle == Some(0) {
                    problems.error("bad-value", at("shingle"), "`shingle` must be at least 1");
                }
                let column = input.column(at("text_column"), name, problems)?;
                let kind = input.schema.field(column).data_type();
                if kind.is_nested() {
                    let message = format!("`{name}` holds {}, not text", Type::of_cells(kind).words());
                    problems.error("bad-value", at("text_column"), message);
                }
                Some(Compared::Texts { column, shingle: self.shingle.unwrap_or(SHINGLE) as usize })
            }
            (None, Some(name)) => {
                if self.shingle.is_some() {
                    let message = "`shingle` goes with `text_column`, which is missing";
                    problems.error("bad-value", at("shingle"), message);
                }
                let column = input.column(at("vector_column"), name, problems)?;
                let field = input.schema.field(column);
                if !is_vector(field) {
                    let words = Type::of_cells(field.data_type()).words();
                    let problem = problems.error(
                        "bad-value",
                        at("vector_column"),
                        format!("`{name}` holds {words}, not vectors"),
                    );
                    problem.help("name a column of an `embed` stage, or of a file with lists of numbers");
                }
                Some(Compared::Vectors { column })
            }
            _ => {
                let message = "a `deduplicate` compares the texts of `text_column` or the vectors of `vector_column`";
                problems.error("missing-field", context.path.clone(), message).help("write one of them");
                None
            }
        }
    }
}

impl TransformConfig for Deduplicate {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("input", &self.input)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let before = problems.mark();
        let input = context.inputs.first()?;
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            problems.error("bad-value", context.path.key("threshold"), "`threshold` must be above 0 and at most 1");
        }
        let compared = self.compared(context, problems);
        let of = input.key.map_or(DataType::Int64, |key| input.schema.field(key).data_type().clone());
        let kinds =
            [("group", DataType::Int64), ("rows", DataType::Int64), ("of", of), ("similarity", DataType::Float64)];
        let added = kinds.map(|(part, kind)| Field::new(format!("{}_{part}", context.name), kind, true));
        let own = input.schema.fields().len();
        let fields = input.schema.fields().iter().map(|f| f.as_ref().clone()).chain(added).collect();
        let schema = transform::schema(fields, context.path, problems)?;
        if problems.had_errors_since(before) {
            return None;
        }
        let compared = compared?;
        let mut meaning = json!(Deduplicate { input: String::new(), ..self.clone() });
        meaning["type"] = json!(KIND.name);
        let info = TransformInfo {
            kind: KIND.name,
            schema: schema.clone(),
            origins: (0..own).map(|column| Some((0, column))).chain([None; 4]).collect(),
            reads: vec![(0, compared.column())],
            key: input.key,
            hidden: 0,
            meaning,
        };
        let work = BoundDeduplicate {
            schema,
            input: input.schema.clone(),
            table: input.name.to_owned(),
            compared,
            guards: input.guards[compared.column()].clone(),
            key: input.key,
            threshold: self.threshold,
            keep: self.keep,
        };
        Some(Transform { info, work: Box::new(work) })
    }
}

#[derive(Debug)]
struct BoundDeduplicate {
    schema: SchemaRef,
    input: SchemaRef,
    table: String,
    compared: Compared,
    /// A row to which one of these applies has nothing to compare.
    guards: Vec<Guard>,
    key: Option<usize>,
    threshold: f64,
    keep: Keep,
}

impl Work for BoundDeduplicate {
    fn views(&self) -> Vec<View> {
        vec![View::new("Rows after the duplicates", Shown::Kept)]
    }

    fn start(&self) -> Box<dyn Pass + '_> {
        let (held, texts, vectors, rows) = (Vec::new(), Vec::new(), Vectors::default(), Vec::new());
        Box::new(Deduplicating { stage: self, held, texts, vectors, rows, read: 0 })
    }
}

struct Deduplicating<'a> {
    stage: &'a BoundDeduplicate,
    held: Vec<RecordBatch>,
    texts: Vec<Option<String>>,
    vectors: Vectors,
    /// The number of the row of each text or vector, from 0.
    rows: Vec<usize>,
    read: u64,
}

/// The group of each row: its number from 0, and the first row if that is a different one.
struct Groups {
    groups: Vec<Option<usize>>,
    firsts: Vec<Option<Hit>>,
    sizes: Vec<i64>,
}

impl Deduplicating<'_> {
    fn groups(&self) -> Groups {
        let threshold = self.stage.threshold;
        let found = match self.stage.compared {
            Compared::Texts { shingle, .. } => like_texts(&self.texts, shingle, threshold),
            Compared::Vectors { .. } => like_vectors(&self.vectors, threshold),
        };
        let mut groups = Groups {
            groups: vec![None; self.read as usize],
            firsts: vec![None; self.read as usize],
            sizes: Vec::new(),
        };
        for (place, hit) in found.into_iter().enumerate() {
            let row = self.rows[place];
            let hit = hit.map(|hit| Hit { place: self.rows[hit.place], ..hit });
            let group = hit.and_then(|hit| groups.groups[hit.place]).unwrap_or(groups.sizes.len());
            if group == groups.sizes.len() {
                groups.sizes.push(0);
            }
            groups.sizes[group] += 1;
            (groups.groups[row], groups.firsts[row]) = (Some(group), hit);
        }
        groups
    }

    fn batch(&self, table: &RecordBatch, groups: &Groups, rows: &[usize]) -> Result<RecordBatch, String> {
        let places: UInt64Array = rows.iter().map(|row| *row as u64).collect();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.stage.schema.fields().len());
        for column in table.columns() {
            columns.push(take(column.as_ref(), &places, None).map_err(sentence)?);
        }
        let group = |row: &usize| groups.groups[*row];
        let firsts = || rows.iter().map(|row| groups.firsts[*row]);
        columns.push(Arc::new(rows.iter().map(|row| group(row).map(|group| group as i64 + 1)).collect::<Int64Array>()));
        columns
            .push(Arc::new(rows.iter().map(|row| group(row).map(|group| groups.sizes[group])).collect::<Int64Array>()));
        let of: UInt64Array = firsts().map(|first| first.map(|first| first.place as u64)).collect();
        columns.push(match self.stage.key {
            Some(key) => take(table.column(key).as_ref(), &of, None).map_err(sentence)?,
            None => Arc::new(of.iter().map(|of| of.map(|of| of as i64 + 1)).collect::<Int64Array>()),
        });
        columns.push(Arc::new(firsts().map(|first| first.map(|first| first.score)).collect::<Float64Array>()));
        RecordBatch::try_new(self.stage.schema.clone(), columns).map_err(sentence)
    }
}

impl Pass for Deduplicating<'_> {
    fn take(&mut self, _: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        let missing: Vec<_> = self.stage.guards.iter().map(|guard| guard.found(batch)).collect();
        for i in 0..batch.num_rows() {
            let number = self.read + i as u64;
            if missing.iter().any(|missing| missing(i)) {
                continue;
            }
            let has_one = match self.stage.compared {
                Compared::Texts { column, .. } => {
                    let text = cell_at(batch.column(column).as_ref(), i).text();
                    let has_one = !text.trim().is_empty();
                    if has_one {
                        self.texts.push(Some(text));
                    }
                    has_one
                }
                Compared::Vectors { column } => {
                    let source = VectorSource { column, field: "vector_column", table: &self.stage.table };
                    source.push(&mut self.vectors, batch, (i, number))?
                }
            };
            if has_one {
                self.rows.push(number as usize);
            }
        }
        self.read += batch.num_rows() as u64;
        self.held.push(batch.clone());
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>, DataError> {
        let table = concat_batches(&self.stage.input, &std::mem::take(&mut self.held)).map_err(sentence)?;
        let groups = self.groups();
        let is_kept = |row: &usize| self.stage.keep == Keep::All || groups.firsts[*row].is_none();
        let rows: Vec<usize> = (0..table.num_rows()).filter(is_kept).collect();
        Ok(rows.chunks(ROWS).map(|rows| self.batch(&table, &groups, rows)).collect::<Result<_, _>>()?)
    }
}
