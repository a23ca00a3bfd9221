//! Content: what a page says, as data, before it has a format.

use serde::Serialize;
use serde_json::Value;

use super::chart::Chart;
use super::data::DataTable;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Page {
    pub(crate) title: String,
    /// What the run is and what it found, in one sentence.
    pub(crate) lead: String,
    /// What the reader must know first, such as that the run is not finished.
    pub(crate) notices: Vec<String>,
    pub(crate) sections: Vec<Section>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Section {
    /// The name of the section in links and in `--section`.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Block {
    Text {
        text: String,
    },
    Figure(Figure),
    Table {
        title: String,
        table: Grid,
    },
    /// Blocks under a heading.
    Group {
        title: String,
        blocks: Vec<Block>,
    },
    /// Blocks that are closed until the reader opens them.
    Fold {
        title: String,
        blocks: Vec<Block>,
    },
    /// A text with its line breaks, such as a prompt.
    Code {
        title: String,
        text: String,
    },
    /// A text in parts; the flag marks a part.
    Marked {
        parts: Vec<(String, bool)>,
    },
    Checks {
        items: Vec<Check>,
    },
    Data(Box<DataTable>),
}

/// A line of a checklist.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) mark: CheckMark,
    pub(crate) label: String,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CheckMark {
    Ok,
    Failed,
    /// Not known, not recorded, or only a warning.
    Open,
}

/// A chart with the numbers that it shows.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) title: String,
    pub(crate) chart: Chart,
    pub(crate) numbers: Grid,
    /// What the reader must know about the numbers, such as how an interval is made.
    pub(crate) note: Option<String>,
}

/// A small table. Its cells have their whole precision; a format may show less.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Grid {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Grid {
    pub(crate) fn new(columns: &[&str], rows: Vec<Vec<Value>>) -> Grid {
        Grid { columns: columns.iter().map(|column| (*column).to_owned()).collect(), rows }
    }

    /// The same table without the columns that have no value.
    pub(super) fn without_empty_columns(&self) -> Grid {
        let is_filled =
            |column: &usize| self.rows.iter().any(|row| row.get(*column).is_some_and(|cell| !cell.is_null()));
        let kept: Vec<usize> = (0..self.columns.len()).filter(is_filled).collect();
        let row = |row: &Vec<Value>| kept.iter().map(|column| row[*column].clone()).collect();
        Grid {
            columns: kept.iter().map(|column| self.columns[*column].clone()).collect(),
            rows: self.rows.iter().map(row).collect(),
        }
    }

    /// Whether all values of the column are numbers.
    pub(super) fn is_numeric(&self, column: usize) -> bool {
        let mut values = self.rows.iter().filter_map(|row| row.get(column)).filter(|value| !value.is_null()).peekable();
        values.peek().is_some() && values.all(Value::is_number)
    }

    /// The whole table as CSV.
    pub(super) fn csv(&self) -> Result<String, String> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let mut write = |cells: Vec<String>| csv.write_record(cells).map_err(|error| error.to_string());
        write(self.columns.clone())?;
        self.rows.iter().try_for_each(|row| write(row.iter().map(text_of).collect()))?;
        let bytes = csv.into_inner().map_err(|error| error.to_string())?;
        String::from_utf8(bytes).map_err(|error| error.to_string())
    }
}

impl Block {
    pub(crate) fn text(text: impl Into<String>) -> Block {
        Block::Text { text: text.into() }
    }
}

/// A value as text, with its whole precision.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
