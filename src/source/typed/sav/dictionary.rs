//! The dictionary of an SPSS file: its header, variables, value labels, missing values and extensions.

use std::collections::HashMap;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use crate::source::batches::{MOST_COLUMNS, ROW_BYTES, SourceError};
use crate::source::binary::Binary;
use crate::source::text::encoding;
use crate::source::typed::Raw;

/// The most bytes of a record of extensions that is kept.
const EXTENSION_BYTES: u64 = 64 << 20;
/// The most bytes of a variable's or a value's label.
const LABEL_BYTES: u64 = 64 << 10;
/// The bytes of a very long text in each of its segments, and what a segment adds to the count of them.
const SEGMENT: i32 = 255;
const SEGMENT_STEP: i32 = 252;
const LONGEST: i32 = 32_767;

pub(crate) struct Dictionary {
    pub(crate) variables: Vec<SavVariable>,
    pub(crate) compression: Compression,
    /// What is added to a byte of a compressed number.
    pub(crate) bias: f64,
    /// The number of rows, if the file says it.
    pub(crate) cases: Option<u64>,
    /// The name of the variable that weights the rows.
    pub(crate) weight: Option<Vec<u8>>,
    code_page: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Bytes,
    Zlib,
}

#[derive(Debug, Default)]
pub(crate) struct SavVariable {
    pub(crate) name: Vec<u8>,
    /// The number of the display format, such as 5 for `F`.
    pub(crate) format: u8,
    pub(crate) label: Option<Vec<u8>>,
    pub(crate) codes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) missing: Vec<Missing>,
    /// The bytes of each segment of a text; empty for a number.
    pub(crate) segments: Vec<usize>,
    /// The bytes of the text.
    pub(crate) width: usize,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Missing {
    Range(f64, f64),
    Text(Vec<u8>),
}

impl Missing {
    pub(crate) fn covers(&self, cell: &Raw, encoding: &'static Encoding) -> bool {
        match (self, cell) {
            (Missing::Range(low, high), Raw::Number(number)) => low <= number && number <= high,
            (Missing::Text(bytes), Raw::Text(cell)) => text(bytes, encoding).0 == *cell,
            _ => false,
        }
    }
}

/// A text without the spaces at its end, and whether all its bytes are valid. A character that is cut at the end is left
/// out: SPSS cuts texts at their width.
pub(crate) fn text(bytes: &[u8], encoding: &'static Encoding) -> (String, bool) {
    let bytes = bytes.trim_ascii_end();
    let bytes = match str::from_utf8(bytes) {
        Err(error) if encoding == UTF_8 && error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    };
    let end = bytes.iter().rposition(|&byte| byte != 0 && byte != b' ').map_or(0, |last| last + 1);
    let (text, wrong) = encoding.decode_without_bom_handling(&bytes[..end]);
    (text.into_owned(), !wrong)
}

/// A variable as its records have it, before the extensions name it.
struct Slot {
    name: Vec<u8>,
    width: i32,
    format: u8,
    label: Option<Vec<u8>>,
    missing: Vec<Missing>,
    codes: Codes,
}

/// Codes with their labels.
type Codes = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Default)]
struct Extensions {
    names: HashMap<Vec<u8>, Vec<u8>>,
    widths: HashMap<Vec<u8>, i32>,
    codes: HashMap<Vec<u8>, Codes>,
    missing: HashMap<Vec<u8>, Vec<Missing>>,
    cases: Option<u64>,
    code_page: Option<String>,
}

impl Dictionary {
    pub(crate) fn read(file: &mut Binary) -> Result<Self, SourceError> {
        let Header { compression, weight, cases, bias } = header(file)?;
        // A variable of text takes a slot for each 8 bytes; `None` is a slot after the first.
        let mut slots: Vec<Option<Slot>> = Vec::new();
        let mut extensions = Extensions::default();
        loop {
            match file.i32()? {
                2 => slots.push(slot(file)?),
                3 => labels(file, &mut slots)?,
                6 => {
                    let lines = count(file)?;
                    file.skip(lines * 80)?;
                }
                7 => extensions.read(file)?,
                999 => break,
                other => return Err(file.damaged(&format!("there is no record of type {other}"))),
            }
            if slots.len() > ROW_BYTES / 8 {
                return Err(file.damaged("a row is too long"));
            }
        }
        file.skip(4)?;
        let weight = usize::try_from(weight).ok().and_then(|place| slots.get(place.checked_sub(1)?)?.as_ref());
        let weight = weight.map(|slot| extensions.names.get(&slot.name).unwrap_or(&slot.name).clone());
        let variables = variables(file, slots, &mut extensions)?;
        let cases = extensions.cases.or(u64::try_from(cases).ok());
        Ok(Dictionary { variables, compression, bias, cases, weight, code_page: extensions.code_page })
    }

    /// The encoding that the spec declares, else that of the file.
    pub(crate) fn encoding(&self, label: Option<&str>, shown: &str) -> Result<&'static Encoding, SourceError> {
        match (label, &self.code_page) {
            (Some(label), _) => encoding(label),
            (None, None) => Ok(WINDOWS_1252),
            (None, Some(page)) => Encoding::for_label(page.as_bytes()).ok_or_else(|| {
                let message = format!("its encoding `{page}` is not known");
                SourceError::of_file(shown, message).help(r#"set `encoding`, such as "windows-1252""#)
            }),
        }
    }
}

struct Header {
    compression: Compression,
    /// The place in a row of the variable that weights the rows, from 1; 0 for none.
    weight: i32,
    cases: i32,
    bias: f64,
}

fn header(file: &mut Binary) -> Result<Header, SourceError> {
    let magic = file.array::<4>()?;
    if magic != *b"$FL2" && magic != *b"$FL3" {
        file.seek(0)?;
        return Err(file.damaged("it does not begin like an SPSS file"));
    }
    file.skip(60)?;
    let layout = file.array::<4>()?;
    file.set_big_endian(matches!(i32::from_be_bytes(layout), 2 | 3));
    file.skip(4)?;
    let compression = match file.i32()? {
        0 => Compression::None,
        1 => Compression::Bytes,
        2 => Compression::Zlib,
        other => return Err(file.damaged(&format!("there is no compression {other}"))),
    };
    let (weight, cases, bias) = (file.i32()?, file.i32()?, file.f64()?);
    file.skip(84)?;
    Ok(Header { compression, weight, cases, bias })
}

fn count(file: &mut Binary) -> Result<u64, SourceError> {
    let number = file.i32()?;
    u64::try_from(number).map_err(|_| file.damaged(&format!("a count of {number}")))
}

/// A value of 8 bytes: a number with its low byte first, or text.
fn value(file: &mut Binary, is_text: bool) -> Result<[u8; 8], SourceError> {
    let mut bytes = file.array::<8>()?;
    if file.is_big_endian() && !is_text {
        bytes.reverse();
    }
    Ok(bytes)
}

fn slot(file: &mut Binary) -> Result<Option<Slot>, SourceError> {
    let width = file.i32()?;
    let (labelled, missing) = (file.i32()?, file.i32()?);
    file.skip(4)?;
    let format = file.u32()?;
    let name = file.array::<8>()?.trim_ascii_end().to_vec();
    if !(-1..=SEGMENT).contains(&width) || !matches!(missing, -3 | -2 | 0..=3) {
        return Err(file.damaged(&format!("a variable of width {width} with {missing} missing values")));
    }
    let label = match labelled {
        0 => None,
        _ => {
            let length = count(file)?;
            if length > LABEL_BYTES {
                return Err(file.damaged(&format!("a label of {length} bytes")));
            }
            let label = file.bytes(length)?;
            file.skip(length.next_multiple_of(4) - length)?;
            Some(label)
        }
    };
    let values: Vec<[u8; 8]> = (0..missing.abs()).map(|_| value(file, width > 0)).collect::<Result<_, _>>()?;
    let number = |bytes: &[u8; 8]| f64::from_bits(u64::from_le_bytes(*bytes));
    let missing = match (values.as_slice(), missing) {
        ([low, high, rest @ ..], -3 | -2) => {
            let one = rest.iter().map(|value| Missing::Range(number(value), number(value)));
            std::iter::once(Missing::Range(number(low), number(high))).chain(one).collect()
        }
        (values, _) if width > 0 => values.iter().map(|value| Missing::Text(value.to_vec())).collect(),
        (values, _) => values.iter().map(|value| Missing::Range(number(value), number(value))).collect(),
    };
    let format = format.to_le_bytes()[2];
    Ok((width >= 0).then_some(Slot { name, width, format, label, missing, codes: Vec::new() }))
}

/// A record of value labels, and the record of their variables that follows it.
fn labels(file: &mut Binary, slots: &mut [Option<Slot>]) -> Result<(), SourceError> {
    let labels = count(file)?;
    let mut codes = Vec::new();
    for _ in 0..labels {
        let value = file.array::<8>()?;
        let [length] = file.array::<1>()?;
        let label = file.bytes(length.into())?;
        file.skip((u64::from(length) + 1).next_multiple_of(8) - u64::from(length) - 1)?;
        codes.push((value, label));
    }
    if file.i32()? != 4 {
        return Err(file.damaged("value labels without their variables"));
    }
    let is_big_endian = file.is_big_endian();
    for _ in 0..count(file)? {
        let index = count(file)?;
        let place = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
        let Some(Some(slot)) = place.and_then(|place| slots.get_mut(place)) else {
            return Err(file.damaged(&format!("value labels of variable {index}, which does not exist")));
        };
        let is_text = slot.width > 0;
        slot.codes = codes
            .iter()
            .map(|(value, label)| {
                let mut value = *value;
                if is_big_endian && !is_text {
                    value.reverse();
                }
                (value.to_vec(), label.clone())
            })
            .collect();
    }
    Ok(())
}

impl Extensions {
    fn read(&mut self, file: &mut Binary) -> Result<(), SourceError> {
        let (kind, size, number) = (file.i32()?, count(file)?, count(file)?);
        let length = size * number;
        if !matches!(kind, 3 | 13 | 14 | 16 | 20 | 21 | 22) || length > EXTENSION_BYTES {
            return file.skip(length);
        }
        let end = file.at() + length;
        match kind {
            3 if length >= 32 => {
                file.skip(28)?;
                let page = file.i32()?;
                self.code_page = self.code_page.take().or(code_page(page));
            }
            13 => self.names = pairs(&file.bytes(length)?).map(|(name, long)| (name.to_vec(), long.to_vec())).collect(),
            14 => {
                let widths = file.bytes(length)?;
                let width =
                    |text: &[u8]| str::from_utf8(text.strip_suffix(&[0]).unwrap_or(text)).ok()?.trim().parse().ok();
                self.widths = pairs(&widths).filter_map(|(name, text)| Some((name.to_vec(), width(text)?))).collect();
            }
            16 if length >= 16 => {
                file.skip(8)?;
                self.cases = u64::try_from(file.i64()?).ok();
            }
            20 => self.code_page = Some(String::from_utf8_lossy(&file.bytes(length)?).trim().to_owned()),
            21 => self.long_codes(file, end)?,
            22 => self.long_missing(file, end)?,
            _ => {}
        }
        if file.at() > end {
            return Err(file.damaged("a record of extensions is longer than it says"));
        }
        file.seek(end)
    }

    fn long_codes(&mut self, file: &mut Binary, end: u64) -> Result<(), SourceError> {
        while file.at() < end {
            let name = sized(file)?;
            file.skip(4)?;
            let mut codes = Vec::new();
            for _ in 0..count(file)? {
                codes.push((sized(file)?, sized(file)?));
            }
            self.codes.insert(name, codes);
        }
        Ok(())
    }

    fn long_missing(&mut self, file: &mut Binary, end: u64) -> Result<(), SourceError> {
        while file.at() < end {
            let name = sized(file)?;
            let [number] = file.array::<1>()?;
            let length = count(file)?;
            let mut missing = Vec::new();
            for _ in 0..number.min(3) {
                missing.push(Missing::Text(file.bytes(length)?));
            }
            self.missing.insert(name, missing);
        }
        Ok(())
    }
}

/// Bytes after their count.
fn sized(file: &mut Binary) -> Result<Vec<u8>, SourceError> {
    let length = count(file)?;
    file.bytes(length)
}

/// `name=value` pairs with tabs between them.
fn pairs(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    bytes.split(|&byte| byte == b'\t').filter_map(|pair| {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        Some((pair[..at].trim_ascii(), &pair[at + 1..]))
    })
}

/// The encoding of a number in the record of the machine that wrote the file.
fn code_page(page: i32) -> Option<String> {
    match page {
        65_001 => Some("utf-8".to_owned()),
        1250..=1258 => Some(format!("windows-{page}")),
        28_591..=28_605 => Some(format!("iso-8859-{}", page - 28_590)),
        932 => Some("shift_jis".to_owned()),
        936 => Some("gbk".to_owned()),
        949 => Some("euc-kr".to_owned()),
        950 => Some("big5".to_owned()),
        _ => None,
    }
}

/// The variables with their long names. The slots after the first of a text, and the segments after the first of a very
/// long text, belong to the variable before them.
fn variables(
    file: &Binary,
    slots: Vec<Option<Slot>>,
    extensions: &mut Extensions,
) -> Result<Vec<SavVariable>, SourceError> {
    let mut variables: Vec<SavVariable> = Vec::new();
    let mut slots = slots.into_iter();
    let mut wrong = 0;
    // The slots after the first of a text.
    let mut rest = |slots: &mut std::vec::IntoIter<Option<Slot>>, width: i32| {
        wrong += (1..width.max(1).cast_unsigned().div_ceil(8)).filter(|_| !matches!(slots.next(), Some(None))).count();
    };
    while let Some(slot) = slots.next() {
        let Some(slot) = slot else { return Err(file.damaged("a part of a text without its variable")) };
        rest(&mut slots, slot.width);
        let long = extensions.widths.get(&slot.name).copied().filter(|width| (SEGMENT + 1..=LONGEST).contains(width));
        let mut segments = if slot.width > 0 { vec![slot.width as usize] } else { Vec::new() };
        for _ in 1..long.map_or(1, |width| (width + SEGMENT_STEP - 1) / SEGMENT_STEP) {
            let Some(Some(segment)) = slots.next().filter(|_| slot.width > 0) else {
                return Err(file.damaged("a very long text without its segments"));
            };
            rest(&mut slots, segment.width);
            segments.push(segment.width.max(0) as usize);
        }
        let name = extensions.names.get(&slot.name).unwrap_or(&slot.name).clone();
        let own = (slot.codes, slot.missing);
        variables.push(SavVariable {
            format: slot.format,
            label: slot.label,
            codes: extensions.codes.remove(&name).unwrap_or(own.0),
            missing: extensions.missing.remove(&name).unwrap_or(own.1),
            width: long.unwrap_or(slot.width).max(0) as usize,
            segments,
            name,
        });
    }
    match variables.len() {
        _ if wrong > 0 => Err(file.damaged("the parts of a text are missing")),
        0 => Err(file.damaged("it has no variables")),
        number if number > MOST_COLUMNS => Err(file.damaged(&format!("more than {MOST_COLUMNS} columns"))),
        _ => Ok(variables),
    }
}
