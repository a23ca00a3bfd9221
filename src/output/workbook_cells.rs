//! Cells of workbooks: changes a cell of a sheet in an Excel file and leaves everything else in the file as it is, also
//! the format of the cell.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::kept_workbook::{LONGEST, attribute, cell_markup, tags, with_sheet};
use crate::source::{File, SourceError, cell_name, workbook_rows};
use crate::table::Cell;

/// A sheet of a workbook in memory, as texts.
pub(crate) struct WorkbookFile<'a> {
    bytes: &'a [u8],
    settings: &'a File,
    names: Vec<String>,
    rows: Vec<Vec<String>>,
    /// The columns of the sheet with a name, and the numbers of its rows, both from 0.
    columns: Vec<u32>,
    numbers: Vec<u32>,
}

impl<'a> WorkbookFile<'a> {
    pub(crate) fn read(bytes: &'a [u8], settings: &'a File) -> Result<WorkbookFile<'a>, SourceError> {
        if settings.range.is_some() || settings.header_rows.is_some_and(|rows| rows != 1) {
            let message = "can't be edited here with `range` or `header_rows`";
            return Err(SourceError::of_file(&settings.path, message).help("fill it in its own program"));
        }
        let mut all = workbook_rows(bytes, settings, usize::MAX)?.into_iter();
        let (columns, names): (Vec<u32>, Vec<String>) = all.next().unwrap_or_default().1.into_iter().unzip();
        let text = |cells: &[(u32, String)], column: u32| {
            cells.iter().find(|(other, _)| *other == column).map_or(String::new(), |(_, text)| text.clone())
        };
        let row = |(number, cells): (u32, Vec<(u32, String)>)| {
            (number, columns.iter().map(|column| text(&cells, *column)).collect())
        };
        let (numbers, rows) = all.map(row).unzip();
        Ok(WorkbookFile { bytes, settings, names, rows, columns, numbers })
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// The bytes of the file with another value in a cell. A number stays a number, and text is never a formula.
    pub(crate) fn with_cell(&self, row: usize, column: usize, value: &str) -> Result<Vec<u8>, SourceError> {
        let wrong = |message: &str| SourceError::of_file(&self.settings.path, message);
        let (Some(number), Some(place)) = (self.numbers.get(row), self.columns.get(column)) else {
            return Err(wrong("has no such cell"));
        };
        if value.chars().count() > LONGEST {
            return Err(wrong(&format!("has room for {LONGEST} characters in a cell")));
        }
        let cell = match value.parse::<f64>() {
            _ if value.is_empty() => Cell::Null,
            Ok(found) if found.to_string() == value => Cell::Number(found),
            _ => Cell::Text(value.to_owned()),
        };
        let edited = with_sheet(self.bytes, self.settings, |markup| with_cell(markup, (*number, *place), &cell))?;
        let mut rows = self.rows.clone();
        value.clone_into(&mut rows[row][column]);
        let found = WorkbookFile::read(&edited, self.settings)?;
        if found.rows != rows || found.names != self.names {
            return Err(wrong("would change in other cells too, or lacks characters of the new text"));
        }
        Ok(edited)
    }
}

/// The markup of a sheet with another value in the cell at a row and a column.
fn with_cell(markup: &str, (row, column): (u32, u32), cell: &Cell) -> Result<String, String> {
    let name = cell_name(row, column);
    let (place, prefix, style) = find(markup, (row, column))?;
    let mut has_formula = false;
    tags(&markup[place.clone()], |tag| has_formula |= tag.local_name().as_ref() == "f")?;
    if has_formula {
        return Err(format!("has a formula in cell {name}, so it can't be changed here"));
    }
    let style = style.map_or(String::new(), |style| format!(" s=\"{style}\""));
    let attributes = format!("r=\"{name}\"{style}");
    let new = match cell {
        Cell::Null if style.is_empty() => String::new(),
        Cell::Null => format!("<{prefix}c {attributes}/>"),
        cell => cell_markup(&prefix, &attributes, cell),
    };
    Ok(format!("{}{new}{}", &markup[..place.start], &markup[place.end..]))
}

/// The bytes of a cell, empty where it would be, with the prefix of tags and the number of its format.
fn find(markup: &str, (row, column): (u32, u32)) -> Result<(Range<usize>, String, Option<String>), String> {
    let mut reader = Reader::from_str(markup);
    let (mut at_row, mut at_column) = (None::<u32>, None::<u32>);
    loop {
        let from = reader.buffer_position() as usize;
        let event = reader.read_event().map_err(|error| error.to_string())?;
        let is_empty = matches!(event, Event::Empty(_));
        match event {
            Event::Start(tag) | Event::Empty(tag) if tag.local_name().as_ref() == "row" => {
                let number = attribute(&tag, "r").and_then(|number| number.parse::<u32>().ok());
                at_row = number.map(|number| number - 1).or(Some(at_row.map_or(0, |row| row + 1)));
                at_column = None;
            }
            Event::Start(tag) | Event::Empty(tag) if at_row == Some(row) && tag.local_name().as_ref() == "c" => {
                let place = attribute(&tag, "r").and_then(|name| column_of(&name));
                at_column = place.or(Some(at_column.map_or(0, |column| column + 1)));
                let prefix = prefix(&tag, "c");
                match at_column.cmp(&Some(column)) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Greater => return Ok((from..from, prefix, None)),
                    std::cmp::Ordering::Equal => {
                        let style = attribute(&tag, "s");
                        if !is_empty {
                            reader.read_to_end(tag.name()).map_err(|error| error.to_string())?;
                        }
                        return Ok((from..reader.buffer_position() as usize, prefix, style));
                    }
                }
            }
            Event::End(tag) if at_row == Some(row) && tag.local_name().as_ref() == "row" => {
                let name = tag.name().as_ref().to_owned();
                return Ok((from..from, name.strip_suffix("row").unwrap_or_default().to_owned(), None));
            }
            Event::Eof => return Err(format!("has no row {}", row + 1)),
            _ => {}
        }
    }
}

fn prefix(tag: &BytesStart<'_>, name: &str) -> String {
    tag.name().as_ref().strip_suffix(name).unwrap_or_default().to_owned()
}

/// The column, from 0, of a cell's name such as `C13`.
fn column_of(name: &str) -> Option<u32> {
    let letters = name.bytes().take_while(u8::is_ascii_uppercase);
    letters.map(|letter| u32::from(letter - b'A') + 1).reduce(|sum, next| sum * 26 + next).map(|column| column - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_changes_and_all_other_markup_stays() {
        let set = |markup: &str, column: u32, value: &str| {
            let cell = if value.is_empty() { Cell::Null } else { Cell::Text(value.to_owned()) };
            with_cell(markup, (1, column), &cell).unwrap()
        };
        let text = |name: &str, style: &str, text: &str| {
            format!("<c r=\"{name}\"{style} t=\"inlineStr\"><is><t xml:space=\"preserve\">{text}</t></is></c>")
        };
        let sheet = |cells: &str| {
            format!(
                "<sheetData><row r=\"1\"><c r=\"A1\"/></row><row r=\"2\" ht=\"3\">{cells}</row><row r=\"3\"/></sheetData><x/>"
            )
        };
        let (first, third) = ("<c r=\"A2\" t=\"s\"><v>4</v></c>", "<c r=\"C2\" s=\"7\"><v>1</v></c>");
        let both = sheet(&format!("{first}{third}"));
        assert_eq!(set(&both, 2, "a<b"), sheet(&format!("{first}{}", text("C2", " s=\"7\"", "a&lt;b"))));
        assert_eq!(set(&both, 2, ""), sheet(&format!("{first}<c r=\"C2\" s=\"7\"/>")));
        assert_eq!(set(&both, 1, "=1+1"), sheet(&format!("{first}{}{third}", text("B2", "", "=1+1"))));
        assert_eq!(set(&both, 27, "x"), sheet(&format!("{first}{third}{}", text("AB2", "", "x"))));
        assert_eq!(set(&both, 0, ""), sheet(third));
        let plain = "<x:sheetData><x:row><x:c/></x:row><x:row><x:c/><x:c/></x:row></x:sheetData>";
        let number = with_cell(plain, (1, 1), &Cell::Number(3.0)).unwrap();
        assert_eq!(number, plain.replace("<x:c/><x:c/>", "<x:c/><x:c r=\"B2\"><x:v>3</x:v></x:c>"));
        let formula = sheet("<c r=\"A2\"><f>1+1</f><v>2</v></c>");
        assert!(with_cell(&formula, (1, 0), &Cell::Null).unwrap_err().contains("formula in cell A2"));
        assert!(with_cell(&both, (8, 0), &Cell::Null).is_err());
    }

    #[test]
    fn columns_have_the_names_of_their_cells() {
        for column in [0, 1, 25, 26, 51, 52, 701, 702, 16_383] {
            assert_eq!(column_of(&cell_name(4, column)), Some(column));
        }
        assert_eq!(column_of("7"), None);
    }
}
