//! Content: what a page says, as data, before it has a format.

use serde::Serialize;
use serde_json::Value;

use super::chart::Chart;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Page {
    pub(crate) title: String,
    /// What the run is and what it found, in one sentence.
    pub(crate) lead: String,
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
    Text { text: String },
    Figure(Figure),
    Table { title: String, table: Grid },
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
