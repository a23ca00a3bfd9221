//! Scales of codes: how far apart two categories are.

/// The scale of the categories, which are numbered in their order from 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scale {
    Nominal,
    Ordinal,
    /// The value of each category.
    Interval(Vec<f64>),
    Ratio(Vec<f64>),
    /// A distance for each pair of categories, such as MASI.
    Distances(Vec<Vec<f64>>),
}

impl Scale {
    /// The difference of two categories in Krippendorff's alpha, already squared. 0 for ordinal categories, whose
    /// differences depend on the other codes.
    pub(super) fn difference(&self, a: usize, b: usize) -> f64 {
        match self {
            Scale::Nominal => f64::from(u8::from(a != b)),
            Scale::Ordinal => 0.0,
            Scale::Interval(values) => (values[a] - values[b]).powi(2),
            Scale::Ratio(values) => relative(values[a], values[b]).powi(2),
            Scale::Distances(distances) => distances[a][b],
        }
    }

    /// How similar two of `q` categories are, from 0 to 1: the ordinal, quadratic and ratio weights of Gwet (Handbook
    /// of Inter-Rater Reliability, 4th edition 2014, section 3.5).
    pub(super) fn similarity(&self, q: usize, a: usize, b: usize) -> f64 {
        let ends = |values: &[f64]| (values[0], values[q - 1]);
        let apart = match self {
            _ if a == b => 0.0,
            Scale::Nominal | Scale::Distances(_) => 1.0,
            Scale::Ordinal => steps(a.abs_diff(b)) / steps(q - 1),
            Scale::Interval(values) => {
                let (first, last) = ends(values);
                ((values[a] - values[b]) / (last - first)).powi(2)
            }
            Scale::Ratio(values) => {
                let (first, last) = ends(values);
                (relative(values[a], values[b]) / relative(first, last)).powi(2)
            }
        };
        1.0 - apart
    }

    /// The sum of the similarities of all pairs of `q` categories.
    pub(super) fn total_similarity(&self, q: usize) -> f64 {
        let row = |a: usize| (0..q).map(|b| self.similarity(q, a, b)).sum::<f64>();
        match self {
            Scale::Nominal | Scale::Distances(_) => q as f64,
            Scale::Interval(values) if q > 1 => {
                let (sum, squares) = centred(values).fold((0.0, 0.0), |(sum, squares), v| (sum + v, squares + v * v));
                let all = (q * q) as f64;
                all - 2.0 * (q as f64 * squares - sum * sum) / (values[q - 1] - values[0]).powi(2)
            }
            Scale::Ordinal if q > 1 => {
                // Two categories are `apart` for 2 (q - apart) pairs.
                let pairs = |apart: usize| 2.0 * (q - apart) as f64 * steps(apart);
                (q * q) as f64 - (1..q).map(pairs).sum::<f64>() / steps(q - 1)
            }
            _ => (0..q).map(row).sum(),
        }
    }
}

/// The values less their mean, so that squares lose no digits.
pub(super) fn centred(values: &[f64]) -> impl Iterator<Item = f64> {
    let mean = mean(values);
    values.iter().map(move |value| value - mean)
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn steps(apart: usize) -> f64 {
    (apart * (apart + 1) / 2) as f64
}

fn relative(a: f64, b: f64) -> f64 {
    if a == b { 0.0 } else { (a - b) / (a + b) }
}
