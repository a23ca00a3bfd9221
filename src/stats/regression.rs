//! Regressions: collinear predictors, least squares, logistic regression and the sandwich covariance.

use std::ops::Range;

use nalgebra::{Cholesky, DMatrix, DVector, RowDVector};

/// The most steps of Newton's method.
const STEPS: usize = 100;
/// A linear predictor this large is a probability of 0 or 1: the outcomes are separated.
const SEPARATED: f64 = 30.0;
/// A predictor is a combination of others if less than this part of it remains without them, as in R's `lm`.
const TOLERANCE: f64 = 1e-7;
/// Rows that are looked at together, so that no other matrix is as large as the predictors.
const BLOCK: usize = 1024;

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
    let x = triangle(x);
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

/// The triangular factor of `x`, whose columns have the same lengths and angles.
fn triangle(x: &DMatrix<f64>) -> DMatrix<f64> {
    let columns = x.ncols();
    let mut triangle = DMatrix::zeros(0, columns);
    for rows in blocks(x.nrows()) {
        let (before, own) = (triangle.nrows(), x.rows_range(rows));
        let mut stacked = triangle.resize_vertically(before + own.nrows(), 0.0);
        stacked.rows_mut(before, own.nrows()).copy_from(&own);
        triangle = if stacked.nrows() > columns { stacked.qr().r() } else { stacked };
    }
    triangle
}

fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(rows))
}

/// The sum of `x x'` with a weight of each row.
pub(crate) fn gram(x: &DMatrix<f64>, weight: impl Fn(usize) -> f64) -> DMatrix<f64> {
    let mut sum = DMatrix::zeros(x.ncols(), x.ncols());
    for rows in blocks(x.nrows()) {
        let own = x.rows_range(rows.clone());
        let weights = DVector::from_iterator(rows.len(), rows.map(&weight));
        for (j, column) in own.column_iter().enumerate() {
            let weighted = column.component_mul(&weights);
            (0..=j).for_each(|i| sum[(i, j)] += own.column(i).dot(&weighted));
        }
    }
    sum.fill_lower_triangle_with_upper_triangle();
    sum
}

/// The gradients of rows: multiples of the rows of `x`, less multiples of fixed rows. They are made block by block.
#[derive(Clone, Debug)]
pub(crate) struct Gradients<'a> {
    x: &'a DMatrix<f64>,
    factors: Vec<f64>,
    less: Vec<(&'a [f64], RowDVector<f64>)>,
}

impl<'a> Gradients<'a> {
    pub(crate) fn new(x: &'a DMatrix<f64>, factor: impl Fn(usize) -> f64) -> Self {
        Gradients { x, factors: (0..x.nrows()).map(factor).collect(), less: Vec::new() }
    }

    pub(crate) fn sum(&self) -> RowDVector<f64> {
        self.x.tr_mul(&DVector::from_column_slice(&self.factors)).transpose()
    }

    /// Subtracts the sum, in the proportions of `weights`, which sum to 1.
    pub(crate) fn centred(mut self, weights: &'a [f64]) -> Self {
        self.less.push((weights, self.sum()));
        self
    }

    /// These gradients and those of the same rows times `factor`.
    pub(crate) fn plus(mut self, other: &Self, factor: f64) -> Self {
        self.factors.iter_mut().zip(&other.factors).for_each(|(own, other)| *own += factor * other);
        self.less.extend(other.less.iter().map(|(weights, row)| (*weights, row * factor)));
        self
    }

    pub(crate) fn times(mut self, factor: f64) -> Self {
        self.factors.iter_mut().for_each(|own| *own *= factor);
        self.less.iter_mut().for_each(|(_, row)| *row *= factor);
        self
    }

    fn block(&self, rows: Range<usize>) -> DMatrix<f64> {
        let mut block = self.x.rows_range(rows.clone()).into_owned();
        for (j, mut column) in block.column_iter_mut().enumerate() {
            column.iter_mut().zip(&self.factors[rows.clone()]).for_each(|(cell, factor)| *cell *= factor);
            for (weights, row) in &self.less {
                column.iter_mut().zip(&weights[rows.clone()]).for_each(|(cell, weight)| *cell -= weight * row[j]);
            }
        }
        block
    }

    /// The sum of the products of both rows.
    pub(crate) fn product(&self, other: &Self) -> DMatrix<f64> {
        let mut sum = DMatrix::zeros(self.x.ncols(), self.x.ncols());
        blocks(self.x.nrows()).for_each(|rows| sum.gemm_tr(1.0, &self.block(rows.clone()), &other.block(rows), 1.0));
        sum
    }

    /// The sums of the rows of each cluster.
    fn by_cluster(&self, clusters: &[usize]) -> DMatrix<f64> {
        let groups = clusters.iter().max().map_or(0, |last| last + 1);
        let mut sums = DMatrix::zeros(groups, self.x.ncols());
        for rows in blocks(self.x.nrows()) {
            let (block, clusters) = (self.block(rows.clone()), &clusters[rows]);
            for (mut sums, column) in sums.column_iter_mut().zip(block.column_iter()) {
                column.iter().zip(clusters).for_each(|(cell, cluster)| sums[*cluster] += cell);
            }
        }
        sums
    }
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
        self.hessian_at(x, weights, &(x * coefficients))
    }

    fn hessian_at(self, x: &DMatrix<f64>, weights: &[f64], linear: &DVector<f64>) -> DMatrix<f64> {
        gram(x, |i| weights[i] * self.slope(self.mean(linear[i])))
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
            let mut step = solve(&self.hessian_at(x, weights, &linear), &gradient)?;
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

/// The sandwich covariance: `bread S'S bread`, where the rows of the gradients are summed by cluster first.
///
/// White, Econometrica 48 (1980) 817-838; Liang and Zeger, Biometrika 73 (1986) 13-22.
pub(crate) fn sandwich(bread: &DMatrix<f64>, gradients: &Gradients<'_>, clusters: Option<&[usize]>) -> DMatrix<f64> {
    let meat = match clusters {
        None => gradients.product(gradients),
        Some(clusters) => {
            let sums = gradients.by_cluster(clusters);
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
