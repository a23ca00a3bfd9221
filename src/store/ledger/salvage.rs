//! Salvage: the answers in a ledger whose file is damaged, read page by page without SQLite.
//!
//! SQLite's file format (sqlite.org/fileformat2.html) as far as it is needed: leaves of tables, with their overflow
//! pages, in the file and in its write-ahead log. Pages are read as they come, whatever the tree above them says, so that
//! what one damaged page held is all that is lost. Only a record whose checksum holds is believed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;

use super::{Key, Notes, Record, fits};

/// The size of a page where the header doesn't tell it: SQLite's default, which ledgers have.
const USUAL_PAGE: usize = 4096;

/// The first byte of a leaf of a table.
const LEAF: u8 = 0x0d;
/// Bytes of the log's header, and of the header of each page in it.
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;
/// Columns of a record in format 1.
const COLUMNS: usize = 14;

/// Gives `each` the answers that the damaged ledger at `path` still holds, newer pages first; the same one may come twice.
pub fn salvage<B>(path: &Path, mut each: impl FnMut(Record) -> ControlFlow<B>) -> io::Result<ControlFlow<B>> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let mut pages = Pages::open(path, Path::new(&log))?;
    // What a page is now, and then what it was before: a page that is broken now may have been whole.
    for older in [false, true] {
        for image in pages.images(older) {
            let Some(page) = pages.read(image) else { continue };
            for record in pages.answers(&page) {
                if let ControlFlow::Break(out) = each(record) {
                    return Ok(ControlFlow::Break(out));
                }
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Where the image of a page stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Image {
    /// In the file, from this byte on.
    File(u64),
    /// In the log.
    Log(u64),
}

/// The pages of a file and of its log.
struct Pages {
    file: File,
    file_bytes: u64,
    log: Option<File>,
    size: usize,
    /// All images of pages in the log, the newest first.
    logged: Vec<(u32, u64)>,
    /// The newest image in the log of each page in it.
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
            self.logged.push((number, at + FRAME_HEADER));
            self.newest.insert(number, at + FRAME_HEADER);
            at += FRAME_HEADER + self.size as u64;
        }
        self.logged.reverse();
    }

    /// The images of all pages that are newest, or those that are older.
    fn images(&self, older: bool) -> Vec<Image> {
        let newest = |number: u32, at: u64| self.newest.get(&number) == Some(&at);
        let logged = self.logged.iter().filter(|(number, at)| newest(*number, *at) != older);
        let count = (self.file_bytes / self.size as u64) as u32;
        let filed = (1..=count).filter(|number| self.newest.contains_key(number) == older);
        let filed = filed.map(|number| Image::File(u64::from(number - 1) * self.size as u64));
        logged.map(|(_, at)| Image::Log(*at)).chain(filed).collect()
    }

    /// The bytes of a page; none where the file ends before.
    fn read(&mut self, image: Image) -> Option<Vec<u8>> {
        let page = match image {
            Image::File(at) => read_at(&mut self.file, at, self.size),
            Image::Log(at) => read_at(self.log.as_mut()?, at, self.size),
        }?;
        let first = image == Image::File(0) || page.starts_with(b"SQLite format 3\0");
        // The first page holds the header before its tree; the rest of it is not about calls.
        (!first).then_some(page)
    }

    /// The sound answers in a leaf of a table.
    fn answers(&mut self, page: &[u8]) -> Vec<Record> {
        if page.first() != Some(&LEAF) {
            return Vec::new();
        }
        let count = usize::from(u16::from_be_bytes([page[3], page[4]]));
        let places = page[8..].chunks_exact(2).take(count).map(|at| usize::from(u16::from_be_bytes([at[0], at[1]])));
        places.collect::<Vec<_>>().into_iter().filter_map(|at| self.answer(page, at)).collect()
    }

    /// The sound answer whose cell begins at byte `at` of a page.
    fn answer(&mut self, page: &[u8], at: usize) -> Option<Record> {
        let mut cell = Bytes(page.get(at..)?);
        let length = usize::try_from(cell.varint()?).ok()?;
        cell.varint()?;
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
        // Overflow pages as they are now, or as they were before the log.
        [true, false].into_iter().find_map(|with_log| {
            let mut payload = cell.0[..local].to_vec();
            self.overflow(rest, length, with_log, &mut payload)?;
            read_record(&payload)
        })
    }

    /// Adds a chain of overflow pages until the payload has its length.
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

/// Bytes that are read from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of up to 8 bytes, the highest first.
    fn number(&mut self, count: usize) -> Option<u64> {
        Some(self.take(count)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// SQLite's variable-length number.
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for i in 0..9 {
            let byte = self.number(1)?;
            if i == 8 {
                return Some(number << 8 | byte);
            }
            number = number << 7 | byte & 0x7f;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A value of a serial type.
    fn value(&mut self, kind: u64) -> Option<Value<'a>> {
        Some(match kind {
            0 => Value::Null,
            1..=6 => {
                let bytes = [1, 2, 3, 4, 6, 8][kind as usize - 1];
                let shift = 64 - 8 * bytes as u32;
                Value::Integer((self.number(bytes)? << shift) as i64 >> shift)
            }
            7 => Value::Real(f64::from_bits(self.number(8)?)),
            8 | 9 => Value::Integer(kind as i64 - 8),
            10 | 11 => return None,
            _ => {
                let bytes = self.take(usize::try_from((kind - 12) / 2).ok()?)?;
                if kind.is_multiple_of(2) { Value::Blob(bytes) } else { Value::Text(std::str::from_utf8(bytes).ok()?) }
            }
        })
    }
}

/// A value of a column.
#[derive(Clone, Copy)]
enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
}

impl Value<'_> {
    fn text(self) -> Option<String> {
        if let Value::Text(text) = self { Some(text.to_owned()) } else { None }
    }

    /// A text that may be missing.
    fn maybe(self) -> Option<Option<String>> {
        if let Value::Null = self { Some(None) } else { self.text().map(Some) }
    }

    fn integer(self) -> Option<i64> {
        if let Value::Integer(number) = self { Some(number) } else { None }
    }

    fn real(self) -> Option<f64> {
        match self {
            Value::Real(number) => Some(number),
            // SQLite writes a whole one as an integer.
            Value::Integer(number) => Some(number as f64),
            _ => None,
        }
    }
}

/// The answer in the payload of a cell, if it is one and is sound. The columns are those of `calls`.
fn read_record(payload: &[u8]) -> Option<Record> {
    let mut header = Bytes(payload);
    let length = usize::try_from(header.varint()?).ok()?;
    let taken = payload.len() - header.0.len();
    let mut kinds = Bytes(payload.get(taken..length)?);
    let mut body = Bytes(payload.get(length..)?);
    let mut values = Vec::new();
    while !kinds.0.is_empty() {
        values.push(body.value(kinds.varint()?)?);
    }
    let at = |i: usize| values.get(i).copied();
    let Value::Blob(key) = at(1)? else { return None };
    let answered = values.len() >= COLUMNS && matches!(at(0)?, Value::Null) && matches!(at(10)?, Value::Null);
    let record = Record {
        key: Key(key.try_into().ok()?),
        model: at(2)?.text()?,
        reply: at(3)?.text()?,
        finish: at(4)?.text()?,
        prompt_tokens: at(5)?.integer()? as u64,
        completion_tokens: at(6)?.integer()? as u64,
        latency_ms: at(7)?.real()?,
        attempts: u32::try_from(at(8)?.integer()?).ok()?,
        build: at(9)?.maybe()?,
        error: None,
        tries: at(11)?.maybe()?,
        probabilities: at(14).unwrap_or(Value::Null).maybe()?,
        notes: Notes::of_json(at(15).unwrap_or(Value::Null).maybe()?.as_deref()),
    };
    (answered && fits(&record, at(13)?.integer()?)).then_some(record)
}
