//! Timelines: amounts over the clock, in at most [`BINS`] bins of one width, whatever the number of calls.

use std::collections::BTreeMap;

/// The most bins. Bins become twice as wide when there are more.
const BINS: i64 = 60;

/// Amounts of several series by time. Times are in milliseconds since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    width: i64,
    series: Vec<String>,
    bins: BTreeMap<i64, Vec<f64>>,
}

impl Default for Timeline {
    fn default() -> Self {
        Timeline { width: 1, series: Vec::new(), bins: BTreeMap::new() }
    }
}

impl Timeline {
    pub(crate) fn add(&mut self, at: i64, series: &str, amount: f64) {
        let series = self.place(series);
        self.fit(at, at);
        self.put(at.div_euclid(self.width), series, amount);
    }

    /// Adds to each bin the seconds between `from` and `to` that are in it.
    pub(crate) fn add_span(&mut self, from: i64, to: i64, series: &str) {
        let series = self.place(series);
        self.fit(from, to);
        for bin in from.div_euclid(self.width)..=to.div_euclid(self.width) {
            let inside = to.min((bin + 1) * self.width) - from.max(bin * self.width);
            self.put(bin, series, inside as f64 / 1e3);
        }
    }

    pub(crate) fn series(&self) -> &[String] {
        &self.series
    }

    pub(crate) fn seconds_per_bin(&self) -> f64 {
        self.width as f64 / 1e3
    }

    /// Every bin from the first to the last: its start, and the amount of each series.
    pub(crate) fn bins(&self) -> impl Iterator<Item = (i64, Vec<f64>)> {
        let range = self.bins.keys().next().zip(self.bins.keys().next_back());
        range.map(|(first, last)| *first..=*last).into_iter().flatten().map(|bin| {
            let mut amounts = self.bins.get(&bin).cloned().unwrap_or_default();
            amounts.resize(self.series.len(), 0.0);
            (bin * self.width, amounts)
        })
    }

    /// The timeline with the `most` largest series, and the others as one.
    pub(crate) fn largest(self, most: usize) -> Timeline {
        let sum = |place: usize| -> f64 { self.bins.values().filter_map(|amounts| amounts.get(place)).sum() };
        let mut order: Vec<usize> = (0..self.series.len()).collect();
        order.sort_by(|a, b| sum(*b).total_cmp(&sum(*a)));
        if order.len() <= most + 1 {
            return self;
        }
        let places: Vec<usize> =
            (0..order.len()).map(|of| order.iter().position(|at| *at == of).unwrap_or(most)).collect();
        let names = order[..most].iter().map(|place| self.series[*place].clone());
        let series = names.chain([format!("{} other models", order.len() - most)]).collect();
        let mut few = Timeline { width: self.width, series, bins: BTreeMap::new() };
        for (bin, amounts) in self.bins {
            amounts.into_iter().enumerate().for_each(|(of, amount)| few.put(bin, places[of].min(most), amount));
        }
        few
    }

    fn place(&mut self, series: &str) -> usize {
        self.series.iter().position(|name| name == series).unwrap_or_else(|| {
            self.series.push(series.to_owned());
            self.series.len() - 1
        })
    }

    fn put(&mut self, bin: i64, series: usize, amount: f64) {
        let amounts = self.bins.entry(bin).or_default();
        amounts.resize(amounts.len().max(series + 1), 0.0);
        amounts[series] += amount;
    }

    /// Widens the bins until there is one for each time from `from` to `to`.
    fn fit(&mut self, from: i64, to: i64) {
        let start = |bin: &i64| bin * self.width;
        let first = self.bins.keys().next().map_or(from, |bin| start(bin).min(from));
        let last = self.bins.keys().next_back().map_or(to, |bin| start(bin).max(to));
        let width = self.width;
        while last.div_euclid(self.width) - first.div_euclid(self.width) >= BINS {
            self.width *= 2;
        }
        if self.width > width {
            let factor = self.width / width;
            for (bin, amounts) in std::mem::take(&mut self.bins) {
                for (series, amount) in amounts.into_iter().enumerate() {
                    self.put(bin.div_euclid(factor), series, amount);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_times_fits_and_no_amount_is_lost() {
        for step in [1_i64, 37, 86_400_000] {
            let mut timeline = Timeline::default();
            // Not in order, and also before 1970.
            for i in 0..5000_i64 {
                timeline.add((i * 7919 % 5000 - 100) * step, if i % 5 == 0 { "b" } else { "a" }, 0.5);
            }
            let bins: Vec<_> = timeline.bins().collect();
            assert!(bins.len() as i64 <= BINS && bins.len() > BINS as usize / 3, "{} bins", bins.len());
            let sum = |name: &str| -> f64 {
                let place = timeline.series().iter().position(|series| series == name).unwrap();
                bins.iter().map(|(_, amounts)| amounts[place]).sum()
            };
            assert_eq!((sum("a"), sum("b")), (2000.0, 500.0));
            assert!(bins.windows(2).all(|two| two[1].0 - two[0].0 == timeline.width));
        }
    }

    #[test]
    fn the_small_series_become_one() {
        let mut timeline = Timeline::default();
        ["a", "b", "c", "d"].iter().zip([1.0, 8.0, 2.0, 4.0]).for_each(|(name, n)| timeline.add(5, name, n));
        let few = timeline.clone().largest(2);
        assert_eq!(few.series(), ["b", "d", "2 other models"]);
        assert_eq!(few.bins().collect::<Vec<_>>(), [(5, vec![8.0, 4.0, 3.0])]);
        assert_eq!(timeline.clone().largest(3).series(), timeline.series(), "one series is not called others");
    }

    #[test]
    fn a_span_is_in_all_bins_that_it_touches() {
        let mut timeline = Timeline::default();
        timeline.add_span(0, 1000, "in flight");
        timeline.add_span(500, 200_000, "in flight");
        timeline.add_span(7, 7, "in flight");
        let sum: f64 = timeline.bins().map(|(_, amounts)| amounts[0]).sum();
        assert!((sum - 200.5).abs() < 1e-9, "{sum}");
        let full = timeline.bins().nth(3).map(|(_, amounts)| amounts[0]);
        assert_eq!(full, Some(timeline.seconds_per_bin()), "one call is in flight");
    }
}
