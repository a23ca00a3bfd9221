//! Readers: the trait that each file format implements.

use std::path::PathBuf;

use arrow_schema::SchemaRef;

use super::batches::{Batches, SourceError};
use super::reading::{Changes, Reading};
use super::settings::File;

#[derive(Clone, Debug)]
pub(crate) struct DataFile {
    pub(crate) path: PathBuf,
    pub(crate) shown: String,
}

pub(crate) trait Reader: Sync {
    /// Whether the reader itself returns the columns of a `Layout`. Otherwise it returns all columns of the file under
    /// the file's names, and `file` chooses and renames them.
    fn has_layout(&self, _: &File) -> bool {
        false
    }

    fn file_schema(&self, file: &DataFile, options: &File) -> Result<SchemaRef, SourceError>;

    /// The columns of all files together. By default all files must have the same columns in the same order.
    fn schema(&self, files: &[DataFile], options: &File) -> Result<SchemaRef, SourceError> {
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

    /// The rows, with the columns of [`schema`](Reader::schema).
    fn read(
        &self,
        file: &DataFile,
        options: &File,
        schema: &SchemaRef,
        changes: &Changes,
    ) -> Result<Batches, SourceError>;

    /// How the file is read, according to its first rows.
    fn reading(&self, _: &DataFile, _: &File) -> Result<Reading, SourceError> {
        Ok(Reading::default())
    }
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
