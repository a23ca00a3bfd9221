//! Page sizes of Parquet files: checked before the reader reserves memory for them.
//!
//! Reads only page headers, which are structs of Thrift's compact protocol
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>). Only the first three fields
//! matter (<https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>, `PageHeader`).

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use parquet::file::metadata::ParquetMetaData;

/// Pages up to this size in bytes are not checked.
const BELIEVED: u64 = 64 << 20;
/// The largest ratio of a larger page's size to its size in the file.
const RATIO: u64 = 64;
/// The most levels of structs in a page header; real ones have three.
const DEPTH: usize = 8;

/// Checks that the pages of every column are inside the file, and that none claims an absurd size.
pub(crate) fn check(file: File, metadata: &ParquetMetaData) -> Result<(), String> {
    let size = file.metadata().map_err(|e| e.to_string())?.len();
    let mut file = BufReader::with_capacity(512, file);
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let first = column.dictionary_page_offset().filter(|&at| at > 0).unwrap_or(column.data_page_offset());
        let range = u64::try_from(first).ok().zip(u64::try_from(column.compressed_size()).ok());
        let end = range.and_then(|(from, length)| from.checked_add(length)).filter(|&end| end <= size);
        let (Some((from, _)), Some(end)) = (range, end) else {
            return Err(format!("the column `{}` lies outside of it", column.column_path()));
        };
        walk(&mut file, from, end).map_err(|problem| format!("in column `{}`, {problem}", column.column_path()))?;
    }
    Ok(())
}

fn walk(file: &mut BufReader<File>, mut from: u64, end: u64) -> Result<(), String> {
    while from < end {
        file.seek(SeekFrom::Start(from)).map_err(|e| e.to_string())?;
        let mut header = Header { bytes: file.by_ref().take(end - from), read: 0, sizes: [None; 2] };
        header.page().ok_or_else(|| format!("the page at byte {from} has no readable header"))?;
        let (read, [Some(full), Some(stored)]) = (header.read, header.sizes) else {
            return Err(format!("the page at byte {from} has no size"));
        };
        if full > BELIEVED && full / RATIO > stored {
            return Err(format!("the page at byte {from} claims {full} bytes from {stored}"));
        }
        from = from.saturating_add(read).saturating_add(stored);
    }
    Ok(())
}

/// A page header being read; every method returns `None` if the bytes are not valid.
struct Header<R> {
    bytes: R,
    read: u64,
    sizes: [Option<u64>; 2],
}

impl<R: Read> Header<R> {
    fn page(&mut self) -> Option<()> {
        let mut id = 0;
        while let Some((next, ty)) = self.field(id)? {
            id = next;
            match (id, ty) {
                (2, 5) => self.sizes[0] = Some(self.size()?),
                (3, 5) => self.sizes[1] = Some(self.size()?),
                _ => self.skip(ty, DEPTH)?,
            }
        }
        Some(())
    }

    /// The id and type of the next field; `Some(None)` at the end of the struct.
    fn field(&mut self, before: i64) -> Option<Option<(i64, u8)>> {
        let byte = self.byte()?;
        match (byte >> 4, byte & 15) {
            (_, 0) => Some(None),
            (0, ty) => {
                let id = self.varint()?;
                Some(Some((i64::try_from(id >> 1).ok()?, ty)))
            }
            (delta, ty) => Some(Some((before.checked_add(i64::from(delta))?, ty))),
        }
    }

    fn skip(&mut self, ty: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match ty {
            1 | 2 => {}
            3 => drop(self.byte()?),
            4..=6 => drop(self.varint()?),
            7 => self.pass(8)?,
            8 => {
                let length = self.varint()?;
                self.pass(length)?;
            }
            9 | 10 => {
                let byte = self.byte()?;
                let length = if byte >> 4 == 15 { self.varint()? } else { u64::from(byte >> 4) };
                for _ in 0..length {
                    // In a list, each boolean takes a byte.
                    self.skip(if matches!(byte & 15, 1 | 2) { 3 } else { byte & 15 }, depth)?;
                }
            }
            12 => {
                while let Some((_, ty)) = self.field(0)? {
                    self.skip(ty, depth)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// A size: a zigzag number, at least 0.
    fn size(&mut self) -> Option<u64> {
        let zigzag = self.varint()?;
        (zigzag & 1 == 0).then_some(zigzag >> 1)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(number);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.bytes.read_exact(&mut byte).ok()?;
        self.read += 1;
        Some(byte[0])
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        let passed = std::io::copy(&mut self.bytes.by_ref().take(bytes), &mut std::io::sink()).ok()?;
        self.read += passed;
        (passed == bytes).then_some(())
    }
}
