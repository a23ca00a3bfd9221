//! `type = "split"`: makes a row for each piece of a text, without a model.

mod pieces;

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, SchemaRef};
use arrow_select::take::take;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::transform::{
    self, DataError, Pass, Transform, TransformConfig, TransformContext, TransformInfo, Work, sentence,
};
use super::view::{Shown, View};
use crate::document::Problems;
use crate::registry::Kind;
use crate::table::{Cell, cell_at};

use pieces::{By, Cutter, Piece, Tokenizer, Unit};

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> =
    Kind::new::<Split>("split", "A row for each piece of a text, without a model.");

const ROWS: usize = 1024;

/// A row for each piece of a text. The table has the input's columns except the text, and `<stage>_id` (the row's key
/// or number, `#` and the piece's number), `<stage>_number` (from 1), `<stage>_start` and `<stage>_end` (characters of
/// the text from 0, the end not included) and the piece itself, named after the stage. A row without a text stays one
/// row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Split {
    /// The source or the stage whose rows are split.
    input: String,
    /// The column with the text.
    text_column: String,
    /// The largest size of a piece, in units. Optional with `by = "page"`: a piece is then a whole page.
    size: Option<u32>,
    /// What `size` and `overlap` count: `chars` (Unicode code points; a grapheme is never cut), `words` (UAX 29) or
    /// `tokens` (of the `tokenizer`).
    unit: Option<Unit>,
    /// Where a piece may end: `fixed` after any unit, `sentence` (UAX 29), `paragraph` (a blank line) or `page` (a form
    /// feed). A sentence, paragraph or page larger than `size` is cut at the next smaller boundary. With `page`, a piece
    /// is on one page, blank pages are left out, and the column `<stage>_page` has the page's number. Default: `fixed`.
    #[serde(default)]
    by: By,
    /// How much of a piece's end the next piece repeats, in units, less than `size`. Default: 0; the pieces together
    /// are then the text.
    #[serde(default)]
    overlap: u32,
    /// The tokenizer that counts tokens: `o200k_base` or `cl100k_base` (OpenAI's; an estimate for other models).
    /// Default: `o200k_base`.
    tokenizer: Option<Tokenizer>,
}

impl TransformConfig for Split {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("input", &self.input)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let before = problems.mark();
        let input = context.inputs.first()?;
        let by_page = self.by == By::Page;
        for (key, is_missing, other) in [
            ("size", self.size.is_none(), by_page && self.unit.is_none() && self.overlap == 0),
            ("unit", self.unit.is_none(), by_page && self.size.is_none()),
        ] {
            if is_missing && !other {
                problems.error("missing-field", context.path.clone(), format!("`{key}` is missing"));
            }
        }
        let mut bad = |key: &str, message: String| {
            problems.error("bad-value", context.path.key(key), message);
        };
        match self.size {
            Some(0) => bad("size", "`size` must be 1 or more".to_owned()),
            Some(size) if self.overlap >= size => {
                bad("overlap", format!("`overlap` must be less than `size`, which is {size}"));
            }
            _ => {}
        }
        if self.tokenizer.is_some() && self.unit != Some(Unit::Tokens) {
            bad("tokenizer", "`tokenizer` is for `unit = \"tokens\"`".to_owned());
        }
        let text = input.column(context.path.key("text_column"), &self.text_column, problems);
        if let Some(field) = text.map(|text| input.schema.field(text)).filter(|f| *f.data_type() != DataType::Utf8) {
            let message = format!("the column `{}` holds no text", field.name());
            problems.error("bad-value", context.path.key("text_column"), message);
        }
        let text = text?;
        let kept: Vec<usize> = (0..input.schema.fields().len()).filter(|column| *column != text).collect();
        let own = |suffix: &str, kind: DataType| Field::new(format!("{}{suffix}", context.name), kind, true);
        let mut fields: Vec<Field> = kept.iter().map(|column| input.schema.field(*column).clone()).collect();
        fields.extend([own("_id", DataType::Utf8), own("_number", DataType::Int64)]);
        fields.extend(by_page.then(|| own("_page", DataType::Int64)));
        fields.extend([own("_start", DataType::Int64), own("_end", DataType::Int64), own("", DataType::Utf8)]);
        let schema = transform::schema(fields, context.path, problems)?;
        if problems.had_errors_since(before) {
            return None;
        }
        let tokenizer = self.tokenizer.unwrap_or(Tokenizer::O200kBase);
        let cutter = Cutter {
            size: self.size.map_or(usize::MAX, |size| size as usize),
            overlap: self.overlap as usize,
            unit: self.unit.unwrap_or(Unit::Chars),
            by: self.by,
            tokenizer,
        };
        let meaning = json!({
            "type": KIND.name, "text_column": self.text_column, "size": self.size, "overlap": self.overlap,
            "unit": self.unit, "by": self.by, "tokenizer": (self.unit == Some(Unit::Tokens)).then_some(tokenizer),
        });
        // The piece comes from the text column.
        let origins = kept.iter().map(|column| Some((0, *column)));
        let places = if by_page { 5 } else { 4 };
        let origins = origins.chain(std::iter::repeat_n(None, places)).chain([Some((0, text))]).collect();
        let info = TransformInfo {
            kind: KIND.name,
            schema: schema.clone(),
            origins,
            reads: vec![(0, text)],
            key: Some(kept.len()),
            hidden: 0,
            meaning,
        };
        Some(Transform { info, work: Box::new(BoundSplit { schema, text, key: input.key, kept, cutter }) })
    }
}

#[derive(Debug)]
struct BoundSplit {
    schema: SchemaRef,
    text: usize,
    key: Option<usize>,
    kept: Vec<usize>,
    cutter: Cutter,
}

impl Work for BoundSplit {
    fn views(&self) -> Vec<View> {
        let name = |place: usize| self.schema.field(place).name().clone();
        let (number, text) = (name(self.kept.len() + 1), name(self.schema.fields().len() - 1));
        vec![View::new("Documents", Shown::Pieces { number, text })]
    }

    fn start(&self) -> Box<dyn Pass + '_> {
        Box::new(Splitting { split: self, rows: 0 })
    }
}

struct Splitting<'a> {
    split: &'a BoundSplit,
    rows: u64,
}

struct PieceRow<'a> {
    /// The row in the batch of the input.
    row: u64,
    id: String,
    number: i64,
    /// `None` for a row without a text.
    piece: Option<Piece<'a>>,
}

impl Pass for Splitting<'_> {
    fn take(&mut self, _: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        let texts = batch.column(self.split.text).as_string::<i32>();
        let mut done = Vec::new();
        let mut rows: Vec<PieceRow<'_>> = Vec::new();
        for row in 0..batch.num_rows() {
            self.rows += 1;
            let name = self.split.key.map(|key| cell_at(batch.column(key).as_ref(), row)).filter(|k| *k != Cell::Null);
            let name = match name {
                None => self.rows.to_string(),
                Some(Cell::Text(text)) => text,
                Some(other) => other.json().to_string(),
            };
            let text = texts.is_valid(row).then(|| texts.value(row));
            let pieces: Box<dyn Iterator<Item = Option<Piece<'_>>>> = match text {
                None => Box::new(std::iter::once(None)),
                Some(text) => Box::new(self.split.cutter.pieces(text).map(Some)),
            };
            for (piece, number) in pieces.zip(1..) {
                rows.push(PieceRow { row: row as u64, id: format!("{name}#{number}"), number, piece });
                if rows.len() == ROWS {
                    done.push(self.split.batch(batch, &std::mem::take(&mut rows))?);
                }
            }
        }
        if !rows.is_empty() {
            done.push(self.split.batch(batch, &rows)?);
        }
        Ok(done)
    }
}

impl BoundSplit {
    fn batch(&self, input: &RecordBatch, rows: &[PieceRow<'_>]) -> Result<RecordBatch, String> {
        let from: UInt64Array = rows.iter().map(|row| row.row).collect();
        let kept = self.kept.iter().map(|column| take(input.column(*column).as_ref(), &from, None));
        let mut columns = kept.collect::<Result<Vec<ArrayRef>, _>>().map_err(sentence)?;
        let place = |of: fn(&Range<usize>) -> usize| -> ArrayRef {
            let place = |row: &PieceRow<'_>| Some(of(&row.piece.as_ref()?.characters) as i64);
            Arc::new(rows.iter().map(place).collect::<Int64Array>())
        };
        columns.push(Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.id))));
        columns.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.number))));
        if self.cutter.by == By::Page {
            let page = |row: &PieceRow<'_>| Some(row.piece.as_ref()?.page? as i64);
            columns.push(Arc::new(rows.iter().map(page).collect::<Int64Array>()));
        }
        columns.extend([place(|place| place.start), place(|place| place.end)]);
        columns.push(Arc::new(rows.iter().map(|row| Some(row.piece.as_ref()?.text)).collect::<StringArray>()));
        RecordBatch::try_new(self.schema.clone(), columns).map_err(sentence)
    }
}

#[cfg(test)]
mod tests;
