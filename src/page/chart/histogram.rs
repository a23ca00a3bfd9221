//! Histograms: how many values each interval has, with the series on top of each other.

use serde::Serialize;

use super::picture::{Color, LINE, Picture, widest};
use super::plot::{BELOW, Plot, Swatch, legend, stacked};
use super::scale::{Axis, Mark, Scale, Unit};

const HEIGHT: i32 = 180;
/// With more parts of bars than this, neighbouring bins become one.
const MOST_PARTS: usize = 600;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Histogram {
    pub(crate) axis: Axis,
    /// The ends of the bins: one more than there are bins.
    pub(crate) edges: Vec<f64>,
    pub(crate) series: Vec<String>,
    /// Of each series, the values in each bin.
    pub(crate) counts: Vec<Vec<u64>>,
    pub(crate) marks: Vec<Mark>,
}

impl Histogram {
    pub(super) fn picture(&self) -> Picture {
        let most = (MOST_PARTS / self.counts.len().max(1)).max(1);
        let group = self.edges.len().saturating_sub(1).div_ceil(most);
        if group > 1 { self.coarser(group).picture() } else { self.drawn() }
    }

    /// The histogram with `group` bins in one.
    fn coarser(&self, group: usize) -> Histogram {
        let last = self.edges.len() - 1;
        let edges = (0..last).step_by(group).chain([last]).map(|edge| self.edges[edge]).collect();
        let sums = |bins: &Vec<u64>| bins.chunks(group).map(|bins| bins.iter().sum()).collect();
        Histogram { edges, counts: self.counts.iter().map(sums).collect(), ..self.clone() }
    }

    fn drawn(&self) -> Picture {
        let mut picture = Picture::new();
        legend(&mut picture, self.series.iter().map(String::as_str), Swatch::Area);
        let bins = self.edges.len().saturating_sub(1);
        let count = |series: &Vec<u64>, bin: usize| series.get(bin).copied().unwrap_or(0) as f64;
        let totals: Vec<f64> = (0..bins).map(|bin| self.counts.iter().map(|series| count(series, bin)).sum()).collect();
        let y_axis = Axis::new("count", Unit::Count);
        let y_scale = |from, to| Scale::new(&y_axis, totals.iter().copied(), (from, to), HEIGHT / 40);
        let ticks = y_scale(0, 1).ticks();
        let (left, right) = (widest(ticks.iter().map(|(_, text)| text.as_str()), 100) + 12, picture.width - 16);
        let numbers = self.edges.iter().copied().chain(self.marks.iter().map(|mark| mark.at));
        let x = Scale::new(&self.axis, numbers, (left, right), (right - left) / 80);
        let marks = stacked(&self.marks, &x, picture.width);
        let names = LINE * marks.iter().map(|(row, _)| row + 1).max().unwrap_or(0) as i32;
        let top = picture.height + LINE * 3 / 2 + names;
        let plot = Plot { left, right, top, bottom: top + HEIGHT };
        let y = y_scale(plot.bottom, plot.top);
        plot.x_axis(&mut picture, &x, &self.axis.title);
        Plot { top: top - names, ..plot }.y_axis(&mut picture, &y, &y_axis.title);
        for (bin, ends) in self.edges.windows(2).enumerate().filter(|(_, ends)| ends.iter().all(|end| end.is_finite()))
        {
            let (from, to) = (x.at(ends[0]), x.at(ends[1]));
            let mut below = 0.0;
            for (n, series) in self.counts.iter().enumerate().filter(|(_, series)| count(series, bin) > 0.0) {
                let above = below + count(series, bin);
                let (high, low) = (y.at(above), y.at(below));
                let gap = i32::from(to > from + 3);
                picture.rectangle((from + gap, high.min(low - 1)), (to.max(from + 1), low), Color::Series(n));
                below = above;
            }
        }
        plot.marks(&mut picture, &x, &marks);
        picture.height = plot.bottom + BELOW;
        picture
    }
}
