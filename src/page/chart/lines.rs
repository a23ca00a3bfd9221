//! Lines: numbers over an axis of numbers, such as a cost over time.

use serde::Serialize;

use super::picture::{Color, LINE, Picture, Pixel, widest};
use super::plot::{BELOW, Plot, Swatch, legend, stacked};
use super::scale::{Axis, Mark, Scale};

const HEIGHT: i32 = 240;
const MOST_LINES: usize = 20;
/// The intervals of a line with more points are left out.
const MOST_INTERVALS: usize = 40;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lines {
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
    /// Whether a line shows where x and y are equal.
    pub(crate) diagonal: bool,
    /// On x.
    pub(crate) marks: Vec<Mark>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
    /// Whether a value holds until the next point.
    pub(crate) steps: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) interval: Option<(f64, f64)>,
}

impl Lines {
    pub(super) fn picture(&self) -> Picture {
        let mut picture = Picture::new();
        let (lines, rest) = self.lines.split_at(self.lines.len().min(MOST_LINES));
        legend(&mut picture, lines.iter().map(|line| line.name.as_str()), Swatch::Line);
        let points = || lines.iter().flat_map(|line| &line.points).filter(|point| point.x.is_finite());
        let intervals = points().filter_map(|point| point.interval).flat_map(|(low, high)| [low, high]);
        let heights: Vec<f64> = points().map(|point| point.y).chain(intervals).collect();
        let y = |from, to| Scale::new(&self.y, heights.iter().copied(), (from, to), HEIGHT / 40);
        let ticks = y(0, 1).ticks();
        let (left, right) = (widest(ticks.iter().map(|(_, text)| text.as_str()), 120) + 12, picture.width - 16);
        let places = points().map(|point| point.x).chain(self.marks.iter().map(|mark| mark.at));
        let x = Scale::new(&self.x, places, (left, right), (right - left) / 80);
        let marks = stacked(&self.marks, &x, picture.width);
        let names = LINE * marks.iter().map(|(row, _)| row + 1).max().unwrap_or(0) as i32;
        let top = picture.height + LINE * 3 / 2 + names;
        let plot = Plot { left, right, top, bottom: top + HEIGHT };
        let y = y(plot.bottom, plot.top);
        plot.x_axis(&mut picture, &x, &self.x.title);
        Plot { top: top - names, ..plot }.y_axis(&mut picture, &y, &self.y.title);
        plot.marks(&mut picture, &x, &marks);
        if self.diagonal {
            let (low, high) = (x.low().max(y.low()), x.high().min(y.high()));
            if low < high {
                picture.path(vec![(x.at(low), y.at(low)), (x.at(high), y.at(high))], Color::Ink, 1);
            }
        }
        for (n, line) in lines.iter().enumerate() {
            line.draw(&mut picture, (&x, &y), n, lines.len() as i32);
        }
        picture.height = plot.bottom + BELOW;
        picture.rest(rest.iter().map(|line| line.name.as_str()));
        picture
    }
}

impl Line {
    /// Draws line `n` of `count`.
    fn draw(&self, picture: &mut Picture, (x, y): (&Scale, &Scale), n: usize, count: i32) {
        let points = self.points.iter().filter(|point| point.x.is_finite() && point.y.is_finite());
        let has_intervals = self.points.len() <= MOST_INTERVALS;
        let mut path: Vec<Pixel> = Vec::new();
        for point in points {
            let at = (x.at(point.x), y.at(point.y));
            let finite = |(low, high): &(f64, f64)| has_intervals && low.is_finite() && high.is_finite();
            if let Some((low, high)) = point.interval.filter(finite) {
                picture.path(vec![(at.0, y.at(low)), (at.0, y.at(high))], Color::Series(n), 1);
                picture.marker(at, n);
            }
            if let Some(last) = path.last().copied().filter(|last| self.steps && last.1 != at.1) {
                path.push((at.0, last.1));
            }
            path.push(at);
        }
        let path = thinned(&path, (count + 1) / 2);
        match path[..] {
            [] => {}
            [only] => picture.marker(only, n),
            _ => picture.path(path, Color::Series(n), 2),
        }
    }
}

/// The points that change the drawing: in each column of `wide` pixels the first, the lowest, the highest and the last.
fn thinned(path: &[Pixel], wide: i32) -> Vec<Pixel> {
    let mut points: Vec<Pixel> = Vec::new();
    for column in path.chunk_by(|a, b| a.0 / wide == b.0 / wide) {
        let (first, last) = (column[0], column[column.len() - 1]);
        let low = column.iter().copied().min_by_key(|point| point.1).unwrap_or(first);
        let high = column.iter().copied().max_by_key(|point| point.1).unwrap_or(first);
        points.extend(if low.0 <= high.0 { [first, low, high, last] } else { [first, high, low, last] });
    }
    points.dedup();
    points
}
