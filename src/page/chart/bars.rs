//! Bars: a horizontal bar for each label, made of parts that add up.

use serde::Serialize;

use super::picture::{Anchor, Color, LINE, MOST_ROWS, Picture, cut, widest};
use super::plot::{BELOW, Plot, Swatch, legend};
use super::scale::{Axis, Scale, Unit};

const BAR: i32 = 26;
const MOST_PARTS: usize = 280;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bars {
    pub(crate) unit: Unit,
    pub(crate) parts: Vec<String>,
    pub(crate) bars: Vec<Bar>,
    /// The part whose middle is at zero: the parts before it extend to the left.
    pub(crate) centre: Option<usize>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bar {
    pub(crate) label: String,
    /// A value for each part.
    pub(crate) values: Vec<f64>,
    /// What is written at the end of the bar.
    pub(crate) text: String,
}

impl Bars {
    pub(super) fn picture(&self) -> Picture {
        let mut picture = Picture::new();
        let most = (MOST_PARTS / self.parts.len().max(1)).clamp(1, MOST_ROWS);
        let (shown, rest) = self.bars.split_at(self.bars.len().min(most));
        legend(&mut picture, self.parts.iter().map(String::as_str), Swatch::Area);
        let labels = widest(shown.iter().map(|bar| bar.label.as_str()), 240);
        let texts = widest(shown.iter().map(|bar| bar.text.as_str()), 230);
        let top = picture.height;
        let bottom = top + BAR * shown.len() as i32;
        let plot = Plot { left: labels + 8, right: picture.width - texts - 12, top, bottom };
        let edges: Vec<Vec<f64>> = shown.iter().map(|bar| self.edges(bar)).collect();
        let axis = Axis { title: String::new(), unit: self.unit, range: None };
        let mut scale = Scale::new(&axis, edges.iter().flatten().copied().chain([0.0]), (plot.left, plot.right), 5);
        scale.is_signed = self.centre.is_none();
        plot.x_axis(&mut picture, &scale, "");
        for (n, (bar, edges)) in shown.iter().zip(&edges).enumerate() {
            let y = top + BAR * n as i32 + BAR / 2;
            picture.text(&cut(&bar.label, labels), (0, y), Anchor::Start);
            for (part, ends) in edges.windows(2).enumerate() {
                let (from, to) = (scale.at(ends[0]), scale.at(ends[1]));
                if ends[1] > ends[0] {
                    picture.rectangle((from, y - 9), (to.max(from + 1), y + 9), Color::Series(part));
                }
                // A line of paper keeps neighbours apart without their colours.
                if part > 0 && to > from + 2 && from > scale.at(edges[0]) {
                    picture.path(vec![(from, y - 9), (from, y + 9)], Color::Paper, 1);
                }
            }
            let end = edges.last().map_or(plot.left, |end| scale.at(*end));
            let end = if self.centre.is_some() { plot.right } else { end };
            picture.text(&cut(&bar.text, texts), (end + 8, y), Anchor::Start);
        }
        let titled = !scale.title("").is_empty();
        picture.height = bottom + if titled { BELOW } else { BELOW - LINE };
        picture.rest(rest.iter().map(|bar| bar.label.as_str()));
        picture
    }

    /// Where the parts of a bar begin and end. Numbers that are not finite or negative have no length.
    fn edges(&self, bar: &Bar) -> Vec<f64> {
        let values = self.parts.iter().enumerate().map(|(part, _)| bar.values.get(part).copied().unwrap_or(0.0));
        let values: Vec<f64> =
            values.map(|value| if value.is_finite() { value.clamp(0.0, 1e290) } else { 0.0 }).collect();
        let centre = self.centre.filter(|centre| *centre < values.len());
        let left = centre.map_or(0.0, |centre| values[..centre].iter().sum::<f64>() + values[centre] / 2.0);
        let mut edges = vec![-left];
        for value in values {
            edges.push(edges[edges.len() - 1] + value);
        }
        edges
    }
}
