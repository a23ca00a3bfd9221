//! Kept workbooks: adds rows to a sheet of an Excel file and leaves everything else in the file as it is.
//!
//! The crates that write workbooks do not keep what others have saved in them (formats, formulas, notes), so the rows are
//! added to the markup of the sheet.

use std::io::{Cursor, Read, Write};

use quick_xml::escape::escape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::source::{File, SourceError, cell_name, workbook_rows};
use crate::table::Cell;

/// A new row of the table: its cells by the names of the columns.
pub(super) type NewRow<'a> = Vec<(&'a str, Cell)>;

/// The most characters of a text in a cell.
pub(super) const LONGEST: usize = 32_767;

pub(super) fn with_rows(before: &[u8], reading: &File, rows: &[NewRow<'_>]) -> Result<Vec<u8>, SourceError> {
    let header = workbook_rows(before, reading, 1)?.pop().map(|(_, header)| header).unwrap_or_default();
    with_sheet(before, reading, |markup| with_markup(markup, &header, rows))
}

/// The bytes of a workbook with other markup in the sheet that the settings name.
pub(super) fn with_sheet(
    before: &[u8],
    reading: &File,
    edit: impl FnOnce(&str) -> Result<String, String>,
) -> Result<Vec<u8>, SourceError> {
    let edited = || {
        let mut archive = ZipArchive::new(Cursor::new(before)).map_err(|error| error.to_string())?;
        let part = part_of(&mut archive, reading.sheet.as_deref())?;
        let markup = edit(&read(&mut archive, &part)?)?;
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for index in 0..archive.len() {
            let file = archive.by_index_raw(index).map_err(|error| error.to_string())?;
            if file.name().is_ok_and(|name| name == part) {
                writer.start_file(&part, SimpleFileOptions::default()).map_err(|error| error.to_string())?;
                writer.write_all(markup.as_bytes()).map_err(|error| error.to_string())?;
            } else {
                writer.raw_copy_file(file).map_err(|error| error.to_string())?;
            }
        }
        Ok(writer.finish().map_err(|error| error.to_string())?.into_inner())
    };
    edited().map_err(|message: String| SourceError::of_file(&reading.path, message))
}

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

fn read(archive: &mut Archive<'_>, part: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut file = archive.by_name(part).map_err(|error| format!("{part}: {error}"))?;
    file.read_to_string(&mut text).map_err(|error| format!("{part}: {error}"))?;
    Ok(text)
}

/// The part of the archive with the sheet called `wanted`, by default the first that is visible.
fn part_of(archive: &mut Archive<'_>, wanted: Option<&str>) -> Result<String, String> {
    let book = read(archive, "xl/workbook.xml")?;
    let mut sheets = Vec::new();
    tags(&book, |tag| {
        if tag.local_name().as_ref() == "sheet" {
            let state = attribute(tag, "state").unwrap_or_default();
            sheets.push((attribute(tag, "name"), attribute(tag, "id"), state.is_empty() || state == "visible"));
        }
    })?;
    let chosen = match wanted {
        Some(wanted) => sheets.iter().find(|(name, ..)| name.as_deref() == Some(wanted)),
        None => sheets.iter().find(|(.., visible)| *visible).or(sheets.first()),
    };
    let id = chosen.and_then(|(_, id, _)| id.clone()).ok_or("has no such sheet")?;
    let mut target = None;
    tags(&read(archive, "xl/_rels/workbook.xml.rels")?, |tag| {
        if attribute(tag, "Id").is_some_and(|found| found == id) {
            target = attribute(tag, "Target");
        }
    })?;
    let target = target.ok_or("has no part with the sheet")?;
    Ok(target.strip_prefix('/').map_or_else(|| format!("xl/{target}"), str::to_owned))
}

/// Passes each tag that opens or is empty to `on_tag`.
pub(super) fn tags(markup: &str, mut on_tag: impl FnMut(&BytesStart<'_>)) -> Result<(), String> {
    let mut reader = Reader::from_str(markup);
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(tag) | Event::Empty(tag) => on_tag(&tag),
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

/// The value of an attribute, whatever the prefix of its name.
pub(super) fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = tag.attributes().flatten().find(|attribute| attribute.key.local_name().as_ref() == name)?;
    found.normalized_value(XmlVersion::Implicit1_0).ok().map(|value| value.into_owned())
}

/// The markup of a sheet with rows after the last one.
fn with_markup(markup: &str, header: &[(u32, String)], rows: &[NewRow<'_>]) -> Result<String, String> {
    let mut reader = Reader::from_str(markup);
    let (mut last, mut place, mut extent) = (0, None, None);
    while place.is_none() {
        let from = reader.buffer_position() as usize;
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(tag) | Event::Empty(tag) if tag.local_name().as_ref() == "row" => {
                let number = attribute(&tag, "r").and_then(|number| number.parse::<u32>().ok());
                last = number.unwrap_or(last + 1);
            }
            Event::Empty(tag) if tag.local_name().as_ref() == "dimension" => {
                extent = Some(from..reader.buffer_position() as usize);
            }
            Event::End(tag) if tag.local_name().as_ref() == "sheetData" => {
                let name = tag.name().as_ref().to_owned();
                place = Some((from, from, name));
            }
            Event::Empty(tag) if tag.local_name().as_ref() == "sheetData" => {
                let name = tag.name().as_ref().to_owned();
                place = Some((from, reader.buffer_position() as usize, name));
            }
            Event::Eof => return Err("the sheet has no rows".to_owned()),
            _ => {}
        }
    }
    let (from, to, name) = place.unwrap_or_default();
    let prefix = name.strip_suffix("sheetData").unwrap_or_default();
    let mut added = String::new();
    for (number, row) in (last..).zip(rows) {
        added += &format!("<{prefix}row r=\"{}\">", number + 1);
        for (column, name) in header {
            let cell = row.iter().find(|(other, _)| other == name).map_or(&Cell::Null, |(_, cell)| cell);
            added += &cell_markup(prefix, &format!("r=\"{}\"", cell_name(number, *column)), cell);
        }
        added += &format!("</{prefix}row>");
    }
    if to > from {
        added = format!("<{name}>{added}</{name}>");
    }
    // The extent of the sheet is optional, and it has changed.
    let start = extent.map_or_else(
        || markup[..from].to_owned(),
        |extent| format!("{}{}", &markup[..extent.start], &markup[extent.end..from]),
    );
    Ok(format!("{start}{added}{}", &markup[to..]))
}

pub(super) fn cell_markup(p: &str, attributes: &str, cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Boolean(truth) => format!("<{p}c {attributes} t=\"b\"><{p}v>{}</{p}v></{p}c>", u8::from(*truth)),
        Cell::Integer(number) if number.unsigned_abs() < 1_000_000_000_000_000 => {
            format!("<{p}c {attributes}><{p}v>{number}</{p}v></{p}c>")
        }
        Cell::Number(number) if number.is_finite() => format!("<{p}c {attributes}><{p}v>{number}</{p}v></{p}c>"),
        other => {
            // Control characters are not allowed in XML.
            let text: String =
                other.text().chars().filter(|c| !c.is_control() || matches!(c, '\t' | '\n')).take(LONGEST).collect();
            let text = escape(&text);
            format!(
                "<{p}c {attributes} t=\"inlineStr\"><{p}is><{p}t xml:space=\"preserve\">{text}</{p}t></{p}is></{p}c>"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_added_after_the_last_one() {
        let header = [(0, "id".to_owned()), (2, "text".to_owned())];
        let text = |text: &str| Cell::Text(text.to_owned());
        let rows = [vec![("text", text("a<b")), ("id", Cell::Integer(3))], vec![("id", text("x"))]];
        let row = "<row r=\"5\"><c r=\"A5\"><v>3</v></c><c r=\"C5\" t=\"inlineStr\"><is><t xml:space=\"preserve\">a&lt;b</t></is></c></row>";
        let next = "<row r=\"6\"><c r=\"A6\" t=\"inlineStr\"><is><t xml:space=\"preserve\">x</t></is></c></row>";
        let found = |markup: &str| with_markup(markup, &header, &rows).unwrap();
        let before = "<worksheet><dimension ref=\"A1\"/><sheetData><row r=\"4\"/>";
        let after = "</sheetData><dataValidations/></worksheet>";
        let plain = "<worksheet><sheetData><row r=\"4\"/>";
        assert_eq!(found(&format!("{before}{after}")), format!("{plain}{row}{next}{after}"));
        let prefixed = with_markup("<x:worksheet><x:sheetData/></x:worksheet>", &header, &rows[1..]).unwrap();
        let inside = "<x:row r=\"1\"><x:c r=\"A1\" t=\"inlineStr\"><x:is><x:t xml:space=\"preserve\">x</x:t></x:is></x:c></x:row>";
        assert_eq!(prefixed, format!("<x:worksheet><x:sheetData>{inside}</x:sheetData></x:worksheet>"));
    }
}
