//! Salvage: reads the answers of a damaged ledger page by page, without SQLite.
//!
//! Reads the parts of SQLite's file format (sqlite.org/fileformat2.html) that contain rows: leaves of tables, with
//! their overflow pages, in the file and in the write-ahead log. The tree above the leaves is ignored, so a damaged
//! page loses only its own rows. A record counts only if its checksum is right.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use rusqlite::types::ValueRef;

use super::{FIELDS, Key, LedgerError, Record};
use crate::store::record::Bytes;
use crate::table::Value;

const USUAL_PAGE: usize = 4096;
const LEAF: u8 = 0x0d;
/// The size in bytes of the log's header, and of the header of each page in the log.
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// Calls `each` with the answers that the damaged ledger at `path` still contains, newer pages first. The same answer
/// may come twice. An error of `each` stops the salvage.
pub(crate) fn salvage(path: &Path, mut each: impl FnMut(Record) -> Result<(), LedgerError>) -> Result<(), LedgerError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let pages = Pages::open(path, Path::new(&log));
    let mut pages = pages.map_err(|error| LedgerError::Io { path: path.to_owned(), error })?;
    for image in pages.images() {
        let Some(page) = pages.read(image) else { continue };
        pages.answers(&page).into_iter().try_for_each(&mut each)?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Image {
    File(u64),
    Log(u64),
}

struct Pages {
    file: File,
    file_bytes: u64,
    log: Option<File>,
    size: usize,
    logged: Vec<u64>,
    newest: HashMap<u32, u64>,
}

impl Pages {
    fn open(path: &Path, log: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let file_bytes = file.metadata()?.len();
        let size = match read_at(&mut file, 16, 2).map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))) {
            Some(1) => 65_536,
            Some(size) if size.is_power_of_two() && size >= 512 => size,
            _ => USUAL_PAGE,
        };
        let mut pages =
            Pages { file, file_bytes, log: File::open(log).ok(), size, logged: Vec::new(), newest: HashMap::new() };
        pages.read_log();
        Ok(pages)
    }

    fn read_log(&mut self) {
        let Some(log) = &mut self.log else { return };
        let mut at = LOG_HEADER;
        while let Some(number) = read_at(log, at, 4) {
            let number = u32::from_be_bytes([number[0], number[1], number[2], number[3]]);
            self.logged.push(at + FRAME_HEADER);
            self.newest.insert(number, at + FRAME_HEADER);
            at += FRAME_HEADER + self.size as u64;
        }
    }

    /// Returns all versions of all pages, the newest first. A damaged page may have an intact older version.
    fn images(&self) -> Vec<Image> {
        let filed = (0..self.file_bytes / self.size as u64).map(|page| Image::File(page * self.size as u64));
        self.logged.iter().rev().map(|at| Image::Log(*at)).chain(filed).collect()
    }

    fn read(&mut self, image: Image) -> Option<Vec<u8>> {
        let page = match image {
            Image::File(at) => read_at(&mut self.file, at, self.size),
            Image::Log(at) => read_at(self.log.as_mut()?, at, self.size),
        }?;
        // The first page contains the header and the schema but no calls.
        let first = image == Image::File(0) || page.starts_with(b"SQLite format 3\0");
        (!first).then_some(page)
    }

    fn answers(&mut self, page: &[u8]) -> Vec<Record> {
        if page.first() != Some(&LEAF) {
            return Vec::new();
        }
        let count = usize::from(u16::from_be_bytes([page[3], page[4]]));
        let places = page[8..].chunks_exact(2).take(count).map(|at| usize::from(u16::from_be_bytes([at[0], at[1]])));
        places.collect::<Vec<_>>().into_iter().filter_map(|at| self.answer(page, at)).collect()
    }

    fn answer(&mut self, page: &[u8], at: usize) -> Option<Record> {
        let mut cell = Bytes(page.get(at..)?);
        let length = usize::try_from(varint(&mut cell)?).ok()?;
        varint(&mut cell)?;
        if length as u64 > self.file_bytes + self.logged.len() as u64 * self.size as u64 {
            return None;
        }
        let (most, least) = (self.size - 35, (self.size - 12) * 32 / 255 - 23);
        if length <= most {
            return read_record(cell.0.get(..length)?);
        }
        let local = least + (length - least) % (self.size - 4);
        let local = if local <= most { local } else { least };
        let rest = Bytes(cell.0.get(local..)?).number(4)? as u32;
        // Try the overflow pages of the log first, then those of the file.
        [true, false].into_iter().find_map(|with_log| {
            let mut payload = cell.0[..local].to_vec();
            self.overflow(rest, length, with_log, &mut payload)?;
            read_record(&payload)
        })
    }

    /// Appends the pages of an overflow chain until the payload is complete.
    fn overflow(&mut self, mut number: u32, length: usize, with_log: bool, payload: &mut Vec<u8>) -> Option<()> {
        while payload.len() < length {
            let logged = self.newest.get(&number).filter(|_| with_log);
            let image = match logged {
                Some(at) => Image::Log(*at),
                None => Image::File(u64::from(number.checked_sub(1)?) * self.size as u64),
            };
            let page = self.read(image)?;
            number = Bytes(&page).number(4)? as u32;
            let take = (length - payload.len()).min(page.len() - 4);
            payload.extend_from_slice(&page[4..4 + take]);
        }
        Some(())
    }
}

fn read_at(file: &mut File, at: u64, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    file.seek(SeekFrom::Start(at)).ok()?;
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn varint(bytes: &mut Bytes<'_>) -> Option<u64> {
    let mut number = 0;
    for _ in 0..8 {
        let byte = bytes.number(1)?;
        number = number << 7 | byte & 0x7f;
        if byte < 0x80 {
            return Some(number);
        }
    }
    Some(number << 8 | bytes.number(1)?)
}

fn value<'a>(bytes: &mut Bytes<'a>, kind: u64) -> Option<ValueRef<'a>> {
    Some(match kind {
        0 => ValueRef::Null,
        1..=6 => {
            let count = [1, 2, 3, 4, 6, 8][kind as usize - 1];
            let shift = 64 - 8 * count as u32;
            ValueRef::Integer((bytes.number(count)? << shift) as i64 >> shift)
        }
        7 => ValueRef::Real(f64::from_bits(bytes.number(8)?)),
        8 | 9 => ValueRef::Integer(kind as i64 - 8),
        10 | 11 => return None,
        _ => {
            let taken = bytes.take(usize::try_from((kind - 12) / 2).ok()?)?;
            if kind.is_multiple_of(2) { ValueRef::Blob(taken) } else { ValueRef::Text(taken) }
        }
    })
}

fn read_record(payload: &[u8]) -> Option<Record> {
    let mut header = Bytes(payload);
    let length = usize::try_from(varint(&mut header)?).ok()?;
    let taken = payload.len() - header.0.len();
    let mut kinds = Bytes(payload.get(taken..length)?);
    let mut body = Bytes(payload.get(length..)?);
    let mut values = Vec::new();
    while !kinds.0.is_empty() {
        values.push(value(&mut body, varint(&mut kinds)?)?);
    }
    let Some([ValueRef::Null, ValueRef::Blob(key)]) = values.get(..2) else { return None };
    let mut record = Record { key: Key((*key).try_into().ok()?), ..Record::default() };
    // Two columns precede the fields. `at` and `checksum` are between the fields of format 1 and the later fields.
    let first = FIELDS.iter().filter(|field| field.since == 1).count();
    for (i, field) in FIELDS.iter().enumerate() {
        let at = if field.since == 1 { 2 + i } else { 4 + i };
        let value = values.get(at).copied().unwrap_or(ValueRef::Null);
        field.set(&mut record, Value::of_sql(value)?)?;
    }
    let ValueRef::Integer(sum) = *values.get(first + 3)? else { return None };
    (record.error.is_none() && record.fits(sum)).then_some(record)
}
