//! Parquet: files that appear whole or not at all, and ranges of rows read from them.
//!
//! The bytes written depend only on the rows, not on the batches: rows are gathered into steps of [`STEP`] before
//! encoding.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, RecordBatchReader as _};
use arrow_schema::SchemaRef;
use arrow_select::coalesce::BatchCoalescer;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{CdcOptions, EnabledStatistics, WriterProperties};
use parquet::file::reader::ChunkReader;
use parquet::schema::types::ColumnPath;
use tempfile::NamedTempFile;

use super::files::{folder_of, new_file, persist};
use super::stored::{Ranges, Stored};

/// Rows to encode at once.
const STEP: usize = 1024;
/// The same for a table with more than [`DICTIONARY_COLUMNS`].
const WIDE_STEP: usize = 128;
/// A step of long texts ends before this many bytes. Where it ends depends on the rows alone.
const STEP_BYTES: usize = 8 << 20;
/// The same for the project's own tables.
const OWN_STEP_BYTES: usize = 1 << 20;
/// The most bytes to read at once.
const READ_BYTES: u64 = 32 << 20;
/// Columns beyond this number share the memory of this number.
const USUAL_COLUMNS: usize = 64;
/// A table with more columns has no dictionaries, and another compression: a dictionary needs 64 KB from the start,
/// Zstandard 100 KB for each column that is written or read, and Snappy 40 KB for each that is written.
const DICTIONARY_COLUMNS: usize = 512;
/// The most rows in a row group.
const GROUP_ROWS: usize = 32 * 1024;
/// The most bytes in a dictionary. A larger one would fill the memory for values that hardly repeat.
const DICTIONARY_BYTES: usize = 128 << 10;
/// Bytes of a page before compression.
const PAGE_BYTES: usize = 256 << 10;
/// The bytes of a page that ends where its content says, before compression.
const CUT_BYTES: Range<usize> = 32 << 10..96 << 10;
/// A row group ends early at about this many encoded bytes. The writer keeps them in memory.
const GROUP_BYTES: usize = 32 << 20;
/// The same for the project's own tables. With thousands of columns it would not help: the metadata of many row groups
/// would need the memory instead.
const OWN_GROUP_BYTES: usize = 8 << 20;
/// The writer that a file names, which is part of its bytes: the same answers make the same file in every version. It
/// changes only with the layout of the files.
const WRITER: &str = "fanfold 0.1.0";

#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub(crate) struct TableError {
    path: PathBuf,
    error: Box<dyn std::error::Error + Send + Sync>,
}

impl TableError {
    pub(crate) fn at<E: std::error::Error + Send + Sync + 'static>(path: &Path) -> impl FnOnce(E) -> TableError + '_ {
        move |error| TableError { path: path.to_owned(), error: Box::new(error) }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Columns without a dictionary, because their values hardly repeat.
    pub(crate) distinct: Vec<&'static str>,
    /// Whether the table is one of the project's own. Its pages end where their content says, so that tables with some
    /// equal rows have equal pages, and its row groups are small, because several are written at the same time.
    pub(crate) is_own: bool,
    pub(crate) facts: Vec<(String, String)>,
}

/// Writes a Parquet file under a temporary name and renames it when it is complete.
pub(crate) struct TableWriter {
    path: PathBuf,
    writer: ArrowWriter<NamedTempFile>,
    /// Gathers the rows into steps.
    steps: BatchCoalescer,
    /// The most rows of a step, and the most bytes of their texts.
    most: (usize, usize),
    /// The encoded bytes at which a row group ends.
    group_bytes: usize,
    /// The rows in the last step, and the bytes of their texts.
    step: (usize, usize),
    rows: u64,
}

impl TableWriter {
    /// Starts the file `path` with this schema; creates its folder.
    pub(crate) fn create(path: &Path, schema: SchemaRef, options: &Options) -> Result<Self, TableError> {
        let folder = folder_of(path);
        std::fs::create_dir_all(folder).map_err(TableError::at(path))?;
        let file = new_file(path).map_err(TableError::at(path))?;
        let is_wide = schema.fields().len() > DICTIONARY_COLUMNS;
        let share = |bytes: usize| bytes * USUAL_COLUMNS / schema.fields().len().max(USUAL_COLUMNS);
        let mut properties = WriterProperties::builder()
            .set_dictionary_enabled(!is_wide)
            .set_compression(if is_wide { Compression::LZ4_RAW } else { Compression::ZSTD(ZstdLevel::default()) })
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_dictionary_page_size_limit(share(DICTIONARY_BYTES))
            .set_data_page_size_limit(share(PAGE_BYTES))
            .set_created_by(WRITER.to_owned());
        if options.is_own {
            // The writer would keep the indexes of all pages until the end, and fanfold does not read them.
            properties = properties.set_statistics_enabled(EnabledStatistics::Chunk).set_offset_index_disabled(true);
        }
        if options.is_own && !is_wide {
            let Range { start: min_chunk_size, end: max_chunk_size } = CUT_BYTES;
            let cuts = CdcOptions { min_chunk_size, max_chunk_size, ..CdcOptions::default() };
            properties = properties.set_content_defined_chunking(Some(cuts));
        }
        for column in &options.distinct {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(*column), false);
        }
        if !options.facts.is_empty() {
            let facts = options.facts.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone()));
            properties = properties.set_key_value_metadata(Some(facts.collect()));
        }
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties.build()));
        let writer = writer.map_err(TableError::at(path))?;
        let rows = if is_wide { WIDE_STEP } else { STEP };
        let most = (rows, if options.is_own { OWN_STEP_BYTES } else { STEP_BYTES });
        Ok(TableWriter {
            path: path.to_owned(),
            writer,
            most,
            group_bytes: if options.is_own && !is_wide { OWN_GROUP_BYTES } else { GROUP_BYTES },
            steps: BatchCoalescer::new(schema, rows),
            step: (0, 0),
            rows: 0,
        })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn write(&mut self, batch: RecordBatch) -> Result<(), TableError> {
        self.rows += batch.num_rows() as u64;
        let mut rest = batch;
        while rest.num_rows() > 0 {
            let (rows, bytes) = fitting(&rest, self.step, self.most);
            if rows > 0 {
                let fitting = rest.slice(0, rows);
                self.steps.push_batch(fitting).map_err(|error| self.broken(error.into()))?;
                self.step = (self.step.0 + rows, self.step.1 + bytes);
                rest = rest.slice(rows, rest.num_rows() - rows);
            }
            if self.step.0 == self.most.0 || rest.num_rows() > 0 {
                self.steps.finish_buffered_batch().map_err(|error| self.broken(error.into()))?;
                self.step = (0, 0);
                self.encode()?;
            }
        }
        Ok(())
    }

    /// Encodes the steps that are complete.
    fn encode(&mut self) -> Result<(), TableError> {
        while let Some(step) = self.steps.next_completed_batch() {
            self.writer.write(&step).map_err(TableError::at(&self.path))?;
            if self.writer.in_progress_size() > self.group_bytes {
                self.writer.flush().map_err(TableError::at(&self.path))?;
            }
        }
        Ok(())
    }

    pub(crate) fn broken(&self, error: ParquetError) -> TableError {
        TableError::at(&self.path)(error)
    }

    pub(crate) fn fact(&mut self, key: &str, value: String) {
        self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    /// Finishes the file, makes it durable and renames it over any existing file.
    pub(crate) fn commit(self) -> Result<(), TableError> {
        let (file, path) = self.finish()?;
        persist(file, &path).map_err(TableError::at(&path))
    }

    /// Finishes the file under its temporary name. Returns it with the path that it is for.
    pub(crate) fn finish(mut self) -> Result<(NamedTempFile, PathBuf), TableError> {
        self.steps.finish_buffered_batch().map_err(|error| self.broken(error.into()))?;
        self.encode()?;
        let file = self.writer.into_inner().map_err(TableError::at(&self.path))?;
        Ok((file, self.path))
    }
}

/// How many rows of a batch fit into a step that has `rows` rows and `bytes` bytes of texts and may have `most`, and the
/// bytes of their texts. An empty step takes at least one row.
fn fitting(batch: &RecordBatch, (rows, bytes): (usize, usize), most: (usize, usize)) -> (usize, usize) {
    let (most, most_bytes) = ((most.0 - rows).min(batch.num_rows()), most.1);
    let whole = text_bytes(batch, 0..most);
    if bytes + whole <= most_bytes {
        return (most, whole);
    }
    let (mut taken, mut sum) = (0, 0);
    while taken < most {
        let next = text_bytes(batch, taken..taken + 1);
        if rows + taken > 0 && bytes + sum + next > most_bytes {
            break;
        }
        (taken, sum) = (taken + 1, sum + next);
    }
    (taken, sum)
}

/// The bytes of the texts in some rows of a batch, also of those in lists.
fn text_bytes(batch: &RecordBatch, rows: Range<usize>) -> usize {
    batch.columns().iter().map(|column| texts_in(column.as_ref(), rows.clone())).sum()
}

fn texts_in(column: &dyn Array, rows: Range<usize>) -> usize {
    if let Some(texts) = column.as_string_opt::<i32>() {
        let ends = texts.value_offsets();
        return (ends[rows.end] - ends[rows.start]) as usize;
    }
    match column.as_list_opt::<i32>() {
        Some(lists) => {
            let ends = lists.value_offsets();
            texts_in(lists.values().as_ref(), ends[rows.start] as usize..ends[rows.end] as usize)
        }
        None => 0,
    }
}

/// A Parquet file that fanfold wrote, opened for reading; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    path: PathBuf,
    /// Where its bytes are, if they are not in a file at the path.
    stored: Option<Arc<dyn Stored>>,
    metadata: ArrowReaderMetadata,
    /// The columns to read; `None` for all.
    columns: Option<ProjectionMask>,
}

impl Table {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn open(path: &Path) -> Result<Self, TableError> {
        let file = File::open(path).map_err(TableError::at(path))?;
        let metadata = ArrowReaderMetadata::load(&file, Default::default()).map_err(TableError::at(path))?;
        Ok(Table { path: path.to_owned(), stored: None, metadata, columns: None })
    }

    /// Opens a file that would be at `path` and whose bytes are in `stored`.
    pub(crate) fn open_stored(path: &Path, stored: Arc<dyn Stored>) -> Result<Self, TableError> {
        let ranges = Ranges::open(&stored).map_err(TableError::at(path))?;
        let metadata = ArrowReaderMetadata::load(&ranges, Default::default()).map_err(TableError::at(path))?;
        Ok(Table { path: path.to_owned(), stored: Some(stored), metadata, columns: None })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::new(self.metadata.schema().as_ref().clone().with_metadata(arrow_schema::Metadata::default()))
    }

    pub(crate) fn rows(&self) -> u64 {
        self.metadata.metadata().file_metadata().num_rows().max(0) as u64
    }

    pub(crate) fn fact(&self, key: &str) -> Option<&str> {
        let facts = self.metadata.metadata().file_metadata().key_value_metadata()?;
        facts.iter().find(|f| f.key == key)?.value.as_deref()
    }

    /// The approximate bytes of a row before compression, in the row group with the longest rows.
    pub(crate) fn bytes_per_row(&self) -> u64 {
        let groups = self.metadata.metadata().row_groups().iter();
        groups.map(|group| group.total_byte_size().max(0) as u64 / group.num_rows().max(1) as u64).max().unwrap_or(0)
    }

    pub(crate) fn with_columns(&self, names: &[&str]) -> Table {
        // By number, since a path of Parquet would split a name at its dots.
        let columns = names.iter().filter_map(|name| self.metadata.schema().index_of(name).ok());
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), columns);
        Table { columns: Some(mask), ..self.clone() }
    }

    /// Reads `count` rows, starting with row `start`, in batches of at most `batch` rows. Batches of long rows are
    /// smaller.
    pub(crate) fn read(&self, start: u64, count: u64, batch: usize) -> Result<Rows, TableError> {
        match &self.stored {
            Some(stored) => self.read_from(Ranges::open(stored), start..start + count, batch),
            None => self.read_from(File::open(&self.path), start..start + count, batch),
        }
    }

    fn read_from<F: ChunkReader + 'static>(
        &self,
        file: io::Result<F>,
        rows: Range<u64>,
        batch: usize,
    ) -> Result<Rows, TableError> {
        let file = file.map_err(TableError::at(&self.path))?;
        let mut groups = Vec::new();
        let (mut first, mut skip) = (0u64, None);
        for (i, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let end = first + group.num_rows().max(0) as u64;
            if end > rows.start && first < rows.end {
                skip.get_or_insert(rows.start.saturating_sub(first));
                groups.push(i);
            }
            first = end;
        }
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_batch_size(batch.min((READ_BYTES / self.bytes_per_row().max(1)).max(1) as usize))
            .with_projection(self.columns.clone().unwrap_or_else(ProjectionMask::all))
            .with_row_groups(groups)
            .with_offset(skip.unwrap_or(0) as usize)
            .with_limit((rows.end - rows.start) as usize)
            .build()
            .map_err(TableError::at(&self.path))?;
        let schema = match &self.columns {
            None => self.schema(),
            Some(_) => reader.schema(),
        };
        Ok(Rows { path: self.path.clone(), schema, reader })
    }
}

pub(crate) struct Rows {
    path: PathBuf,
    schema: SchemaRef,
    reader: parquet::arrow::arrow_reader::ParquetRecordBatchReader,
}

impl Iterator for Rows {
    type Item = Result<RecordBatch, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        let batch = batch.and_then(|b| b.with_schema(self.schema.clone()));
        Some(batch.map_err(|error| TableError::at(&self.path)(ParquetError::from(error))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    fn batch(from: i64, rows: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((from..from + rows).map(|i| format!("t{i}"))));
        RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap()
    }

    fn write(path: &Path, cut: i64, rows: i64) {
        let mut writer = TableWriter::create(path, batch(0, 1).schema(), &Options::default()).unwrap();
        let mut from = 0;
        while from < rows {
            let take = cut.min(rows - from);
            writer.write(batch(from, take)).unwrap();
            from += take;
        }
        writer.commit().unwrap();
    }

    #[test]
    fn the_same_rows_are_the_same_bytes_however_they_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<Vec<u8>> = [1, 10, 1000, 5000]
            .map(|cut| {
                let path = folder.path().join(format!("{cut}.parquet"));
                write(&path, cut, 5000);
                std::fs::read(path).unwrap()
            })
            .to_vec();
        assert!(bytes.windows(2).all(|w| w[0] == w[1]));
    }

    #[test]
    fn steps_of_long_rows_are_bounded_and_depend_on_the_rows_alone() {
        let folder = tempfile::tempdir().unwrap();
        // Some rows of 3 MB, one longer than a step, and many short ones.
        let text = |i: usize| {
            "x".repeat(if i == 7 {
                STEP_BYTES + 1
            } else if i.is_multiple_of(5) {
                3 << 20
            } else {
                10
            })
        };
        let rows = |range: Range<usize>| {
            let texts: ArrayRef = Arc::new(StringArray::from_iter_values(range.map(text)));
            RecordBatch::try_from_iter([("t", texts)]).unwrap()
        };
        let bytes = [1, 3, 40].map(|cut| {
            let path = folder.path().join(format!("{cut}.parquet"));
            let mut writer = TableWriter::create(&path, rows(0..1).schema(), &Options::default()).unwrap();
            for from in (0..40).step_by(cut) {
                writer.write(rows(from..(from + cut).min(40))).unwrap();
                assert!(writer.step.1 <= STEP_BYTES || writer.step.0 == 1);
            }
            writer.commit().unwrap();
            let table = Table::open(&path).unwrap();
            let read: usize = table.read(0, 40, 1024).unwrap().map(|batch| batch.unwrap().num_rows()).sum();
            assert_eq!(read, 40);
            std::fs::read(path).unwrap()
        });
        assert!(bytes.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn ranges_are_read_across_row_groups() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write(&path, 4096, 150_000);
        let table = Table::open(&path).unwrap();
        assert_eq!(table.rows(), 150_000);
        for (start, count) in [(0, 5), (65_530, 20), (131_071, 18_929), (149_999, 1), (70_000, 0)] {
            let mut next = start as i64;
            for rows in table.read(start, count, 1000).unwrap() {
                let rows = rows.unwrap();
                assert_eq!(rows, batch(next, rows.num_rows() as i64));
                next += rows.num_rows() as i64;
            }
            assert_eq!(next as u64, start + count);
        }
    }

    #[test]
    fn columns_are_found_by_their_whole_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let (plain, dotted): (ArrayRef, ArrayRef) =
            (Arc::new(Int64Array::from(vec![1])), Arc::new(Int64Array::from(vec![2])));
        let rows = RecordBatch::try_from_iter([("a", plain), ("a.b", dotted)]).unwrap();
        let mut writer = TableWriter::create(&path, rows.schema(), &Options::default()).unwrap();
        writer.write(rows).unwrap();
        writer.commit().unwrap();
        let table = Table::open(&path).unwrap();
        for name in ["a", "a.b"] {
            let read = table.with_columns(&[name, "absent"]).read(0, 1, 1).unwrap().next().unwrap().unwrap();
            assert_eq!((read.num_columns(), read.schema().field(0).name().as_str()), (1, name));
        }
    }

    #[test]
    fn a_file_that_is_not_committed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let mut writer = TableWriter::create(&path, batch(0, 1).schema(), &Options::default()).unwrap();
        writer.write(batch(0, 10)).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
