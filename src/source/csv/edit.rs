//! Edits: changes cells of a delimited file, and adds and removes records. Every other byte of the file stays as it is.
//!
//! [`Records`](super::records::Records) reads the cells. A second, simple scan finds where they are. An edit is refused
//! if both do not agree, or if the edited file does not have just the wanted cells.

use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

use super::Csv;
use super::dialect::Dialect;
use crate::source::batches::SourceError;
use crate::source::settings::File;
use crate::source::settings::format::FileFormat;
use crate::source::text::Text;

const PIECE: usize = 64 << 10;

/// A delimited file in memory, with the places of its cells.
pub(crate) struct CsvFile<'a> {
    bytes: &'a [u8],
    settings: &'a File,
    encoding: &'static Encoding,
    /// The bytes of the byte order mark.
    mark: usize,
    text: String,
    dialect: Dialect,
    names: Vec<String>,
    line_end: &'static str,
    rows: Vec<Vec<String>>,
    /// The places of the cells of each row in `text`, with their quotes.
    places: Vec<Vec<Range<usize>>>,
}

impl<'a> CsvFile<'a> {
    /// Reads the bytes of a file by the settings of its source: all columns, in the order of the file, and all rows.
    pub(crate) fn read(bytes: &'a [u8], settings: &'a File) -> Result<CsvFile<'a>, SourceError> {
        let shown = settings.path.as_str();
        let open = || Text::new(Box::new(Cursor::new(bytes.to_vec())), shown, settings.encoding.as_deref(), PIECE);
        let default = match settings
            .format
            .or(Path::new(shown).extension().is_some_and(|end| end == "tsv").then_some(FileFormat::Tsv))
        {
            Some(FileFormat::Tsv) => Dialect::TSV,
            _ => Dialect::CSV,
        };
        let mut csv = Csv::new(open()?, shown, default, settings)?;
        let mut rows = Vec::new();
        while csv.records.read()? {
            rows.push(csv.records.texts()?);
        }
        let mut text = open()?;
        let encoding = text.encoding();
        let (decoded, _) = text.peek(usize::MAX);
        let text = String::from_utf8(decoded).map_err(|_| wrong(shown, "is not text"))?;
        let (names, dialect) = (csv.records.names().to_vec(), csv.records.dialect());
        let mut places = places(text.as_bytes(), dialect, names.len());
        let headers = csv.reading.header_rows.unwrap_or(1) as usize;
        let first = places.first().and_then(|record| record.last()).map_or(0, |cell| cell.end);
        let line_end = if text[first..].starts_with("\r\n") { "\r\n" } else { "\n" };
        let places = places.split_off(headers.min(places.len()));
        let widths = |rows: &[Vec<String>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
        if widths(&rows) != places.iter().map(Vec::len).collect::<Vec<_>>() {
            return Err(wrong(shown, "has cells whose places are not clear, so it can't be edited here"));
        }
        let mut file = CsvFile { bytes, settings, encoding, mark: 0, text, dialect, names, line_end, rows, places };
        file.mark = bytes.len().saturating_sub(file.encoded(&file.text)?.len());
        Ok(file)
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// The bytes of the file with other values in cells of a row, given with their columns.
    pub(crate) fn with_cells(&self, row: usize, cells: &[(usize, &str)]) -> Result<Vec<u8>, SourceError> {
        let mut rows = self.rows.clone();
        let (Some(places), Some(texts)) = (self.places.get(row), rows.get_mut(row)) else {
            return Err(self.wrong("has no such row"));
        };
        let record = places.first().map_or(0, |cell| cell.start)..places.last().map_or(0, |cell| cell.end);
        let (mut edited, mut at) = (String::new(), record.start);
        for (column, place) in places.iter().enumerate() {
            let Some((_, value)) = cells.iter().find(|(other, _)| *other == column) else { continue };
            let old = &self.text[place.clone()];
            let is_quoted = self.dialect.quote.is_some_and(|quote| old.as_bytes().first() == Some(&quote));
            edited += &self.text[at..place.start];
            edited += &self.written(value, is_quoted)?;
            at = place.end;
            texts[column] = (*value).to_owned();
        }
        edited += &self.text[at..record.end];
        self.spliced(record, &edited, rows)
    }

    /// The bytes of the file with more records at its end. Each has a text for every column.
    pub(crate) fn with_records(&self, records: Vec<Vec<String>>) -> Result<Vec<u8>, SourceError> {
        let end = self.text.len();
        let mut added = if self.text.ends_with(['\n', '\r']) { "" } else { self.line_end }.to_owned();
        for record in &records {
            let cells: Result<Vec<String>, SourceError> = record.iter().map(|cell| self.written(cell, false)).collect();
            added += &cells?.join(&char::from(self.dialect.delimiter).to_string());
            added += self.line_end;
        }
        self.spliced(end..end, &added, [self.rows.clone(), records].concat())
    }

    /// The bytes of the file without a row.
    pub(crate) fn without_row(&self, row: usize) -> Result<Vec<u8>, SourceError> {
        let place = |row: usize| self.places.get(row).and_then(|cells| cells.first()).map(|cell| cell.start);
        let start = place(row).ok_or_else(|| self.wrong("has no such row"))?;
        let mut rows = self.rows.clone();
        rows.remove(row);
        self.spliced(start..place(row + 1).unwrap_or(self.text.len()), "", rows)
    }

    /// A value as the file writes it.
    fn written(&self, value: &str, is_quoted: bool) -> Result<String, SourceError> {
        let Dialect { delimiter, quote, escape, comment, .. } = self.dialect;
        let has = |byte: u8| value.as_bytes().contains(&byte);
        let needs = [delimiter, b'\r', b'\n'].into_iter().any(has)
            || [quote, escape].into_iter().flatten().any(has)
            || comment.is_some_and(|comment| value.as_bytes().first() == Some(&comment));
        match quote {
            None if needs => Err(self.wrong("has no quotes, so no cell can have a delimiter or a line end")),
            Some(quote) if needs || is_quoted && !value.is_empty() => {
                let double = |text: String, mark: u8| {
                    let mark = char::from(mark);
                    text.replace(mark, &format!("{mark}{mark}"))
                };
                let text = escape.iter().fold(value.to_owned(), |text, escape| double(text, *escape));
                let mark = char::from(quote);
                Ok(format!("{mark}{}{mark}", double(text, quote)))
            }
            _ => Ok(value.to_owned()),
        }
    }

    /// The bytes with a text in place of a different one, if they hold `rows` then.
    fn spliced(&self, place: Range<usize>, new: &str, rows: Vec<Vec<String>>) -> Result<Vec<u8>, SourceError> {
        let (before, old) = (self.encoded(&self.text[..place.start])?, self.encoded(&self.text[place.clone()])?);
        let from = self.mark + before.len();
        let to = from + old.len();
        if self.bytes.get(self.mark..from) != Some(&before) || self.bytes.get(from..to) != Some(&old) {
            return Err(self.wrong("can't be edited in its encoding"));
        }
        let bytes = [&self.bytes[..from], &self.encoded(new)?, &self.bytes[to..]].concat();
        let edited = CsvFile::read(&bytes, self.settings)?;
        if edited.rows != rows || edited.names != self.names {
            return Err(self.wrong("would change in other cells too"));
        }
        Ok(bytes)
    }

    fn encoded(&self, text: &str) -> Result<Vec<u8>, SourceError> {
        if self.encoding == UTF_16LE {
            return Ok(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
        }
        if self.encoding == UTF_16BE {
            return Ok(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
        }
        let (bytes, _, is_lost) = self.encoding.encode(text);
        match is_lost {
            true => {
                let message =
                    format!("has the encoding {}, which lacks characters of the new text", self.encoding.name());
                Err(self.wrong(&message).help("save it as UTF-8"))
            }
            false => Ok(bytes.into_owned()),
        }
    }

    fn wrong(&self, message: &str) -> SourceError {
        wrong(&self.settings.path, message)
    }
}

fn wrong(shown: &str, message: &str) -> SourceError {
    SourceError::of_file(shown, message)
}

/// The places of the cells of all records, header rows included, in a table with this many columns.
fn places(text: &[u8], dialect: Dialect, columns: usize) -> Vec<Vec<Range<usize>>> {
    let is_line_end = |at: usize| matches!(text.get(at), Some(b'\r' | b'\n'));
    let after_line_end = |at: usize| at + if text[at..].starts_with(b"\r\n") { 2 } else { 1 };
    let line = |at: usize| (at..text.len()).find(|at| is_line_end(*at)).map_or(text.len(), after_line_end);
    let mut at = (0..dialect.skip_rows).fold(0, |at, _| line(at));
    let mut records: Vec<Vec<Range<usize>>> = Vec::new();
    while at < text.len() {
        if is_line_end(at) && (columns != 1 || records.is_empty()) {
            at = after_line_end(at);
            continue;
        }
        if Some(text[at]) == dialect.comment {
            at = line(at);
            continue;
        }
        let mut cells = Vec::new();
        loop {
            let end = cell_end(text, at, dialect);
            cells.push(at..end);
            at = end;
            if text.get(at) != Some(&dialect.delimiter) {
                break;
            }
            at += 1;
        }
        records.push(cells);
        // Text after a closing quote is an error of the reader.
        at = if is_line_end(at) { after_line_end(at) } else { line(at) };
    }
    records
}

/// The end of the cell that begins at `at`.
fn cell_end(text: &[u8], mut at: usize, dialect: Dialect) -> usize {
    let is_quoted = dialect.quote.is_some() && text.get(at).copied() == dialect.quote;
    at += usize::from(is_quoted);
    while let Some(&byte) = text.get(at) {
        let is_escape = Some(byte) == dialect.escape;
        if is_quoted && !is_escape && Some(byte) == dialect.quote {
            if text.get(at + 1).copied() != dialect.quote {
                return at + 1;
            }
            at += 1;
        } else if !is_quoted && !is_escape && (byte == dialect.delimiter || matches!(byte, b'\r' | b'\n')) {
            return at;
        }
        at += 1 + usize::from(is_escape);
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> File {
        serde_json::from_str(&format!(r#"{{"path": "a.csv"{json}}}"#)).unwrap()
    }

    /// Sets the last cell of row `row`.
    fn set(before: &[u8], json: &str, row: usize, value: &str) -> Result<Vec<u8>, SourceError> {
        let settings = settings(json);
        let file = CsvFile::read(before, &settings)?;
        file.with_cells(row, &[(file.names().len() - 1, value)])
    }

    #[track_caller]
    fn sets(before: &str, json: &str, row: usize, (old, new): (&str, &str)) {
        let found = String::from_utf8(set(before.as_bytes(), json, row, new.trim_matches('"')).unwrap()).unwrap();
        let at = before.rfind(old).unwrap();
        assert_eq!(found, format!("{}{new}{}", &before[..at], &before[at + old.len()..]));
    }

    #[test]
    fn a_cell_changes_and_every_other_byte_stays() {
        sets("id,text,tone\n1,\"x, \"\"y\"\"\nz\",OLD\n", "", 0, ("OLD", "glad"));
        sets("\u{feff}id;text;tone\r\n1;\"\u{e9};\";OLD\r\n2;y;\r\n", "", 0, ("OLD", "sad"));
        sets("sep=;\r\nid;tone\r\n1;\r\n2;OLD", "", 1, ("OLD", "glad"));
        sets("id,tone\r1,a\r2,OLD\r3,", "", 1, ("OLD", "glad"));
        sets("\n\nid,tone\n\n1,\"OLD\"\n\n\n2,y\n", "", 0, ("\"OLD\"", "\"glad\""));
        sets("# about\nid,tone\n# more\n1,OLD\n", r##", "comment": "#""##, 0, ("OLD", "glad"));
        sets(
            "id|tone\n1|'it\\'s'\n2|OLD\n",
            r#", "quote": "'", "escape": "\\"}"#.trim_end_matches('}'),
            1,
            ("OLD", "glad"),
        );
        sets("a title\nid,tone\n1,OLD\n", r#", "skip_rows": 1"#, 0, ("OLD", "glad"));
    }

    #[test]
    fn values_are_quoted_where_they_must_be() {
        let value = |value: &str, json: &str| {
            set(b"id,tone\n1,\n", json, 0, value).map(|bytes| String::from_utf8(bytes).unwrap())
        };
        for (given, written) in
            [("a, b", "\"a, b\""), ("\"a\"", "\"\"\"a\"\"\""), ("a\nb", "\"a\nb\""), ("", ""), ("a;b", "a;b")]
        {
            assert_eq!(value(given, "").unwrap(), format!("id,tone\n1,{written}\n"));
        }
        assert_eq!(value("a\\\"", r#", "escape": "\\""#).unwrap(), "id,tone\n1,\"a\\\\\"\"\"\n");
        let error = value("a, b", r#", "quote": "none""#).unwrap_err();
        assert!(error.message.contains("no quotes"), "{error:?}");
    }

    #[test]
    fn the_encoding_stays() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let found = set(&utf16("\u{feff}id,tone\n\u{fc},\n"), r#", "encoding": "utf-16le""#, 0, "\u{1f600}").unwrap();
        assert_eq!(found, utf16("\u{feff}id,tone\n\u{fc},\u{1f600}\n"));
        let latin = r#", "encoding": "windows-1252""#;
        assert_eq!(set(b"id,tone\n\xfc,\n", latin, 0, "\u{e9}").unwrap(), b"id,tone\n\xfc,\xe9\n");
        let error = set(b"id,tone\n\xfc,\n", latin, 0, "\u{1f600}").unwrap_err();
        assert!(error.message.contains("lacks characters"), "{error:?}");
        assert!(set(b"id,tone\n\xfc,\n", "", 0, "a").is_err(), "a file that can't be read is not edited");
    }

    #[test]
    fn records_are_added_and_removed() {
        let settings = settings("");
        let edit = |before: &str| {
            let file = CsvFile::read(before.as_bytes(), &settings).unwrap();
            let added = file.with_records(vec![vec!["3".to_owned(), "a, b".to_owned()]]).unwrap();
            let removed = CsvFile::read(&added, &settings).unwrap().without_row(0).unwrap();
            [added, removed].map(|bytes| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(edit("id,tone\r\n1,x"), ["id,tone\r\n1,x\r\n3,\"a, b\"\r\n", "id,tone\r\n3,\"a, b\"\r\n"]);
        assert_eq!(
            edit("id;tone\n1;\"x\n\"\n\n2;y\n"),
            ["id;tone\n1;\"x\n\"\n\n2;y\n3;a, b\n", "id;tone\n2;y\n3;a, b\n"]
        );
    }

    #[test]
    fn the_places_are_those_of_the_reader() {
        proptest::proptest!(|(text in "id,b\r?\n([ab\",\r\n#\\\\]{0,6}[\n,]){0,8}")| {
            for json in ["", r#", "escape": "\\""#, r##", "comment": "#""##, r#", "quote": "none""#] {
                let settings = settings(json);
                let Ok(file) = CsvFile::read(text.as_bytes(), &settings) else { continue };
                for (row, cells) in file.rows().iter().enumerate() {
                    let same: Vec<(usize, &str)> = cells.iter().map(String::as_str).enumerate().collect();
                    // Writing what is there may add quotes, but never changes a cell.
                    if let Ok(bytes) = file.with_cells(row, &same) {
                        let again = CsvFile::read(&bytes, &settings).unwrap();
                        proptest::prop_assert_eq!(again.rows(), file.rows());
                    }
                    let changed = file.with_cells(row, &[(0, "new")]);
                    proptest::prop_assert!(changed.is_ok(), "{:?} {:?}", text, changed.err());
                }
            }
        });
    }
}
