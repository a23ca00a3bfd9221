//! Sources: read the rows of data files, or make up a population.
//!
//! | place | contents |
//! |---|---|
//! | `rows`, `batches`, `reading` | the trait of sources; the rows, and why a source cannot be read; how files were read |
//! | `file`, `documents`, `population`, `inline` | the types of sources: rows of data files, a row for each document, made up people, rows of the spec |
//! | `settings`, `matching`, `memo` | the fields of `file`; the files of a path; what was found in them |
//! | `reader`, `csv`, `json`, `typed`, `arrow` | the trait of file formats, and the formats; `typed` has those of spreadsheets and statistics programs |
//! | `text`, `binary` | what formats share: decoded text and its numbers; numbers and bytes at counted positions |
//!
//! To add a source: a file with a type that implements [`Source`], a `mod` line, and a row in [`SOURCES`].
//! To add a file format, see `settings::format`; to add a field of files, see `settings`.

mod arrow;
mod batches;
mod binary;
mod csv;
pub(crate) mod documents;
mod file;
mod inline;
mod json;
mod matching;
mod memo;
pub(crate) mod population;
mod reader;
mod reading;
mod rows;
mod settings;
mod text;
mod typed;

use std::path::{Path, PathBuf};

pub(crate) use batches::{SourceError, read_ahead};
pub(crate) use csv::edit::CsvFile;
pub(crate) use file::coding::{Filled, filled};
pub(crate) use matching::{matches_glob, neighbours};
pub(crate) use population::Population;
pub(crate) use reading::{Changes, Import, Reading, Unreadable};
pub(crate) use rows::Source;
pub(crate) use settings::File;
pub(crate) use settings::codes::{CodingSheet, FillColumn};
pub(crate) use settings::format::FileFormat;
pub(crate) use typed::sheet::{cell_name, workbook_rows};

use crate::object::{Address, copy_path};
use crate::registry::Kind;

pub(crate) static SOURCES: &[Kind<Box<dyn Source>>] = &[file::KIND, documents::KIND, population::KIND, inline::KIND];

/// Changes when sources are read differently, so that copies of old imports are not used.
const READER_VERSION: &str = "fanfold-source-1";

/// The BLAKE3 hash of a source's files and of its settings, in hex.
pub(crate) fn content(source: &dyn Source, folder: &Path) -> Result<String, SourceError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(READER_VERSION.as_bytes());
    hasher.update(source.meaning().to_string().as_bytes());
    if source.sheet().is_some() {
        hasher.update(b"\0codes\0").update(file::coding::content(source, folder)?.as_bytes());
        return Ok(hasher.finalize().to_hex().to_string());
    }
    for reading in source.readings(folder)? {
        for rule in reading.detected.iter().map(String::as_str).chain(reading.rules) {
            hasher.update(b"\0rule\0").update(rule.as_bytes());
        }
    }
    for file in source.files(folder)? {
        hasher.update(b"\0file\0");
        let identity = source.identity(folder, &file);
        if let Some(identity) = &identity {
            hasher.update(identity.as_bytes()).update(b"\0");
        }
        match std::fs::File::open(&file).and_then(|opened| hasher.update_reader(opened).map(drop)) {
            Ok(()) => {}
            // Its row says why it can't be read.
            Err(_) if identity.is_some() => drop(hasher.update(b"\0unreadable\0")),
            Err(error) => return Err(SourceError::new(format!("{}: {error}", file.display()))),
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The files that an output would overwrite: those that the source reads, or the copy of its object. Asks no store.
pub(crate) fn files_at_risk(source: &dyn Source, folder: &Path) -> Vec<PathBuf> {
    let paths = source.paths();
    let addresses: Vec<_> = paths.iter().filter_map(|(_, path)| Address::parse(path)).collect();
    match addresses.is_empty() {
        true => source.files(folder).unwrap_or_default(),
        false => addresses.iter().flatten().map(|address| copy_path(folder, address)).collect(),
    }
}

/// Reads a text file that a spec names, such as a prompt; the error is a sentence.
pub(crate) fn read_text(folder: &Path, path: &str) -> Result<String, String> {
    std::fs::read_to_string(folder.join(path)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file `{path}`: {}", neighbours(folder, path)),
        _ => format!("`{path}` can't be read: {error}"),
    })
}

#[cfg(test)]
mod damage_tests;
