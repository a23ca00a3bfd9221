//! The archive of a sheet: the sizes and the markup of its parts are checked before a parser reserves memory for them.

use std::fs::File;
use std::io::{Read, Seek};

use zip::ZipArchive;

use crate::source::batches::{CELL_BYTES, SourceError, unreadable};
use crate::source::reader::DataFile;

/// Parts that are kept in memory at once, such as styles, have at most this many bytes.
const PART_BYTES: u64 = 16 << 20;
/// Parts with rows or texts up to this many bytes are not compared with their bytes in the file.
const BELIEVED: u64 = 32 << 20;
/// The largest ratio of a larger part's bytes to its bytes in the file: of texts, which are kept, and of rows.
const TEXTS_RATIO: u64 = 40;
const ROWS_RATIO: u64 = 200;

pub(super) fn damaged(shown: &str) -> SourceError {
    broken(shown, "it can't be decoded")
}

pub(super) fn broken(shown: &str, message: &str) -> SourceError {
    SourceError::of_file(shown, format_args!("the sheet is damaged: {message}")).help("save or copy the file again")
}

pub(super) fn opened(file: &DataFile) -> Result<File, SourceError> {
    File::open(&file.path).map_err(|error| unreadable(&file.shown, &error))
}

/// Opens an archive and checks its parts.
pub(super) fn open<R: Read + Seek>(mut opened: R, shown: &str) -> Result<ZipArchive<R>, SourceError> {
    let mut start = Vec::new();
    opened.by_ref().take(4).read_to_end(&mut start).map_err(|e| unreadable(shown, &e))?;
    match start.as_slice() {
        b"PK\x03\x04" => {}
        [0xd0, 0xcf, 0x11, 0xe0] => {
            let message = "has a password, or is a file of Excel 2003 or older (.xls)";
            return Err(SourceError::of_file(shown, message).help("save it as .xlsx without a password"));
        }
        _ => return Err(SourceError::of_file(shown, "is not an .xlsx or .ods file").help("set `format`")),
    }
    let mut archive = ZipArchive::new(opened)
        .map_err(|error| broken(shown, &format!("{error} (an interrupted download or copy?)")))?;
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).map_err(|error| broken(shown, &error.to_string()))?;
        let name = part.name().map_err(|error| broken(shown, &error.to_string()))?.into_owned();
        let is_markup = [".xml", ".rels"].iter().any(|end| name.ends_with(end));
        let ratio = [("/worksheets/", ROWS_RATIO), ("content.xml", ROWS_RATIO), ("sharedStrings.xml", TEXTS_RATIO)];
        let ratio = ratio.into_iter().find(|(part, _)| name.contains(part)).map(|(_, ratio)| ratio);
        let most = ratio.map_or(PART_BYTES, |ratio| BELIEVED.max(part.compressed_size().saturating_mul(ratio)));
        if is_markup {
            scan(&mut part, most).map_err(|message| broken(shown, &format!("{name}: {message}")))?;
        }
    }
    Ok(archive)
}

/// Reads the markup of a part: the pieces between tags are short, there is no document type, no comment and no CDATA,
/// and no count of texts that the part has no room for.
fn scan(part: &mut impl Read, most: u64) -> Result<(), String> {
    let mut bytes = vec![0; 64 << 10];
    let (mut read, mut tag, mut start) = (0, 0, Vec::new());
    let too_long = |tag: u64, end: u64| match end - tag > CELL_BYTES as u64 {
        true => Err(format!("byte {tag}: a text above {} MiB", CELL_BYTES >> 20)),
        false => Ok(()),
    };
    let mut after_tag = false;
    let unneeded = |at: u64| format!("byte {at}: a document type, a comment or other markup that no sheet needs");
    loop {
        let count = match part.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("byte {read}: {error}")),
        };
        if start.len() < 4096 {
            start.extend_from_slice(&bytes[..count.min(4096)]);
        }
        let piece = &bytes[..count];
        let first = after_tag.then_some(0);
        for place in first.into_iter().chain(memchr::memchr_iter(b'<', piece).map(|at| at + 1)) {
            let at = read + place as u64;
            if place > 0 {
                too_long(tag, at - 1)?;
                tag = at - 1;
            }
            match piece.get(place) {
                Some(b'!') => return Err(unneeded(at)),
                Some(b'?') if at > 8 => return Err(unneeded(at)),
                _ => {}
            }
        }
        read += count as u64;
        after_tag = piece.last() == Some(&b'<');
        too_long(tag, read - 1)?;
        if read > most {
            return Err(format!("above {most} bytes, far more than its bytes in the file"));
        }
    }
    let claim = start.windows(13).position(|window| window == b"uniqueCount=\"").map(|at| &start[at + 13..]);
    let claim = claim.and_then(|claim| str::from_utf8(claim.split(|byte| *byte == b'"').next()?).ok());
    match claim {
        Some(claim) if claim.parse::<u64>().is_ok_and(|claim| claim > read) => Err(format!("a claim of {claim} texts")),
        _ => Ok(()),
    }
}
