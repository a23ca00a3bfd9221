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

pub(crate) fn brier_score(forecasts: &[Forecast]) -> Option<f64> {
    mean(forecasts, |f| (f.p - f.outcome()).powi(2))
}

pub(crate) fn brier(forecasts: &[Forecast], bins: &[Bin]) -> Option<Brier> {
    let base = mean(forecasts, Forecast::outcome)?;
    let total: f64 = bins.iter().map(|bin| bin.weight).sum();
    let over = |of: &dyn Fn(&Bin) -> f64| bins.iter().map(|bin| bin.weight * of(bin)).sum::<f64>() / total;
    Some(Brier {
        score: brier_score(forecasts)?,
        reliability: over(&|bin| (bin.stated - bin.observed).powi(2)),
        resolution: over(&|bin| (bin.observed - base).powi(2)),
        uncertainty: base * (1.0 - base),
        within: over(&|bin| bin.spread - 2.0 * bin.shared),
    })
}

/// The mean of -ln of the probability of what happened. Infinite if that was 0. `None` without forecasts.
pub(crate) fn log_loss(forecasts: &[Forecast]) -> Option<f64> {
    mean(forecasts, |f| -if f.hit { f.p.ln() } else { (-f.p).ln_1p() })
}

/// The expected calibration error: the mean distance of stated and observed over the bins (Naeini, Cooper and Hauskrecht
/// 2015; with bins of equal mass Nguyen and O'Connor 2015, <https://doi.org/10.18653/v1/D15-1182>).
pub(crate) fn expected_error(bins: &[Bin]) -> Option<f64> {
    let total: f64 = bins.iter().map(|bin| bin.weight).sum();
    let error = |bin: &Bin| bin.weight * (bin.stated - bin.observed).abs();
    (total > 0.0).then(|| bins.iter().map(error).sum::<f64>() / total)
}

/// Bins of about equal weight, in the order of the probabilities. Equal probabilities are in one bin.
pub(crate) fn bins(forecasts: &[Forecast], most: usize) -> Vec<Bin> {
    let sorted = sorted(forecasts);
    let total: f64 = sorted.iter().map(|f| f.weight).sum();
    let mut groups: Vec<Vec<Forecast>> = Vec::new();
    let mut current = usize::MAX;
    let mut before = 0.0;
    for same in sorted.chunk_by(|a, b| a.p == b.p) {
        let weight: f64 = same.iter().map(|f| f.weight).sum();
        // The bin of the middle of the equal probabilities; a little less, so that equal bins do not depend on rounding.
        let middle = (before + weight / 2.0) / total * (1.0 - 1e-12);
        before += weight;
        let bin = (middle * most as f64) as usize;
        if bin != current {
            groups.push(Vec::new());
            current = bin;
        }
        groups.last_mut().expect("a group was just added").extend(same);
    }
    groups.iter().filter_map(|group| bin(group)).collect()
}

fn bin(group: &[Forecast]) -> Option<Bin> {
    let (stated, observed) = (mean(group, |f| f.p)?, mean(group, Forecast::outcome)?);
    Some(Bin {
        n: group.len(),
        weight: group.iter().map(|f| f.weight).sum(),
        stated,
        observed,
        spread: mean(group, |f| (f.p - stated).powi(2))?,
        shared: mean(group, |f| (f.p - stated) * (f.outcome() - observed))?,
    })
}

fn sorted(forecasts: &[Forecast]) -> Vec<Forecast> {
    let mut sorted = forecasts.to_vec();
    sorted.sort_by(|a, b| a.p.total_cmp(&b.p));
    sorted
}

fn mean(forecasts: &[Forecast], of: impl Fn(&Forecast) -> f64) -> Option<f64> {
    let total: f64 = forecasts.iter().map(|f| f.weight).sum();
    (total > 0.0).then(|| forecasts.iter().map(|f| f.weight * of(f)).sum::<f64>() / total)
}

/// The area under the ROC curve: how often a case that happened has the larger probability, of two equal ones half
/// (Mann and Whitney 1947; Hanley and McNeil 1982, <https://doi.org/10.1148/radiology.143.1.7063747>). `None` if all
/// cases happened, or none.
pub(crate) fn auroc(forecasts: &[Forecast]) -> Option<f64> {
    let (mut misses, mut pairs, mut hits) = (0.0, 0.0, 0.0);
    for same in sorted(forecasts).chunk_by(|a, b| a.p == b.p) {
        let weight = |hit: bool| same.iter().filter(|f| f.hit == hit).map(|f| f.weight).sum::<f64>();
        let (hit, miss) = (weight(true), weight(false));
        pairs += hit * (misses + miss / 2.0);
        misses += miss;
        hits += hit;
    }
    (hits > 0.0 && misses > 0.0).then(|| pairs / (hits * misses))
}

/// The largest distance of a probability from 0 and 1 whose logit is used.
const EDGE: f64 = 1e-12;
const STEPS: usize = 200;

/// The probability after its logit is divided by `temperature`.
pub(crate) fn tempered(p: f64, temperature: f64) -> f64 {
    let p = p.clamp(EDGE, 1.0 - EDGE);
    1.0 / (1.0 + (-(p / (1.0 - p)).ln() / temperature).exp())
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
    let slope = |inverse: f64| -> f64 {
        let of = |f: &Forecast| {
            let p = f.p.clamp(EDGE, 1.0 - EDGE);
            f.weight * (p / (1.0 - p)).ln() * (tempered(p, 1.0 / inverse) - f.outcome())
        };
        forecasts.iter().map(of).sum()
    };
    let (mut low, mut high) = (0.01, 100.0);
    if slope(low) >= 0.0 || slope(high) <= 0.0 {
        // Also if all probabilities are 1/2, when every temperature is the same.
        return (slope(low) != 0.0).then(|| if slope(low) > 0.0 { 1.0 / low } else { 1.0 / high });
    }
    for _ in 0..STEPS {
        let middle = (low + high) / 2.0;
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    Some(2.0 / (low + high))
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
    pub(crate) n: usize,
    pub(crate) right: usize,
    /// The kept share of the weight.
    pub(crate) coverage: f64,
    /// The right share of the kept weight.
    pub(crate) accuracy: f64,
}

/// The curve of accuracy and coverage (El-Yaniv and Wiener 2010, <https://jmlr.org/papers/v11/el-yaniv10a.html>): a point
/// for each distinct probability as the threshold, from the largest to the smallest.
pub(crate) fn accuracy_by_coverage(forecasts: &[Forecast]) -> Vec<Kept> {
    let total: f64 = forecasts.iter().map(|f| f.weight).sum();
    let mut curve = Vec::new();
    let (mut n, mut right, mut weight, mut hits) = (0, 0, 0.0, 0.0);
    for same in sorted(forecasts).chunk_by(|a, b| a.p == b.p).rev() {
        for f in same {
            n += 1;
            right += usize::from(f.hit);
            weight += f.weight;
            hits += f.weight * f.outcome();
        }
        curve.push(Kept { threshold: same[0].p, n, right, coverage: weight / total, accuracy: hits / weight });
    }
    curve
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(f64, bool)]) -> Vec<Forecast> {
        pairs.iter().map(|(p, hit)| Forecast { p: *p, hit: *hit, weight: 1.0 }).collect()
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
            let bins = bins(&forecasts, most);
            let parts = brier(&forecasts, &bins).unwrap();
            let sum = parts.reliability - parts.resolution + parts.uncertainty + parts.within;
            assert!((sum - parts.score).abs() < 1e-14, "{parts:?}");
            // Bins of one probability each hide nothing.
            assert!(most < 1000 || parts.within.abs() < 1e-15);
        }
        assert_eq!((brier(&[], &[]), expected_error(&[]), log_loss(&[])), (None, None, None));
    }

    #[test]
    fn bins_have_equal_mass_and_do_not_part_equal_probabilities() {
        let ten: Vec<(f64, bool)> = (0..100).map(|i| (f64::from(i) / 100.0, i % 2 == 0)).collect();
        assert_eq!(bins(&of(&ten), 10).iter().map(|bin| bin.n).collect::<Vec<_>>(), [10; 10]);
        let tied = of(&[(0.2, false), (0.9, true), (0.9, true), (0.9, false), (0.9, true), (1.0, true)]);
        let found: Vec<(usize, f64)> = bins(&tied, 3).iter().map(|bin| (bin.n, bin.stated)).collect();
        assert_eq!(found, [(1, 0.2), (4, 0.9), (1, 1.0)]);
        assert_eq!(bins(&[], 10), []);
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
        let curve = accuracy_by_coverage(&of(&[(0.9, true), (0.8, false), (0.9, true), (0.6, true)]));
        let shown: Vec<_> = curve.iter().map(|k| (k.threshold, k.n, k.right, k.coverage, k.accuracy)).collect();
        assert_eq!(shown, [(0.9, 2, 2, 0.5, 1.0), (0.8, 3, 2, 0.75, 2.0 / 3.0), (0.6, 4, 3, 1.0, 0.75)]);
    }

    #[test]
    fn one_outcome_has_no_auroc() {
        assert_eq!(auroc(&of(&[(0.3, true), (0.4, true)])), None);
        assert_eq!(auroc(&of(&[(0.3, false), (0.4, true), (0.4, false)])), Some(0.75));
    }
}
