//! GGUF headers: what a file says of its model, read without the weights. The file is untrusted.
//!
//! Format and names: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, `ggml_type` in `ggml.h` and
//! `llama_ftype` in `llama.h`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::provider::endpoint::EndpointError;

const MAGIC: &[u8; 4] = b"GGUF";

/// The most keys and tensors of a header, and the most bytes of a text that is kept.
const LARGEST: (u64, u64) = (1 << 17, 1 << 10);

/// The types of tensors, by number.
const TYPES: [(u32, &str); 35] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (4, "MXFP4"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (8, "Q8_0"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (30, "BF16"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

/// The quantisations of whole files, by `general.file_type`.
const QUANTIZATIONS: [(u64, &str); 33] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4"),
];

#[derive(Debug, Default)]
pub(crate) struct Header {
    texts: HashMap<String, String>,
    numbers: HashMap<String, u64>,
    /// The numbers in the matrices of the layers, by the type of the tensor.
    layers: BTreeMap<u32, u64>,
    types: BTreeMap<u32, String>,
}

impl Header {
    pub(crate) fn read(path: &Path) -> Result<Header, EndpointError> {
        let shown = path.display();
        let file = File::open(path).map_err(|e| EndpointError::new(format!("{shown} can't be opened: {e}")))?;
        let size = file.metadata().map_or(0, |file| file.len());
        let mut from = Source { from: BufReader::new(file), left: size, wide: true };
        match from.header() {
            Ok(Some(header)) => Ok(header),
            Ok(None) => Err(EndpointError::new(format!("{shown} is not a GGUF file"))
                .help("name a file in the GGUF format, such as one that Ollama or llama.cpp reads")),
            Err(_) => Err(EndpointError::new(format!("{shown} is not a whole GGUF file"))
                .help("fetch the file again; it may have been cut off on the way")),
        }
    }

    pub(crate) fn architecture(&self) -> &str {
        self.texts.get("general.architecture").map_or("none", String::as_str)
    }

    /// The longest context that the model was trained for, in tokens.
    pub(crate) fn context(&self) -> Option<u64> {
        self.numbers.get(&format!("{}.context_length", self.architecture())).copied()
    }

    /// The name of the whole file's quantisation, or else of the type that most weights have.
    pub(crate) fn quantization(&self) -> Option<String> {
        let whole = self.numbers.get("general.file_type").and_then(|number| named(&QUANTIZATIONS, *number));
        let most = || self.layers.iter().max_by_key(|(_, size)| **size).map(|(kind, _)| type_name(*kind));
        whole.map(str::to_owned).or_else(most)
    }

    /// The types of the tensors, by number, each with the name of one tensor.
    pub(crate) fn types(&self) -> impl Iterator<Item = (u32, &str)> {
        self.types.iter().map(|(kind, tensor)| (*kind, tensor.as_str()))
    }
}

pub(crate) fn type_name(kind: u32) -> String {
    named(&TYPES, kind).map_or_else(|| format!("type {kind}"), str::to_owned)
}

fn named<K: PartialEq>(names: &[(K, &'static str)], number: K) -> Option<&'static str> {
    names.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

struct Source {
    from: BufReader<File>,
    /// The bytes that are left in the file.
    left: u64,
    /// Whether lengths have 8 bytes; version 1 has 4.
    wide: bool,
}

impl Source {
    /// Returns `None` for a file of another format.
    fn header(&mut self) -> io::Result<Option<Header>> {
        if self.left < 8 || self.bytes(4)? != MAGIC {
            return Ok(None);
        }
        let version = self.number(4)?;
        self.wide = version > 1;
        let (tensors, keys) = (self.length()?, self.length()?);
        if !(1..=3).contains(&version) || tensors.max(keys) > LARGEST.0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut header = Header::default();
        for _ in 0..keys {
            let key = self.text()?.unwrap_or_default();
            match self.number(4)? as u32 {
                8 => drop(self.text()?.map(|text| header.texts.insert(key, text))),
                9 => self.skip_list(0)?,
                kind => drop(self.scalar(kind)?.map(|number| header.numbers.insert(key, number))),
            }
        }
        for _ in 0..tensors {
            let name = self.text()?.unwrap_or_default();
            let dimensions = self.number(4)?;
            let mut size = 1u64;
            for _ in 0..dimensions.min(8) {
                size = size.saturating_mul(self.number(8)?);
            }
            let kind = self.number(4)? as u32;
            self.skip(8)?; // the position of the weights
            if name.starts_with("blk.") && dimensions > 1 {
                *header.layers.entry(kind).or_default() += size;
            }
            header.types.entry(kind).or_insert(name);
        }
        Ok(Some(header))
    }

    fn bytes(&mut self, count: u64) -> io::Result<Vec<u8>> {
        self.left = self.left.checked_sub(count).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut bytes = vec![0; count as usize];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        self.left = self.left.checked_sub(count).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.from.seek_relative(i64::try_from(count).map_err(|_| io::ErrorKind::InvalidData)?)
    }

    /// A little-endian number of at most 8 bytes.
    fn number(&mut self, bytes: u64) -> io::Result<u64> {
        Ok(self.bytes(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self) -> io::Result<u64> {
        self.number(if self.wide { 8 } else { 4 })
    }

    /// Returns `None` for a text that is too long to keep.
    fn text(&mut self) -> io::Result<Option<String>> {
        match self.length()? {
            length if length > LARGEST.1 => self.skip(length).map(|()| None),
            length => Ok(Some(String::from_utf8_lossy(&self.bytes(length)?).into_owned())),
        }
    }

    /// Returns `None` for a number that is not whole.
    fn scalar(&mut self, kind: u32) -> io::Result<Option<u64>> {
        let bytes = width(kind).ok_or(io::ErrorKind::InvalidData)?;
        let number = self.number(bytes)?;
        Ok(Some(number).filter(|_| !matches!(kind, 6 | 12)))
    }

    fn skip_list(&mut self, depth: u32) -> io::Result<()> {
        let (kind, count) = (self.number(4)? as u32, self.length()?);
        match (kind, width(kind)) {
            (_, Some(bytes)) => self.skip(bytes.saturating_mul(count)),
            // Each text has a length, so that a file with fewer bytes ends the loop.
            (8, _) => (0..count).try_for_each(|_| {
                let length = self.length()?;
                self.skip(length)
            }),
            (9, _) if depth < 4 => (0..count).try_for_each(|_| self.skip_list(depth + 1)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The bytes of a number or truth value, by the type of a key; `None` for texts, lists and unknown types.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
pub(super) mod tests;
