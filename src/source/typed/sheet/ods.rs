//! OpenDocument sheets (`.ods`).
//!
//! Not read by `calamine`: it keeps all sheets in memory, a repeated cell takes as much memory as the file asks for, and
//! it never ends on a document that is cut inside a table.

use std::io::{BufRead, BufReader, Read};

use chrono::{NaiveDate, NaiveDateTime};
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use zip::result::ZipError;

use super::archive::{broken, open, opened};
use super::cells::{SheetCell, SheetRow, choose, day, moment};
use super::range::{COLUMNS, ROWS};
use crate::source::batches::{ROW_BYTES, SourceError};
use crate::source::reader::DataFile;
use crate::source::typed::Raw;

pub(super) fn rows(
    file: &DataFile,
    sheet: Option<&str>,
    on_sheet: &mut dyn FnMut(&str),
    on_row: &mut dyn FnMut(SheetRow) -> Result<bool, SourceError>,
) -> Result<(), SourceError> {
    let shown = &file.shown;
    let mut archive = open(BufReader::new(opened(file)?), &file.shown)?;
    let wrong = |message: String| broken(shown, &message);
    let mut manifest = String::new();
    if let Ok(part) = archive.by_name("META-INF/manifest.xml")
        && part.take(1 << 20).read_to_string(&mut manifest).is_ok()
        && manifest.contains("encryption-data")
    {
        return Err(SourceError::of_file(shown, "has a password").help("save it without a password"));
    }
    let missing = |error: ZipError| wrong(format!("content.xml: {error}"));
    let content = archive.by_name("content.xml").map_err(missing)?;
    let sheets = Parser::new(BufReader::new(content)).sheets().map_err(wrong)?;
    let chosen = choose(&sheets, sheet, shown)?;
    if sheets.len() > 1 {
        on_sheet(&sheets[chosen].0);
    }
    let mut parser = Parser::new(BufReader::new(archive.by_name("content.xml").map_err(missing)?));
    for _ in 0..=chosen {
        parser.seek("table:table").map_err(wrong)?;
    }
    let mut number = 0;
    while let Some((row, repeat)) = parser.row().map_err(|e| wrong(format!("row {}: {e}", number + 1)))? {
        // Repeated rows without cells fill the sheet below the table.
        let copies = if row.is_empty() { 0 } else { repeat.min(ROWS.saturating_sub(number)) };
        for copy in 0..copies {
            let cells = row.iter().map(|(column, cell)| (*column, SheetCell::Value(cell.clone()))).collect();
            if !on_row(SheetRow { number: number + copy, cells })? {
                return Ok(());
            }
        }
        number = number.saturating_add(repeat);
        if copies > 0 && number > ROWS {
            return Err(wrong(format!("more than {ROWS} rows")));
        }
    }
    Ok(())
}

struct Parser<R> {
    xml: Reader<R>,
    buffer: Vec<u8>,
}

/// The cells of a row with their columns.
type Cells = Vec<(u32, Raw)>;

impl<R: BufRead> Parser<R> {
    fn new(content: R) -> Self {
        let mut xml = Reader::from_reader(content);
        xml.config_mut().expand_empty_elements = true;
        Parser { xml, buffer: Vec::new() }
    }

    fn next(&mut self) -> Result<Event<'static>, String> {
        self.buffer.clear();
        let place = self.xml.buffer_position();
        match self.xml.read_event_into(&mut self.buffer) {
            Ok(Event::Eof) => Err(format!("content.xml ends at byte {place}, inside an element")),
            Ok(event) => Ok(event.into_owned()),
            Err(error) => Err(format!("content.xml: byte {}: {error}", self.xml.error_position())),
        }
    }

    /// The sheets and whether they are visible.
    fn sheets(&mut self) -> Result<Vec<(String, bool)>, String> {
        let (mut sheets, mut style, mut hidden) = (Vec::new(), String::new(), Vec::new());
        loop {
            match self.next()? {
                Event::Start(tag) => match tag.name().as_ref() {
                    "style:style" => style = attribute(&tag, "style:name")?.unwrap_or_default(),
                    "style:table-properties" if attribute(&tag, "table:display")?.as_deref() == Some("false") => {
                        hidden.push(style.clone());
                    }
                    "table:table" => {
                        let name = attribute(&tag, "table:name")?.unwrap_or_default();
                        let style = attribute(&tag, "table:style-name")?.unwrap_or_default();
                        sheets.push((name, !hidden.contains(&style)));
                        self.skip("table:table")?;
                    }
                    _ => {}
                },
                Event::End(tag) if tag.name().as_ref() == "office:body" => return Ok(sheets),
                _ => {}
            }
        }
    }

    fn seek(&mut self, name: &str) -> Result<(), String> {
        while !matches!(self.next()?, Event::Start(tag) if tag.name().as_ref() == name) {}
        Ok(())
    }

    /// Skips the rest of the element that was opened last.
    fn skip(&mut self, name: &str) -> Result<(), String> {
        let mut depth = 1;
        while depth > 0 {
            match self.next()? {
                Event::Start(tag) if tag.name().as_ref() == name => depth += 1,
                Event::End(tag) if tag.name().as_ref() == name => depth -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// The next row and how often it comes; `None` at the end of the table.
    fn row(&mut self) -> Result<Option<(Cells, u32)>, String> {
        let repeat = loop {
            match self.next()? {
                Event::Start(tag) if tag.name().as_ref() == "table:table-row" => {
                    break repeat(&tag, "table:number-rows-repeated")?;
                }
                Event::End(tag) if tag.name().as_ref() == "table:table" => return Ok(None),
                _ => {}
            }
        };
        let (mut cells, mut column, mut bytes) = (Cells::new(), 0_u32, 0);
        loop {
            match self.next()? {
                Event::Start(tag) => {
                    let name = tag.name().as_ref().to_owned();
                    if name != "table:table-cell" && name != "table:covered-table-cell" {
                        self.skip(&name)?;
                        continue;
                    }
                    let times = repeat_of_cell(&tag)?;
                    let cell = self.cell(&tag, &name)?;
                    if cell != Raw::Null {
                        let end = column.saturating_add(times);
                        if end > COLUMNS {
                            return Err(format!("more than {COLUMNS} columns"));
                        }
                        bytes += times as usize * if let Raw::Text(text) = &cell { text.len() } else { 8 };
                        if bytes > ROW_BYTES {
                            return Err(format!("the row is above {} MiB", ROW_BYTES >> 20));
                        }
                        cells.extend((column..end).map(|column| (column, cell.clone())));
                    }
                    column = column.saturating_add(times);
                }
                Event::End(tag) if tag.name().as_ref() == "table:table-row" => return Ok(Some((cells, repeat))),
                _ => {}
            }
        }
    }

    /// The value of the cell that `tag` opens.
    fn cell(&mut self, tag: &BytesStart<'_>, name: &str) -> Result<Raw, String> {
        let kind = attribute(tag, "office:value-type")?.or(attribute(tag, "calcext:value-type")?);
        let kind = kind.unwrap_or_default();
        let value = |name: &str| attribute(tag, name).map(Option::unwrap_or_default);
        let typed = match kind.as_str() {
            "float" | "percentage" | "currency" => value("office:value")?.parse().ok().map(Raw::Number),
            "boolean" => value("office:boolean-value")?.parse().ok().map(Raw::Boolean),
            "date" => date(&value("office:date-value")?),
            "time" => Some(Raw::Text(duration(&value("office:time-value")?))),
            "string" => attribute(tag, "office:string-value")?.map(Raw::Text),
            _ => None,
        };
        let text = self.text(name)?;
        let is_empty = kind.is_empty() && text.is_empty();
        Ok(typed.unwrap_or(if is_empty || text.is_empty() { Raw::Null } else { Raw::Text(text) }))
    }

    /// The text of the paragraphs up to the end of the element `name`, without notes.
    fn text(&mut self, name: &str) -> Result<String, String> {
        let (mut text, mut paragraphs, mut depth) = (String::new(), 0, 0);
        loop {
            match self.next()? {
                Event::Start(tag) => match tag.name().as_ref() {
                    "office:annotation" => self.skip("office:annotation")?,
                    "text:p" => {
                        text.push_str(if paragraphs > 0 { "\n" } else { "" });
                        (paragraphs, depth) = (paragraphs + 1, depth + 1);
                    }
                    "text:s" => {
                        let spaces = repeat(&tag, "text:c")?.min(1 << 16);
                        text.extend(std::iter::repeat_n(' ', spaces as usize));
                    }
                    "text:tab" => text.push('\t'),
                    "text:line-break" => text.push('\n'),
                    _ => {}
                },
                Event::Text(piece) if depth > 0 => text.push_str(&piece.xml10_content()),
                Event::GeneralRef(name) if depth > 0 => {
                    let character = name.resolve_char_ref().map_err(|error| error.to_string())?;
                    let named = || resolve_predefined_entity(&name).map(str::to_owned);
                    let known = character.map(String::from).or_else(named);
                    text.push_str(&known.ok_or_else(|| format!("the entity &{};", &*name))?);
                }
                Event::End(tag) if tag.name().as_ref() == "text:p" => depth -= 1,
                Event::End(tag) if tag.name().as_ref() == name => return Ok(text),
                _ => {}
            }
            if text.len() > ROW_BYTES {
                return Err(format!("a text is above {} MiB", ROW_BYTES >> 20));
            }
        }
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let found = tag.try_get_attribute(name).map_err(|error| error.to_string())?;
    let text = |found: quick_xml::events::attributes::Attribute<'_>| {
        found.normalized_value(XmlVersion::Explicit1_0).map(|text| text.into_owned()).map_err(|error| error.to_string())
    };
    found.map(text).transpose()
}

fn repeat(tag: &BytesStart<'_>, name: &str) -> Result<u32, String> {
    match attribute(tag, name)? {
        None => Ok(1),
        Some(text) => text.parse().map_err(|_| format!("{name} is {text:?}")),
    }
}

fn repeat_of_cell(tag: &BytesStart<'_>) -> Result<u32, String> {
    repeat(tag, "table:number-columns-repeated")
}

fn date(text: &str) -> Option<Raw> {
    match text.parse::<NaiveDate>() {
        Ok(date) => Some(day(date)),
        Err(_) => text.parse::<NaiveDateTime>().ok().map(moment),
    }
}

/// `PT12H30M00S` as `12:30:00`; another text as it is.
fn duration(text: &str) -> String {
    let parts = || {
        let (hours, rest) = text.strip_prefix("PT")?.split_once('H')?;
        let (minutes, seconds) = rest.strip_suffix('S')?.split_once('M')?;
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let plain = number(hours) && number(minutes) && number(seconds);
        plain.then(|| format!("{hours:0>2}:{minutes:0>2}:{seconds:0>2}"))
    };
    parts().unwrap_or_else(|| text.to_owned())
}
