//! Charts: what is drawn, as data, and its drawing as SVG with text.
//!
//! ```text
//!  Chart (numbers and names) -> Picture (shapes in pixels) -> svg
//! ```
//!
//! To add a kind: its type with `picture` in a file, a variant of [`Chart`], and an arm in [`Chart::picture`].

mod bars;
mod dots;
mod flow;
mod histogram;
mod lines;
mod matrix;
mod picture;
mod plot;
mod scale;
mod svg;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub(crate) use bars::{Bar, Bars, Tone};
pub(crate) use dots::{Dot, DotRow, Dots};
pub(crate) use flow::{Edge, Flow, Node};
pub(crate) use histogram::Histogram;
pub(crate) use lines::{Line, Lines, Point};
pub(crate) use matrix::Matrix;
pub(crate) use scale::{Axis, Mark, Unit};

use picture::Picture;

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Chart {
    Bars(Bars),
    Dots(Dots),
    Histogram(Histogram),
    Matrix(Matrix),
    Lines(Lines),
    Flow(Flow),
}

impl Chart {
    /// Whether it shows a shape rather than single numbers.
    pub(super) fn is_curve(&self) -> bool {
        matches!(self, Chart::Histogram(_) | Chart::Lines(_) | Chart::Flow(_))
    }

    /// An `svg` element. `title` is its name for screen readers. The error is a sentence.
    pub(crate) fn svg(&self, title: &str) -> Result<String, String> {
        svg::svg(&self.picture(), title)
    }

    fn picture(&self) -> Picture {
        match self {
            Chart::Bars(chart) => chart.picture(),
            Chart::Dots(chart) => chart.picture(),
            Chart::Histogram(chart) => chart.picture(),
            Chart::Matrix(chart) => chart.picture(),
            Chart::Lines(chart) => chart.picture(),
            Chart::Flow(chart) => chart.picture(),
        }
    }
}
