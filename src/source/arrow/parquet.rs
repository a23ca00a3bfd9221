//! Parquet files: the footer and the page sizes are checked first, and a damaged file is an error, never a crash.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;

use super::arrays::{DEEPEST, plain, plain_type};
use super::pages;
use crate::source::batches::{BATCH_BYTES, BATCH_ROWS, Batches, MOST_COLUMNS, SourceError, batches, unreadable};
use crate::source::binary;
use crate::source::reader::{DataFile, Reader};
use crate::source::reading::{Changes, Reading};
use crate::source::settings::File;
use crate::table::Labels;

const WHAT: &str = "Parquet file";
/// The largest footer in bytes; real ones have some kB for each row group.
const FOOTER_BYTES: u64 = 64 << 20;

pub(crate) struct ParquetReader;

impl Reader for ParquetReader {
    fn file_schema(&self, file: &DataFile, _: &File) -> Result<SchemaRef, SourceError> {
        careful(&file.shown, || Ok(plain_schema(open(&file.path, &file.shown)?.schema(), &file.shown)?.schema))
    }

    fn read(&self, file: &DataFile, _: &File, _: &SchemaRef, changes: &Changes) -> Result<Batches, SourceError> {
        Ok(Parquet::open(&file.path, &file.shown)?.counting(changes).into_batches())
    }

    fn reading(&self, file: &DataFile, options: &File) -> Result<Reading, SourceError> {
        let schema = self.file_schema(file, options)?;
        let rules =
            if schema.fields().iter().any(|field| differs(field.data_type())) { vec!["types 2"] } else { vec![] };
        Ok(Reading { rules, ..Reading::default() })
    }
}

pub(crate) struct Parquet {
    reader: ParquetRecordBatchReader,
    columns: PlainColumns,
    changes: Changes,
    shown: String,
    rows: u64,
    promised: u64,
}

impl Parquet {
    pub(crate) fn open(path: &Path, shown: &str) -> Result<Self, SourceError> {
        careful(shown, || {
            let builder = open(path, shown)?;
            let mut columns = plain_schema(builder.schema(), shown)?;
            columns.leave_out_compressed(&builder, shown);
            let file = fs::File::open(path).map_err(|e| unreadable(shown, &e))?;
            pages::check(file, builder.metadata()).map_err(|message| damaged(shown, &message))?;
            let promised = u64::try_from(builder.metadata().file_metadata().num_rows())
                .map_err(|_| damaged(shown, "a negative number of rows"))?;
            let bytes: u64 = builder
                .metadata()
                .row_groups()
                .iter()
                .map(|group| u64::try_from(group.total_byte_size()).unwrap_or(0))
                .fold(0, u64::saturating_add);
            let rows = BATCH_BYTES as u64 / (bytes / promised.max(1)).max(1);
            let rows = usize::try_from(rows).unwrap_or(BATCH_ROWS).clamp(1, BATCH_ROWS);
            let readable = (0..columns.schema.fields().len()).filter(|index| columns.is_readable(*index));
            let mask = ProjectionMask::roots(builder.parquet_schema(), readable);
            let reader = builder.with_batch_size(rows).with_projection(mask).build();
            let reader = reader.map_err(|e| damaged(shown, &e.to_string()))?;
            Ok(Parquet { reader, columns, changes: Changes::default(), shown: shown.to_owned(), rows: 0, promised })
        })
    }

    pub(crate) fn counting(self, changes: &Changes) -> Self {
        Parquet { changes: changes.clone(), ..self }
    }

    pub(crate) fn into_batches(mut self) -> Batches {
        batches(move || self.batch())
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let shown = self.shown.clone();
        careful(&shown, || {
            let Some(batch) = self.reader.next() else {
                let message = format!("it promises {} rows and has {}", self.promised, self.rows);
                return if self.rows == self.promised { Ok(None) } else { Err(damaged(&shown, &message)) };
            };
            let batch = batch.map_err(|e| damaged(&shown, &e.to_string()))?;
            let plain = self.columns.plain(&batch, (&shown, self.rows), &self.changes)?;
            self.rows += batch.num_rows() as u64;
            plain.map(Some).map_err(|e| damaged(&shown, &e))
        })
    }
}

fn open(path: &Path, shown: &str) -> Result<ParquetRecordBatchReaderBuilder<fs::File>, SourceError> {
    let mut file = fs::File::open(path).map_err(|e| unreadable(shown, &e))?;
    check_footer(&mut file, shown)?;
    let again = file.try_clone().map_err(|e| unreadable(shown, &e))?;
    ParquetRecordBatchReaderBuilder::try_new(file).or_else(|error| match error.to_string() {
        // The types of Arrow are stored beside those of Parquet. A column that is nested too deeply hides all of them.
        deep if deep.contains("DepthLimitReached") => {
            let plain = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            ParquetRecordBatchReaderBuilder::try_new_with_options(again, plain).map_err(|_| damaged(shown, &deep))
        }
        other => Err(damaged(shown, &other)),
    })
}

fn check_footer(file: &mut fs::File, shown: &str) -> Result<(), SourceError> {
    let io = |e: std::io::Error| unreadable(shown, &e);
    let size = file.seek(SeekFrom::End(0)).map_err(io)?;
    if size < 12 {
        return Err(damaged(shown, "it is too short for a Parquet file"));
    }
    let mut first = [0; 4];
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    file.read_exact(&mut first).map_err(io)?;
    let mut last = [0; 8];
    file.seek(SeekFrom::End(-8)).map_err(io)?;
    file.read_exact(&mut last).map_err(io)?;
    let [a, b, c, d, magic @ ..] = last;
    if first == *b"PARE" || magic == *b"PARE" {
        return Err(SourceError::of_file(shown, "is encrypted").help("write it without encryption"));
    }
    if first != *b"PAR1" {
        return Err(SourceError::of_file(shown, "is not a Parquet file").help("set `format`"));
    }
    if magic != *b"PAR1" {
        return Err(damaged(shown, "its end is missing (an interrupted download or copy?)"));
    }
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    if footer > size - 12 || footer > FOOTER_BYTES {
        return Err(damaged(shown, &format!("a footer of {footer} bytes in a file of {size}")));
    }
    Ok(())
}

/// Whether the first version of this reader read columns of this type as other values: it widened narrow floating point
/// numbers, and printed moments without their zone.
fn differs(kind: &DataType) -> bool {
    match kind {
        DataType::Float16 | DataType::Float32 | DataType::UInt64 | DataType::Timestamp(_, Some(_)) => true,
        DataType::List(item) => differs(item.data_type()),
        _ => false,
    }
}

/// The columns of a table, and why some of them cannot be read.
pub(crate) struct PlainColumns {
    pub(crate) schema: SchemaRef,
    unreadable: BTreeMap<usize, SourceError>,
}

impl PlainColumns {
    pub(crate) fn is_readable(&self, index: usize) -> bool {
        !self.unreadable.contains_key(&index)
    }

    /// Marks the columns whose compression is not supported.
    fn leave_out_compressed(&mut self, builder: &ParquetRecordBatchReaderBuilder<fs::File>, shown: &str) {
        for (leaf, column) in
            builder.metadata().row_groups().iter().flat_map(|group| group.columns().iter().enumerate())
        {
            let name = match column.compression() {
                Compression::BROTLI(_) => "brotli",
                Compression::LZO => "lzo",
                _ => continue,
            };
            let root = builder.parquet_schema().get_column_root_idx(leaf);
            let field = builder.schema().field(root).name();
            let error = SourceError::of_file(shown, format_args!("column `{field}` is compressed by {name}"));
            let help = "write it again with zstd, snappy, gzip or lz4, such as compression=\"zstd\" in pandas";
            self.unreadable.entry(root).or_insert(error.help(help));
        }
    }

    /// The readable columns of `batch` in the types of the table, and the others as nulls. The batch begins with row
    /// `first` (from 0) of its file. The inner error is a sentence about a damaged file.
    pub(crate) fn plain(
        &self,
        batch: &RecordBatch,
        (shown, first): (&str, u64),
        changes: &Changes,
    ) -> Result<Result<RecordBatch, String>, SourceError> {
        let (rows, last) = (batch.num_rows(), first + batch.num_rows() as u64);
        let mut readable = batch.columns().iter();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for (index, field) in self.schema.fields().iter().enumerate() {
            let array = match self.unreadable.get(&index) {
                Some(error) => Err(error.clone()),
                None => {
                    let Some(array) = readable.next() else { return Ok(Err("a column is missing".to_owned())) };
                    plain(array).map_err(|problem| {
                        let message = format!("rows {} to {last}: column `{}`: {problem}", first + 1, field.name());
                        SourceError::of_file(shown, message)
                    })
                }
            };
            arrays.push(match array {
                Ok(array) => array,
                Err(error) => {
                    changes.unreadable(index, rows, error)?;
                    new_null_array(field.data_type(), rows)
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options);
        Ok(batch.map_err(|error| error.to_string()))
    }
}

pub(crate) fn plain_schema(schema: &Schema, shown: &str) -> Result<PlainColumns, SourceError> {
    if schema.fields().len() > MOST_COLUMNS {
        return Err(SourceError::of_file(shown, format_args!("has more than {MOST_COLUMNS} columns")));
    }
    let mut seen = std::collections::HashSet::new();
    let (mut fields, mut unreadable) = (Vec::with_capacity(schema.fields().len()), BTreeMap::new());
    for field in schema.fields() {
        let name = field.name();
        if name.trim().is_empty() {
            return Err(SourceError::of_file(shown, format_args!("column {} has no name", fields.len() + 1)));
        }
        if !seen.insert(name) {
            return Err(SourceError::of_file(shown, format_args!("two columns are called `{name}`")));
        }
        let ty = plain_type(field.data_type()).unwrap_or_else(|| {
            let message = format!("column `{name}` is nested deeper than {DEEPEST} levels");
            unreadable.insert(fields.len(), SourceError::of_file(shown, message).help("write it as JSON text"));
            DataType::Utf8
        });
        fields.push(Labels::of(field).on(Field::new(name, ty, true)));
    }
    Ok(PlainColumns { schema: Arc::new(Schema::new(fields)), unreadable })
}

fn damaged(shown: &str, message: &str) -> SourceError {
    binary::damaged(shown, WHAT, message)
}

fn careful<T>(shown: &str, read: impl FnOnce() -> Result<T, SourceError>) -> Result<T, SourceError> {
    binary::careful(shown, WHAT, read)
}

#[cfg(test)]
#[path = "parquet_tests.rs"]
mod tests;
