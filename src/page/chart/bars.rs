//! Bars: a horizontal bar for each label, made of parts that add up.

use plotters::element::Rectangle;
use plotters::element::Text;
use plotters::style::{Color, IntoFont};
use serde::Serialize;

use super::svg::{Area, Drawn, INK, SERIES};

const WIDTH: u32 = 560;
const LINE: u32 = 28;
const LABELS: i32 = 160;
const FIGURES: i32 = 80;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bars {
    pub(crate) parts: Vec<String>,
    pub(crate) bars: Vec<Bar>,
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
    pub(super) fn size(&self) -> (u32, u32) {
        (WIDTH, LINE * self.bars.len().max(1) as u32)
    }

    pub(super) fn draw(&self, area: &Area<'_>) -> Drawn {
        let most = self.bars.iter().map(|bar| bar.values.iter().sum::<f64>()).fold(f64::MIN_POSITIVE, f64::max);
        let room = f64::from(WIDTH as i32 - LABELS - FIGURES);
        let font = ("sans-serif", 14).into_font().color(&INK);
        for (i, bar) in self.bars.iter().enumerate() {
            let top = i as i32 * LINE as i32;
            area.draw(&Text::new(bar.label.clone(), (0, top + 6), font.clone()))?;
            let mut left = LABELS;
            for (part, value) in bar.values.iter().enumerate() {
                let right = left + (value / most * room) as i32;
                let color = SERIES[part % SERIES.len()].filled();
                area.draw(&Rectangle::new([(left, top + 5), (right, top + LINE as i32 - 5)], color))?;
                left = right;
            }
            area.draw(&Text::new(bar.text.clone(), (left + 6, top + 6), font.clone()))?;
        }
        Ok(())
    }
}
