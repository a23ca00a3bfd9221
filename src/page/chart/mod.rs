//! Charts: what is drawn, as data, and its drawing as SVG with text.

mod bars;
mod svg;

use serde::Serialize;

pub(crate) use bars::{Bar, Bars};

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Chart {
    Bars(Bars),
}

impl Chart {
    /// An `svg` element. `title` is its name for screen readers. The error is a sentence.
    pub(crate) fn svg(&self, title: &str) -> Result<String, String> {
        match self {
            Chart::Bars(bars) => svg::drawn(title, bars.size(), |area| bars.draw(area)),
        }
    }
}
