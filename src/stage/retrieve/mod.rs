//! `type = "retrieve"`: the rows of another table that are nearest to each row, without a model.

mod context;
mod searching;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ask::distinct;
use super::question::condition;
use super::transform::{self, Transform, TransformConfig, TransformContext, TransformInfo};
use super::vectors::is_vector;
use crate::document::Problems;
use crate::prompt::BoundCondition;
use crate::registry::Kind;
use crate::table::Type;

use context::{Context, FROM, INPUT};
use searching::{BoundRetrieve, VectorColumns, Words};

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> = Kind::new::<Retrieve>(
    "retrieve",
    "The rows of another table that are nearest to each row, by words or by vectors, without a model.",
);

/// The rows of `input` with a column of the `k` nearest rows of `from`, the nearest one first. A later prompt reads it:
/// `{% for item in context %}{{ item.title }}{% endfor %}`. Each item has `rank` (from 1), `score`, the key of `from` (or
/// `row`, the number of the row) and the `columns`. Every row is compared with every row, so that the result is exact.
/// Rows with equal scores keep the order of `from`. The table `from` is held in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Retrieve {
    /// The source or the stage whose rows are the queries. A row without a query has no items.
    input: String,
    /// The source or the stage whose rows are searched. If it is `input`, no row finds itself. A row that lacks an answer
    /// because a call failed is not found.
    from: String,
    /// The column of `input` with the words to search for, by BM25. Rows without one of the words are not found.
    text_column: Option<String>,
    /// The columns of `from` that are searched for the words.
    #[serde(default)]
    from_text_columns: Vec<String>,
    /// The column of `input` with a vector, such as the column of an `embed` stage, to compare by cosine similarity. With
    /// `text_column` too, both rankings become one by reciprocal rank, and an item also has `bm25` and `similarity`.
    vector_column: Option<String>,
    /// The column of `from` with vectors of the same model. Default: the name of `vector_column`.
    from_vector_column: Option<String>,
    /// The most rows for each row. Default: 5.
    #[serde(default = "k")]
    k: u32,
    /// The least cosine similarity of a row that is found by its vector, from -1 to 1.
    min_similarity: Option<f64>,
    /// A Jinja expression over the columns of `from`, such as `year < 1900`. Only rows for which it is true are searched.
    when: Option<String>,
    /// The columns of `from` that an item has.
    columns: Vec<String>,
    /// The name of the new column. Default: `context`.
    #[serde(default = "column")]
    column: String,
}

fn k() -> u32 {
    5
}

fn column() -> String {
    "context".to_owned()
}

impl Retrieve {
    fn words(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Words> {
        let (from, input) = (&context.inputs[FROM], &context.inputs[INPUT]);
        let at = |key: &str| context.path.key(key);
        let Some(name) = &self.text_column else {
            if !self.from_text_columns.is_empty() {
                let message = "`from_text_columns` are searched for the words of `text_column`, which is missing";
                problems.error("bad-value", at("from_text_columns"), message);
            }
            return None;
        };
        if self.from_text_columns.is_empty() {
            let message = "`from_text_columns` is missing: it names the columns that are searched";
            problems.error("missing-field", context.path.clone(), message);
        }
        let column = input.column(at("text_column"), name, problems);
        let searched = self
            .from_text_columns
            .iter()
            .enumerate()
            .filter_map(|(i, name)| from.column(at("from_text_columns").index(i), name, problems));
        let searched: Vec<usize> = searched.collect();
        let lists =
            [(input.schema, column)].into_iter().chain(searched.iter().map(|column| (from.schema, Some(*column))));
        for (schema, column) in lists {
            let Some(field) = column.map(|column| schema.field(column)) else { continue };
            if field.data_type().is_nested() {
                let message =
                    format!("`{}` holds {}, not text", field.name(), Type::of_cells(field.data_type()).words());
                problems.error("bad-value", at("text_column"), message);
            }
        }
        Some(Words { input: column?, from: searched })
    }

    fn vectors(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<VectorColumns> {
        let (from, input) = (&context.inputs[FROM], &context.inputs[INPUT]);
        let at = |key: &str| context.path.key(key);
        let Some(name) = &self.vector_column else {
            for (key, is_given) in [
                ("from_vector_column", self.from_vector_column.is_some()),
                ("min_similarity", self.min_similarity.is_some()),
            ] {
                if is_given {
                    let message = format!("`{key}` goes with `vector_column`, which is missing");
                    problems.error("bad-value", at(key), message);
                }
            }
            return None;
        };
        let key = self.searched_vector_field();
        let input_column = input.column(at("vector_column"), name, problems);
        let from_column = from.column(at(key), self.from_vector_column.as_ref().unwrap_or(name), problems);
        for (schema, column, key) in [(input.schema, input_column, "vector_column"), (from.schema, from_column, key)] {
            let Some(field) = column.map(|column| schema.field(column)) else { continue };
            if !is_vector(field) {
                let words = Type::of_cells(field.data_type()).words();
                let problem =
                    problems.error("bad-value", at(key), format!("`{}` holds {words}, not vectors", field.name()));
                problem.help("name a column of an `embed` stage, or of a file with lists of numbers");
            }
        }
        if self.min_similarity.is_some_and(|least| !(-1.0..=1.0).contains(&least)) {
            problems.error("bad-value", at("min_similarity"), "`min_similarity` must be from -1 to 1");
        }
        Some(VectorColumns { input: input_column?, from: from_column? })
    }

    /// The field that names the column of `from`.
    fn searched_vector_field(&self) -> &'static str {
        if self.from_vector_column.is_some() { "from_vector_column" } else { "vector_column" }
    }

    /// Reports settings that do not fit each other.
    fn settings(&self, context: &TransformContext<'_>, problems: &mut Problems) {
        if self.text_column.is_none() && self.vector_column.is_none() {
            let message = "nothing says how near two rows are";
            problems.error("missing-field", context.path.clone(), message).help(
                "write `text_column` and `from_text_columns` to compare words, `vector_column` to compare vectors, or both",
            );
        }
        if self.k == 0 {
            problems.error("bad-value", context.path.key("k"), "`k` must be at least 1");
        }
        if self.columns.is_empty() {
            let problem = problems.error("bad-value", context.path.key("columns"), "`columns` is empty");
            problem.help("name the columns of `from` that a prompt shows");
        }
        if context.inputs[INPUT].schema.index_of(&self.column).is_ok() {
            let message = format!("`{}` has a column `{}` already", context.inputs[INPUT].name, self.column);
            let problem = problems.error("duplicate-column", context.path.key("column"), message);
            problem.help("give the new column another name with `column`");
        }
    }
}

impl TransformConfig for Retrieve {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("from", &self.from), ("input", &self.input)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let before = problems.mark();
        let (from, input) = (&context.inputs[FROM], &context.inputs[INPUT]);
        self.settings(context, problems);
        let words = self.words(context, problems);
        let vectors = self.vectors(context, problems);
        let when = self.when.as_ref();
        let when = when.and_then(|when| condition(when, from.schema, &context.path.key("when"), problems));
        let shown = Context::bind(context, &self.columns, words.is_some() && vectors.is_some(), problems);
        if problems.had_errors_since(before) {
            return None;
        }
        let shown = shown?;
        let searched = words.iter().flat_map(|words| words.from.clone()).chain(vectors.iter().map(|v| v.from));
        let read = searched.chain(when.iter().flat_map(BoundCondition::reads)).chain(shown.columns.iter().copied());
        let guards = distinct(read.flat_map(|column| from.guards[column].iter().copied()));
        let queries: Vec<usize> = words.iter().map(|w| w.input).chain(vectors.iter().map(|v| v.input)).collect();
        let searched = words.iter().flat_map(|words| words.from.clone()).chain(vectors.iter().map(|v| v.from));
        let decides = searched.chain(when.iter().flat_map(BoundCondition::uses)).chain(shown.columns.iter().copied());
        let reads = distinct(decides.map(|c| (FROM, c)).chain(queries.iter().map(|c| (INPUT, *c))));
        let fields = input.schema.fields().iter().map(|f| f.as_ref().clone()).chain([shown.field(&self.column)]);
        let mut meaning = json!(Retrieve { input: String::new(), from: String::new(), ..self.clone() });
        meaning["type"] = json!(KIND.name);
        meaning["own"] = json!(self.input == self.from);
        let info = TransformInfo {
            kind: KIND.name,
            schema: transform::schema(fields.collect(), context.path, problems)?,
            origins: (0..input.schema.fields().len()).map(|column| Some((INPUT, column))).chain([None]).collect(),
            reads,
            key: input.key,
            hidden: 0,
            meaning,
        };
        let work = BoundRetrieve {
            schema: info.schema.clone(),
            from: from.schema.clone(),
            words,
            vectors,
            when,
            guards,
            shown,
            k: self.k as usize,
            least: self.min_similarity,
            is_own: self.input == self.from,
            queries,
            tables: [from.name.to_owned(), input.name.to_owned()],
            vector_fields: [self.searched_vector_field(), "vector_column"],
        };
        Some(Transform { info, work: Box::new(work) })
    }
}

#[cfg(test)]
mod tests;
