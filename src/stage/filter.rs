//! `type = "filter"`: keeps the rows of a table for which a condition holds, without a model.

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::ask::distinct;
use super::question::condition;
use super::transform::{DataError, Pass, Transform, TransformConfig, TransformContext, TransformInfo, Work};
use super::view::{Shown, View};
use crate::document::Problems;
use crate::prompt::BoundCondition;
use crate::registry::Kind;
use crate::table::{Guard, Row};

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> =
    Kind::new::<Filter>("filter", "The rows of a table for which a condition holds, without a model.");

/// The rows of `input` for which `when` holds, in their order and with the same columns and the same key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// The source or the stage whose rows are filtered.
    input: String,
    /// A Jinja expression over the columns of `input`, such as `year >= 1900 and language != "en"`; null is `none`, and
    /// a comparison with null is never true. A row is left out if it is not true, or if it reads an answer that is
    /// missing because the call failed or was not made (unless it also reads the error column of that stage).
    when: String,
}

impl TransformConfig for Filter {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("input", &self.input)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let input = context.inputs.first()?;
        let when = condition(&self.when, input.schema, &context.path.key("when"), problems)?;
        let reads = when.reads();
        // A condition may test a column that shows why an answer is missing. That column is not an answer.
        let is_answer = |read: &&usize| !input.guards[**read].contains(&Guard::Error(**read));
        let guards = reads.iter().filter(is_answer).flat_map(|read| &input.guards[*read]).copied();
        let guards = distinct(guards.filter(|guard| !reads.contains(&guard.column())));
        let info = TransformInfo {
            kind: KIND.name,
            schema: input.schema.clone(),
            origins: (0..input.schema.fields().len()).map(|column| Some((0, column))).collect(),
            reads: when.uses().into_iter().map(|column| (0, column)).collect(),
            key: input.key,
            hidden: 0,
            meaning: json!({ "type": KIND.name, "when": self.when }),
        };
        Some(Transform { work: Box::new(BoundFilter { schema: info.schema.clone(), when, guards }), info })
    }
}

#[derive(Debug)]
struct BoundFilter {
    schema: SchemaRef,
    when: BoundCondition,
    /// The guards that show that an answer in the condition is missing.
    guards: Vec<Guard>,
}

impl Work for BoundFilter {
    fn views(&self) -> Vec<View> {
        vec![View::new("Rows for which the condition holds", Shown::Kept)]
    }

    fn start(&self) -> Box<dyn Pass + '_> {
        Box::new(Filtering { filter: self, rows: 0 })
    }
}

struct Filtering<'a> {
    filter: &'a BoundFilter,
    rows: u64,
}

impl Pass for Filtering<'_> {
    fn take(&mut self, _: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        let missing: Vec<_> = self.filter.guards.iter().map(|guard| guard.found(batch)).collect();
        let holds = |i: usize| {
            if missing.iter().any(|missing| missing(i)) {
                return Ok(false);
            }
            let row = Row::new(batch, i, self.rows);
            let failed = |message: String| format!("`when` can't be evaluated for row {}: {message}", row.number() + 1);
            self.filter.when.holds(row, &[]).map_err(failed)
        };
        let kept = (0..batch.num_rows()).map(holds).collect::<Result<Vec<bool>, String>>()?;
        self.rows += batch.num_rows() as u64;
        let rows = filter_record_batch(batch, &BooleanArray::from(kept)).map_err(|error| error.to_string())?;
        let rows = rows.with_schema(self.filter.schema.clone()).map_err(|error| error.to_string())?;
        Ok(Some(rows).filter(|rows| rows.num_rows() > 0).into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::{ArrayRef, Int64Array, StringArray};
    use arrow_schema::{Field, Schema};

    use super::*;
    use crate::document::{Diagnostic, Path};
    use crate::stage::InputTable;

    /// Four speeches; the call about the last one failed.
    fn speeches() -> RecordBatch {
        let id: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
        let year: ArrayRef = Arc::new(Int64Array::from(vec![Some(1801), None, Some(1901), Some(1902)]));
        let tone: ArrayRef = Arc::new(StringArray::from(vec![Some("good"), Some("bad"), None, None]));
        let error: ArrayRef = Arc::new(StringArray::from(vec![None, None, None, Some("timeout: 30 s")]));
        RecordBatch::try_from_iter([("id", id), ("year", year), ("tone", tone), ("tone_error", error)]).unwrap()
    }

    /// The ids of the rows that `when` keeps, and the messages.
    fn kept(when: &str) -> (Result<String, String>, Vec<String>) {
        let batch = speeches();
        let fields: Vec<Field> =
            batch.schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let guards = vec![vec![], vec![], vec![Guard::Error(3)], vec![Guard::Error(3)]];
        let input = InputTable { name: "speeches", schema: &schema, key: Some(0), guards: &guards, origins: &[] };
        let (path, mut problems) = (Path::of(["stages", "old"]), Problems::default());
        let context =
            TransformContext { name: "old", path: &path, inputs: &[input], seed: 0, read: &|_| unreachable!() };
        let filter = Filter { input: "speeches".to_owned(), when: when.to_owned() };
        let bound = filter.bind(&context, &mut problems);
        let said = |d: Diagnostic| d.message + &d.help.map(|help| format!(" ({help})")).unwrap_or_default();
        let problems = problems.into_iter().map(said).collect();
        let Some(bound) = bound else { return (Ok(String::new()), problems) };
        assert_eq!((bound.info.key, &bound.info.schema), (Some(0), &schema));
        let mut pass = bound.work.start();
        let mut ids = String::new();
        // The rows come in two batches.
        for batch in [batch.slice(0, 3), batch.slice(3, 1)] {
            match pass.take(0, &batch) {
                Ok(made) => made.iter().for_each(|made| ids.extend(made.column(0).as_string::<i32>().iter().flatten())),
                Err(error) => return (Err(error.words()), problems),
            }
        }
        assert!(pass.finish().unwrap().is_empty());
        (Ok(ids), problems)
    }

    #[test]
    fn the_rows_for_which_the_condition_holds_stay_in_order() {
        for (when, ids) in [
            ("year > 1900", "cd"),
            ("year is none or id == 'c'", "bc"),
            ("id in ['d', 'a']", "ad"),
            ("true", "abcd"),
            ("year > 2000", ""),
            ("year < 1850", "a"),
            ("not (year < 1850)", "cd"),
        ] {
            assert_eq!(kept(when), (Ok(ids.to_owned()), vec![]), "{when}");
        }
    }

    #[test]
    fn an_answer_that_failed_is_not_a_null_answer() {
        assert_eq!(kept("tone is none").0, Ok("c".to_owned()));
        // A comparison with null is not true.
        assert_eq!(kept("tone != 'good'").0, Ok("b".to_owned()));
        assert_eq!(kept("tone != 'good' or tone is none").0, Ok("bc".to_owned()));
        assert_eq!(kept("tone_error is not none").0, Ok("d".to_owned()));
        assert_eq!(kept("tone_error is none and tone is none").0, Ok("c".to_owned()));
        assert_eq!(kept("tone_error is not none or tone == 'good'").0, Ok("ad".to_owned()));
    }

    #[test]
    fn conditions_that_are_wrong_are_reported() {
        let (_, problems) = kept("yaer > 1900");
        assert_eq!(problems, ["the condition uses `yaer`, but the input has no such column (did you mean `year`?)"]);
        assert!(kept("year >").1[0].starts_with("the condition does not compile"), "{:?}", kept("year >").1);
        let (_, problems) = kept("id > 3");
        assert!(problems[0].starts_with("`id > 3` compares text with a number: `id` is text"), "{problems:?}");
        let (_, problems) = kept("id or year > 1900");
        assert!(problems[0].starts_with("`id` is text, and every text counts as true"), "{problems:?}");
        let message = kept("year / 0 > 1").0.unwrap_err();
        assert!(message.starts_with("`when` can't be evaluated for row 1: "), "{message}");
    }
}
