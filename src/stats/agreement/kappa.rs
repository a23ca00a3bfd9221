//! Cohen's kappa of two coders.

use super::scale::centred;

/// The pairs of categories that two coders gave to units.
#[derive(Clone, Debug)]
pub(crate) struct Pairs {
    cells: Vec<(u32, u32)>,
    categories: usize,
}

/// How much a disagreement weighs. Categories have their values in ascending order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Distance<'a> {
    Nominal,
    Linear(&'a [f64]),
    Quadratic(&'a [f64]),
}

impl Distance<'_> {
    fn of(self, a: u32, b: u32) -> f64 {
        let (a, b) = (a as usize, b as usize);
        match self {
            Distance::Nominal => f64::from(u8::from(a != b)),
            Distance::Linear(values) => (values[a] - values[b]).abs(),
            Distance::Quadratic(values) => (values[a] - values[b]).powi(2),
        }
    }

    /// The sum of the distances of each category from all, weighted by `totals`.
    fn sums(self, totals: &[f64]) -> Vec<f64> {
        let all: f64 = totals.iter().sum();
        match self {
            Distance::Nominal => totals.iter().map(|total| all - total).collect(),
            Distance::Linear(values) => {
                let weighted: f64 = values.iter().zip(totals).map(|(value, total)| value * total).sum();
                let (mut below, mut below_weighted) = (0.0, 0.0);
                let sum = |(value, total): (&f64, &f64)| {
                    (below, below_weighted) = (below + total, below_weighted + value * total);
                    value * (2.0 * below - all) + weighted - 2.0 * below_weighted
                };
                values.iter().zip(totals).map(sum).collect()
            }
            Distance::Quadratic(values) => {
                let values: Vec<f64> = centred(values).collect();
                let moment = |power| values.iter().zip(totals).map(|(v, total)| v.powi(power) * total).sum::<f64>();
                let (first, second) = (moment(1), moment(2));
                values.iter().map(|value| value * value * all - 2.0 * value * first + second).collect()
            }
        }
    }
}

impl Pairs {
    pub(crate) fn new(cells: Vec<(u32, u32)>, categories: usize) -> Self {
        Pairs { cells, categories }
    }

    fn margins(&self, weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (mut rows, mut columns) = (vec![0.0; self.categories], vec![0.0; self.categories]);
        for ((a, b), weight) in self.cells.iter().zip(weights) {
            rows[*a as usize] += weight;
            columns[*b as usize] += weight;
        }
        (rows, columns)
    }

    /// The first (0) or the second (1) coder and its category, if it used only one. Kappa is then 0 whatever the codes of
    /// the other coder are.
    pub(crate) fn constant(&self, weights: &[f64]) -> Option<(usize, usize)> {
        let cells = self.cells.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
        let mut cells = cells.map(|((a, b), _)| [*a, *b]);
        let first = cells.next()?;
        let same =
            cells.fold([true, true], |same, cell| [0, 1].map(|coder| same[coder] && cell[coder] == first[coder]));
        (0..2).find(|coder| same[*coder]).map(|coder| (coder, first[coder] as usize))
    }

    /// Cohen's kappa. `weights` has the number of units of each cell. `None` without units, or if chance alone explains
    /// the agreement completely.
    ///
    /// J. Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20 (1960)
    /// 37-46; Weighted kappa, Psychological Bulletin 70 (1968) 213-220.
    pub(crate) fn kappa(&self, weights: &[f64], distance: Distance<'_>) -> Option<f64> {
        let (rows, columns) = self.margins(weights);
        let n: f64 = rows.iter().sum();
        let expected = distance.sums(&columns).iter().zip(&rows).map(|(sum, row)| sum * row).sum::<f64>() / n;
        let observed: f64 = self.cells.iter().zip(weights).map(|((a, b), w)| w * distance.of(*a, *b)).sum();
        let classes = rows.iter().zip(&columns).filter(|(row, column)| **row + **column > 0.0).count();
        (classes > 1 && expected > 0.0).then(|| 1.0 - observed / expected)
    }

    /// The standard error of kappa in large samples.
    ///
    /// J. L. Fleiss, J. Cohen and B. S. Everitt, Large sample standard errors of kappa and weighted kappa, Psychological
    /// Bulletin 72 (1969) 323-327.
    pub(crate) fn kappa_error(&self, weights: &[f64], distance: Distance<'_>) -> Option<f64> {
        let kappa = self.kappa(weights, distance)?;
        let (rows, columns) = self.margins(weights);
        let n: f64 = rows.iter().sum();
        let (of_rows, of_columns) = (distance.sums(&columns), distance.sums(&rows));
        let expected: f64 = of_rows.iter().zip(&rows).map(|(sum, row)| sum * row).sum::<f64>() / (n * n);
        let term = |(a, b): &(u32, u32)| {
            distance.of(*a, *b) - (of_rows[*a as usize] + of_columns[*b as usize]) / n * (1.0 - kappa)
        };
        let mean = self.cells.iter().zip(weights).map(|(cell, w)| w * term(cell)).sum::<f64>() / n;
        let squares: f64 = self.cells.iter().zip(weights).map(|(cell, w)| w * (term(cell) - mean).powi(2)).sum();
        Some((squares / n / n).sqrt() / expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 5e-7), "{found:?} {expected}");
    }

    #[test]
    fn kappa_has_its_published_values() {
        let table = Pairs::new(vec![(0, 0), (0, 1), (1, 0), (1, 1)], 2);
        near(table.kappa(&[20.0, 5.0, 10.0, 15.0], Distance::Nominal), 0.4);
        near(table.kappa_error(&[20.0, 5.0, 10.0, 15.0], Distance::Nominal), 0.126_995_6);
        let (a, b) = ([1, 2, 3, 3, 2, 1, 4, 1, 2], [1, 2, 3, 3, 2, 2, 4, 1, 2]);
        let nine = Pairs::new(a.iter().zip(&b).map(|(a, b)| (a - 1, b - 1)).collect(), 4);
        let values = [1.0, 2.0, 3.0, 4.0];
        near(nine.kappa(&[1.0; 9], Distance::Nominal), 0.844_828);
        near(nine.kappa(&[1.0; 9], Distance::Linear(&values)), 0.894_118);
        near(nine.kappa(&[1.0; 9], Distance::Quadratic(&values)), 0.939_597);
    }

    #[test]
    fn distances_are_summed_as_by_hand() {
        let (values, totals) = ([-1.0, 0.5, 2.0, 7.0], [2.0, 0.0, 3.5, 1.0]);
        for distance in [Distance::Nominal, Distance::Linear(&values), Distance::Quadratic(&values)] {
            for (a, sum) in distance.sums(&totals).into_iter().enumerate() {
                let by_hand: f64 = (0..4u32).map(|b| totals[b as usize] * distance.of(a as u32, b)).sum();
                assert!((sum - by_hand).abs() < 1e-12, "{distance:?} {a}: {sum} {by_hand}");
            }
        }
    }

    #[test]
    fn kappa_of_one_class_is_undefined() {
        let one = Pairs::new(vec![(0, 0)], 2);
        assert_eq!((one.kappa(&[3.0], Distance::Nominal), one.kappa(&[0.0], Distance::Nominal)), (None, None));
        assert_eq!(one.kappa_error(&[3.0], Distance::Nominal), None);
    }
}
