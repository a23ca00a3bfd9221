//! File formats: their names, and the trait that each reader implements.
//!
//! To add a format: a variant of [`FileFormat`], a file with a [`Reader`], and a row in `file::FORMATS`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow_schema::SchemaRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batches::{Batches, SourceError};
use super::cell::Type;

/// The format of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileFormat {
    /// Comma-separated values with a header row.
    Csv,
    /// Tab-separated values with a header row.
    Tsv,
    /// One JSON object per line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

#[derive(Clone, Debug)]
pub(crate) struct DataFile {
    pub(crate) path: PathBuf,
    pub(crate) shown: String,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct TextOptions<'a> {
    pub(crate) types: &'a BTreeMap<String, Type>,
    pub(crate) nulls: &'a [String],
    /// A WHATWG label; strict UTF-8 when absent.
    pub(crate) encoding: Option<&'a str>,
}

pub(crate) trait Reader: Sync {
    fn file_schema(&self, file: &DataFile, options: TextOptions<'_>) -> Result<SchemaRef, SourceError>;

    /// The columns of all files together. By default all files must have the same columns in the same order.
    fn schema(&self, files: &[DataFile], options: TextOptions<'_>) -> Result<SchemaRef, SourceError> {
        let mut files = files.iter();
        let first = files.next().ok_or_else(|| SourceError::new("no file").at(["path"]))?;
        let expected = self.file_schema(first, options)?;
        for file in files {
            if let Some(difference) = difference(&expected, first, &self.file_schema(file, options)?, file) {
                let message = format!("{} and {} have different columns: {difference}", first.shown, file.shown);
                let help = "all files of a glob must have the same columns in the same order";
                return Err(SourceError::new(message).help(help).at(["path"]));
            }
        }
        Ok(expected)
    }

    fn read(&self, file: &DataFile, options: TextOptions<'_>, schema: &SchemaRef) -> Result<Batches, SourceError>;
}

fn difference(a: &SchemaRef, a_file: &DataFile, b: &SchemaRef, b_file: &DataFile) -> Option<String> {
    let (left, right) = (a.fields(), b.fields());
    for (i, (one, other)) in left.iter().zip(right).enumerate() {
        let column = i + 1;
        if one.name() != other.name() {
            return Some(format!("column {column} is `{}` and `{}`", one.name(), other.name()));
        }
        if one.data_type() != other.data_type() {
            let (one_type, other_type) = (one.data_type(), other.data_type());
            return Some(format!("column `{}` has the types {one_type} and {other_type}", one.name()));
        }
    }
    let only = |file: &DataFile, name: &str| Some(format!("only {} has `{name}`", file.shown));
    match left.len().cmp(&right.len()) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => only(b_file, right[left.len()].name()),
        std::cmp::Ordering::Greater => only(a_file, left[right.len()].name()),
    }
}
