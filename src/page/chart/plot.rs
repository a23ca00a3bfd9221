//! The plotting area: axes, marks and the legend around what a chart draws.

use super::picture::{Anchor, Color, LINE, Picture, cut, width};
use super::scale::{Mark, Scale};

/// Below the area: the ticks and the title of the axis.
pub(super) const BELOW: i32 = 2 * LINE + 8;
const SWATCH: i32 = 18;

/// What a legend shows before each name.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Swatch<'a> {
    Area,
    /// Areas of these colours, also if there is only one.
    Colors(&'a [Color]),
    Marker,
    Line,
}

/// The part of a picture inside its axes.
#[derive(Clone, Copy)]
pub(super) struct Plot {
    pub(super) left: i32,
    pub(super) right: i32,
    pub(super) top: i32,
    pub(super) bottom: i32,
}

impl Plot {
    /// Draws the axis at the bottom.
    pub(super) fn x_axis(&self, picture: &mut Picture, scale: &Scale, title: &str) {
        let mut free = i32::MIN;
        for (x, text) in scale.ticks() {
            picture.path(vec![(x, self.top), (x, self.bottom + 4)], Color::Grid, 1);
            let half = width(&text) / 2;
            let at = x.min(picture.width - half).max(half);
            if at - half > free {
                picture.text(&text, (at, self.bottom + 4 + LINE / 2), Anchor::Middle);
                free = at + half + 4;
            }
        }
        picture.path(vec![(self.left, self.bottom), (self.right, self.bottom)], Color::Ink, 1);
        let title = cut(&scale.title(title), picture.width);
        let half = width(&title) / 2;
        let at = ((self.left + self.right) / 2).min(picture.width - half).max(half);
        picture.text(&title, (at, self.bottom + 8 + LINE * 3 / 2), Anchor::Middle);
    }

    /// Draws the axis at the left. Its title is above it.
    pub(super) fn y_axis(&self, picture: &mut Picture, scale: &Scale, title: &str) {
        for (y, text) in scale.ticks() {
            picture.path(vec![(self.left - 4, y), (self.right, y)], Color::Grid, 1);
            picture.text(&text, (self.left - 8, y), Anchor::End);
        }
        picture.path(vec![(self.left, self.top), (self.left, self.bottom)], Color::Ink, 1);
        let title = cut(&scale.title(title), picture.width);
        picture.text(&title, (0, self.top - LINE), Anchor::Start);
    }

    /// Draws each mark as a line from its name down to the axis.
    pub(super) fn marks(&self, picture: &mut Picture, scale: &Scale, rows: &[(usize, &Mark)]) {
        let depth = rows.iter().map(|(row, _)| row + 1).max().unwrap_or(0) as i32;
        for (row, mark) in rows {
            let (x, y) = (scale.at(mark.at), self.top - LINE * (depth - *row as i32) + LINE / 2);
            picture.path(vec![(x, y - LINE / 2 + 2), (x, self.bottom)], Color::Ink, 1);
            let label = cut(&mark.label, MARK_ROOM);
            if x + 8 + width(&label) <= picture.width {
                picture.text(&label, (x + 4, y), Anchor::Start);
            } else {
                picture.text(&label, (x - 4, y), Anchor::End);
            }
        }
    }
}

const MARK_ROOM: i32 = 200;

/// The marks with the row of each name, so that no two names are on one place. Rows count from the top.
pub(super) fn stacked<'a>(marks: &'a [Mark], scale: &Scale, width_of_picture: i32) -> Vec<(usize, &'a Mark)> {
    let mut order: Vec<&Mark> = marks.iter().filter(|mark| mark.at.is_finite()).collect();
    order.sort_by(|a, b| a.at.total_cmp(&b.at));
    let mut ends: Vec<i32> = Vec::new();
    let mut rows = Vec::new();
    for mark in order {
        let (x, long) = (scale.at(mark.at), width(&cut(&mark.label, MARK_ROOM)) + 8);
        let (from, to) = if x + long <= width_of_picture { (x, x + long) } else { (x - long, x) };
        let row = ends.iter().position(|end| *end <= from).unwrap_or(ends.len());
        ends.resize(ends.len().max(row + 1), i32::MIN);
        ends[row] = to;
        rows.push((row, mark));
    }
    rows
}

/// Draws the names of the series at the bottom of the picture. One series needs no legend.
pub(super) fn legend<'a>(picture: &mut Picture, names: impl ExactSizeIterator<Item = &'a str>, swatch: Swatch<'_>) {
    if names.len() < 2 && !matches!(swatch, Swatch::Colors(_)) {
        return;
    }
    let (mut x, mut y) = (0, picture.height + LINE / 2);
    for (n, name) in names.enumerate() {
        let name = cut(name, 200);
        let room = SWATCH + width(&name) + 14;
        if x > 0 && x + room > picture.width {
            (x, y) = (0, y + LINE);
        }
        match swatch {
            Swatch::Area => picture.rectangle((x, y - 6), (x + 12, y + 6), Color::Series(n)),
            Swatch::Colors(colors) => picture.rectangle((x, y - 6), (x + 12, y + 6), colors[n]),
            Swatch::Marker => picture.marker((x + 6, y), n),
            Swatch::Line => picture.path(vec![(x, y), (x + 14, y)], Color::Series(n), 2),
        }
        picture.text(&name, (x + SWATCH, y), Anchor::Start);
        x += room;
    }
    picture.height = y + LINE / 2 + 6;
}
