//! Batches: the rows of every source as a stream of record batches, the limits on batches, rows and cells, and why a
//! source cannot be read.

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;

pub(crate) const BATCH_ROWS: usize = 1024;
/// A batch ends early at about this many bytes of text, so that long texts do not fill the memory.
pub(crate) const BATCH_BYTES: usize = 4 << 20;

/// The approximate bytes of a cell besides its text; they count towards [`BATCH_BYTES`] in wide tables.
pub(crate) const CELL_COST: usize = 8;
/// The most bytes in a cell: a longer one is a mistake (usually a quote that is never closed).
pub(crate) const CELL_BYTES: usize = 16 << 20;
pub(crate) const ROW_BYTES: usize = 64 << 20;
pub(crate) const MOST_COLUMNS: usize = 10_000;

pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, SourceError>> + Send>;

pub(crate) fn batches(mut next: impl FnMut() -> Result<Option<RecordBatch>, SourceError> + Send + 'static) -> Batches {
    let mut ended = false;
    Box::new(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let batch = next().transpose();
        ended = !matches!(batch, Some(Ok(_)));
        batch
    }))
}

/// The same batches, which another thread reads while the caller works on those before.
pub(crate) fn read_ahead(batches: Batches) -> Batches {
    let (sender, receiver) = mpsc::sync_channel(1);
    let (give, given) = mpsc::channel::<Batches>();
    let read = move || {
        // It ends early if the caller wants no more batches.
        given.into_iter().flatten().map_while(|batch| sender.send(batch).ok()).for_each(drop);
    };
    // Without a thread, the caller reads them.
    let Ok(reader) = thread::Builder::new().name("reader".to_owned()).spawn(read) else { return batches };
    if let Err(unread) = give.send(batches) {
        return unread.0;
    }
    drop(give);
    let mut reader = Some(reader);
    Box::new(std::iter::from_fn(move || {
        let batch = receiver.recv().ok();
        if batch.is_none()
            && let Some(Err(panic)) = reader.take().map(thread::JoinHandle::join)
        {
            resume_unwind(panic);
        }
        batch
    }))
}

/// The batch of `rows` rows with these columns, of which there may be none.
pub(crate) fn record_batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
    shown: &str,
) -> Result<RecordBatch, SourceError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options);
    batch.map_err(|error| SourceError::of_file(shown, error))
}

/// Why a source cannot be read: the message names the file, and the row, line and byte where they are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct SourceError {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// The path of the field at fault in the source's table, such as `["types", "age"]`; empty for the whole source.
    pub(crate) field: Vec<String>,
}

impl SourceError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        SourceError { message: message.into(), help: None, field: Vec::new() }
    }

    /// An error of a file, which messages call `shown`.
    pub(crate) fn of_file(shown: &str, message: impl std::fmt::Display) -> Self {
        SourceError::new(format!("{shown}: {message}")).at(["path"])
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn at<'a>(mut self, keys: impl IntoIterator<Item = &'a str>) -> Self {
        self.field = keys.into_iter().map(str::to_owned).collect();
        self
    }
}

pub(crate) fn unreadable(shown: &str, error: &std::io::Error) -> SourceError {
    SourceError::of_file(shown, format_args!("can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int64Array;
    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    fn numbered(numbers: std::ops::Range<i64>) -> impl Iterator<Item = Result<RecordBatch, SourceError>> + Send {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        numbers.map(move |n| record_batch(&schema, vec![Arc::new(Int64Array::from(vec![n]))], 1, "numbers"))
    }

    #[test]
    fn batches_that_are_read_ahead_are_the_same() {
        let error = || std::iter::once(Err(SourceError::new("row 7 is damaged")));
        let all = || numbered(0..6).chain(error());
        assert!(read_ahead(Box::new(all())).eq(all()));
        assert_eq!(read_ahead(Box::new(numbered(0..i64::MAX))).take(3).count(), 3, "the caller may stop");
    }

    #[test]
    fn a_panic_of_a_reader_does_not_end_its_batches() {
        let read = numbered(0..3).chain(std::iter::once_with(|| panic!("a bug of a reader")));
        let batches = read_ahead(Box::new(read));
        let counted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batches.count()));
        assert_eq!(counted.unwrap_err().downcast_ref(), Some(&"a bug of a reader"));
    }
}
