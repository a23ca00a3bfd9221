//! Regressions: collinear predictors, least squares, logistic regression and the sandwich covariance.

use nalgebra::{Cholesky, DMatrix, DVector};

/// The most steps of Newton's method.
const STEPS: usize = 100;
/// A linear predictor this large is a probability of 0 or 1: the outcomes are separated.
const SEPARATED: f64 = 30.0;
/// A predictor is a combination of others if less than this part of it remains without them, as in R's `lm`.
const TOLERANCE: f64 = 1e-7;

/// A column of a matrix that is a combination of others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Collinear {
    pub(crate) column: usize,
    /// The earlier columns of the combination; none for a column of zeros.
    pub(crate) of: Vec<usize>,
}

/// Returns the first column that is a linear combination of earlier columns (modified Gram-Schmidt; Golub and Van Loan,
/// Matrix Computations (2013), section 5.2).
pub(crate) fn collinear(x: &DMatrix<f64>) -> Option<Collinear> {
    let mut basis: Vec<DVector<f64>> = Vec::new();
    for column in 0..x.ncols() {
        let own = x.column(column).into_owned();
        let mut rest = own.clone();
        for _ in 0..2 {
            for other in &basis {
                let along = other.dot(&rest);
                rest.axpy(-along, other, 1.0);
            }
        }
        let norm = rest.norm();
        if norm <= TOLERANCE * own.norm() {
            let before = x.columns(0, column).into_owned();
            let weights = solve(&before.tr_mul(&before), &before.tr_mul(&own))?;
            let share = |i: &usize| weights[*i].abs() * x.column(*i).norm() > 1e-6 * own.norm();
            return Some(Collinear { column, of: (0..column).filter(share).collect() });
        }
        basis.push(rest / norm);
    }
    None
}

fn solve(square: &DMatrix<f64>, right: &DVector<f64>) -> Option<DVector<f64>> {
    Some(Cholesky::new(square.clone())?.solve(right))
}

/// The inverse of a symmetric positive definite matrix.
pub(crate) fn inverse(square: DMatrix<f64>) -> Option<DMatrix<f64>> {
    Some(Cholesky::new(square)?.inverse())
}

/// The form of the expected outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Identity,
    Logit,
}

impl Link {
    /// The expected outcome of a linear predictor.
    pub(crate) fn mean(self, linear: f64) -> f64 {
        match self {
            Link::Identity => linear,
            Link::Logit => 1.0 / (1.0 + (-linear).exp()),
        }
    }

    /// The derivative of [`Link::mean`], from the mean.
    fn slope(self, mean: f64) -> f64 {
        match self {
            Link::Identity => 1.0,
            Link::Logit => mean * (1.0 - mean),
        }
    }

    /// The sum of `x x'` with a weight of each row and the slope at `coefficients`: the Hessian of the loss.
    pub(crate) fn hessian(self, x: &DMatrix<f64>, weights: &[f64], coefficients: &DVector<f64>) -> DMatrix<f64> {
        let linear = x * coefficients;
        let mut weighted = x.clone();
        for (i, mut row) in weighted.row_iter_mut().enumerate() {
            row *= weights[i] * self.slope(self.mean(linear[i]));
        }
        x.tr_mul(&weighted)
    }

    /// Returns the coefficients for which the sum of `x (target - weight * mean)` is 0: the weighted regression of
    /// `target / weight`. `None` if there are none, or without a limit: the outcomes are then separated.
    pub(crate) fn fit(self, x: &DMatrix<f64>, targets: &[f64], weights: &[f64]) -> Option<DVector<f64>> {
        let targets = DVector::from_column_slice(targets);
        let mut coefficients = DVector::zeros(x.ncols());
        if self == Link::Identity {
            return solve(&self.hessian(x, weights, &coefficients), &x.tr_mul(&targets));
        }
        // The loss, whose gradient is minus that sum. It is convex, since weights are not negative.
        let loss = |linear: &DVector<f64>| -> f64 {
            let one = |i: usize| weights[i] * softplus(linear[i]) - targets[i] * linear[i];
            (0..linear.len()).map(one).sum()
        };
        let mut linear = x * &coefficients;
        let mut now = loss(&linear);
        let scale: f64 = weights.iter().sum();
        let mut last_gain = f64::INFINITY;
        for _ in 0..STEPS {
            let residual = DVector::from_fn(linear.len(), |i, _| targets[i] - weights[i] * self.mean(linear[i]));
            let gradient = x.tr_mul(&residual);
            let mut step = solve(&self.hessian(x, weights, &coefficients), &gradient)?;
            let gain = step.dot(&gradient);
            // Near the end the loss is rounded too much to be compared, and steps shrink until only rounding is left.
            let is_near = gain <= 1e-9 * (1.0 + now.abs());
            if gain <= 1e-22 * scale || is_near && gain >= last_gain {
                return Some(coefficients + step);
            }
            last_gain = gain;
            (coefficients, linear, now) = loop {
                let next = &coefficients + &step;
                let along = x * &next;
                let then = loss(&along);
                if then <= now || is_near || step.norm() <= 1e-12 * (1.0 + coefficients.norm()) {
                    break (next, along, then);
                }
                step *= 0.5;
            };
            if linear.amax() > SEPARATED {
                return None;
            }
        }
        None
    }
}

/// The logarithm of `1 + exp(x)`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The sandwich covariance: `bread S'S bread`, where the rows of `scores` are summed by cluster first.
///
/// White, Econometrica 48 (1980) 817-838; Liang and Zeger, Biometrika 73 (1986) 13-22.
pub(crate) fn sandwich(bread: &DMatrix<f64>, scores: &DMatrix<f64>, clusters: Option<&[usize]>) -> DMatrix<f64> {
    let meat = match clusters {
        None => scores.tr_mul(scores),
        Some(clusters) => {
            let groups = clusters.iter().max().map_or(0, |last| last + 1);
            let mut sums = DMatrix::zeros(groups, scores.ncols());
            for (i, row) in scores.row_iter().enumerate() {
                let mut sum = sums.row_mut(clusters[i]);
                sum += row;
            }
            sums.tr_mul(&sums)
        }
    };
    bread * meat * bread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collinear_columns_are_named_with_the_columns_that_make_them() {
        let x = |columns: &[&[f64]]| DMatrix::from_fn(5, columns.len(), |i, j| columns[j][i]);
        let (one, year) = ([1.0; 5], [1901.0, 1902.0, 1903.0, 1905.0, 1908.0]);
        let (party, other) = ([0.0, 1.0, 0.0, 1.0, 1.0], [1.0, 0.0, 1.0, 0.0, 0.0]);
        let squared = year.map(|year| year * year);
        let decade = year.map(|year| (year - 1900.0) / 10.0);
        assert_eq!(collinear(&x(&[&one, &year, &party, &squared])), None);
        let found = |columns: &[&[f64]]| collinear(&x(columns)).map(|c| (c.column, c.of));
        assert_eq!(found(&[&one, &year, &party, &decade]), Some((3, vec![0, 1])));
        assert_eq!(found(&[&one, &party, &other]), Some((2, vec![0, 1])));
        assert_eq!(found(&[&one, &[0.0; 5]]), Some((1, vec![])));
        assert_eq!(found(&[&one, &[7.0; 5]]), Some((1, vec![0])));
    }

    #[test]
    fn a_logit_of_separated_outcomes_has_no_coefficients() {
        let x = DMatrix::from_fn(6, 2, |i, j| if j == 0 { 1.0 } else { i as f64 });
        let fit = |y: [f64; 6]| Link::Logit.fit(&x, &y, &[1.0; 6]);
        assert_eq!(fit([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]), None);
        assert_eq!(fit([1.0; 6]), None);
        assert!(fit([0.0, 1.0, 0.0, 1.0, 0.0, 1.0]).is_some());
        // Numbers that are large beside their differences have coefficients too.
        let years = DMatrix::from_fn(400, 2, |i, j| if j == 0 { 1.0 } else { 1e6 + (i % 50) as f64 });
        let y: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i * 7 % 50 < i % 50))).collect();
        assert!(Link::Logit.fit(&years, &y, &[1.0; 400]).is_some());
        // The group of the last three has one outcome.
        let x = DMatrix::from_fn(6, 2, |i, j| f64::from(u8::from(j == 0 || i > 2)));
        assert_eq!(Link::Logit.fit(&x, &[0.0, 1.0, 0.0, 1.0, 1.0, 1.0], &[1.0; 6]), None);
    }
}
