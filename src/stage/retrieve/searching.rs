//! Searching: holds the rows of `from`, then finds the nearest of them for many rows of `input` at a time.

use arrow_array::{RecordBatch, UInt64Array};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use arrow_select::take::take;

use super::context::{Context, FROM, INPUT};
use crate::prompt::BoundCondition;
use crate::search::{Fused, Hit, Nearest, TextIndex, Vectors, fused};
use crate::stage::transform::{DataError, Pass, Work, sentence};
use crate::stage::vectors::VectorSource;
use crate::stage::view::{Shown, View};
use crate::table::{Guard, Row, cell_at};

/// The rows of `input` that are searched for together, and the most bytes that they may have.
const QUERIES: usize = 8192;
const WAITING: usize = 64 << 20;
/// The most rows of a batch that is returned, and about the most bytes of its items.
const ROWS: usize = 1024;
const BYTES: usize = 16 << 20;

/// What is compared: a column of `input` with columns of `from`.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) input: usize,
    pub(super) from: Vec<usize>,
}

/// A column of `input` and a column of `from`.
#[derive(Debug)]
pub(super) struct VectorColumns {
    pub(super) input: usize,
    pub(super) from: usize,
}

#[derive(Debug)]
pub(super) struct BoundRetrieve {
    pub(super) schema: SchemaRef,
    pub(super) from: SchemaRef,
    pub(super) words: Option<Words>,
    pub(super) vectors: Option<VectorColumns>,
    pub(super) when: Option<BoundCondition>,
    /// A row of `from` to which one of these guards applies is not searched.
    pub(super) guards: Vec<Guard>,
    pub(super) shown: Context,
    pub(super) k: usize,
    pub(super) least: Option<f64>,
    /// Whether the rows search their own table.
    pub(super) is_own: bool,
    /// The columns of `input` with the query.
    pub(super) queries: Vec<usize>,
    /// The names of both tables.
    pub(super) tables: [String; 2],
    /// The field that names the column of vectors in each.
    pub(super) vector_fields: [&'static str; 2],
}

impl BoundRetrieve {
    /// The place of the new column.
    fn place(&self) -> usize {
        self.schema.fields().len() - 1
    }
}

impl Work for BoundRetrieve {
    fn views(&self) -> Vec<View> {
        let columns = vec![self.schema.field(self.place()).name().clone()];
        vec![View::new("Rows for which something was found", Shown::Matches { columns })]
    }

    fn start(&self) -> Box<dyn Pass + '_> {
        Box::new(Searching::new(self))
    }

    fn rests_on(&self) -> Vec<(usize, usize)> {
        self.queries.iter().map(|query| (self.place(), *query)).collect()
    }
}

struct Searching<'a> {
    stage: &'a BoundRetrieve,
    /// The number of rows of `from`.
    read: u64,
    /// The shown columns of the rows that are searched, and their numbers in `from`, from 0.
    held: Vec<RecordBatch>,
    numbers: Vec<u64>,
    texts: TextIndex,
    vectors: Vectors,
    /// For each vector, the place of its row among those that are searched.
    vector_rows: Vec<usize>,
    table: Option<RecordBatch>,
    /// Rows of `input` that are not searched for yet.
    waiting: Vec<RecordBatch>,
    /// Their number and their bytes.
    waiting_size: [usize; 2],
    /// The number of the first of them, from 0.
    first: u64,
}

impl<'a> Searching<'a> {
    fn new(stage: &'a BoundRetrieve) -> Self {
        Searching {
            stage,
            read: 0,
            held: Vec::new(),
            numbers: Vec::new(),
            texts: TextIndex::default(),
            vectors: Vectors::default(),
            vector_rows: Vec::new(),
            table: None,
            waiting: Vec::new(),
            waiting_size: [0, 0],
            first: 0,
        }
    }

    fn hold(&mut self, batch: &RecordBatch) -> Result<(), DataError> {
        let missing: Vec<_> = self.stage.guards.iter().map(|guard| guard.found(batch)).collect();
        let mut kept = Vec::new();
        for i in 0..batch.num_rows() {
            let number = self.read + i as u64;
            if missing.iter().any(|missing| missing(i)) {
                continue;
            }
            if let Some(when) = &self.stage.when {
                let failed = |error: String| format!("`when` can't be evaluated for row {}: {error}", number + 1);
                let holds = when.holds(Row::new(batch, i, self.read), &[]);
                if !holds.map_err(|error| DataError::at("when", failed(error)))? {
                    continue;
                }
            }
            if let Some(words) = &self.stage.words {
                let texts: Vec<String> =
                    words.from.iter().map(|column| cell_at(batch.column(*column).as_ref(), i).text()).collect();
                self.texts.push(&texts.join("\n"));
            }
            if let Some(columns) = &self.stage.vectors {
                let source = self.source(FROM, columns.from);
                if source.push(&mut self.vectors, batch, (i, number))? {
                    self.vector_rows.push(self.numbers.len());
                }
            }
            self.numbers.push(number);
            kept.push(i as u64);
        }
        self.read += batch.num_rows() as u64;
        let shown = batch.project(&self.stage.shown.columns).map_err(sentence)?;
        let kept = UInt64Array::from(kept);
        let columns = shown.columns().iter().map(|column| take(column.as_ref(), &kept, None));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(sentence)?;
        self.held.push(RecordBatch::try_new(shown.schema(), columns).map_err(sentence)?);
        Ok(())
    }

    fn source(&self, table: usize, column: usize) -> VectorSource<'a> {
        VectorSource { column, field: self.stage.vector_fields[table], table: &self.stage.tables[table] }
    }

    /// The rows that are searched, with the shown columns.
    fn table(&mut self) -> Result<RecordBatch, String> {
        if let Some(table) = &self.table {
            return Ok(table.clone());
        }
        let schema = self.stage.from.project(&self.stage.shown.columns).map_err(sentence)?;
        let table = concat_batches(&schema.into(), &std::mem::take(&mut self.held)).map_err(sentence)?;
        Ok(self.table.insert(table).clone())
    }

    /// Finds what the waiting rows search for.
    fn search(&mut self) -> Result<Vec<RecordBatch>, DataError> {
        let table = self.table()?;
        let average = table.get_array_memory_size() / table.num_rows().max(1) + 1;
        let rows = (BYTES / (average * self.stage.k)).clamp(1, ROWS);
        let waiting = std::mem::take(&mut self.waiting);
        let Some(first) = waiting.first() else { return Ok(Vec::new()) };
        let batch = concat_batches(&first.schema(), &waiting).map_err(sentence)?;
        let found = self.found(&batch)?;
        let mut done = Vec::new();
        for first in (0..batch.num_rows()).step_by(rows) {
            let part = batch.slice(first, rows.min(batch.num_rows() - first));
            let items = self.stage.shown.cells(&found[first..first + part.num_rows()], (&table, &self.numbers))?;
            let columns = part.columns().iter().cloned().chain([items]).collect();
            done.push(RecordBatch::try_new(self.stage.schema.clone(), columns).map_err(sentence)?);
        }
        self.first += batch.num_rows() as u64;
        self.waiting_size = [0, 0];
        Ok(done)
    }

    /// For each row, what it found; `None` if it has no query.
    fn found(&self, batch: &RecordBatch) -> Result<Vec<Option<Vec<Fused>>>, DataError> {
        let depth = match (&self.stage.words, &self.stage.vectors) {
            (Some(_), Some(_)) => (self.stage.k * 10).max(100),
            _ => self.stage.k,
        };
        let by_words = match &self.stage.words {
            Some(words) => self.by_words(batch, words.input, depth),
            None => vec![None; batch.num_rows()],
        };
        let by_vectors = match &self.stage.vectors {
            Some(columns) => self.by_vectors(batch, columns.input, depth)?,
            None => vec![None; batch.num_rows()],
        };
        let both = self.stage.words.is_some() && self.stage.vectors.is_some();
        let one = |hit: Hit| Fused { place: hit.place, score: hit.score, scores: [None, None] };
        let row = |(words, vectors): (Option<Vec<Hit>>, Option<Vec<Hit>>)| match both {
            true => Some(fused([&words?, &vectors?], self.stage.k)),
            false => Some(words.or(vectors)?.into_iter().map(one).collect()),
        };
        Ok(by_words.into_iter().zip(by_vectors).map(row).collect())
    }

    /// The place of the row's own copy in `from`, if it searches its own table and is searched.
    fn own(&self, row: usize) -> Option<usize> {
        self.stage.is_own.then(|| self.numbers.binary_search(&(self.first + row as u64)).ok()).flatten()
    }

    fn by_words(&self, batch: &RecordBatch, column: usize, depth: usize) -> Vec<Option<Vec<Hit>>> {
        let text = |row: usize| cell_at(batch.column(column).as_ref(), row).text();
        let texts: Vec<String> = (0..batch.num_rows()).map(text).collect();
        let rows: Vec<usize> = (0..texts.len()).filter(|row| !texts[*row].trim().is_empty()).collect();
        let queries: Vec<&str> = rows.iter().map(|row| texts[*row].as_str()).collect();
        let own: Vec<Option<usize>> = rows.iter().map(|row| self.own(*row)).collect();
        spread(batch.num_rows(), rows, self.texts.best(&queries, &own, depth))
    }

    fn by_vectors(&self, batch: &RecordBatch, column: usize, depth: usize) -> Result<Vec<Option<Vec<Hit>>>, DataError> {
        let (mut queries, mut rows) = (Vectors::default(), Vec::new());
        let source = self.source(INPUT, column);
        for row in 0..batch.num_rows() {
            if source.push(&mut queries, batch, (row, self.first + row as u64))? {
                rows.push(row);
            }
        }
        if queries.len() > 0 && self.vectors.len() > 0 && queries.width() != self.vectors.width() {
            let [from, input] = &self.stage.tables;
            let (own, other) = (queries.width(), self.vectors.width());
            let message = format!("`{input}` has vectors of {own} numbers, but `{from}` of {other}");
            return Err(DataError::at(self.stage.vector_fields[INPUT], message)
                .help("compare vectors of the same model with the same `dimensions`"));
        }
        let own = |row: &usize| self.vector_rows.binary_search(&self.own(*row)?).ok();
        let own: Vec<Option<usize>> = rows.iter().map(own).collect();
        let mut found = self.vectors.nearest(&queries, Nearest { k: depth, least: self.stage.least, own: &own });
        found.iter_mut().flatten().for_each(|hit| hit.place = self.vector_rows[hit.place]);
        Ok(spread(batch.num_rows(), rows, found))
    }
}

/// What each of `count` rows found. Those that are not in `rows` had no query.
fn spread(count: usize, rows: Vec<usize>, found: Vec<Vec<Hit>>) -> Vec<Option<Vec<Hit>>> {
    let mut all = vec![None; count];
    rows.into_iter().zip(found).for_each(|(row, found)| all[row] = Some(found));
    all
}

impl Pass for Searching<'_> {
    fn take(&mut self, input: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        if input == FROM {
            self.hold(batch)?;
            return Ok(Vec::new());
        }
        self.waiting.push(batch.clone());
        let [rows, bytes] = &mut self.waiting_size;
        *rows += batch.num_rows();
        *bytes += batch.get_array_memory_size();
        if *rows < QUERIES && *bytes < WAITING { Ok(Vec::new()) } else { self.search() }
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>, DataError> {
        self.search()
    }
}
