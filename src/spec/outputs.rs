//! Outputs: which file holds which table, and in which format.

use std::path::Path;

/// The formats of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Parquet, zstd-compressed.
    Parquet,
    /// Comma-separated values with a header.
    Csv,
    /// A JSON object per line.
    Jsonl,
}

/// The extensions of the formats.
pub const EXTENSIONS: [&str; 3] = ["parquet", "csv", "jsonl"];

impl Format {
    /// The format of a path, by its extension.
    pub fn of(path: &str) -> Option<Format> {
        match Path::new(path).extension()?.to_str()? {
            "parquet" => Some(Format::Parquet),
            "csv" => Some(Format::Csv),
            "jsonl" => Some(Format::Jsonl),
            _ => None,
        }
    }
}
