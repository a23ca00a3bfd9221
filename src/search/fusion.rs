//! Fusion: several rankings of the same rows as one, by reciprocal rank (Cormack, Clarke and Büttcher 2009,
//! <https://doi.org/10.1145/1571941.1572114>).

use std::collections::BTreeMap;

use super::hit::{Hit, keep_best};

/// The constant of the article: a row's score is the sum of 1 / (60 + rank) over the rankings that have it.
const RANKS: f64 = 60.0;

/// A row of the fused ranking, with its score in each of the rankings that have it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fused {
    pub(crate) place: usize,
    pub(crate) score: f64,
    pub(crate) scores: [Option<f64>; 2],
}

/// Returns the `k` best rows of both rankings. Each is in order, the best row first.
pub(crate) fn fused(rankings: [&[Hit]; 2], k: usize) -> Vec<Fused> {
    let mut scores: BTreeMap<usize, [Option<f64>; 2]> = BTreeMap::new();
    let mut sums: BTreeMap<usize, f64> = BTreeMap::new();
    for (i, ranking) in rankings.into_iter().enumerate() {
        for (rank, hit) in ranking.iter().enumerate() {
            scores.entry(hit.place).or_default()[i] = Some(hit.score);
            *sums.entry(hit.place).or_default() += 1.0 / (RANKS + rank as f64 + 1.0);
        }
    }
    let mut best: Vec<Hit> = sums.into_iter().map(|(place, score)| Hit { place, score }).collect();
    keep_best(&mut best, k);
    best.into_iter().map(|Hit { place, score }| Fused { place, score, scores: scores[&place] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_and_scores_do_not() {
        let hits = |hits: &[(usize, f64)]| -> Vec<Hit> {
            hits.iter().map(|(place, score)| Hit { place: *place, score: *score }).collect()
        };
        let (a, b) = (hits(&[(7, 0.9), (3, 0.2)]), hits(&[(3, 100.0), (5, 99.0), (7, 1.0)]));
        let found = fused([&a, &b], 3);
        let scores: Vec<(usize, f64)> = found.iter().map(|found| (found.place, found.score)).collect();
        assert_eq!(scores, [(3, 1.0 / 62.0 + 1.0 / 61.0), (7, 1.0 / 61.0 + 1.0 / 63.0), (5, 1.0 / 62.0)]);
        assert_eq!(found[0].scores, [Some(0.2), Some(100.0)]);
        assert_eq!(found[2].scores, [None, Some(99.0)]);
        let tied = fused([&hits(&[(9, 1.0)]), &hits(&[(2, 1.0)])], 1);
        assert_eq!(tied[0].place, 2, "equal scores keep the order of the rows");
    }
}
