//! Arrow files (`.arrow`, Feather version 2), by the crate `arrow-ipc`.
//!
//! One record batch of the file is in memory at once. The crate reserves the memory that a compressed buffer claims, so
//! the claims are checked first.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::FileDecoder;
use arrow_ipc::{Block, MessageHeader, root_as_footer, root_as_message};
use arrow_schema::SchemaRef;

use super::parquet::{PlainColumns, plain_schema};
use crate::source::batches::{BATCH_BYTES, BATCH_ROWS, Batches, SourceError, batches};
use crate::source::binary::{Binary, careful};
use crate::source::reader::{DataFile, Reader};
use crate::source::reading::Changes;
use crate::source::settings::File;

const WHAT: &str = "Arrow file";
const MAGIC: &[u8; 6] = b"ARROW1";
const FOOTER_BYTES: u64 = 64 << 20;
/// Record batches up to this many bytes are not compared with their bytes in the file.
const BELIEVED: u64 = 256 << 20;
/// The largest ratio of a larger batch's bytes to its bytes in the file.
const RATIO: u64 = 64;
/// Rows that take no bytes, since all their cells are null, are believed up to this many.
const EMPTY_ROWS: u64 = 1 << 20;

pub(crate) struct ArrowReader;

impl Reader for ArrowReader {
    fn file_schema(&self, file: &DataFile, _: &File) -> Result<SchemaRef, SourceError> {
        careful(&file.shown, WHAT, || Ok(Arrow::open(file)?.columns.schema))
    }

    fn read(&self, file: &DataFile, _: &File, _: &SchemaRef, changes: &Changes) -> Result<Batches, SourceError> {
        let shown = file.shown.clone();
        let mut arrow = careful(&shown, WHAT, || Arrow::open(file))?;
        arrow.changes = changes.clone();
        Ok(batches(move || careful(&shown, WHAT, || arrow.next())))
    }
}

struct Arrow {
    file: Binary,
    decoder: FileDecoder,
    columns: PlainColumns,
    changes: Changes,
    shown: String,
    /// The record batches that were not read yet, the next one last.
    blocks: Vec<Block>,
    batch: Option<RecordBatch>,
    /// The next row of the batch, and the rows of a piece of it.
    next: usize,
    piece: usize,
    rows: u64,
}

impl Arrow {
    fn open(file: &DataFile) -> Result<Self, SourceError> {
        let shown = &file.shown;
        let mut binary = Binary::open(&file.path, shown, WHAT)?;
        let size = binary.size();
        let start = binary.bytes(size.min(6))?;
        if start.starts_with(b"FEA1") {
            let help = "write it again as version 2: `pandas.DataFrame.to_feather` does";
            return Err(SourceError::of_file(shown, "is a Feather file of version 1").help(help));
        }
        if start != MAGIC {
            let message = "is not an Arrow file; streams of Arrow are not read";
            return Err(SourceError::of_file(shown, message).help("write it in the file format, or set `format`"));
        }
        binary.seek(size.saturating_sub(10).max(8))?;
        let (length, magic) = (binary.u32()?, binary.array::<6>()?);
        if magic != *MAGIC {
            return Err(binary.damaged("its end is missing (an interrupted download or copy?)"));
        }
        let length = u64::from(length);
        if length > FOOTER_BYTES || length > size.saturating_sub(18) {
            return Err(binary.damaged(&format!("a footer of {length} bytes")));
        }
        binary.seek(size - 10 - length)?;
        let footer = binary.bytes(length)?;
        let footer = root_as_footer(&footer).map_err(|error| binary.damaged(&error.to_string()))?;
        let schema = footer.schema().ok_or_else(|| binary.damaged("it has no schema"))?;
        let schema = try_fb_to_schema(schema).map_err(|error| binary.damaged(&error.to_string()))?;
        let schema = SchemaRef::new(schema);
        let mut decoder = FileDecoder::new(schema.clone(), footer.version());
        for block in footer.dictionaries().iter().flatten() {
            let (bytes, _) = read(&mut binary, block)?;
            decoder.read_dictionary(block, &bytes).map_err(|error| binary.damaged(&error.to_string()))?;
        }
        let mut blocks: Vec<Block> = footer.recordBatches().iter().flatten().copied().collect();
        blocks.reverse();
        Ok(Arrow {
            file: binary,
            decoder,
            columns: plain_schema(&schema, shown)?,
            changes: Changes::default(),
            shown: shown.clone(),
            blocks,
            batch: None,
            next: 0,
            piece: BATCH_ROWS,
            rows: 0,
        })
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|batch| self.next < batch.num_rows()) {
                let rows = self.piece.min(batch.num_rows() - self.next);
                let slice = batch.slice(self.next, rows);
                self.next += rows;
                return self.plain(&slice).map(Some);
            }
            let Some(block) = self.blocks.pop() else { return Ok(None) };
            let (bytes, plain_bytes) = read(&mut self.file, &block)?;
            let batch = self.decoder.read_record_batch(&block, &bytes);
            let batch = batch.map_err(|error| self.file.damaged(&error.to_string()))?;
            let rows = batch.as_ref().map_or(0, RecordBatch::num_rows) as u64;
            let piece = BATCH_BYTES as u64 / (plain_bytes / rows.max(1)).max(1);
            self.piece = usize::try_from(piece).unwrap_or(BATCH_ROWS).clamp(1, BATCH_ROWS);
            (self.batch, self.next) = (batch, 0);
        }
    }

    fn plain(&mut self, batch: &RecordBatch) -> Result<RecordBatch, SourceError> {
        let readable = (0..batch.num_columns()).filter(|index| self.columns.is_readable(*index)).collect::<Vec<_>>();
        let batch = batch.project(&readable).map_err(|error| self.file.damaged(&error.to_string()))?;
        let plain = self.columns.plain(&batch, (&self.shown, self.rows), &self.changes)?;
        self.rows += batch.num_rows() as u64;
        plain.map_err(|problem| self.file.damaged(&problem))
    }
}

/// The bytes of a batch, and how many they are when they are not compressed.
fn read(file: &mut Binary, block: &Block) -> Result<(Buffer, u64), SourceError> {
    let at = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
    file.seek(at(block.offset()))?;
    let (metadata, body) = (at(block.metaDataLength().into()), at(block.bodyLength()));
    let bytes = file.bytes(metadata.saturating_add(body))?;
    let plain = plain_bytes(&bytes, metadata as usize, body).map_err(|problem| file.damaged(&problem))?;
    Ok((Buffer::from(bytes), plain))
}

fn plain_bytes(bytes: &[u8], metadata: usize, body: u64) -> Result<u64, String> {
    let start = if bytes.starts_with(&[0xff; 4]) { 8 } else { 4 };
    let message = bytes.get(start..metadata).ok_or("a batch has no metadata")?;
    let message = root_as_message(message).map_err(|error| error.to_string())?;
    let batch = match message.header_type() {
        MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|batch| batch.data()),
        _ => message.header_as_record_batch(),
    };
    let Some(batch) = batch else { return Ok(body) };
    let mut plain = 0_u64;
    for buffer in batch.buffers().iter().flatten() {
        let range = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
        let range = range.and_then(|(from, length)| Some(from..from.checked_add(length)?));
        let Some(data) = range.and_then(|range| bytes[metadata..].get(range)) else {
            return Err("a buffer lies outside of its batch".to_owned());
        };
        let claim = data.first_chunk().map(|claim| i64::from_le_bytes(*claim)).filter(|claim| *claim > 0);
        let length = match (batch.compression(), claim) {
            (Some(_), Some(claim)) => claim.unsigned_abs(),
            _ => data.len() as u64,
        };
        plain = plain.saturating_add(length);
    }
    if plain > BELIEVED && plain / RATIO > body {
        return Err(format!("a batch claims {plain} bytes from {body}"));
    }
    let most_rows = plain.saturating_mul(8).max(EMPTY_ROWS);
    match u64::try_from(batch.length()).is_ok_and(|rows| rows <= most_rows) {
        true => Ok(plain),
        false => Err(format!("a batch claims {} rows in {plain} bytes", batch.length())),
    }
}
