//! Matrices: a cell for each pair of labels, darker the larger its share.

use serde::Serialize;

use super::picture::{Anchor, Color, LINE, Picture, cut, widest, width};

const CELL: i32 = 28;
const MOST: usize = 24;
/// With more cells than this, their texts are left out.
const MOST_TEXTS: usize = 200;
/// The opacity of the darkest cell: its text can still be read.
const DARKEST: f64 = 0.6;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Matrix {
    pub(crate) row_title: String,
    pub(crate) column_title: String,
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<String>,
    /// Of each row, how dark each cell is, from 0 to 1.
    pub(crate) shades: Vec<Vec<Option<f64>>>,
    pub(crate) texts: Vec<Vec<String>>,
}

impl Matrix {
    pub(super) fn picture(&self) -> Picture {
        let mut picture = Picture::new();
        let (rows, rest) = self.rows.split_at(self.rows.len().min(MOST));
        let (columns, rest_columns) = self.columns.split_at(self.columns.len().min(MOST));
        let labels = widest(rows.iter().chain([&self.row_title]).map(String::as_str), 160);
        let left = labels + 10;
        let room = (picture.width - left) / columns.len().max(1) as i32;
        let wanted = widest(columns.iter().chain(self.texts.iter().flatten()).map(String::as_str), 110) + 10;
        let across = wanted.min(room).max(CELL);
        let upward = columns.iter().any(|column| width(column) + 6 > across);
        let above = if upward { widest(columns.iter().map(String::as_str), 140) + 8 } else { LINE };
        picture.width = picture.width.max(left + across * columns.len() as i32);
        picture.text(&cut(&self.column_title, picture.width - left), (left, LINE / 2), Anchor::Start);
        let top = LINE + above + 4;
        picture.text(&cut(&self.row_title, if upward { left } else { labels }), (0, top - LINE / 2 - 2), Anchor::Start);
        for (n, column) in columns.iter().enumerate() {
            let x = left + across * n as i32 + across / 2;
            if upward {
                picture.text(&cut(column, 140), (x, top - 4), Anchor::Upward);
            } else {
                picture.text(column, (x, top - LINE / 2), Anchor::Middle);
            }
        }
        let texts = rows.len() * columns.len() <= MOST_TEXTS;
        for (i, row) in rows.iter().enumerate() {
            let y = top + CELL * i as i32;
            picture.text(&cut(row, labels), (0, y + CELL / 2), Anchor::Start);
            for j in 0..columns.len() {
                let x = left + across * j as i32;
                let shade = self.shades.get(i).and_then(|row| row.get(j)).copied().flatten();
                if let Some(shade) = shade.filter(|shade| *shade > 0.0) {
                    let color = Color::Shade(shade.min(1.0) * DARKEST);
                    picture.rectangle((x, y), (x + across - 1, y + CELL - 1), color);
                }
                let text = self.texts.get(i).and_then(|row| row.get(j)).filter(|_| texts);
                let text = text.map(|text| cut(text, across - 2)).unwrap_or_default();
                picture.text(&text, (x + across / 2, y + CELL / 2), Anchor::Middle);
            }
        }
        let bottom = top + CELL * rows.len() as i32;
        let right = left + across * columns.len() as i32;
        for (from, to) in [((left, top), (right, top)), ((left, bottom), (right, bottom))] {
            picture.path(vec![from, to], Color::Grid, 1);
        }
        picture.height = bottom + 6;
        picture.rest(rest.iter().map(String::as_str));
        if rest != rest_columns {
            picture.rest(rest_columns.iter().map(String::as_str));
        }
        picture
    }
}
