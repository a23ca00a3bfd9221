//! `type = "inline"`: rows that are written in the spec. They are read as JSON Lines.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::batches::{Batches, SourceError};
use super::json::lines::{Columns, Jsonl, scan};
use super::reading::Changes;
use super::rows::Source;
use super::settings::File;
use super::settings::layout::Layout;
use super::text::Text;
use super::text::cell::{Type, no_column};
use crate::registry::Kind;

pub(crate) const KIND: Kind<Box<dyn Source>> = Kind::new::<Inline>("inline", "Rows that are written in the spec.");

/// The name of the rows in messages.
const SHOWN: &str = "the rows of the spec";

/// Rows that are written in the spec.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Inline {
    /// The rows, each a table of cells by column: `rows = [{ text = "Good." }, { text = "Bad.", year = 1790 }]`. A cell
    /// that is left out is null.
    #[schemars(length(min = 1))]
    rows: Vec<Map<String, Value>>,
    /// The column that identifies a row. Default: the row's number.
    key: Option<String>,
    /// Types of columns. Default: the narrowest type that keeps every value as written.
    #[serde(default)]
    types: BTreeMap<String, Type>,
}

impl Inline {
    fn lines(&self) -> String {
        self.rows.iter().map(|row| format!("{}\n", Value::Object(row.clone()))).collect()
    }

    fn text(&self) -> Result<Text, SourceError> {
        Ok(Text::new(Box::new(Cursor::new(self.lines())), SHOWN, None, 64 << 10)?.without_lines())
    }

    /// The settings of a file with these rows.
    fn file(&self) -> File {
        File { key: self.key.clone(), types: self.types.clone(), ..File::default() }
    }
}

impl From<Inline> for Box<dyn Source> {
    fn from(inline: Inline) -> Self {
        Box::new(inline)
    }
}

impl Source for Inline {
    fn schema(&self, _: &Path) -> Result<SchemaRef, SourceError> {
        let mut columns = Columns::default();
        scan(self.text()?, SHOWN, &[], &mut columns)?;
        let names: Vec<String> = columns.names().map(str::to_owned).collect();
        if names.is_empty() {
            let help = "write each row as a table: rows = [{ text = \"Good.\" }]";
            return Err(SourceError::new("`rows` has no cells, so there are no columns").help(help).at(["rows"]));
        }
        if let Some(key) = self.key.as_ref().filter(|key| !names.contains(key)) {
            return Err(no_column(key, &names, SHOWN).at(["key"]));
        }
        Ok(columns.schema(&Layout::new(&self.file(), &names, SHOWN, "")?, &self.types))
    }

    fn read_counting(&self, folder: &Path, changes: &Changes) -> Result<Batches, SourceError> {
        let jsonl = Jsonl::new(self.text()?, SHOWN, self.schema(folder)?, &self.file())?;
        Ok(jsonl.counting(changes).into_batches())
    }

    fn files(&self, _: &Path) -> Result<Vec<PathBuf>, SourceError> {
        Ok(Vec::new())
    }

    fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn paths(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn meaning(&self) -> Value {
        // As text, since the order of the keys decides the order of the columns.
        json!({ "inline": self.lines(), "key": self.key, "types": self.types })
    }
}
