//! Calibration: whether events with the probability `p` happen in a share `p` of the cases.

/// A stated probability, whether the event happened, and a weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Forecast {
    pub(crate) p: f64,
    pub(crate) hit: bool,
    pub(crate) weight: f64,
}

impl Forecast {
    pub(crate) fn outcome(&self) -> f64 {
        f64::from(u8::from(self.hit))
    }
}

/// Forecasts of about the same probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bin {
    /// The number of forecasts.
    pub(crate) n: usize,
    pub(crate) weight: f64,
    /// The mean probability.
    pub(crate) stated: f64,
    /// The share of events that happened.
    pub(crate) observed: f64,
    /// The variance of the probabilities, and their covariance with the outcomes.
    spread: f64,
    shared: f64,
}

/// The Brier score (Brier 1950) and its parts: reliability - resolution + uncertainty + within (Murphy 1973; Stephenson,
/// Coelho and Jolliffe 2008, <https://doi.org/10.1175/2007WAF2006116.1>). `within` is what the bins hide: 0 if the
/// probabilities of each bin are equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Brier {
    pub(crate) score: f64,
    pub(crate) reliability: f64,
    pub(crate) resolution: f64,
    pub(crate) uncertainty: f64,
    pub(crate) within: f64,
}

/// How true forecasts are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scores {
    /// In the order of the probabilities, without those that have no weight.
    pub(crate) bins: Vec<Bin>,
    /// `None` without forecasts, like the others.
    pub(crate) brier: Option<Brier>,
    /// The mean of -ln of the probability of what happened. Infinite if that was 0.
    pub(crate) log_loss: Option<f64>,
    /// The expected calibration error: the mean distance of stated and observed over the bins (Naeini, Cooper and
    /// Hauskrecht 2015; with bins of equal mass Nguyen and O'Connor 2015, <https://doi.org/10.18653/v1/D15-1182>).
    pub(crate) expected_error: Option<f64>,
    /// The area under the ROC curve: how often a case that happened has the larger probability, of two equal ones half
    /// (Mann and Whitney 1947; Hanley and McNeil 1982, <https://doi.org/10.1148/radiology.143.1.7063747>). `None` if all
    /// cases happened, or none.
    pub(crate) auroc: Option<f64>,
}

/// Forecasts in the order of their probabilities, so that a bootstrap need not sort them again.
#[derive(Clone, Debug)]
pub(crate) struct Ranked {
    forecasts: Vec<Forecast>,
    /// -ln of the probability of what happened.
    losses: Vec<f64>,
}

/// Weighted sums over forecasts.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    n: usize,
    /// The probability from which the others are counted, so that squares lose no digits.
    start: f64,
    weight: f64,
    hits: f64,
    p: f64,
    squares: f64,
    shared: f64,
}

impl Sums {
    fn add(&mut self, forecast: &Forecast, weight: f64) {
        let (p, outcome) = (forecast.p - self.start, forecast.outcome());
        self.n += 1;
        self.weight += weight;
        self.hits += weight * outcome;
        self.p += weight * p;
        self.squares += weight * p * p;
        self.shared += weight * p * outcome;
    }

    fn bin(&self) -> Option<Bin> {
        let mean = |sum: f64| sum / self.weight;
        let (p, observed) = (mean(self.p), mean(self.hits));
        (self.weight > 0.0).then(|| Bin {
            n: self.n,
            weight: self.weight,
            stated: self.start + p,
            observed,
            spread: mean(self.squares) - p * p,
            shared: mean(self.shared) - p * observed,
        })
    }
}

impl Ranked {
    /// The forecasts are in the order of their probabilities.
    pub(crate) fn new(forecasts: Vec<Forecast>) -> Self {
        let losses = forecasts.iter().map(|f| -if f.hit { f.p.ln() } else { (-f.p).ln_1p() }).collect();
        Ranked { forecasts, losses }
    }

    /// The scores if each forecast is drawn so often, with `most` bins of about equal weight. Equal probabilities are in
    /// one bin.
    pub(crate) fn scores(&self, drawn: &[f64], most: usize) -> Scores {
        let total: f64 = self.forecasts.iter().zip(drawn).map(|(f, drawn)| f.weight * drawn).sum();
        let (mut bins, mut current): (Vec<Sums>, usize) = (Vec::new(), usize::MAX);
        let (mut before, mut score, mut loss) = (0.0, 0.0, 0.0);
        let (mut misses, mut pairs, mut hits) = (0.0, 0.0, 0.0);
        let mut first = 0;
        for same in self.forecasts.chunk_by(|a, b| a.p == b.p) {
            let (drawn, losses) = (&drawn[first..first + same.len()], &self.losses[first..first + same.len()]);
            first += same.len();
            let weight: f64 = same.iter().zip(drawn).map(|(f, drawn)| f.weight * drawn).sum();
            // The bin of the middle of the equal probabilities; a little less, so that equal bins do not depend on
            // rounding.
            let middle = (before + weight / 2.0) / total * (1.0 - 1e-12);
            before += weight;
            let bin = (middle * most as f64) as usize;
            if bin != current {
                bins.push(Sums { start: same[0].p, ..Sums::default() });
                current = bin;
            }
            let sums = bins.last_mut().expect("a bin was just added");
            let already = sums.hits;
            for ((forecast, drawn), own) in same.iter().zip(drawn).zip(losses) {
                let weight = forecast.weight * drawn;
                sums.add(forecast, weight);
                score += weight * (forecast.p - forecast.outcome()).powi(2);
                loss += if weight > 0.0 { weight * own } else { 0.0 };
            }
            let hit = sums.hits - already;
            let miss = weight - hit;
            pairs += hit * (misses + miss / 2.0);
            misses += miss;
            hits += hit;
        }
        let bins: Vec<Bin> = bins.iter().filter_map(Sums::bin).collect();
        let mean = |sum: f64| (total > 0.0).then(|| sum / total);
        let error = |bin: &Bin| bin.weight * (bin.stated - bin.observed).abs();
        Scores {
            brier: mean(score).zip(mean(hits)).map(|(score, base)| brier(score, base, &bins)),
            log_loss: mean(loss),
            expected_error: mean(bins.iter().map(error).sum()),
            auroc: (hits > 0.0 && misses > 0.0).then(|| pairs / (hits * misses)),
            bins,
        }
    }
}

fn brier(score: f64, base: f64, bins: &[Bin]) -> Brier {
    let total: f64 = bins.iter().map(|bin| bin.weight).sum();
    let over = |of: &dyn Fn(&Bin) -> f64| bins.iter().map(|bin| bin.weight * of(bin)).sum::<f64>() / total;
    Brier {
        score,
        reliability: over(&|bin| (bin.stated - bin.observed).powi(2)),
        resolution: over(&|bin| (bin.observed - base).powi(2)),
        uncertainty: base * (1.0 - base),
        within: over(&|bin| bin.spread - 2.0 * bin.shared),
    }
}

fn sorted(forecasts: &[Forecast]) -> Vec<Forecast> {
    let mut sorted = forecasts.to_vec();
    sorted.sort_by(|a, b| a.p.total_cmp(&b.p));
    sorted
}

/// The largest distance of a probability from 0 and 1 whose logit is used.
const EDGE: f64 = 1e-12;

/// The probability after its logit is divided by `temperature`.
pub(crate) fn tempered(p: f64, temperature: f64) -> f64 {
    1.0 / (1.0 + (-logit(p) / temperature).exp())
}

fn logit(p: f64) -> f64 {
    let p = p.clamp(EDGE, 1.0 - EDGE);
    (p / (1.0 - p)).ln()
}

/// The temperature with the least log loss (Guo et al. 2017, <https://proceedings.mlr.press/v70/guo17a.html>), from 0.01
/// to 100. `None` if all cases happened, or none, so that no temperature is the best.
///
/// The log loss is convex in 1 / temperature: a root of its derivative is found by bisection.
pub(crate) fn temperature(forecasts: &[Forecast]) -> Option<f64> {
    let first = forecasts.iter().find(|f| f.weight > 0.0)?;
    if forecasts.iter().all(|f| f.hit == first.hit || f.weight == 0.0) {
        return None;
    }
    let logits: Vec<f64> = forecasts.iter().map(|f| logit(f.p)).collect();
    let slope = |inverse: f64| -> f64 {
        let of =
            |(f, logit): (&Forecast, &f64)| f.weight * logit * (1.0 / (1.0 + (-logit * inverse).exp()) - f.outcome());
        forecasts.iter().zip(&logits).map(of).sum()
    };
    let (mut low, mut high) = (0.01, 100.0);
    if slope(low) >= 0.0 || slope(high) <= 0.0 {
        // Also if all probabilities are 1/2, when every temperature is the same.
        return (slope(low) != 0.0).then(|| if slope(low) > 0.0 { 1.0 / low } else { 1.0 / high });
    }
    loop {
        let middle = (low + high) / 2.0;
        if middle <= low || middle >= high {
            return Some(1.0 / middle);
        }
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
}

/// A function that never falls: its value at each point, linear between points, constant outside.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Isotonic(pub(crate) Vec<(f64, f64)>);

impl Isotonic {
    /// The function with the least squared error (Ayer et al. 1955, <https://doi.org/10.1214/aoms/1177728423>; Zadrozny and
    /// Elkan 2002, <https://doi.org/10.1145/775047.775151>), by pooling adjacent violators. `None` without forecasts.
    pub(crate) fn fit(forecasts: &[Forecast]) -> Option<Isotonic> {
        struct Pool {
            first: f64,
            last: f64,
            sum: f64,
            weight: f64,
        }
        let sorted: Vec<Forecast> = sorted(forecasts).into_iter().filter(|f| f.weight > 0.0).collect();
        let mut pools: Vec<Pool> = Vec::new();
        for same in sorted.chunk_by(|a, b| a.p == b.p) {
            let sum = same.iter().map(|f| f.weight * f.outcome()).sum();
            let weight = same.iter().map(|f| f.weight).sum();
            pools.push(Pool { first: same[0].p, last: same[0].p, sum, weight });
            while let [.., before, last] = pools.as_mut_slice() {
                if before.sum * last.weight < last.sum * before.weight {
                    break;
                }
                before.sum += last.sum;
                before.weight += last.weight;
                before.last = last.last;
                pools.pop();
            }
        }
        let ends = |pool: &Pool| {
            let value = pool.sum / pool.weight;
            let last = (pool.last > pool.first).then_some((pool.last, value));
            [Some((pool.first, value)), last].into_iter().flatten()
        };
        let points: Vec<(f64, f64)> = pools.iter().flat_map(ends).collect();
        (!points.is_empty()).then_some(Isotonic(points))
    }

    pub(crate) fn at(&self, p: f64) -> f64 {
        let after = self.0.partition_point(|(x, _)| *x < p);
        match (after.checked_sub(1).map(|i| self.0[i]), self.0.get(after)) {
            (Some((x0, y0)), Some((x1, y1))) => y0 + (y1 - y0) * (p - x0) / (x1 - x0),
            (None, Some((_, y))) => *y,
            (Some((_, y)), None) => y,
            (None, None) => f64::NAN,
        }
    }
}

/// What remains if cases with a probability below `threshold` are left to people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) threshold: f64,
    /// The number of kept cases, and how many of them are right.
    pub(crate) n: u64,
    pub(crate) right: u64,
    /// The kept share of the weight.
    pub(crate) coverage: f64,
}

/// The curve of accuracy and coverage (El-Yaniv and Wiener 2010, <https://jmlr.org/papers/v11/el-yaniv10a.html>): a point
/// for each distinct probability as the threshold, from the largest to the smallest. The forecasts are in the order of
/// their probabilities; `counts` has the number of cases of each.
pub(crate) fn accuracy_by_coverage<'a>(forecasts: &'a [Forecast], counts: &'a [u64]) -> impl Iterator<Item = Kept> {
    let total: f64 = forecasts.iter().zip(counts).map(|(f, count)| f.weight * *count as f64).sum();
    let (mut n, mut right, mut weight, mut first) = (0, 0, 0.0, forecasts.len());
    forecasts.chunk_by(|a, b| a.p == b.p).rev().map(move |same| {
        first -= same.len();
        for (f, count) in same.iter().zip(&counts[first..]) {
            n += count;
            right += if f.hit { *count } else { 0 };
            weight += f.weight * *count as f64;
        }
        Kept { threshold: same[0].p, n, right, coverage: weight / total }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(f64, bool)]) -> Vec<Forecast> {
        pairs.iter().map(|(p, hit)| Forecast { p: *p, hit: *hit, weight: 1.0 }).collect()
    }

    fn scores(forecasts: &[Forecast], most: usize) -> Scores {
        Ranked::new(sorted(forecasts)).scores(&vec![1.0; forecasts.len()], most)
    }

    fn some() -> Vec<Forecast> {
        let number = |i: u64| (i.wrapping_mul(2_654_435_761) >> 7) % 1000;
        let p = |i: u64| (number(i) as f64 + 0.5) / 1000.0;
        let weighted = |i: u64| Forecast { p: p(i), hit: number(i + 77) < number(i), weight: 1.0 + (i % 3) as f64 };
        (0..211).map(weighted).collect()
    }

    #[test]
    fn the_parts_of_the_brier_score_add_up() {
        for (forecasts, most) in [(some(), 10), (some(), 3), (some(), 1000), (of(&[(0.5, true), (0.5, false)]), 10)] {
            let parts = scores(&forecasts, most).brier.unwrap();
            let sum = parts.reliability - parts.resolution + parts.uncertainty + parts.within;
            assert!((sum - parts.score).abs() < 1e-14, "{parts:?}");
            // Bins of one probability each hide nothing.
            assert!(most < 1000 || parts.within.abs() < 1e-15);
        }
        let none = scores(&[], 10);
        assert_eq!((none.brier, none.expected_error, none.log_loss, none.auroc), (None, None, None, None));
    }

    #[test]
    fn bins_have_equal_mass_and_do_not_part_equal_probabilities() {
        let ten: Vec<(f64, bool)> = (0..100).map(|i| (f64::from(i) / 100.0, i % 2 == 0)).collect();
        assert_eq!(scores(&of(&ten), 10).bins.iter().map(|bin| bin.n).collect::<Vec<_>>(), [10; 10]);
        let tied = of(&[(0.2, false), (0.9, true), (0.9, true), (0.9, false), (0.9, true), (1.0, true)]);
        let found: Vec<(usize, f64)> = scores(&tied, 3).bins.iter().map(|bin| (bin.n, bin.stated)).collect();
        assert_eq!(found, [(1, 0.2), (4, 0.9), (1, 1.0)]);
        assert_eq!(scores(&[], 10).bins, []);
    }

    #[test]
    fn the_best_temperature_undoes_another() {
        // Outcomes in exactly the stated shares, so that the best temperature is 1.
        let shares = [(0.2, 2, 10), (0.5, 5, 10), (0.75, 15, 20), (0.9, 9, 10)];
        let honest = shares.iter().flat_map(|(p, yes, of)| (0..*of).map(move |i| (*p, i < *yes)));
        let honest = of(&honest.collect::<Vec<_>>());
        assert!((temperature(&honest).unwrap() - 1.0).abs() < 1e-9);
        for other in [0.4, 2.5] {
            let bent = honest.iter().map(|f| Forecast { p: tempered(f.p, other), ..*f }).collect::<Vec<_>>();
            assert!((temperature(&bent).unwrap() - 1.0 / other).abs() < 1e-9);
        }
        assert_eq!(temperature(&of(&[(0.3, true), (0.7, true)])), None);
        assert_eq!(temperature(&of(&[(0.5, true), (0.5, false)])), None);
        // The larger probability is always right: the colder, the better.
        assert_eq!(temperature(&of(&[(0.4, false), (0.6, true)])), Some(0.01));
        assert_eq!(temperature(&of(&[(0.4, true), (0.6, false)])), Some(100.0));
        assert!(temperature(&of(&[(1.0, true), (1.0, false), (0.0, false)])).is_some());
    }

    #[test]
    fn isotonic_values_never_fall() {
        let fit = Isotonic::fit(&of(&[(0.1, false), (0.2, true), (0.3, false), (0.4, true), (0.5, true)])).unwrap();
        assert_eq!(fit.0, [(0.1, 0.0), (0.2, 0.5), (0.3, 0.5), (0.4, 1.0), (0.5, 1.0)]);
        assert_eq!([0.0, 0.25, 0.9].map(|p| fit.at(p)), [0.0, 0.5, 1.0]);
        assert!((fit.at(0.15) - 0.25).abs() < 1e-12 && (fit.at(0.35) - 0.75).abs() < 1e-12);
        assert_eq!(Isotonic::fit(&[]), None);
    }

    #[test]
    fn the_curve_ends_at_the_whole() {
        let forecasts = of(&[(0.6, true), (0.8, false), (0.9, true), (0.9, true)]);
        let curve = accuracy_by_coverage(&forecasts, &[1; 4]);
        let shown: Vec<_> = curve.map(|k| (k.threshold, k.n, k.right, k.coverage)).collect();
        assert_eq!(shown, [(0.9, 2, 2, 0.5), (0.8, 3, 2, 0.75), (0.6, 4, 3, 1.0)]);
    }

    #[test]
    fn one_outcome_has_no_auroc() {
        assert_eq!(scores(&of(&[(0.3, true), (0.4, true)]), 10).auroc, None);
        assert_eq!(scores(&of(&[(0.3, false), (0.4, true), (0.4, false)]), 10).auroc, Some(0.75));
    }

    #[test]
    fn forecasts_that_are_not_drawn_do_not_count() {
        let all = Ranked::new(of(&[(0.0, true), (0.2, false), (0.4, true), (0.4, false), (0.9, true)]));
        let some = Ranked::new(of(&[(0.2, false), (0.4, false), (0.4, false), (0.9, true)]));
        let drawn = all.scores(&[0.0, 1.0, 0.0, 2.0, 1.0], 3);
        let own = some.scores(&[1.0; 4], 3);
        assert_eq!((drawn.brier, drawn.log_loss, drawn.auroc), (own.brier, own.log_loss, own.auroc));
        assert_eq!(drawn.expected_error, own.expected_error);
        assert!(drawn.log_loss.is_some_and(f64::is_finite));
    }
}
