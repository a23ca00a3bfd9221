//! Stata files: format 118 (Stata 14 and later), little-endian, with labels of variables and values.
//!
//! The rows are read three times: for the widths, for the cells, and for the long texts, which follow the cells.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};

use super::names::STATA;
use super::table::{Output, Written};
use super::variables::{FAILED, Kind, MOST_DOUBLE, NOT_ASKED, Stored, Variable, changed, cut, number, variables};
use crate::spec::TableFormat;
use crate::store::StoreError;
use crate::table::Cell;

/// The most bytes of a text that is stored in its row. A longer one makes its column `strL`.
const SHORT_TEXT: usize = 2045;
/// The days from 1960-01-01, Stata's day 0, to 1970-01-01, and their milliseconds.
const DAYS: f64 = 3653.0;
const MILLISECONDS: f64 = DAYS * 86_400_000.0;
/// The largest number of 32 bits that does not mean missing.
const MOST_LONG: i64 = 2_147_483_620;
/// The most characters of the label of a variable, and the most bytes of the label of a value.
const LABEL: usize = 80;
const VALUE_LABEL: usize = 32_000;

/// The places of missing values after `.`: `.a` for a failed call, `.b` for a question that was not asked.
const MISSING_CODE: u8 = 0;
const FAILED_CODE: u8 = 1;
const NOT_ASKED_CODE: u8 = 2;

#[derive(Clone, Copy, PartialEq)]
enum Storage {
    Byte,
    Long,
    Double,
    /// A text of this many bytes.
    Text(usize),
    LongText,
}

impl Storage {
    fn of(kind: &Kind) -> Storage {
        match kind {
            Kind::Boolean => Storage::Byte,
            Kind::Options(_) => Storage::Long,
            Kind::Whole(low, high) if *low >= -MOST_LONG && *high <= MOST_LONG => Storage::Long,
            Kind::Whole(..) | Kind::Number | Kind::Day | Kind::Time => Storage::Double,
            Kind::Text(bytes) if *bytes <= SHORT_TEXT => Storage::Text((*bytes).max(1)),
            Kind::Text(_) => Storage::LongText,
        }
    }

    fn code(self) -> u16 {
        match self {
            Storage::Byte => 65_530,
            Storage::Long => 65_528,
            Storage::Double => 65_526,
            Storage::Text(bytes) => bytes as u16,
            Storage::LongText => 32_768,
        }
    }

    fn format(self, kind: &Kind) -> String {
        match (self, kind) {
            (_, Kind::Day) => "%td".to_owned(),
            (_, Kind::Time) => "%tc".to_owned(),
            (Storage::Byte, _) => "%8.0g".to_owned(),
            (Storage::Long, _) => "%12.0g".to_owned(),
            (Storage::Double, Kind::Whole(..)) => "%18.0f".to_owned(),
            (Storage::Double, _) => "%10.0g".to_owned(),
            (Storage::Text(bytes), _) => format!("%-{}s", bytes.min(40)),
            (Storage::LongText, _) => "%-9s".to_owned(),
        }
    }
}

/// A file with its position and the beginnings of its sections.
struct Dta<'a> {
    file: BufWriter<&'a File>,
    at: u64,
    row: u64,
    map: Vec<u64>,
}

pub(super) fn write(file: &File, output: &Output<'_>) -> Result<Written, StoreError> {
    let (variables, rows) = variables(output, &STATA)?;
    let mut dta = Dta { file: BufWriter::new(file), at: 0, row: 0, map: vec![0] };
    let io = |error: io::Error| output.io(error);
    dta.header(variables.len(), rows).map_err(io)?;
    dta.dictionary(&variables).map_err(io)?;
    dta.open("data").map_err(io)?;
    for batch in (output.read)() {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            dta.row += 1;
            for (number, variable) in (1..).zip(&variables) {
                dta.cell(number, variable, variable.value(&batch, row)).map_err(io)?;
            }
        }
    }
    dta.close("data").map_err(io)?;
    dta.long_texts(output, &variables)?;
    dta.open("value_labels").map_err(io)?;
    variables.iter().try_for_each(|variable| dta.value_labels(variable)).map_err(io)?;
    dta.close("value_labels").map_err(io)?;
    dta.end().map_err(io)?;
    Ok(Written { rows, columns: variables.len(), notes: changed(&variables, TableFormat::Dta), sheet: None })
}

impl Dta<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// `text` in a field of `width` bytes that ends in a zero byte.
    fn field(&mut self, text: &str, width: usize) -> io::Result<()> {
        let text = cut(text, width - 1);
        self.put(text.as_bytes())?;
        self.put(&vec![0; width - text.len()])
    }

    fn open(&mut self, section: &str) -> io::Result<()> {
        self.map.push(self.at);
        self.put(format!("<{section}>").as_bytes())
    }

    fn close(&mut self, section: &str) -> io::Result<()> {
        self.put(format!("</{section}>").as_bytes())
    }

    fn header(&mut self, variables: usize, rows: u64) -> io::Result<()> {
        self.put(b"<stata_dta><header><release>118</release><byteorder>LSF</byteorder><K>")?;
        self.put(&(variables as u16).to_le_bytes())?;
        self.put(b"</K><N>")?;
        self.put(&rows.to_le_bytes())?;
        // No label of the data, and no time, so that the same rows are the same bytes.
        self.put(b"</N><label>\0\0</label><timestamp>\0</timestamp></header>")?;
        self.open("map")?;
        self.put(&[0; 14 * 8])?;
        self.close("map")
    }

    fn dictionary(&mut self, variables: &[Variable]) -> io::Result<()> {
        let list = |dta: &mut Self, section: &str, put: &dyn Fn(&mut Self, &Variable) -> io::Result<()>| {
            dta.open(section)?;
            variables.iter().try_for_each(|variable| put(dta, variable))?;
            dta.close(section)
        };
        list(self, "variable_types", &|dta, v| dta.put(&Storage::of(&v.kind).code().to_le_bytes()))?;
        list(self, "varnames", &|dta, v| dta.field(&v.name, 129))?;
        self.open("sortlist")?;
        self.put(&vec![0; 2 * (variables.len() + 1)])?;
        self.close("sortlist")?;
        list(self, "formats", &|dta, v| dta.field(&Storage::of(&v.kind).format(&v.kind), 57))?;
        list(self, "value_label_names", &|dta, v| {
            let name = if coded(v).is_empty() { "" } else { v.name.as_str() };
            dta.field(name, 129)
        })?;
        list(self, "variable_labels", &|dta, v| {
            let label = v.label.as_deref().unwrap_or_default().replace('\0', " ");
            dta.field(&label.chars().take(LABEL).collect::<String>(), 321)
        })?;
        self.open("characteristics")?;
        self.close("characteristics")
    }

    fn cell(&mut self, number: u16, variable: &Variable, value: Stored<'_>) -> io::Result<()> {
        let storage = Storage::of(&variable.kind);
        let missing = match &value {
            Stored::Number(number) if number.abs() <= MOST_DOUBLE => None,
            Stored::Failed => Some(FAILED_CODE),
            Stored::NotAsked => Some(NOT_ASKED_CODE),
            _ => Some(MISSING_CODE),
        };
        let present = if let Stored::Number(number) = value { number } else { 0.0 };
        match (storage, missing) {
            (Storage::Byte, None) => self.put(&(present as i8).to_le_bytes()),
            (Storage::Byte, Some(code)) => self.put(&[101 + code]),
            (Storage::Long, None) => self.put(&(present as i32).to_le_bytes()),
            (Storage::Long, Some(code)) => self.put(&(missing_long(code)).to_le_bytes()),
            (Storage::Double, None) => {
                let from = match variable.kind {
                    Kind::Day => DAYS,
                    Kind::Time => MILLISECONDS,
                    _ => 0.0,
                };
                self.put(&(present + from).to_le_bytes())
            }
            (Storage::Double, Some(code)) => self.put(&((0x7fe0_u64 << 48) + (u64::from(code) << 40)).to_le_bytes()),
            (Storage::Text(bytes), _) => {
                let text = if let Stored::Text(text) = &value { text.as_bytes() } else { b"" };
                self.put(text)?;
                self.put(&vec![0; bytes - text.len()])
            }
            (Storage::LongText, _) => {
                // The variable and the row of a long text; zeros for an empty one.
                let place = match &value {
                    Stored::Text(text) if !text.is_empty() => u64::from(number) | self.row << 16,
                    _ => 0,
                };
                self.put(&place.to_le_bytes())
            }
        }
    }

    fn long_texts(&mut self, output: &Output<'_>, variables: &[Variable]) -> Result<(), StoreError> {
        let io = |error: io::Error| output.io(error);
        self.open("strls").map_err(io)?;
        let long: Vec<(u32, &Variable)> =
            (1..).zip(variables).filter(|(_, v)| Storage::of(&v.kind) == Storage::LongText).collect();
        let mut number: u64 = 0;
        for batch in (output.read)().take_while(|_| !long.is_empty()) {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                number += 1;
                for (variable, stored) in &long {
                    let Stored::Text(text) = stored.value(&batch, row) else { continue };
                    if !text.is_empty() {
                        self.long_text(*variable, number, &text).map_err(io)?;
                    }
                }
            }
        }
        self.close("strls").map_err(io)
    }

    fn long_text(&mut self, variable: u32, row: u64, text: &str) -> io::Result<()> {
        self.put(b"GSO")?;
        self.put(&variable.to_le_bytes())?;
        self.put(&row.to_le_bytes())?;
        // A text that ends in a zero byte.
        self.put(&[130])?;
        self.put(&(text.len() as u32 + 1).to_le_bytes())?;
        self.put(text.as_bytes())?;
        self.put(&[0])
    }

    fn value_labels(&mut self, variable: &Variable) -> io::Result<()> {
        let labels = coded(variable);
        if labels.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> =
            labels.values().map(|text| format!("{}\0", cut(&text.replace('\0', " "), VALUE_LABEL))).collect();
        let bytes: usize = texts.iter().map(String::len).sum();
        let whole = |number: usize| (number as u32).to_le_bytes();
        self.put(b"<lbl>")?;
        self.put(&whole(8 + 8 * labels.len() + bytes))?;
        self.field(&variable.name, 129)?;
        self.put(&[0; 3])?;
        self.put(&whole(labels.len()))?;
        self.put(&whole(bytes))?;
        let mut at = 0;
        for text in &texts {
            self.put(&whole(at))?;
            at += text.len();
        }
        labels.iter().try_for_each(|(code, _)| self.put(&code.to_le_bytes()))?;
        texts.iter().try_for_each(|text| self.put(text.as_bytes()))?;
        self.put(b"</lbl>")
    }

    /// Ends the file and fills in the map of its sections.
    fn end(mut self) -> io::Result<()> {
        self.map.push(self.at);
        self.put(b"</stata_dta>")?;
        self.map.push(self.at);
        self.file.flush()?;
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(self.map[1] + "<map>".len() as u64))?;
        let map: Vec<u8> = self.map.iter().flat_map(|at| at.to_le_bytes()).collect();
        file.write_all(&map)?;
        file.seek(SeekFrom::End(0)).map(drop)
    }
}

fn missing_long(code: u8) -> i32 {
    MOST_LONG as i32 + 1 + i32::from(code)
}

/// The codes that Stata can label, whole numbers of numeric variables, each once and in order.
fn coded(variable: &Variable) -> BTreeMap<i32, &str> {
    if matches!(variable.kind, Kind::Text(_)) {
        return BTreeMap::new();
    }
    let whole = |code: &Cell| number(code).filter(|n| n.fract() == 0.0 && n.abs() <= MOST_LONG as f64);
    let own = variable.values.iter().filter_map(|(code, text)| Some((whole(code)? as i32, text.as_str())));
    let codes = [(missing_long(FAILED_CODE), FAILED), (missing_long(NOT_ASKED_CODE), NOT_ASKED)];
    own.chain(codes.into_iter().filter(|_| variable.missing.is_some())).collect()
}
