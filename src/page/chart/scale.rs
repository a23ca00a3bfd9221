//! Scales: numbers as pixels, with round ticks.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::report::text::number;

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Count,
    /// From 0 to 1, shown as per cent.
    Share,
    Number,
    /// An amount in each second or at once: a number whose axis starts at 0.
    Rate,
    Usd,
    Seconds,
    /// Milliseconds since 1970.
    Moment,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Axis {
    pub(crate) title: String,
    pub(crate) unit: Unit,
    /// What the axis has at least. Numbers outside make it longer.
    pub(crate) range: Option<(f64, f64)>,
}

impl Axis {
    pub(crate) fn new(title: impl Into<String>, unit: Unit) -> Axis {
        Axis { title: title.into(), unit, range: None }
    }

    /// From 0 to 100 %.
    pub(crate) fn shares(title: impl Into<String>) -> Axis {
        Axis { range: Some((0.0, 1.0)), ..Axis::new(title, Unit::Share) }
    }
}

/// A line with a name.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Mark {
    pub(crate) at: f64,
    pub(crate) label: String,
}

/// The largest number that is drawn in its place.
const LARGEST: f64 = 1e300;
const SECOND: f64 = 1000.0;
const MINUTE: f64 = 60.0 * SECOND;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;
/// The steps of moments above a second.
const TIMES: [f64; 18] = [
    2.0 * SECOND,
    5.0 * SECOND,
    10.0 * SECOND,
    20.0 * SECOND,
    30.0 * SECOND,
    MINUTE,
    2.0 * MINUTE,
    5.0 * MINUTE,
    10.0 * MINUTE,
    20.0 * MINUTE,
    30.0 * MINUTE,
    HOUR,
    2.0 * HOUR,
    3.0 * HOUR,
    6.0 * HOUR,
    12.0 * HOUR,
    DAY,
    2.0 * DAY,
];

pub(super) struct Scale {
    unit: Unit,
    low: f64,
    high: f64,
    step: f64,
    pixels: (i32, i32),
    /// Whether the ticks below zero have a minus sign.
    pub(super) is_signed: bool,
}

impl Scale {
    /// A scale over `pixels` that has room for all `values`, with about `ticks` ticks.
    pub(super) fn new(axis: &Axis, values: impl Iterator<Item = f64>, pixels: (i32, i32), ticks: i32) -> Self {
        let unit = axis.unit;
        let zero = matches!(unit, Unit::Count | Unit::Share | Unit::Rate | Unit::Usd | Unit::Seconds).then_some(0.0);
        let range = axis.range.map(|(low, high)| [low, high]);
        let values = values.chain(range.into_iter().flatten()).filter(|value| value.is_finite());
        let values = values.map(|value| value.clamp(-LARGEST, LARGEST));
        // Only a value needs the zero: a range says where the axis starts.
        let values = values.chain(if range.is_none() { zero } else { None });
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (value.min(low), value.max(high)));
        let (low, high) = widened(unit, low, high);
        let step = step(unit, (high - low) / f64::from(ticks.max(1)));
        let round = range.is_none() && unit != Unit::Moment;
        let (low, high) = if round { ((low / step).floor() * step, (high / step).ceil() * step) } else { (low, high) };
        Scale { unit, low, high, step, pixels, is_signed: true }
    }

    /// The pixel of a number. Numbers outside the scale are at its end.
    pub(super) fn at(&self, value: f64) -> i32 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        let (from, to) = self.pixels;
        from + (share * f64::from(to - from)).round() as i32
    }

    pub(super) fn low(&self) -> f64 {
        self.low
    }

    pub(super) fn high(&self) -> f64 {
        self.high
    }

    pub(super) fn ticks(&self) -> Vec<(i32, String)> {
        // Half a millionth of a step is an error of rounding.
        let first = (self.low / self.step - 5e-7).ceil();
        let last = (self.high / self.step + 5e-7).floor();
        let count = (last - first).clamp(0.0, 40.0) as usize;
        let ticks = (0..=count).map(|n| (first + n as f64) * self.step);
        ticks.map(|tick| (self.at(tick), self.text(tick))).collect()
    }

    /// The title of the axis, with what the ticks leave out.
    pub(super) fn title(&self, title: &str) -> String {
        let day = || moment(self.low, "%Y-%m-%d");
        match self.unit {
            Unit::Moment if title.is_empty() => format!("{}, UTC", day()),
            Unit::Moment if self.step < DAY && title.contains("UTC") => format!("{title}, {}", day()),
            Unit::Moment if self.step < DAY => format!("{title} ({}, UTC)", day()),
            Unit::Usd if title.is_empty() => "USD".to_owned(),
            Unit::Usd if !title.to_lowercase().contains("usd") => format!("{title} (USD)"),
            _ => title.to_owned(),
        }
    }

    fn text(&self, tick: f64) -> String {
        let tick = if self.is_signed { tick } else { tick.abs() };
        match self.unit {
            Unit::Moment if self.step >= DAY => moment(tick, "%m-%d"),
            Unit::Moment if self.step >= MINUTE => moment(tick, "%H:%M"),
            Unit::Moment if self.step >= SECOND => moment(tick, "%H:%M:%S"),
            Unit::Moment => moment(tick, "%H:%M:%S%.3f"),
            Unit::Share => format!("{} %", plain(tick * 100.0, self.step * 100.0)),
            Unit::Seconds => format!("{} s", plain(tick, self.step)),
            Unit::Count | Unit::Number | Unit::Rate | Unit::Usd => plain(tick, self.step),
        }
    }
}

/// The ends of a scale that has a length.
fn widened(unit: Unit, low: f64, high: f64) -> (f64, f64) {
    let least = if unit == Unit::Moment { SECOND } else { 1.0 };
    // Milliseconds since 1970 are large, and differ all the same.
    let close = if unit == Unit::Moment { 0.0 } else { low.abs().max(high.abs()) * 1e-9 };
    if low > high {
        (0.0, least)
    } else if high - low > close && high - low > 1e-290 {
        (low, high)
    } else if low == 0.0 {
        (0.0, least)
    } else if unit == Unit::Moment {
        (low, low + least)
    } else {
        let room = low.abs().max(1e-280) * 0.1;
        (low - room, high + room)
    }
}

/// The round number at or above `least`.
fn step(unit: Unit, least: f64) -> f64 {
    if unit == Unit::Moment && least > SECOND {
        let found = TIMES.iter().find(|time| **time >= least);
        return found.copied().unwrap_or_else(|| (least / DAY).ceil() * DAY);
    }
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0].map(|n| n * power).into_iter().find(|n| *n >= least).unwrap_or(10.0 * power);
    if matches!(unit, Unit::Count | Unit::Moment) { step.max(1.0) } else { step }
}

fn moment(ms: f64, format: &str) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms as i64).map_or_else(String::new, |at| at.format(format).to_string())
}

/// A number with the digits that tell it from the next tick.
fn plain(value: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).max(0.0);
    if value.abs() >= 1e12 || digits > 6.0 {
        return format!("{value:.1e}");
    }
    let text = format!("{value:.*}", digits as usize);
    let value = if text.trim_start_matches(['-', '0', '.']).is_empty() { 0.0 } else { value };
    if digits == 0.0 && value >= 1000.0 { number(value as u64) } else { format!("{value:.*}", digits as usize) }
}
