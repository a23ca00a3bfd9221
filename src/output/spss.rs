//! SPSS files (.sav): compressed, in UTF-8, with labels of variables and values and user-missing values.
//!
//! The layout is that of "System File Format" in the documentation of PSPP. Rows are read twice: for the widths of the
//! texts, and for the cells.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::names::SPSS;
use super::table::{Output, Written, cut_note};
use super::variables::{FAILED, Kind, NOT_ASKED, Stored, Variable, changed, cut, number, variables};
use crate::spec::TableFormat;
use crate::store::StoreError;
use crate::table::Cell;

/// The seconds from 1582-10-14, SPSS's first day, to 1970-01-01.
const SECONDS: f64 = 12_219_379_200.0;
/// The most bytes of a text.
const LONGEST: usize = 32_767;
/// The bytes of a text in a segment, the bytes that a segment takes, and the bytes by which segments are counted.
const SEGMENT: usize = 255;
const SEGMENT_ROOM: usize = 256;
const SEGMENT_STEP: usize = 252;
/// The most bytes of the label of a variable and of a value.
const LABEL: usize = 255;
const VALUE_LABEL: usize = 120;
/// Text of at most this many bytes can have labels like numbers.
const SHORT: usize = 8;
/// The system-missing value.
const MISSING: f64 = -f64::MAX;
/// The number that a compressed code is less.
const BIAS: f64 = 100.0;

struct Sav<'a> {
    file: BufWriter<&'a File>,
    /// The codes and the values of up to eight values that are not written yet.
    codes: Vec<u8>,
    values: Vec<u8>,
}

pub(super) fn write(file: &File, output: &Output<'_>) -> Result<Written, StoreError> {
    let (variables, rows) = variables(output, &SPSS)?;
    let mut sav = Sav { file: BufWriter::new(file), codes: Vec::new(), values: Vec::new() };
    let io = |error: io::Error| output.io(error);
    sav.header(&variables, rows).map_err(io)?;
    sav.dictionary(&variables, rows).map_err(io)?;
    let mut shortened = vec![0_u64; variables.len()];
    for batch in (output.read)() {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            for (variable, shortened) in variables.iter().zip(&mut shortened) {
                *shortened += u64::from(sav.cell(variable, variable.value(&batch, row)).map_err(io)?);
            }
        }
    }
    sav.end().map_err(io)?;
    let cut = variables.iter().zip(&shortened).filter_map(|(v, cut)| cut_note(&v.column, *cut, "32,767 bytes"));
    Ok(Written {
        rows,
        columns: variables.len(),
        notes: changed(&variables, TableFormat::Sav).into_iter().chain(cut).collect(),
        sheet: None,
    })
}

/// The bytes of a text variable; 0 for a number.
fn width(variable: &Variable) -> usize {
    if let Kind::Text(bytes) = variable.kind { bytes.clamp(1, LONGEST) } else { 0 }
}

/// The widths of the segments that hold a variable.
fn segments(width: usize) -> Vec<usize> {
    if width <= SEGMENT {
        return vec![width];
    }
    let count = width.div_ceil(SEGMENT_STEP);
    let last = width - (count - 1) * SEGMENT_STEP;
    let mut widths = vec![SEGMENT; count - 1];
    widths.push(last);
    widths
}

/// The places of 8 bytes that a segment takes.
fn places(width: usize) -> usize {
    width.div_ceil(8).max(1)
}

/// The type, the width and the decimals with which a variable is shown, as one number.
fn format(variable: &Variable, width: usize) -> i32 {
    let (kind, width, decimals) = match variable.kind {
        Kind::Text(_) => (1, width as i32, 0),
        Kind::Day => (20, 11, 0),
        Kind::Time => (22, 23, 3),
        Kind::Number => (5, 16, 6),
        Kind::Whole(..) => (5, 12, 0),
        Kind::Boolean | Kind::Options(_) => (5, 5, 0),
    };
    kind << 16 | width << 8 | decimals
}

impl Sav<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn whole(&mut self, number: i32) -> io::Result<()> {
        self.put(&number.to_le_bytes())
    }

    /// `text` and blanks, together `width` bytes.
    fn field(&mut self, text: &str, width: usize) -> io::Result<()> {
        let text = cut(text, width);
        self.put(text.as_bytes())?;
        self.put(&vec![b' '; width - text.len()])
    }

    fn header(&mut self, variables: &[Variable], rows: u64) -> io::Result<()> {
        self.put(b"$FL2")?;
        self.field("@(#) SPSS DATA FILE fanfold", 60)?;
        let case: usize = variables.iter().flat_map(|v| segments(width(v))).map(places).sum();
        // The layout, the places of a row, compression, and no weight.
        for number in [2, case as i32, 1, 0, i32::try_from(rows).unwrap_or(-1)] {
            self.whole(number)?;
        }
        self.put(&BIAS.to_le_bytes())?;
        // A fixed date: the same rows are the same bytes.
        self.put(b"01 Jan 0000:00:00")?;
        self.field("", 64)?;
        self.put(&[0; 3])
    }

    fn dictionary(&mut self, variables: &[Variable], rows: u64) -> io::Result<()> {
        let mut number = 0;
        let mut names = Vec::new();
        for variable in variables {
            for (segment, width) in segments(width(variable)).into_iter().enumerate() {
                number += 1;
                let short = format!("V{number:X}");
                self.variable(variable, width, segment == 0, &short)?;
                if segment == 0 {
                    names.push(short);
                }
            }
        }
        let mut place = 1;
        for variable in variables {
            self.value_labels(variable, place)?;
            place += segments(width(variable)).into_iter().map(places).sum::<usize>() as i32;
        }
        self.extensions(variables, &names, rows)?;
        self.whole(999)?;
        self.whole(0)
    }

    fn variable(&mut self, variable: &Variable, width: usize, first: bool, short: &str) -> io::Result<()> {
        let label = variable.label.as_deref().filter(|label| first && !label.is_empty()).map(|l| cut(l, LABEL));
        let missing = variable.missing.filter(|_| first);
        let shown = format(variable, width);
        for number in [2, width as i32, i32::from(label.is_some()), if missing.is_some() { 2 } else { 0 }, shown, shown]
        {
            self.whole(number)?;
        }
        self.field(short, 8)?;
        if let Some(label) = label {
            self.whole(label.len() as i32)?;
            self.field(label, label.len().next_multiple_of(4))?;
        }
        missing.into_iter().flatten().try_for_each(|code| self.put(&code.to_le_bytes()))?;
        for _ in 1..places(width) {
            for number in [2, -1, 0, 0, 0, 0] {
                self.whole(number)?;
            }
            self.field("", 8)?;
        }
        Ok(())
    }

    /// The labels of numbers and of short texts; `place` is the variable's first place in a row, from 1.
    fn value_labels(&mut self, variable: &Variable, place: i32) -> io::Result<()> {
        let labels = coded(variable);
        if labels.is_empty() || width(variable) > SHORT {
            return Ok(());
        }
        self.whole(3)?;
        self.whole(labels.len() as i32)?;
        for (code, text) in &labels {
            match code {
                Cell::Text(code) => self.field(code, 8)?,
                code => self.put(&number(code).unwrap_or_default().to_le_bytes())?,
            }
            let text = cut(text, VALUE_LABEL);
            self.put(&[text.len() as u8])?;
            self.field(text, (text.len() + 1).next_multiple_of(8) - 1)?;
        }
        for number in [4, 1, place] {
            self.whole(number)?;
        }
        Ok(())
    }

    fn extension(&mut self, kind: i32, size: usize, bytes: &[u8]) -> io::Result<()> {
        for number in [7, kind, size as i32, (bytes.len() / size) as i32] {
            self.whole(number)?;
        }
        self.put(bytes)
    }

    fn extensions(&mut self, variables: &[Variable], names: &[String], rows: u64) -> io::Result<()> {
        // The version, IEEE numbers, compression, little-endian, UTF-8.
        let machine = [20_i32, 0, 0, -1, 1, 1, 2, 65_001];
        self.extension(3, 4, &machine.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>())?;
        let floats = [MISSING, f64::MAX, MISSING.next_up()];
        self.extension(4, 8, &floats.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>())?;
        let long = variables.iter().zip(names).map(|(v, short)| format!("{short}={}", v.name));
        self.extension(13, 1, long.collect::<Vec<_>>().join("\t").as_bytes())?;
        let wide = variables.iter().zip(names).filter(|(v, _)| width(v) > SEGMENT);
        let wide: String = wide.map(|(v, short)| format!("{short}={:05}\0\t", width(v))).collect();
        if !wide.is_empty() {
            self.extension(14, 1, wide.as_bytes())?;
        }
        self.extension(16, 8, &[1, rows].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>())?;
        self.extension(20, 1, b"UTF-8")?;
        let labels: Vec<u8> = variables.iter().flat_map(long_value_labels).collect();
        if labels.is_empty() { Ok(()) } else { self.extension(21, 1, &labels) }
    }

    /// Writes a cell. Returns whether its text is cut.
    fn cell(&mut self, variable: &Variable, value: Stored<'_>) -> io::Result<bool> {
        let [failed, not_asked] = variable.missing.unwrap_or([MISSING; 2]);
        let width = width(variable);
        if width == 0 {
            let number = match value {
                Stored::Number(days) if variable.kind == Kind::Day => days * 86_400.0 + SECONDS,
                Stored::Number(milliseconds) if variable.kind == Kind::Time => milliseconds / 1000.0 + SECONDS,
                Stored::Number(number) => number,
                Stored::Failed => failed,
                Stored::NotAsked => not_asked,
                _ => MISSING,
            };
            return self.number(number).map(|()| false);
        }
        let text = if let Stored::Text(text) = &value { text.as_ref() } else { "" };
        let mut rest = cut(text, width).as_bytes();
        let short = rest.len() < text.len();
        let widths = segments(width);
        for (i, segment) in widths.iter().enumerate() {
            let last = i + 1 == widths.len();
            let room = if last { places(*segment) * 8 } else { SEGMENT_ROOM };
            let (own, after) = rest.split_at(rest.len().min(if last { room } else { SEGMENT }));
            rest = after;
            let mut padded = own.to_vec();
            padded.resize(room, b' ');
            padded.chunks_exact(8).try_for_each(|eight| self.eight(eight))?;
        }
        Ok(short)
    }

    fn number(&mut self, number: f64) -> io::Result<()> {
        let code = number + BIAS;
        if number == MISSING {
            self.code(255, &[])
        } else if number.fract() == 0.0
            && (1.0..=251.0).contains(&code)
            && !(number == 0.0 && number.is_sign_negative())
        {
            self.code(code as u8, &[])
        } else {
            self.code(253, &number.to_le_bytes())
        }
    }

    fn eight(&mut self, text: &[u8]) -> io::Result<()> {
        if text == b"        " { self.code(254, &[]) } else { self.code(253, text) }
    }

    /// Adds a code with its value, and writes eight codes with their values.
    fn code(&mut self, code: u8, value: &[u8]) -> io::Result<()> {
        self.codes.push(code);
        self.values.extend(value);
        if self.codes.len() < 8 { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.codes.resize(8, 0);
        self.file.write_all(&self.codes)?;
        self.file.write_all(&self.values)?;
        self.codes.clear();
        self.values.clear();
        Ok(())
    }

    fn end(mut self) -> io::Result<()> {
        if !self.codes.is_empty() {
            self.flush()?;
        }
        self.file.flush()
    }
}

/// The codes with their texts that fit the type of the variable, each once.
fn coded(variable: &Variable) -> Vec<(Cell, &str)> {
    let is_text = matches!(variable.kind, Kind::Text(_));
    let codes = [(variable.missing.map(|codes| codes[0]), FAILED), (variable.missing.map(|codes| codes[1]), NOT_ASKED)];
    let codes = codes.into_iter().filter_map(|(code, text)| Some((Cell::Number(code?), text)));
    let own = variable.values.iter().map(|(code, text)| (code.clone(), text.as_str()));
    let mut labels: Vec<(Cell, &str)> = Vec::new();
    for (code, text) in own.chain(codes) {
        let fits = match &code {
            Cell::Text(code) => is_text && code.len() <= width(variable),
            code => !is_text && number(code).is_some(),
        };
        if fits
            && !labels
                .iter()
                .any(|(other, _)| *other == code || number(other).is_some() && number(other) == number(&code))
        {
            labels.push((code, text));
        }
    }
    labels
}

/// The labels of texts that are longer than a number.
fn long_value_labels(variable: &Variable) -> Vec<u8> {
    let (width, labels) = (width(variable), coded(variable));
    if width <= SHORT || labels.is_empty() {
        return Vec::new();
    }
    let mut bytes = Vec::new();
    let whole = |bytes: &mut Vec<u8>, number: usize| bytes.extend((number as i32).to_le_bytes());
    let text = |bytes: &mut Vec<u8>, text: &str, width: usize| {
        whole(bytes, width.max(text.len()));
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len() + width.saturating_sub(text.len()), b' ');
    };
    text(&mut bytes, &variable.name, 0);
    whole(&mut bytes, width);
    whole(&mut bytes, labels.len());
    for (code, label) in &labels {
        text(&mut bytes, &code.text(), width);
        text(&mut bytes, cut(label, VALUE_LABEL), 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_into_segments() {
        assert_eq!(segments(0), [0]);
        assert_eq!(segments(255), [255]);
        assert_eq!(segments(256), [255, 4]);
        assert_eq!(segments(504), [255, 252]);
        assert_eq!(segments(505), [255, 255, 1]);
        assert_eq!(segments(LONGEST).len(), 131);
        for width in 256..3000 {
            let widths = segments(width);
            // The bytes of the text fit into the rooms of the segments.
            let room = (widths.len() - 1) * SEGMENT + places(*widths.last().unwrap()) * 8;
            assert!(room >= width && widths.iter().all(|w| (1..=255).contains(w)), "{width}");
        }
    }
}
