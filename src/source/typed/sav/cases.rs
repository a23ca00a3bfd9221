//! The rows of an SPSS file: plain, compressed by bytes, or both by bytes and by zlib.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::dictionary::{Compression, Dictionary, SavVariable};
use crate::source::batches::SourceError;
use crate::source::binary::Binary;
use crate::source::reader::DataFile;

/// The most bytes of a block that is compressed by zlib; SPSS writes 4 MiB.
const BLOCK_BYTES: i32 = 64 << 20;

pub(crate) struct Cases {
    pub(crate) dictionary: Dictionary,
    pub(crate) shown: String,
    /// The values of the row that was read last.
    pub(crate) values: Vec<Value>,
    bytes: Bytes,
    commands: [u8; 8],
    /// The next command.
    next: usize,
    rows: u64,
}

pub(crate) enum Value {
    Missing,
    Number(f64),
    Text(Vec<u8>),
}

/// 8 bytes of a row.
enum Slot {
    Missing,
    Number(f64),
    Bytes([u8; 8]),
}

impl Cases {
    pub(crate) fn open(file: &DataFile) -> Result<Self, SourceError> {
        let mut binary = Binary::open(&file.path, &file.shown, "SPSS file")?;
        let dictionary = Dictionary::read(&mut binary)?;
        let bytes = Bytes::new(binary, dictionary.compression)?;
        let (shown, values) = (file.shown.clone(), Vec::new());
        Ok(Cases { dictionary, shown, values, bytes, commands: [0; 8], next: 8, rows: 0 })
    }

    /// Reads the next row into `values`; returns `false` after the last.
    pub(crate) fn read(&mut self) -> Result<bool, SourceError> {
        if self.dictionary.cases == Some(self.rows) {
            return Ok(false);
        }
        self.values.clear();
        for index in 0..self.dictionary.variables.len() {
            let SavVariable { segments, width, .. } = &self.dictionary.variables[index];
            let (segments, width) = (segments.clone(), *width);
            if segments.is_empty() {
                let value = match self.slot()? {
                    None if index == 0 => return self.ended(),
                    None => return Err(self.cut()),
                    Some(Slot::Missing) => Value::Missing,
                    Some(Slot::Number(number)) => Value::Number(number),
                    Some(Slot::Bytes(bytes)) => number(bytes, self.bytes.file.is_big_endian()),
                };
                self.values.push(value);
                continue;
            }
            let mut text = Vec::with_capacity(width);
            for (segment, bytes) in segments.into_iter().enumerate() {
                let before = text.len();
                for slot in 0..bytes.div_ceil(8) {
                    match self.slot()? {
                        None if index + segment + slot == 0 => return self.ended(),
                        None => return Err(self.cut()),
                        Some(Slot::Bytes(bytes)) => text.extend_from_slice(&bytes),
                        Some(_) => return Err(self.bytes.file.damaged("a number in a text")),
                    }
                }
                text.truncate(before + bytes);
            }
            text.truncate(width);
            self.values.push(Value::Text(text));
        }
        self.rows += 1;
        Ok(true)
    }

    fn ended(&self) -> Result<bool, SourceError> {
        match self.dictionary.cases {
            None => Ok(false),
            Some(_) => Err(self.cut()),
        }
    }

    fn cut(&self) -> SourceError {
        let promised = self.dictionary.cases.map(|cases| format!(" of {cases}")).unwrap_or_default();
        self.bytes.file.damaged(&format!("it ends in row {}{promised}", self.rows + 1))
    }

    /// The next 8 bytes of the row; `None` at the end of the rows.
    fn slot(&mut self) -> Result<Option<Slot>, SourceError> {
        if self.dictionary.compression == Compression::None {
            return Ok(self.bytes.eight()?.map(Slot::Bytes));
        }
        loop {
            if self.next == 8 {
                let Some(commands) = self.bytes.eight()? else { return Ok(None) };
                (self.commands, self.next) = (commands, 0);
            }
            let command = self.commands[self.next];
            self.next += 1;
            return Ok(Some(match command {
                0 => continue,
                252 => return Ok(None),
                253 => match self.bytes.eight()? {
                    Some(bytes) => Slot::Bytes(bytes),
                    None => return Ok(None),
                },
                254 => Slot::Bytes(*b"        "),
                255 => Slot::Missing,
                byte => Slot::Number(f64::from(byte) - self.dictionary.bias),
            }));
        }
    }
}

/// A number; the lowest of all and NaN are missing.
fn number(bytes: [u8; 8], big_endian: bool) -> Value {
    let number = if big_endian { f64::from_be_bytes(bytes) } else { f64::from_le_bytes(bytes) };
    if number == f64::MIN || number.is_nan() { Value::Missing } else { Value::Number(number) }
}

/// The bytes of the rows, from the file or from its blocks.
struct Bytes {
    file: Binary,
    /// The places of the blocks that were not read yet, the next one last; `None` without blocks.
    blocks: Option<Vec<Block>>,
    block: Vec<u8>,
    /// The next byte of the block.
    at: usize,
}

struct Block {
    from: u64,
    stored: u64,
    plain: u64,
}

impl Bytes {
    fn new(mut file: Binary, compression: Compression) -> Result<Self, SourceError> {
        let blocks = (compression == Compression::Zlib).then(|| blocks(&mut file)).transpose()?;
        Ok(Bytes { file, blocks, block: Vec::new(), at: 0 })
    }

    fn eight(&mut self) -> Result<Option<[u8; 8]>, SourceError> {
        let Some(blocks) = &mut self.blocks else {
            let ended = self.file.at() == self.file.size();
            return if ended { Ok(None) } else { self.file.array().map(Some) };
        };
        while self.at + 8 > self.block.len() {
            let Some(Block { from, stored, plain }) = blocks.pop() else { return Ok(None) };
            self.file.seek(from)?;
            let bytes = self.file.bytes(stored)?;
            // A group of 8 bytes can begin in one block and end in the next.
            self.block.drain(..self.at);
            let before = self.block.len() as u64;
            let read = ZlibDecoder::new(bytes.as_slice()).take(plain + 1).read_to_end(&mut self.block);
            if read.is_err() || self.block.len() as u64 - before != plain {
                return Err(self.file.damaged("the block that ends here can't be decompressed"));
            }
            self.at = 0;
        }
        let eight = self.block[self.at..].first_chunk().copied();
        self.at += 8;
        Ok(eight)
    }
}

/// The blocks, the first one last, from the table at the file's end.
fn blocks(file: &mut Binary) -> Result<Vec<Block>, SourceError> {
    file.skip(8)?;
    let table = file.u64()?;
    file.seek(table)?;
    file.skip(20)?;
    let number = file.u32()?;
    let mut blocks = Vec::new();
    for _ in 0..number {
        file.skip(8)?;
        let (from, plain, stored) = (file.u64()?, file.i32()?, file.i32()?);
        if !(0..=BLOCK_BYTES).contains(&plain) || stored < 0 {
            return Err(file.damaged(&format!("a block of {plain} bytes")));
        }
        blocks.push(Block { from, stored: stored.unsigned_abs().into(), plain: plain.unsigned_abs().into() });
    }
    blocks.reverse();
    Ok(blocks)
}
