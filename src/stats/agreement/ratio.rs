//! The differences of ratios `((a - b) / (a + b))^2` of all pairs of values, without comparing each with each.
//!
//! On the scale of logarithms the difference is `tanh^2(d / 2)` of the distance `d`. The scale is cut into panels, and
//! for two panels the function is a sum of products of Chebyshev polynomials (Fong and Darve, The black-box fast
//! multipole method, 2009, <https://doi.org/10.1016/j.jcp.2009.08.031>), exact up to rounding.

use std::array::from_fn;

/// The number of polynomials.
const ORDER: usize = 8;
/// The widest panel. Polynomials of this order are exact up to rounding on it.
const WIDTH: f64 = 0.125;
/// Panels that are further apart differ by 1.
const NEAR: usize = 320;

/// A number for each polynomial.
type Series = [f64; ORDER];

/// Values from 0, in ascending order.
#[derive(Clone, Debug)]
pub(super) struct Ratios {
    /// Whether the first value is 0, which differs by 1 from all others.
    zero: bool,
    /// The other values, from -1 to 1 in their panel.
    places: Vec<f64>,
    /// Where the values of each panel end in `places`.
    ends: Vec<usize>,
    /// The products for two panels by how many panels they are apart.
    kernels: Vec<[Series; ORDER]>,
}

impl Ratios {
    pub(super) fn new(values: &[f64]) -> Self {
        let zero = values.first() == Some(&0.0);
        let logs: Vec<f64> = values[usize::from(zero)..].iter().map(|value| value.ln()).collect();
        let (first, last) = (logs.first().copied().unwrap_or(0.0), logs.last().copied().unwrap_or(0.0));
        let panels = ((last - first) / WIDTH).ceil().max(1.0);
        let width = if last > first { (last - first) / panels } else { WIDTH };
        let panel = |log: f64| ((log - first) / width).floor().min(panels - 1.0);
        let mut ends = vec![0; panels as usize];
        logs.iter().for_each(|log| ends[panel(*log) as usize] += 1);
        let mut end = 0;
        ends.iter_mut().for_each(|number| {
            end += *number;
            *number = end;
        });
        let place = |log: &f64| 2.0 * ((log - first) / width - panel(*log)) - 1.0;
        let kernels = (0..ends.len().min(NEAR + 1)).map(|apart| kernel(apart as f64 * width, width / 2.0)).collect();
        Ratios { zero, places: logs.iter().map(place).collect(), ends, kernels }
    }

    /// The sum of the differences of all pairs, weighted by `totals`.
    pub(super) fn expected(&self, totals: &[f64]) -> f64 {
        // Exactly 0, not only nearly, if all weight is on one value.
        if totals.iter().filter(|total| **total > 0.0).nth(1).is_none() {
            return 0.0;
        }
        let (zero, moments) = self.moments(totals);
        let filled = filled(&moments);
        let near = filled.iter().map(|panel| dot(&moments[*panel], &self.local(*panel, &moments, &filled)));
        2.0 * zero * moments.iter().map(|moments| moments[0]).sum::<f64>() + near.sum::<f64>()
    }

    /// The sum of the differences of each value from all, weighted by `totals`.
    pub(super) fn sums(&self, totals: &[f64]) -> Vec<f64> {
        let (zero, moments) = self.moments(totals);
        let from_zero = self.zero.then(|| moments.iter().map(|moments| moments[0]).sum());
        let filled = filled(&moments);
        let mut start = 0;
        let panels = self.ends.iter().enumerate().flat_map(|(panel, end)| {
            let places = &self.places[start..*end];
            start = *end;
            let local = if places.is_empty() { [0.0; ORDER] } else { self.local(panel, &moments, &filled) };
            places.iter().map(move |place| zero + dot(&chebyshev(*place), &local))
        });
        from_zero.into_iter().chain(panels).collect()
    }

    /// The weight of 0, and for each panel the weighted sums of the polynomials.
    fn moments(&self, totals: &[f64]) -> (f64, Vec<Series>) {
        let (zero, totals) = totals.split_at(usize::from(self.zero));
        let mut start = 0;
        let panels = self.ends.iter().map(|end| {
            let mut sums = [0.0; ORDER];
            for (place, total) in self.places[start..*end].iter().zip(&totals[start..*end]) {
                let values = chebyshev(*place);
                (0..ORDER).for_each(|k| sums[k] += total * values[k]);
            }
            start = *end;
            sums
        });
        (zero.iter().sum(), panels.collect())
    }

    /// The polynomials whose sum is the difference from all weighted values above 0, for a value in this panel.
    fn local(&self, panel: usize, moments: &[Series], filled: &[usize]) -> Series {
        let mut local = [0.0; ORDER];
        for other in filled {
            let moments = &moments[*other];
            match self.kernels.get(panel.abs_diff(*other)) {
                Some(kernel) if *other >= panel => (0..ORDER).for_each(|k| local[k] += dot(&kernel[k], moments)),
                Some(kernel) => {
                    (0..ORDER).for_each(|k| local[k] += (0..ORDER).map(|l| kernel[l][k] * moments[l]).sum::<f64>());
                }
                None => local[0] += moments[0],
            }
        }
        local
    }
}

/// The panels with a weight.
fn filled(moments: &[Series]) -> Vec<usize> {
    (0..moments.len()).filter(|panel| moments[*panel][0] > 0.0).collect()
}

/// The products for two panels whose middles are `apart` and whose half width is `half`.
fn kernel(apart: f64, half: f64) -> [Series; ORDER] {
    let angle = |node: usize| (node as f64 + 0.5) * std::f64::consts::PI / ORDER as f64;
    let nodes: [Series; ORDER] = from_fn(|node| chebyshev(angle(node).cos()));
    let scale = |k: usize| if k == 0 { 1.0 } else { 2.0 } / ORDER as f64;
    let difference = |a: usize, b: usize| ((apart + half * (nodes[b][1] - nodes[a][1])) / 2.0).tanh().powi(2);
    let rows: [Series; ORDER] =
        from_fn(|a| from_fn(|l| scale(l) * (0..ORDER).map(|b| difference(a, b) * nodes[b][l]).sum::<f64>()));
    from_fn(|k| from_fn(|l| scale(k) * (0..ORDER).map(|a| rows[a][l] * nodes[a][k]).sum::<f64>()))
}

/// The Chebyshev polynomials at `x`.
fn chebyshev(x: f64) -> Series {
    let mut values = [1.0; ORDER];
    values[1] = x;
    for k in 2..ORDER {
        values[k] = 2.0 * x * values[k - 1] - values[k - 2];
    }
    values
}

fn dot(a: &Series, b: &Series) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::super::scale::Scale;
    use super::*;

    #[test]
    fn all_pairs_are_compared_as_one_by_one() {
        let spread = |i: i32| f64::from(i * i % 97) + 0.25;
        let mut many: Vec<f64> =
            (0..90).map(|i| spread(i).powi(3)).chain([0.0, 1e-9, 1e12, f64::MAX, 5e-324]).collect();
        many.sort_by(f64::total_cmp);
        many.dedup();
        let years = (0..40).map(|year| 1990.0 + f64::from(year) / 7.0).collect();
        for values in [many, years, vec![3.0], vec![0.0], vec![0.0, 2.0], vec![1.0, 1e9, 1e30]] {
            let totals: Vec<f64> = (0..values.len()).map(|i| (i % 5) as f64).collect();
            let (ratios, scale) = (Ratios::new(&values), Scale::Ratio(values.clone()));
            let sum = |a: usize| (0..values.len()).map(|b| totals[b] * scale.difference(a, b)).sum::<f64>();
            let by_hand: Vec<f64> = (0..values.len()).map(sum).collect();
            let expected: f64 = by_hand.iter().zip(&totals).map(|(sum, total)| sum * total).sum();
            let found = ratios.expected(&totals);
            assert!((found - expected).abs() <= 1e-12 * expected, "{values:?}: {found} {expected}");
            for (found, by_hand) in ratios.sums(&totals).into_iter().zip(by_hand) {
                assert!((found - by_hand).abs() <= 1e-12 * expected.max(1.0), "{values:?}: {found} {by_hand}");
            }
        }
    }
}
