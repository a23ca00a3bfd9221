//! Probability samples: the sizes of strata, and draws with equal and with unequal probabilities.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Returns how many units to draw of each stratum: one of each, and the rest by the divisor method of Sainte-Laguë
/// (Webster), in proportion to `shares` and never more than `sizes`. A larger `n` never makes a stratum smaller. `n` is
/// at least the number of strata and at most the number of units.
///
/// Balinski and Young, Fair Representation (1982).
pub(crate) fn allocation(n: usize, sizes: &[usize], shares: &[f64]) -> Vec<usize> {
    let mut drawn = vec![1; sizes.len()];
    // Numbers from 0 have the order of their bits. Strata whose share is 0 come last, and of equal ones the first is next.
    let place = |h: usize, drawn: usize| {
        let quotient = shares[h] / (2 * drawn + 1) as f64;
        (drawn < sizes[h]).then(|| (quotient.to_bits(), (1.0 / drawn as f64).to_bits(), Reverse(h)))
    };
    let mut open: BinaryHeap<_> = (0..sizes.len()).filter_map(|h| place(h, 1)).collect();
    for _ in sizes.len()..n {
        let Some((_, _, Reverse(next))) = open.pop() else { break };
        drawn[next] += 1;
        open.extend(place(next, drawn[next]));
    }
    drawn
}

/// Returns the probabilities of inclusion for a draw of `n` units in proportion to `weights`, which are above 0. A unit
/// whose probability would be 1 or more is drawn for certain, and the others share the rest.
pub(crate) fn inclusion(n: usize, weights: &[f64]) -> Vec<f64> {
    let mut certain = vec![false; weights.len()];
    loop {
        let open = || (0..weights.len()).filter(|i| !certain[*i]);
        let total: f64 = open().map(|i| weights[i]).sum();
        let rest = n.saturating_sub(certain.iter().filter(|is| **is).count()) as f64;
        let more: Vec<usize> = open().filter(|i| weights[*i] * rest >= total * (1.0 - 1e-12)).collect();
        if more.is_empty() || rest == 0.0 {
            return (0..weights.len()).map(|i| if certain[i] { 1.0 } else { weights[i] * rest / total }).collect();
        }
        more.into_iter().for_each(|i| certain[i] = true);
    }
}

/// Draws a sample of fixed size with these probabilities of inclusion, whose sum is the size. `unit` returns random
/// numbers from 0 to 1. Returns whether each unit is drawn.
///
/// Sampford, On sampling without replacement with unequal probabilities of selection, Biometrika 54 (1967) 499-513, by
/// rejection from a Poisson sample (Bondesson, Traat and Lundqvist, Scandinavian Journal of Statistics 33 (2006)
/// 699-720): one unit with probabilities in proportion to `inclusion`, and a Poisson sample that has the size of the
/// rest and lacks this unit.
pub(crate) fn sampford(inclusion: &[f64], mut unit: impl FnMut() -> f64) -> Vec<bool> {
    let open: Vec<usize> = (0..inclusion.len()).filter(|i| inclusion[*i] < 1.0).collect();
    let total: f64 = open.iter().map(|i| inclusion[*i]).sum();
    let size = total.round() as usize;
    let mut drawn: Vec<bool> = inclusion.iter().map(|probability| *probability >= 1.0).collect();
    if size == 0 {
        return drawn;
    }
    loop {
        let mut point = unit() * total;
        let first = open.iter().position(|i| {
            point -= inclusion[*i];
            point < 0.0
        });
        let first = first.unwrap_or(open.len() - 1);
        let others: Vec<usize> = (0..open.len()).filter(|k| unit() < inclusion[open[*k]]).collect();
        if others.len() == size - 1 && !others.contains(&first) {
            others.into_iter().chain([first]).for_each(|k| drawn[open[k]] = true);
            return drawn;
        }
    }
}

/// Draws like [`sampford`], but along the order of the units: those in which the sum of the probabilities passes
/// `start`, `start + 1` and so on. `start` is a random number from 0 to 1.
///
/// Madow, On the theory of systematic sampling II, Annals of Mathematical Statistics 20 (1949) 333-354.
pub(crate) fn systematic(inclusion: &[f64], start: f64) -> Vec<bool> {
    // The sum is corrected at its end, since its rounding could miss the last unit.
    let size = inclusion.iter().sum::<f64>().round();
    let (mut before, mut next) = (0.0, start);
    let last = inclusion.len().saturating_sub(1);
    let passes = |(i, probability): (usize, &f64)| {
        before = if i == last { size } else { before + probability };
        let drawn = next < before || *probability >= 1.0;
        next += f64::from(u8::from(drawn));
        drawn
    };
    inclusion.iter().enumerate().map(passes).collect()
}

/// Returns the part of each of `count` units, in their order. After any number of units, each part has its share up to
/// rounding, and more units never change the parts of earlier ones. `skip` units of the sequence come before. Without
/// shares all units are in part 0.
pub(crate) fn parts(shares: &[f64], skip: usize, count: usize) -> Vec<usize> {
    let mut given = vec![0.0; shares.len()];
    let next = |i: usize| {
        let lack = |part: usize, given: &[f64]| shares[part] * (i + 1) as f64 - given[part];
        let most = (0..shares.len()).rev().max_by(|a, b| lack(*a, &given).total_cmp(&lack(*b, &given)));
        let part = most.unwrap_or_default();
        given.iter_mut().skip(part).take(1).for_each(|given| *given += 1.0);
        part
    };
    (0..skip + count).map(next).skip(skip).collect()
}

/// Random numbers from 0 to 1.
#[cfg(test)]
pub(super) fn units(seed: u64) -> impl FnMut() -> f64 {
    let mut stream = crate::random::Streams::new(seed, &["test"]).of(0);
    move || stream.unit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strata_get_their_shares_and_never_shrink() {
        let sizes = [500, 300, 200];
        assert_eq!(allocation(100, &sizes, &[500.0, 300.0, 200.0]), [50, 30, 20]);
        assert_eq!(allocation(90, &sizes, &[1.0; 3]), [30, 30, 30]);
        // Neyman: the share is the size times the standard deviation, and a stratum without spread keeps one row.
        assert_eq!(allocation(100, &sizes, &[500.0 * 0.5, 300.0 * 0.1, 0.0]), [88, 11, 1]);
        // A small stratum is drawn whole, and the others share the rest.
        assert_eq!(allocation(9, &[2, 100, 100], &[1.0; 3]), [2, 4, 3]);
        assert_eq!(allocation(5, &[2, 3], &[0.0, 0.0]), [2, 3]);
        let shares = [5117.0, 4400.0, 162.0, 161.0, 160.0];
        let mut before = vec![1; 5];
        for n in 5..2000 {
            let now = allocation(n, &[5117, 4400, 162, 161, 160], &shares);
            assert!(now.iter().zip(&before).all(|(now, before)| now >= before), "{n}: {before:?} {now:?}");
            assert_eq!(now.iter().sum::<usize>(), n);
            before = now;
        }
    }

    #[test]
    fn probabilities_are_in_proportion_until_a_unit_is_certain() {
        assert_eq!(inclusion(2, &[1.0, 2.0, 3.0, 4.0]), [0.2, 0.4, 0.6, 0.8]);
        assert_eq!(inclusion(2, &[1.0, 1.0, 1.0, 7.0]), [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 1.0]);
        assert_eq!(inclusion(3, &[1.0, 1.0, 8.0, 90.0]), [0.5, 0.5, 1.0, 1.0]);
        assert_eq!(inclusion(2, &[5.0, 1.0]), [1.0, 1.0]);
    }

    /// Draws of three of six units, with their number of draws and of draws of the first two.
    fn counts(draw: impl Fn(&[f64], u64) -> Vec<bool>) -> (Vec<f64>, f64) {
        let inclusion = inclusion(3, &[1.0, 2.0, 3.0, 4.0, 5.0, 30.0]);
        let (mut drawn, mut both) = (vec![0.0; 6], 0.0);
        for seed in 0..20_000 {
            let sample = draw(&inclusion, seed);
            assert_eq!(sample.iter().filter(|is| **is).count(), 3);
            drawn.iter_mut().zip(&sample).for_each(|(n, is)| *n += f64::from(u8::from(*is)));
            both += f64::from(u8::from(sample[3] && sample[4]));
        }
        let expected = [2.0 / 15.0, 4.0 / 15.0, 6.0 / 15.0, 8.0 / 15.0, 10.0 / 15.0, 1.0];
        for (found, expected) in drawn.iter().zip(expected) {
            let spread = 4.0 * (expected * (1.0 - expected) * 20_000.0_f64).sqrt();
            assert!((found - expected * 20_000.0).abs() <= spread, "{drawn:?}");
        }
        (drawn, both)
    }

    #[test]
    fn units_are_drawn_with_their_probabilities() {
        let (_, both) = counts(|inclusion, seed| sampford(inclusion, units(seed)));
        // By Sampford's formula: a pair's probability is in proportion to its odds times (2 - its probabilities).
        let p: Vec<f64> = (1..=5).map(|i| f64::from(i) * 2.0 / 15.0).collect();
        let pair = |i: usize, j: usize| p[i] / (1.0 - p[i]) * p[j] / (1.0 - p[j]) * (2.0 - p[i] - p[j]);
        let all: f64 = (0..5).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| pair(i, j)).sum();
        let expected = pair(3, 4) / all * 20_000.0;
        assert!((both - expected).abs() < 4.0 * expected.sqrt(), "{both} {expected}");
        counts(|inclusion, seed| systematic(inclusion, units(seed)()));
    }

    /// The Horvitz-Thompson mean of 2,000 samples is the mean of the population within 3 standard errors.
    fn unbiased(draw: impl Fn(&[f64], u64) -> (Vec<bool>, Vec<f64>)) {
        let mut numbers = units(7);
        let sizes: Vec<f64> = (0..400).map(|_| 1.0 + 9.0 * numbers()).collect();
        let values: Vec<f64> = sizes.iter().map(|size| 2.0 * size + 5.0 * numbers()).collect();
        let truth = values.iter().sum::<f64>() / 400.0;
        let means: Vec<f64> = (0..2000)
            .map(|seed| {
                let (sample, p) = draw(&sizes, seed);
                (0..400).filter(|i| sample[*i]).map(|i| values[i] / p[i]).sum::<f64>() / 400.0
            })
            .collect();
        let mean = means.iter().sum::<f64>() / 2000.0;
        let error = (means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / 1999.0 / 2000.0).sqrt();
        assert!(error > 0.0 && (mean - truth).abs() < 3.0 * error, "{mean} {truth} {error}");
    }

    #[test]
    fn horvitz_thompson_is_unbiased() {
        let pps = |sizes: &[f64]| inclusion(40, sizes);
        unbiased(|sizes, seed| (sampford(&pps(sizes), units(seed)), pps(sizes)));
        unbiased(|sizes, seed| (systematic(&pps(sizes), units(seed)()), pps(sizes)));
        // Three strata by size, as many units of each.
        unbiased(|sizes, seed| {
            let stratum: Vec<usize> =
                sizes.iter().map(|size| usize::from(*size > 3.0) + usize::from(*size > 8.0)).collect();
            let count = |h: usize| stratum.iter().filter(|other| **other == h).count();
            let counts = [count(0), count(1), count(2)];
            let drawn = allocation(42, &counts, &[1.0; 3]);
            let (mut numbers, mut sample) = (units(seed), vec![false; 400]);
            let random: Vec<f64> = (0..400).map(|_| numbers()).collect();
            for h in 0..3 {
                let mut rows: Vec<usize> = (0..400).filter(|i| stratum[*i] == h).collect();
                rows.sort_by(|a, b| random[*a].total_cmp(&random[*b]));
                rows[..drawn[h]].iter().for_each(|i| sample[*i] = true);
            }
            (sample, stratum.iter().map(|h| drawn[*h] as f64 / counts[*h] as f64).collect())
        });
    }

    #[test]
    fn parts_have_their_shares_and_keep_their_units() {
        let count = |parts: &[usize], part| parts.iter().filter(|other| **other == part).count();
        let many = parts(&[0.4, 0.6], 0, 300);
        assert_eq!((count(&many, 0), count(&many, 1)), (120, 180));
        assert_eq!(parts(&[0.4, 0.6], 0, 100), many[..100]);
        assert_eq!(parts(&[0.4, 0.6], 7, 50), many[7..57]);
        let three = parts(&[0.2, 0.3, 0.5], 0, 101);
        assert!(
            (0..3).all(|part| (count(&three, part) as f64 - 101.0 * [0.2, 0.3, 0.5][part]).abs() < 1.5),
            "{three:?}"
        );
    }
}
