//! Tests of whether choices depend on a condition, such as the position of an option.

use statrs::distribution::{ChiSquared, ContinuousCDF};

/// The largest expected count that makes the chi-square distribution a poor approximation (Cochran, Some methods for
/// strengthening the common chi-square tests, Biometrics 10 (1954) 417-451, <https://doi.org/10.2307/3001616>).
const SMALL: f64 = 5.0;
/// A variance below this is rounding.
const NONE: f64 = 1e-9;

/// A chi-square test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dependence {
    pub(crate) chi_square: f64,
    /// The degrees of freedom; not whole if positions exclude each other.
    pub(crate) freedom: f64,
    pub(crate) p: f64,
    /// From 0 to 1.
    pub(crate) cramers_v: f64,
    /// The share of expected counts below 5.
    pub(crate) small: f64,
}

/// The probability of a value above `chi_square`.
fn above(chi_square: f64, freedom: f64) -> f64 {
    ChiSquared::new(freedom).map_or(f64::NAN, |distribution| distribution.sf(chi_square))
}

/// Pearson's chi-square test of independence for a table of counts, with Cramer's V (H. Cramer, Mathematical Methods of
/// Statistics, 1946, chapters 21 and 30). Rows and columns without counts are left out. `None` if one row or one column
/// is left.
pub(crate) fn independence(table: &[Vec<f64>]) -> Option<Dependence> {
    let rows: Vec<f64> = table.iter().map(|row| row.iter().sum()).collect();
    let width = table.iter().map(Vec::len).max()?;
    let columns: Vec<f64> = (0..width).map(|column| table.iter().map(|row| row[column]).sum()).collect();
    let all: f64 = rows.iter().sum();
    let used = |sums: &[f64]| sums.iter().filter(|sum| **sum > 0.0).count();
    let (height, width) = (used(&rows), used(&columns));
    if height < 2 || width < 2 {
        return None;
    }
    let (mut chi_square, mut small) = (0.0, 0);
    for (counts, row) in table.iter().zip(&rows) {
        for (count, column) in counts.iter().zip(&columns) {
            let expected = row * column / all;
            if expected > 0.0 {
                chi_square += (count - expected).powi(2) / expected;
                small += usize::from(expected < SMALL);
            }
        }
    }
    let freedom = ((height - 1) * (width - 1)) as f64;
    let most = (height.min(width) - 1) as f64;
    Some(Dependence {
        chi_square,
        freedom,
        p: above(chi_square, freedom),
        cramers_v: (chi_square / (all * most)).sqrt().min(1.0),
        small: small as f64 / (height * width) as f64,
    })
}

/// How often each option was shown and chosen at each position.
#[derive(Clone, Debug)]
pub(crate) struct Positions {
    options: usize,
    /// By position, then option.
    shown: Vec<f64>,
    chosen: Vec<f64>,
    /// By cell and cell: how many answers saw both options at their positions.
    together: Vec<f64>,
}

impl Positions {
    pub(crate) fn new(options: usize) -> Self {
        let cells = options * options;
        Positions { options, shown: vec![0.0; cells], chosen: vec![0.0; cells], together: vec![0.0; cells * cells] }
    }

    /// Adds `count` answers of people who saw the options in `order` and chose `option`, which is one of them.
    pub(crate) fn add(&mut self, order: &[usize], option: usize, count: f64) {
        let cells: Vec<usize> = order.iter().enumerate().map(|(at, shown)| at * self.options + shown).collect();
        for (cell, shown) in cells.iter().zip(order) {
            self.shown[*cell] += count;
            if *shown == option {
                self.chosen[*cell] += count;
            }
            for other in &cells {
                self.together[cell * self.shown.len() + other] += count;
            }
        }
    }

    pub(crate) fn shown(&self, position: usize, option: usize) -> f64 {
        self.shown[position * self.options + option]
    }

    pub(crate) fn chosen(&self, position: usize, option: usize) -> f64 {
        self.chosen[position * self.options + option]
    }

    /// Whether the choices depend on the positions: Pearson's chi-square over positions and options, where an option is
    /// expected to be chosen equally often at each position, by how often it was shown there.
    ///
    /// With rotated orders this is Pearson's test of the order against the choice. In other orders the counts of two
    /// positions are less dependent, so the statistic is scaled by the eigenvalues of its covariance, given the orders
    /// (the second-order correction of J. N. K. Rao and A. J. Scott, On chi-squared tests for multiway contingency
    /// tables with cell proportions estimated from survey data, Annals of Statistics 12 (1984) 46-60,
    /// <https://doi.org/10.1214/aos/1176346391>). Cramer's V is that of the unscaled statistic.
    ///
    /// `None` if all saw the same order or chose the same option.
    pub(crate) fn test(&self) -> Option<Dependence> {
        let k = self.options;
        let sum = |counts: &[f64], option: usize| (0..k).map(|at| counts[at * k + option]).sum::<f64>();
        let seen: Vec<f64> = (0..k).map(|option| sum(&self.shown, option)).collect();
        let share: Vec<f64> = (0..k)
            .map(|option| if seen[option] > 0.0 { sum(&self.chosen, option) / seen[option] } else { 0.0 })
            .collect();
        let cells: Vec<usize> = (0..k * k).filter(|cell| self.shown[*cell] * share[cell % k] > 0.0).collect();
        let expected = |cell: usize| self.shown[cell] * share[cell % k];
        let pearson: f64 =
            cells.iter().map(|cell| (self.chosen[*cell] - expected(*cell)).powi(2) / expected(*cell)).sum();
        let [mut trace, mut squares] = [0.0; 2];
        let covariance = self.covariance(&seen, &share);
        for a in &cells {
            trace += covariance[a * k * k + a] / expected(*a);
            for b in &cells {
                squares += covariance[a * k * k + b].powi(2) / (expected(*a) * expected(*b));
            }
        }
        if trace < NONE || squares < NONE {
            return None;
        }
        let scale = trace / squares;
        let freedom = (trace * scale * 1e9).round() / 1e9;
        let (chi_square, all) = (pearson * scale, self.chosen.iter().sum::<f64>());
        let small = cells.iter().filter(|cell| expected(**cell) < SMALL).count();
        // The number of positions of an option, and of options that were chosen.
        let places = (0..k).map(|option| cells.iter().filter(|cell| *cell % k == option).count());
        let chosen = places.clone().filter(|places| *places > 0).count();
        let most = places.max().unwrap_or(0).min(chosen).saturating_sub(1) as f64;
        Some(Dependence {
            chi_square,
            freedom,
            p: above(chi_square, freedom),
            cramers_v: (pearson / (all * most)).sqrt().min(1.0),
            small: small as f64 / cells.len() as f64,
        })
    }

    /// The covariance of the differences from the expected counts, if each answer is drawn with the same shares.
    fn covariance(&self, seen: &[f64], share: &[f64]) -> Vec<f64> {
        let (k, size) = (self.options, self.options * self.options);
        let of_counts = |a: usize, b: usize| {
            let (i, j) = (a % k, b % k);
            let own = if a == b { share[i] * self.shown[a] } else { 0.0 };
            // An option is at one position, so two of its cells are never of one answer.
            own - share[i] * share[j] * self.together[a * size + b]
        };
        // The sums over the positions of the first option, of the second, and of both.
        let mut first = vec![0.0; k * size];
        for option in 0..k {
            for b in 0..size {
                first[option * size + b] = (0..k).map(|at| of_counts(at * k + option, b)).sum();
            }
        }
        let both = |i: usize, j: usize| (0..k).map(|at| first[i * size + at * k + j]).sum::<f64>();
        let both: Vec<f64> = (0..size).map(|pair| both(pair / k, pair % k)).collect();
        let part = |cell: usize| if seen[cell % k] > 0.0 { self.shown[cell] / seen[cell % k] } else { 0.0 };
        let entry = |a: usize, b: usize| {
            let (i, j) = (a % k, b % k);
            of_counts(a, b) - part(a) * first[i * size + b] - part(b) * first[j * size + a]
                + part(a) * part(b) * both[i * k + j]
        };
        (0..size * size).map(|pair| entry(pair / size, pair % size)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Stream, Streams};

    const REFERENCE: [[f64; 3]; 3] = [[30.0, 20.0, 10.0], [20.0, 20.0, 20.0], [10.0, 20.0, 30.0]];

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12 * expected.abs().max(1.0), "{found}, expected {expected}");
    }

    #[test]
    fn a_table_has_its_reference_values() {
        let table: Vec<Vec<f64>> = REFERENCE.iter().map(|row| row.to_vec()).collect();
        let found = independence(&table).unwrap();
        near(found.chi_square, 20.0);
        // The survival function of 4 degrees of freedom at 20 is 11 exp(-10): 4.994e-4.
        near(found.p, 11.0 * (-10f64).exp());
        near(found.cramers_v, (20.0f64 / 360.0).sqrt());
        assert_eq!((found.freedom, found.small), (4.0, 0.0));
        // scipy.stats.chi2_contingency([[2, 8, 0], [4, 1, 5]]): statistic 11.111, p 0.003866.
        let found = independence(&[vec![2.0, 8.0, 0.0], vec![4.0, 1.0, 5.0]]).unwrap();
        near(found.chi_square, 100.0 / 9.0);
        near(found.p, (-50.0f64 / 9.0).exp());
        near(found.small, 1.0);
        assert_eq!(independence(&[vec![3.0, 0.0], vec![5.0, 0.0]]), None, "one column");
        assert_eq!(independence(&[vec![0.0, 0.0], vec![5.0, 1.0]]), None, "one row");
        assert_eq!(independence(&[]), None);
    }

    /// Positions with these counts of choices by rotation of the options and option.
    fn rotated(table: [[f64; 3]; 3]) -> Positions {
        let mut positions = Positions::new(3);
        for (by, counts) in table.iter().enumerate() {
            let order: Vec<usize> = (0..3).map(|at| (at + by) % 3).collect();
            counts.iter().enumerate().for_each(|(option, count)| positions.add(&order, option, *count));
        }
        positions
    }

    #[test]
    fn rotated_orders_have_the_test_of_pearson() {
        let found = rotated(REFERENCE);
        assert_eq!((found.shown(2, 0), found.chosen(2, 0)), (60.0, 20.0));
        let found = found.test().unwrap();
        near(found.chi_square, 20.0);
        near(found.freedom, 4.0);
        near(found.p, 11.0 * (-10f64).exp());
        near(found.cramers_v, (20.0f64 / 360.0).sqrt());
    }

    #[test]
    fn who_takes_the_first_option_depends_on_nothing_else() {
        let found = rotated([[20.0, 0.0, 0.0], [0.0, 20.0, 0.0], [0.0, 0.0, 20.0]]).test().unwrap();
        near(found.cramers_v, 1.0);
        near(found.chi_square, 120.0);
        assert!(found.p < 1e-20, "{found:?}");
        let mut same = Positions::new(2);
        same.add(&[0, 1], 0, 5.0);
        same.add(&[0, 1], 1, 5.0);
        assert_eq!(same.test(), None, "one order");
        let mut same = Positions::new(2);
        same.add(&[0, 1], 0, 5.0);
        same.add(&[1, 0], 0, 5.0);
        assert_eq!(same.test(), None, "one option");
    }

    /// The p value of `n` answers with shares that do not depend on the order.
    fn p_value(stream: &mut Stream, n: u64, order: impl Fn(&mut Stream, u64) -> Vec<usize>, shares: &[f64]) -> f64 {
        let mut positions = Positions::new(shares.len());
        for number in 0..n {
            let order = order(stream, number);
            let mut left = stream.unit();
            let option = shares.iter().position(|share| {
                left -= share;
                left < 0.0
            });
            positions.add(&order, option.unwrap_or(0), 1.0);
        }
        positions.test().unwrap().p
    }

    /// The Kolmogorov-Smirnov distance of p values from the uniform distribution. With 200 values it is above 0.115 in 1 %
    /// of cases (Marsaglia, Tsang and Wang 2003, <https://doi.org/10.18637/jss.v008.i18>).
    fn distance(mut values: Vec<f64>) -> f64 {
        values.sort_unstable_by(f64::total_cmp);
        let n = values.len() as f64;
        let gap = |(i, p): (usize, &f64)| (p - i as f64 / n).abs().max((p - (i + 1) as f64 / n).abs());
        values.iter().enumerate().map(gap).fold(0.0, f64::max)
    }

    #[test]
    fn choices_without_an_order_effect_have_uniform_p_values() {
        let random = |stream: &mut Stream, _: u64| {
            let mut order: Vec<usize> = (0..4).collect();
            stream.shuffle(&mut order);
            order
        };
        let cyclic = |_: &mut Stream, number: u64| (0..4).map(|at| (at + number as usize) % 4).collect::<Vec<usize>>();
        let reversed = |stream: &mut Stream, _: u64| match stream.below(2) {
            0 => vec![0, 1, 2, 3],
            _ => vec![3, 2, 1, 0],
        };
        type Order<'a> = &'a dyn Fn(&mut Stream, u64) -> Vec<usize>;
        let orders: [(&str, Order<'_>); 3] = [("random", &random), ("cyclic", &cyclic), ("reversed", &reversed)];
        for (name, order) in orders {
            for (i, shares) in [[0.25; 4], [0.5, 0.25, 0.15, 0.1]].iter().enumerate() {
                let streams = Streams::new(1, &[name]);
                let values = (0..200).map(|seed| p_value(&mut streams.of(seed + 200 * i as u64), 400, order, shares));
                let distance = distance(values.collect());
                assert!(distance < 0.115, "{name}, {shares:?}: {distance}");
            }
        }
    }
}
