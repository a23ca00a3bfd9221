//! Scanning: reads a source once before the first call, counts rows, checks keys and hashes the content.

use std::path::Path;

use arrow_array::RecordBatch;
use indexmap::IndexMap;

use super::SourceFacts;
use super::rows::{Chosen, Drawing, RowChoice, RowPick};
use crate::source::{Changes, Import, SourceError, read_ahead};
use crate::spec::SourceSpec;
use crate::table::{Cell, Digest, cell_at};

const EXAMPLES: usize = 3;

/// The error of the keys among the first `most` rows: a missing or a repeated one. Other errors are those of a run.
pub(crate) fn key_error(source: &SourceSpec, folder: &Path, most: u64) -> Option<SourceError> {
    let key = source.relation.key?;
    let mut keys = KeyCheck::default();
    for batch in source.source.read_counting(folder, &Changes::tolerant()).ok()? {
        let batch = batch.ok()?;
        if let Err(row) = keys.add(batch.column(key).as_ref()) {
            return Some(no_key(source, row));
        }
        if keys.hashes.len() as u64 >= most {
            break;
        }
    }
    let repeated = keys.repeated();
    if repeated.is_empty() { None } else { name_repeated(source, folder, &repeated).ok() }
}

fn no_key(source: &SourceSpec, row: u64) -> SourceError {
    let column = source.relation.schema.field(source.relation.key.unwrap_or_default()).name();
    SourceError::new(format!("{}: row {row} has no key: `{column}` is empty", path(source)))
        .help("fill it, or leave `key` out of the spec: the row's number is its key then")
}

/// Reads the rows of a source and passes each batch of the chosen ones to `sink`.
/// A row that can't be read, a missing key or a repeated key is an error that names the row.
pub(crate) fn scan<E: From<SourceError>>(
    source: &SourceSpec,
    folder: &Path,
    content: String,
    pick: RowPick,
    mut sink: impl FnMut(RecordBatch) -> Result<(), E>,
) -> Result<SourceFacts, E> {
    let chosen = chosen(source, folder, pick)?;
    let mut keys = KeyCheck::default();
    let mut digest = Digest::new(source.relation.schema.fields().iter().map(|f| f.name().as_str()));
    let mut import = Import { files: source.source.readings(folder)?, ..Import::default() };
    import.columns = source.relation.schema.fields().len() as u64;
    let changes = Changes::tolerant();
    let mut first = 0;
    let mut batches = source.source.read_counting(folder, &changes)?;
    if chosen.is_none() {
        batches = read_ahead(batches);
    }
    for batch in batches {
        if chosen.as_ref().is_some_and(|chosen| chosen.ends_before(first)) {
            break;
        }
        let mut batch = batch?;
        let rows = batch.num_rows() as u64;
        if let Some(Chosen::Span(0, end)) = &chosen {
            batch = batch.slice(0, (end - first).min(rows) as usize);
        }
        if let Some(key) = source.relation.key {
            keys.add(batch.column(key).as_ref()).map_err(|row| no_key(source, row))?;
        }
        if let Some(chosen) = &chosen {
            batch = chosen.of(&batch, first)?;
        }
        first += rows;
        import.rows += batch.num_rows() as u64;
        import.nulls += batch.columns().iter().map(|column| column.null_count() as u64).sum::<u64>();
        digest.add(&batch);
        sink(batch)?;
    }
    (import.changed_characters, import.unreadable) = (changes.count(), changes.columns());
    import.declared_missing = changes.all_missing();
    let place = |column: &str| source.relation.schema.index_of(column).ok();
    import.declared_missing.sort_by(|one, _, other, _| place(one).cmp(&place(other)));
    let repeated = keys.repeated();
    if !repeated.is_empty() {
        return Err(name_repeated(source, folder, &repeated)?.into());
    }
    Ok(SourceFacts { rows: import.rows, content, values: digest.finish(), import: Some(import), is_fresh: true })
}

/// The rows that `pick` chooses. `None` for all. A sample reads the source once more.
fn chosen(source: &SourceSpec, folder: &Path, pick: RowPick) -> Result<Option<Chosen>, SourceError> {
    let size = match pick.choice {
        RowChoice::All => return Ok(None),
        RowChoice::First(rows) => return Ok(Some(Chosen::Span(0, rows))),
        RowChoice::Range(first, last) => return Ok(Some(Chosen::Span(first - 1, last))),
        RowChoice::Sample(size) => size,
    };
    let mut drawing = Drawing::new(pick.seed, size);
    let mut number = 0;
    for batch in source.source.read_counting(folder, &Changes::tolerant())? {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let key = source.relation.key.map(|key| hash_of(&cell_at(batch.column(key).as_ref(), row)));
            drawing.offer(key.unwrap_or(number), number);
            number += 1;
        }
    }
    Ok(Some(Chosen::Drawn(drawing.rows())))
}

fn path(source: &SourceSpec) -> String {
    let paths = source.source.paths().into_iter().map(|(_, path)| path);
    paths.into_iter().next().unwrap_or_else(|| format!("`{}`", source.name))
}

fn name_repeated(source: &SourceSpec, folder: &Path, repeated: &[u64]) -> Result<SourceError, SourceError> {
    let key = source.relation.key.unwrap_or_default();
    let wanted = &repeated[..repeated.len().min(EXAMPLES)];
    let mut found: IndexMap<u64, (String, Vec<u64>)> = IndexMap::new();
    let mut row = 0;
    for batch in source.source.read_counting(folder, &Changes::tolerant())? {
        let batch = batch?;
        for i in 0..batch.num_rows() {
            row += 1;
            let cell = cell_at(batch.column(key).as_ref(), i);
            let hash = hash_of(&cell);
            if wanted.contains(&hash) {
                found.entry(hash).or_insert_with(|| (cell.text(), Vec::new())).1.push(row);
            }
        }
    }
    let example = |(key, rows): &(String, Vec<u64>)| {
        let rows: Vec<String> = rows.iter().take(3).map(u64::to_string).collect();
        format!("`{key}` (rows {})", rows.join(", "))
    };
    let examples: Vec<String> = found.values().map(example).collect();
    let name = source.relation.schema.field(key).name();
    let many = if repeated.len() == 1 { "one key is".to_owned() } else { format!("{} keys are", repeated.len()) };
    let examples = examples.join(", ");
    let path = path(source);
    let message = format!("{path}: the key `{name}` must name each row once, but {many} repeated: {examples}");
    Ok(SourceError::new(message).help("choose another `key`, or leave it out: the row's number is its key then"))
}

/// Checks that the keys of a source are unique. Uses 8 bytes of memory per row.
#[derive(Debug, Default)]
struct KeyCheck {
    hashes: Vec<u64>,
}

impl KeyCheck {
    /// Adds the keys of the next rows. The error is the number (from 1) of a row without a key.
    fn add(&mut self, keys: &dyn arrow_array::Array) -> Result<(), u64> {
        for i in 0..keys.len() {
            let row = self.hashes.len() as u64 + 1;
            match cell_at(keys, i) {
                Cell::Null => return Err(row),
                key => self.hashes.push(hash_of(&key)),
            }
        }
        Ok(())
    }

    /// Returns the hashes that occurred more than once.
    fn repeated(mut self) -> Vec<u64> {
        self.hashes.sort_unstable();
        let mut repeated: Vec<u64> = self.hashes.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).collect();
        repeated.dedup();
        repeated
    }
}

/// The hash by which [`KeyCheck`] compares keys.
fn hash_of(key: &Cell) -> u64 {
    let hash = match key {
        Cell::Text(text) => blake3::hash(text.as_bytes()),
        other => blake3::hash(format!("{other:?}").as_bytes()),
    };
    let bytes: [u8; 8] = hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes");
    u64::from_le_bytes(bytes)
}
