//! Checksums of files: a Parquet file has one in a file next to it, and a JSON object has one as its last field.

use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::pieces::{each_bytes, open_table};
use crate::table::parquet::Table;

const FIELD: &str = "\"checksum\"";

pub(super) fn sum_path(file: &Path) -> PathBuf {
    file.with_extension("sum")
}

/// The BLAKE3 hash of a file's bytes, as hexadecimal digits.
pub(super) fn sum_of(file: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    each_bytes(file, &mut |bytes| {
        hasher.update(bytes);
    })?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Writes the checksum of `file` next to it. A file with a missing or torn checksum is written again, so the checksum
/// need not be synced.
pub(super) fn write_sum(file: &Path) -> Result<(), StoreError> {
    let path = sum_path(file);
    sum_of(file).and_then(|sum| std::fs::write(&path, sum)).map_err(StoreError::io(&path))
}

/// Opens a table whose checksum is next to it. Reads every byte.
pub(super) fn open_checked(file: &Path) -> Result<Table, StoreError> {
    if std::fs::read_to_string(sum_path(file)).ok() != sum_of(file).ok() {
        return Err(StoreError::Damaged { path: file.to_owned() });
    }
    Ok(open_table(file)?)
}

/// Like [`open_checked`], but opens also a table of an older version, which wrote no checksum.
pub(super) fn open_older(file: &Path) -> Result<Table, StoreError> {
    if sum_path(file).exists() { open_checked(file) } else { Ok(open_table(file)?) }
}

/// Adds the checksum of a JSON object to its text.
pub(super) fn seal(json: &str) -> String {
    let sum = blake3::hash(json.as_bytes()).to_hex();
    let [before, end] = layout(json);
    let body = json.trim_end().strip_suffix('}').unwrap_or(json).trim_end();
    format!("{body},{before}{FIELD}: \"{sum}\"{end}")
}

/// Whether the text of a JSON object is as it was written. Older versions wrote no checksum.
pub(super) fn is_sealed(json: &str) -> bool {
    let Some(at) = json.rfind(FIELD) else { return true };
    let [_, end] = layout(json);
    let body = json[..at].trim_end().trim_end_matches(',');
    let sum = json[at + FIELD.len()..].split('"').nth(1).unwrap_or_default();
    blake3::hash(format!("{body}{end}").as_bytes()).to_hex().as_str() == sum
}

/// What comes before the last field of a JSON object and after it.
fn layout(json: &str) -> [&'static str; 2] {
    if json.contains('\n') { ["\n  ", "\n}"] } else { ["", "}"] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_bit_of_a_sealed_object_is_found() {
        let value = serde_json::json!({ "name": "tone", "rows": 12, "note": "a \"checksum\": \"x\"" });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let sealed = seal(&text);
            assert!(
                serde_json::from_str::<serde_json::Value>(&sealed).is_ok() && is_sealed(&sealed) && is_sealed(&text)
            );
            for (at, bit) in (0..sealed.len()).flat_map(|at| (0..7).map(move |bit| (at, bit))) {
                let mut bytes = sealed.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                let Ok(read) = serde_json::from_str::<serde_json::Value>(&changed) else { continue };
                let is_same = ["name", "rows", "note"].iter().all(|field| read[field] == value[field]);
                assert!(!is_sealed(&changed) || is_same, "{changed}");
            }
        }
    }

    #[test]
    fn a_table_without_its_checksum_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.parquet");
        std::fs::write(&file, "not a table").unwrap();
        let damaged = |file: &Path| matches!(open_checked(file), Err(StoreError::Damaged { .. }));
        assert!(damaged(&file));
        write_sum(&file).unwrap();
        assert!(!damaged(&file));
        std::fs::write(&file, "not a tablf").unwrap();
        assert!(damaged(&file));
    }
}
