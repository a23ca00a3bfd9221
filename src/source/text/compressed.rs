//! Compressed text files: gzip and zstd, decompressed piece by piece and known by their first bytes.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::source::batches::{SourceError, unreadable};

/// Opens a text file and decompresses it if it is compressed.
pub(crate) fn open(path: &Path, shown: &str) -> Result<Box<dyn Read + Send>, SourceError> {
    let mut file = File::open(path).map_err(|e| unreadable(shown, &e))?;
    let mut start = Vec::new();
    file.by_ref().take(4).read_to_end(&mut start).map_err(|e| unreadable(shown, &e))?;
    let kind = start.clone();
    let file = Cursor::new(start).chain(file);
    Ok(match kind.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(BufReader::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(file).map_err(|e| unreadable(shown, &e))?),
        _ => Box::new(file),
    })
}

/// The path without the extension of a compressed file, if it has one.
pub(crate) fn plain_path(path: &Path) -> Option<PathBuf> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    matches!(extension.as_str(), "gz" | "zst" | "zstd").then(|| path.with_extension(""))
}
