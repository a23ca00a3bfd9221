//! Bars: a horizontal bar for each label, made of parts that add up.

use serde::Serialize;

use super::picture::{Anchor, Color, LINE, MOST_ROWS, Picture, cut, widest};
use super::plot::{BELOW, Plot, Swatch, legend};
use super::scale::{Axis, Scale, Unit};

const BAR: i32 = 26;
const MOST_PARTS: usize = 280;
/// The series whose colour is grey.
const GREY: usize = 6;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bars {
    pub(crate) unit: Unit,
    pub(crate) parts: Vec<String>,
    pub(crate) bars: Vec<Bar>,
    /// The part whose middle is at zero: the parts before it extend to the left.
    pub(crate) centre: Option<usize>,
    /// What the parts mean. The parts without a meaning here are plain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tones: Vec<Tone>,
}

/// The meaning of a part, which its colour shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tone {
    Plain,
    Failed,
    Missing,
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
    /// Stacked bars of plain parts.
    pub(crate) fn new(unit: Unit, parts: Vec<String>, bars: Vec<Bar>) -> Bars {
        Bars { unit, parts, bars, centre: None, tones: Vec::new() }
    }

    /// The colour of each part: failures are red, and what is missing is grey.
    fn colors(&self) -> Vec<Color> {
        let (mut plain, mut failed) = (0.., 0..);
        let color = |part: usize| match self.tones.get(part) {
            Some(Tone::Failed) => Color::Failed(failed.next().unwrap_or(0)),
            Some(Tone::Missing) => Color::Series(GREY),
            Some(Tone::Plain) | None => Color::Series(plain.next().unwrap_or(0)),
        };
        (0..self.parts.len()).map(color).collect()
    }

    /// The names of the parts that a bar has, with their colours. A scale is named whole.
    fn legend(&self, picture: &mut Picture, colors: &[Color]) {
        let has_part = |part: usize| {
            self.centre.is_some() || self.bars.iter().any(|bar| bar.values.get(part).is_some_and(|value| *value > 0.0))
        };
        let named: Vec<usize> = (0..self.parts.len()).filter(|part| has_part(*part)).collect();
        let colors: Vec<Color> = named.iter().map(|part| colors[*part]).collect();
        if self.parts.len() > 1 {
            legend(picture, named.iter().map(|part| self.parts[*part].as_str()), Swatch::Colors(&colors));
        }
    }

    pub(super) fn picture(&self) -> Picture {
        let mut picture = Picture::new();
        let most = (MOST_PARTS / self.parts.len().max(1)).clamp(1, MOST_ROWS);
        let (shown, rest) = self.bars.split_at(self.bars.len().min(most));
        let colors = self.colors();
        self.legend(&mut picture, &colors);
        let labels = widest(shown.iter().map(|bar| bar.label.as_str()), 240);
        let texts = widest(shown.iter().map(|bar| bar.text.as_str()), 230);
        let top = picture.height;
        let bottom = top + BAR * shown.len() as i32;
        let plot = Plot { left: labels + 8, right: picture.width - texts - 12, top, bottom };
        let edges: Vec<Vec<f64>> = shown.iter().map(|bar| self.edges(bar)).collect();
        let axis = Axis::new("", self.unit);
        let mut scale = Scale::new(&axis, edges.iter().flatten().copied().chain([0.0]), (plot.left, plot.right), 5);
        scale.is_signed = self.centre.is_none();
        plot.x_axis(&mut picture, &scale, "");
        for (n, (bar, edges)) in shown.iter().zip(&edges).enumerate() {
            let y = top + BAR * n as i32 + BAR / 2;
            picture.text(&cut(&bar.label, labels), (0, y), Anchor::Start);
            for (part, ends) in edges.windows(2).enumerate() {
                let (from, to) = (scale.at(ends[0]), scale.at(ends[1]));
                if ends[1] > ends[0] {
                    picture.rectangle((from, y - 9), (to.max(from + 1), y + 9), colors[part]);
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
