//! A first look at a data file: its columns, and which of them are probably the key and the text.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use arrow_schema::{DataType, SchemaRef};

use super::{Exit, Failure};
use crate::name::{Name, suggestion};
use crate::source::{File, FileFormat, Source, neighbours};
use crate::table::cell_at;
use crate::table::files::folder_of;

/// The number of rows that are looked at.
const ROWS: usize = 2000;
/// A column of texts that are at least this long on average is probably not a key.
const LONG: usize = 64;

#[derive(Debug)]
pub(super) struct DataFile {
    /// The folder of the file.
    pub(super) folder: PathBuf,
    /// The name of the file in that folder.
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// The settings without which the file is read differently, as a spec contains them: `delimiter = ";"`.
    pub(super) settings: Vec<String>,
    schema: SchemaRef,
    pub(super) key: Option<String>,
    /// The column with the longest texts.
    pub(super) text: String,
}

#[derive(Default)]
struct Seen {
    values: HashSet<String>,
    rows: usize,
    bytes: usize,
}

impl DataFile {
    pub(super) fn read(path: &Path) -> Result<DataFile, Failure> {
        let shown = path.display();
        if !path.is_file() {
            let near = neighbours(Path::new(""), &shown.to_string());
            return Err(Failure::new(Exit::Spec, format!("there is no file `{shown}`")).help(near));
        }
        if FileFormat::of(path).is_none() {
            let message = format!("`{shown}` is not a table: its extension says no format");
            let help = "save it as .csv, .xlsx, .parquet or .jsonl; documents are a source of `type = \"documents\"`";
            return Err(Failure::new(Exit::Spec, message).help(help));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = folder_of(path).to_owned();
        let (source, schema) = opened(File { path: name.clone(), ..File::default() }, &folder)?;
        let settings = source.readings(&folder)?.into_iter().flat_map(|reading| reading.detected).collect();
        let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let mut seen: Vec<Seen> = columns.iter().map(|_| Seen::default()).collect();
        let mut left = ROWS;
        for batch in source.read(&folder)? {
            let batch = batch?;
            let rows = batch.num_rows().min(left);
            left -= rows;
            for (column, seen) in batch.columns().iter().zip(&mut seen) {
                for row in (0..rows).filter(|row| column.is_valid(*row)) {
                    let text = cell_at(column.as_ref(), row).text();
                    seen.rows += 1;
                    seen.bytes += text.len();
                    seen.values.insert(text);
                }
            }
            if left == 0 {
                break;
            }
        }
        let Some(text) = longest(&seen).map(|column| columns[column].clone()) else {
            return Err(Failure::new(Exit::Spec, format!("`{shown}` has no columns")));
        };
        let key = key(&columns, &seen, ROWS - left).map(|column| columns[column].clone());
        Ok(DataFile { folder, name, columns, settings, schema, key: key.filter(|key| *key != text), text })
    }

    /// The name without extensions, as the name of a table of a spec.
    pub(super) fn stem(&self) -> Name {
        let stem = self.name.split('.').next().unwrap_or_default();
        let safe: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(40).collect();
        Name::new(safe.to_lowercase()).or_else(|_| Name::new(format!("data_{safe}"))).expect("letters and digits")
    }

    /// Whether a column is there and holds texts.
    pub(super) fn has_texts(&self, column: &str) -> bool {
        self.schema.field_with_name(column).is_ok_and(|field| field.data_type() == &DataType::Utf8)
    }

    /// Checks that a column is there.
    pub(super) fn has(&self, column: &str) -> Result<(), Failure> {
        if self.columns.iter().any(|name| name == column) {
            return Ok(());
        }
        let help = suggestion(column, "its columns are", self.columns.iter().map(String::as_str));
        Err(Failure::new(Exit::Spec, format!("`{}` has no column `{column}`", self.name)).help_if(help))
    }
}

/// The file with its columns. Decimal commas make a delimiter doubtful, but no cell of a first spec is read as a number.
fn opened(file: File, folder: &Path) -> Result<(File, SchemaRef), Failure> {
    match file.schema(folder) {
        Ok(schema) => Ok((file, schema)),
        Err(error) => {
            let with_commas = File { decimal: Some(",".to_owned()), ..file };
            let schema = with_commas.schema(folder).map_err(|_| error)?;
            Ok((with_commas, schema))
        }
    }
}

fn longest(seen: &[Seen]) -> Option<usize> {
    let length = |seen: &Seen| seen.bytes / seen.rows.max(1);
    // The first of several equally long ones.
    (0..seen.len()).rev().max_by_key(|column| length(&seen[*column]))
}

/// The first column whose values are all there, short and different. Columns called like an id come first.
fn key(columns: &[String], seen: &[Seen], rows: usize) -> Option<usize> {
    let is_key = |column: &usize| {
        let seen = &seen[*column];
        seen.rows == rows && rows > 0 && seen.values.len() == rows && seen.bytes / rows < LONG
    };
    let is_id = |column: &usize| {
        let name = columns[*column].to_lowercase();
        ["id", "key", "nr", "no", "number", "uuid"]
            .iter()
            .any(|word| name == *word || name.ends_with(&format!("_{word}")) || name.ends_with(&format!(" {word}")))
    };
    let keys: Vec<usize> = (0..columns.len()).filter(is_key).collect();
    keys.iter().copied().find(is_id).or(keys.first().copied())
}

/// A file of a folder, without `./` before its name.
pub(super) fn file_in(folder: &Path, name: &str) -> PathBuf {
    if folder == Path::new(".") { PathBuf::from(name) } else { folder.join(name) }
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A template that reads the column.
pub(super) fn reading(column: &str) -> String {
    let is_name = Name::new(column).is_ok() && !column.contains('-');
    if is_name { format!("{{{{ {column} }}}}") } else { format!("{{{{ row[{}] }}}}", serde_json::json!(column)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> DataFile {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("My data, 2.csv");
        std::fs::write(&path, text).unwrap();
        DataFile::read(&path).unwrap()
    }

    #[test]
    fn the_key_and_the_text_are_guessed() {
        let data = read("year,doc_id,remark\n1790,a,Peace and plenty.\n1790,b,We mourn our dead.\n");
        assert_eq!((data.key.as_deref(), data.text.as_str()), (Some("doc_id"), "remark"));
        assert_eq!(data.stem().as_str(), "my_data__2");
        let data = read("name,remark\nx,Long words here\ny,More long words\n");
        assert_eq!(data.key.as_deref(), Some("name"), "a column of different values");
        for without in
            ["id,remark\n1,Long words\n1,More words\n", "id,remark\n1,Long words\n,More words\n", "remark\nOne\n"]
        {
            assert_eq!(read(without).key, None, "{without}");
        }
    }

    #[test]
    fn columns_are_read_by_name_or_as_a_part_of_the_row() {
        assert_eq!(reading("remark"), "{{ remark }}");
        assert_eq!(reading("a \"b\" c"), r#"{{ row["a \"b\" c"] }}"#);
        assert_eq!(quoted("It's\n\"x\""), "\"\"\"\nIt's\n\"x\"\"\"\"");
    }
}
