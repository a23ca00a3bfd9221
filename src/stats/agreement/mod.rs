//! Agreement of coders.

mod coders;
mod kappa;
mod masi;
mod ratings;
mod ratio;
mod scale;

pub(crate) use coders::{Codes, NO_CODE, View};
pub(crate) use kappa::{Distance, Pairs};
pub(crate) use masi::masi;
pub(crate) use ratings::{Chance, Ratings, Weighted};
pub(crate) use scale::Scale;

/// Cohen's kappa of a square table. `counts[i][j]` items are class `i` for one coder and class `j` for the other.
/// `None` without items, or if chance alone explains the agreement completely.
pub(crate) fn kappa(counts: &[Vec<u64>]) -> Option<f64> {
    let cells = (0..counts.len() as u32).flat_map(|i| (0..counts.len() as u32).map(move |j| (i, j)));
    let weights: Vec<f64> = counts.iter().flatten().map(|count| *count as f64).collect();
    Pairs::new(cells.collect(), counts.len()).kappa(&weights, Distance::Nominal)
}

/// Krippendorff's alpha for nominal values. `units` has the values of each item, one for each coder that judged it.
/// `None` if no two coders judged the same item, or if all values are equal.
pub(crate) fn alpha(units: &[Vec<usize>]) -> Option<f64> {
    let classes = units.iter().flatten().max().map_or(0, |most| most + 1);
    Ratings::of_units(Scale::Nominal, classes, units).weighted(&vec![1.0; units.len()]).alpha()
}

#[cfg(test)]
mod tests;
