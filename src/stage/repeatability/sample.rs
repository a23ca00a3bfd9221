//! The sample of a repeatability: the rows of the stage's input that are asked again, with their numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{BooleanArray, Int64Array, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use serde_json::json;

use crate::prompt::BoundCondition;
use crate::random::Streams;
use crate::stage::Stage;
use crate::stage::transform::{DataError, Pass, Transform, TransformInfo, Work, sentence};
use crate::table::{Cutter, Guard, ROW_NUMBER, Row};

/// The hidden column that shows whether the stage asks about a row. A pack may contain rows that it skips.
const ASKED: &str = "row is asked";

/// What decides which rows a stage asks about.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) stage: Arc<Stage>,
    pub(crate) when: Option<Arc<BoundCondition>>,
    pub(crate) guards: Vec<Guard>,
    pub(crate) rows_per_prompt: usize,
}

/// Draws packs (of one row, unless the stage packs rows): those with the smallest random numbers. A pack's number
/// depends only on the seed and on the row's key, or on the pack's position without a key.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) asked: Asked,
    pub(crate) rows: usize,
    pub(crate) input: SchemaRef,
    pub(crate) key: Option<usize>,
    /// The number of hidden columns at the end of the input.
    pub(crate) hidden: usize,
    pub(crate) seed: u64,
    pub(crate) name: String,
}

impl Sample {
    pub(crate) fn transform(self) -> Transform {
        let hidden = [Field::new(ASKED, DataType::Boolean, true), Field::new(ROW_NUMBER, DataType::Int64, true)];
        let columns = self.input.fields().len();
        let fields = self.input.fields().iter().cloned().chain(hidden.map(Arc::new));
        let info = TransformInfo {
            kind: "sample",
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            origins: (0..columns).map(|column| Some((0, column))).chain([None, None]).collect(),
            reads: Vec::new(),
            key: self.key,
            hidden: self.hidden + 2,
            meaning: json!({ "type": "sample", "rows": self.rows, "seed": self.seed, "name": self.name }),
        };
        let schema = info.schema.clone();
        Transform { info, work: Box::new(Draw { sample: self, schema }) }
    }

    /// Whether the stage asks about a row of `batch`, whose first row has the number `first`.
    fn is_asked(&self, batch: &RecordBatch, first: u64) -> impl Fn(usize) -> bool {
        let Asked { stage, when, guards, .. } = &self.asked;
        let guards: Vec<_> = guards.iter().map(|guard| guard.found(batch)).collect();
        move |i| {
            let row = Row::new(batch, i, first);
            let holds = || when.as_ref().is_none_or(|when| when.holds(row, &[]) == Ok(true));
            !guards.iter().any(|found| found(i)) && holds() && stage.most_prompts(row) > 0
        }
    }
}

#[derive(Debug)]
struct Draw {
    sample: Sample,
    schema: SchemaRef,
}

impl Work for Draw {
    fn start(&self) -> Box<dyn Pass + '_> {
        let size = self.sample.asked.rows_per_prompt;
        Box::new(Drawing {
            draw: self,
            streams: Streams::new(self.sample.seed, &["repeatability", &self.sample.name]),
            packs: self.sample.rows.div_ceil(size),
            cutter: Cutter::new(size),
            next: 0,
            drawn: BTreeMap::new(),
        })
    }
}

struct Drawing<'a> {
    draw: &'a Draw,
    streams: Streams,
    packs: usize,
    cutter: Cutter,
    /// The number of the next row, from 0.
    next: u64,
    /// The packs that are drawn so far, by their random number and their first row.
    drawn: BTreeMap<(u64, u64), RecordBatch>,
}

impl Drawing<'_> {
    fn draw(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let size = self.draw.sample.asked.rows_per_prompt;
        let is_asked = self.draw.sample.is_asked(batch, self.next);
        for start in (0..batch.num_rows()).step_by(size) {
            let rows = start..batch.num_rows().min(start + size);
            let first = self.next + start as u64;
            let place = (self.random(batch, start, first), first);
            let is_drawn =
                self.drawn.len() < self.packs || self.drawn.last_key_value().is_some_and(|(k, _)| place < *k);
            let asked: Vec<bool> = if is_drawn { rows.clone().map(&is_asked).collect() } else { Vec::new() };
            if !asked.contains(&true) {
                continue;
            }
            // A slice would keep the whole batch in memory.
            let pack = concat_batches(&batch.schema(), [&batch.slice(start, rows.len())])?;
            let numbers = Int64Array::from_iter_values((first..).take(rows.len()).map(|number| number as i64));
            let asked = BooleanArray::from(asked);
            let columns = [pack.columns(), &[Arc::new(asked), Arc::new(numbers)]].concat();
            self.drawn.insert(place, RecordBatch::try_new(self.draw.schema.clone(), columns)?);
            if self.drawn.len() > self.packs {
                self.drawn.pop_last();
            }
        }
        self.next += batch.num_rows() as u64;
        Ok(())
    }

    fn random(&self, batch: &RecordBatch, row: usize, number: u64) -> u64 {
        let key = self.draw.sample.key.filter(|_| self.draw.sample.asked.rows_per_prompt == 1);
        let number = key.map_or(number, |key| {
            let key = blake3::hash(Row::new(batch, row, 0).cell(key).json().to_string().as_bytes());
            u64::from_le_bytes(key.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
        });
        self.streams.of(number).below(u64::MAX)
    }
}

impl Pass for Drawing<'_> {
    fn take(&mut self, _: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        let packs = self.cutter.push(batch.clone()).map_err(sentence)?;
        packs.iter().try_for_each(|packs| self.draw(packs)).map_err(sentence)?;
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>, DataError> {
        let rest = self.cutter.finish();
        rest.iter().try_for_each(|rest| self.draw(rest)).map_err(sentence)?;
        let mut packs: Vec<((u64, u64), RecordBatch)> = std::mem::take(&mut self.drawn).into_iter().collect();
        packs.sort_by_key(|((_, first), _)| *first);
        let rows = concat_batches(&self.draw.schema, packs.iter().map(|(_, pack)| pack));
        Ok(vec![rows.map_err(sentence)?])
    }
}
