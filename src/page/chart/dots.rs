//! Dots: for each label a dot of each series, with its interval (a forest plot).

use serde::Serialize;

use super::picture::{Anchor, Color, LINE, MOST_ROWS, Picture, cut, widest};
use super::plot::{BELOW, Plot, Swatch, legend, stacked};
use super::scale::{Axis, Mark, Scale};

/// Between two dots of a row.
const DOT: i32 = 14;
const MOST_DOTS: usize = 280;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Dots {
    pub(crate) axis: Axis,
    pub(crate) series: Vec<String>,
    pub(crate) rows: Vec<DotRow>,
    pub(crate) marks: Vec<Mark>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct DotRow {
    pub(crate) label: String,
    pub(crate) dots: Vec<Dot>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Dot {
    pub(crate) series: usize,
    pub(crate) at: f64,
    pub(crate) interval: Option<(f64, f64)>,
}

impl Dot {
    fn numbers(&self) -> impl Iterator<Item = f64> + use<> {
        [self.at].into_iter().chain(self.interval.into_iter().flat_map(|(low, high)| [low, high]))
    }
}

impl Dots {
    pub(super) fn picture(&self) -> Picture {
        let mut picture = Picture::new();
        let most = (MOST_DOTS / self.series.len().max(1)).clamp(1, MOST_ROWS);
        let (shown, rest) = self.rows.split_at(self.rows.len().min(most));
        legend(&mut picture, self.series.iter().map(String::as_str), Swatch::Marker);
        let labels = widest(shown.iter().map(|row| row.label.as_str()), 280);
        let (left, right) = (labels + 16, picture.width - 16);
        let dots = shown.iter().flat_map(|row| &row.dots);
        let numbers = dots.flat_map(Dot::numbers).chain(self.marks.iter().map(|mark| mark.at));
        let scale = Scale::new(&self.axis, numbers, (left, right), (right - left) / 80);
        let marks = stacked(&self.marks, &scale, picture.width);
        let top = picture.height + LINE * marks.iter().map(|(row, _)| row + 1).max().unwrap_or(0) as i32;
        let row = DOT * self.series.len().max(1) as i32 + 10;
        let plot = Plot { left, right, top, bottom: top + row * shown.len() as i32 };
        plot.x_axis(&mut picture, &scale, &self.axis.title);
        plot.marks(&mut picture, &scale, &marks);
        for (n, DotRow { label, dots }) in shown.iter().enumerate() {
            let middle = top + row * n as i32 + row / 2;
            picture.text(&cut(label, labels), (0, middle), Anchor::Start);
            for dot in dots.iter().filter(|dot| dot.at.is_finite() && dot.series < self.series.len().max(1)) {
                let y = middle + DOT * (2 * dot.series as i32 + 1 - self.series.len().max(1) as i32) / 2;
                if let Some((low, high)) = dot.interval.filter(|(low, high)| low.is_finite() && high.is_finite()) {
                    picture.path(vec![(scale.at(low), y), (scale.at(high), y)], Color::Series(dot.series), 1);
                }
                picture.marker((scale.at(dot.at), y), dot.series);
            }
        }
        picture.height = plot.bottom + BELOW;
        picture.rest(rest.iter().map(|row| row.label.as_str()));
        picture
    }
}
