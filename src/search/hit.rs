//! Hits: what a search finds, and which of them are the best.

/// A found vector or text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hit {
    /// Its place among those that are searched, from 0.
    pub(crate) place: usize,
    pub(crate) score: f64,
}

/// Keeps the `k` best hits in order: the highest score first, then the first place.
pub(super) fn keep_best(hits: &mut Vec<Hit>, k: usize) {
    let order = |a: &Hit, b: &Hit| b.score.total_cmp(&a.score).then(a.place.cmp(&b.place));
    if hits.len() > k && k > 0 {
        hits.select_nth_unstable_by(k - 1, order);
    }
    hits.truncate(k);
    hits.sort_unstable_by(order);
}
