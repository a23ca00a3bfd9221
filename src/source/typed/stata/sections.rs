//! The sections of a Stata file besides its rows: where they are, value labels, and long texts (`strL`).

use std::collections::HashMap;

use dta::stata::dta::header::Header;
use dta::stata::dta::release::Release;
use dta::stata::dta::schema::Schema;
use dta::stata::dta::variable_type::VariableType;
use encoding_rs::Encoding;

use crate::source::batches::{CELL_BYTES, SourceError};
use crate::source::binary::Binary;
use crate::source::typed::Raw;

/// The most bytes of a set of value labels.
const SET_BYTES: u64 = 64 << 20;
/// The most long texts of a file.
const MOST_TEXTS: usize = 50_000_000;
/// The bytes of `<map>`, of its 14 positions, and of the texts before and after them that are searched.
const HEADER_BYTES: u64 = 2048;
/// The code of `.`; those of `.a` to `.z` follow it.
const SYSTEM_MISSING: i32 = 2_147_483_621;

/// The positions of sections.
pub(super) struct Sections {
    pub(super) labels: u64,
    pub(super) strings: Option<u64>,
}

/// Sets of value labels by their names.
pub(super) type Labels = HashMap<String, Vec<(Raw, String)>>;

/// The sections of the releases from 117: the header is followed by a map of them.
pub(super) fn map(file: &mut Binary) -> Result<Sections, SourceError> {
    file.seek(0)?;
    let start = file.bytes(HEADER_BYTES.min(file.size()))?;
    let tag = b"</header><map>";
    let Some(at) = start.windows(tag.len()).position(|window| window == tag) else {
        return Err(file.damaged("it has no map of its sections"));
    };
    // Positions 10 and 11 are the long texts and the value labels; each takes 8 bytes.
    file.seek((at + tag.len()) as u64 + 10 * 8)?;
    Ok(Sections { strings: Some(file.u64()?), labels: file.u64()? })
}

/// The sections of the releases before 117: characteristics come after the variables, then the rows, then the labels.
pub(super) fn walk(file: &mut Binary, schema: &Schema, header: &Header) -> Result<Sections, SourceError> {
    loop {
        let [kind] = file.array::<1>()?;
        let length = if header.release() < Release::V110 { file.u16()?.into() } else { file.u32()? };
        if kind == 0 {
            break;
        }
        file.skip(length.into())?;
    }
    let width = |ty: VariableType| match ty {
        VariableType::Byte => 1,
        VariableType::Int => 2,
        VariableType::Long | VariableType::Float => 4,
        VariableType::Double | VariableType::LongString => 8,
        VariableType::FixedString(bytes) => u64::from(bytes),
    };
    let row: u64 = schema.variables().iter().map(|variable| width(variable.variable_type())).sum();
    file.skip(row.saturating_mul(header.observation_count()))?;
    Ok(Sections { labels: file.at(), strings: None })
}

/// The sets of value labels from byte `from` on.
pub(super) fn value_labels(
    file: &mut Binary,
    release: Release,
    from: u64,
    encoding: &'static Encoding,
) -> Result<Labels, SourceError> {
    file.seek(from)?;
    if release.is_xml_like() {
        expect(file, b"<value_labels>")?;
    }
    let mut labels = Labels::new();
    loop {
        if release.is_xml_like() {
            match &file.array::<5>()? {
                b"<lbl>" => {}
                b"</val" => return Ok(labels),
                _ => return Err(file.damaged("these are not value labels")),
            }
        } else if file.at() == file.size() {
            return Ok(labels);
        }
        let length = u64::from(file.u32()?);
        let name = file.bytes(match release {
            Release::V118 | Release::V119 => 129,
            release if release < Release::V110 => 9,
            _ => 33,
        })?;
        file.skip(3)?;
        if length > SET_BYTES {
            return Err(file.damaged(&format!("{length} bytes of value labels")));
        }
        let end = file.at() + length;
        labels.insert(text(&name, encoding), set(file, end, encoding)?);
        if release.is_xml_like() {
            expect(file, b"</lbl>")?;
        }
    }
}

/// One set: the number of codes, the places of their texts, the codes, the texts.
fn set(file: &mut Binary, end: u64, encoding: &'static Encoding) -> Result<Vec<(Raw, String)>, SourceError> {
    let (number, bytes) = (file.u32()?, file.u32()?);
    if u64::from(number) * 8 + u64::from(bytes) + file.at() != end {
        return Err(file.damaged(&format!("a set of {number} value labels with {bytes} bytes of text")));
    }
    let places = (0..number).map(|_| file.u32()).collect::<Result<Vec<_>, _>>()?;
    let codes = (0..number).map(|_| file.i32()).collect::<Result<Vec<_>, _>>()?;
    let texts = file.bytes(bytes.into())?;
    let mut labels = Vec::with_capacity(codes.len());
    for (place, code) in places.into_iter().zip(codes) {
        let Some(label) = texts.get(place as usize..) else {
            return Err(file.damaged(&format!("the label of {code} lies outside of its set")));
        };
        let code = match u8::try_from(i64::from(code) - i64::from(SYSTEM_MISSING)) {
            Ok(0) => Raw::Text(".".to_owned()),
            Ok(letter @ 1..=26) => Raw::Text(format!(".{}", char::from(b'a' + letter - 1))),
            _ => Raw::Integer(code.into()),
        };
        labels.push((code, text(label, encoding)));
    }
    Ok(labels)
}

fn expect(file: &mut Binary, tag: &'static [u8]) -> Result<(), SourceError> {
    let found = file.bytes(tag.len() as u64)?;
    match found == tag {
        true => Ok(()),
        false => Err(file.damaged(&format!("{} is missing", String::from_utf8_lossy(tag)))),
    }
}

/// The text before the first NUL; bytes that are not valid become the character for them.
fn text(bytes: &[u8], encoding: &'static Encoding) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    encoding.decode_without_bom_handling(&bytes[..end]).0.into_owned()
}

/// Long texts, read from the file when a row needs them.
pub(super) struct LongTexts {
    file: Binary,
    encoding: &'static Encoding,
    /// The position and the length of each, by variable and row.
    places: HashMap<(u32, u64), (u64, u32)>,
}

/// The places of the long texts from byte `from` on.
pub(super) fn long_texts(
    mut file: Binary,
    release: Release,
    from: u64,
    encoding: &'static Encoding,
) -> Result<LongTexts, SourceError> {
    file.seek(from)?;
    expect(&mut file, b"<strls>")?;
    let mut places = HashMap::new();
    loop {
        match &file.array::<3>()? {
            b"GSO" => {}
            b"</s" => return Ok(LongTexts { file, encoding, places }),
            _ => return Err(file.damaged("this is not a long text")),
        }
        let variable = file.u32()?;
        let row = if release == Release::V117 { file.u32()?.into() } else { file.u64()? };
        file.skip(1)?;
        let length = file.u32()?;
        places.insert((variable, row), (file.at(), length));
        if places.len() > MOST_TEXTS {
            return Err(file.damaged(&format!("more than {MOST_TEXTS} long texts")));
        }
        file.skip(length.into())?;
    }
}

impl LongTexts {
    /// The text; an empty one for variable 0 and row 0.
    pub(super) fn text(&mut self, key: (u32, u64)) -> Result<String, SourceError> {
        if key == (0, 0) {
            return Ok(String::new());
        }
        let Some(&(at, length)) = self.places.get(&key) else {
            return Err(self.file.damaged(&format!("the long text {}, {} does not exist", key.0, key.1)));
        };
        if length as usize > CELL_BYTES {
            return Err(self.file.damaged(&format!("a text of {length} bytes is above {} MiB", CELL_BYTES >> 20)));
        }
        self.file.seek(at)?;
        let bytes = self.file.bytes(length.into())?;
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
        let (text, wrong) = self.encoding.decode_without_bom_handling(bytes);
        if wrong || text.contains('\0') {
            self.file.seek(at)?;
            return Err(self.file.damaged("a long text that holds other data than text"));
        }
        Ok(text.into_owned())
    }
}
