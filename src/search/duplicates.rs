//! Near duplicates: each vector or text that is like an earlier one, with the first of its group.
//!
//! Rows are taken in order. A row that is like no earlier first is a first. Any other row belongs to the first that it is
//! most like, so that a group does not grow along a chain of rows that are less and less alike.

use std::collections::HashMap;

use super::hit::Hit;
use super::vectors::{Nearest, Vectors};
use super::words::words;

/// Rows that are compared with the firsts before them together.
const BLOCK: usize = 512;

/// For each vector, the first that it duplicates, with a cosine similarity of at least `least`.
pub(crate) fn like_vectors(vectors: &Vectors, least: f64) -> Vec<Option<Hit>> {
    let (mut firsts, mut places) = (Vectors::default(), Vec::new());
    let mut found = Vec::with_capacity(vectors.len());
    for start in (0..vectors.len()).step_by(BLOCK) {
        let block = vectors.part(start..vectors.len().min(start + BLOCK));
        let none = vec![None; block.len()];
        let earlier = firsts.nearest(&block, Nearest { k: 1, least: Some(least), own: &none });
        let before = firsts.len();
        for (i, earlier) in earlier.into_iter().enumerate() {
            let mut best = earlier.first().map(|hit| Hit { place: places[hit.place], score: hit.score });
            for (first, place) in places.iter().enumerate().skip(before) {
                let score = firsts.similarity(first, &block, i);
                if score >= best.map_or(least, |best| best.score.next_up()) {
                    best = Some(Hit { place: *place, score });
                }
            }
            if best.is_none() {
                firsts.push_from(&block, i);
                places.push(start + i);
            }
            found.push(best);
        }
    }
    found
}

/// For each text, the first that it duplicates, with a Jaccard similarity of their shingles of at least `least`. A text
/// of fewer words than a shingle is one shingle, and so is one of other signs only; an empty text duplicates none.
pub(crate) fn like_texts(texts: &[Option<String>], size: usize, least: f64) -> Vec<Option<Hit>> {
    let sets = shingles(texts, size);
    // A text is posted under its rarest shingles only. Two texts that are alike share one of them (Chaudhuri, Ganti and
    // Kaushik 2006, <https://doi.org/10.1109/ICDE.2006.9>).
    let prefix = |set: &[u32]| set.len() - (least * set.len() as f64).ceil().min(set.len() as f64) as usize + 1;
    let mut posted: HashMap<u32, Vec<usize>> = HashMap::new();
    let mut found = Vec::with_capacity(sets.len());
    for (place, set) in sets.iter().enumerate() {
        let head = &set[..prefix(set).min(set.len())];
        let mut earlier: Vec<usize> =
            head.iter().filter_map(|shingle| posted.get(shingle)).flatten().copied().collect();
        earlier.sort_unstable();
        earlier.dedup();
        let mut best: Option<Hit> = None;
        for first in earlier {
            let score = jaccard(&sets[first], set);
            if score >= best.map_or(least, |best| best.score.next_up()) {
                best = Some(Hit { place: first, score });
            }
        }
        if best.is_none() {
            head.iter().for_each(|shingle| posted.entry(*shingle).or_default().push(place));
        }
        found.push(best);
    }
    found
}

/// The distinct shingles of each text as numbers, the rarest first, which is the same order in all texts.
fn shingles(texts: &[Option<String>], size: usize) -> Vec<Vec<u32>> {
    let mut numbers: HashMap<[u8; 16], u32> = HashMap::new();
    let mut counts: Vec<u32> = Vec::new();
    let mut sets: Vec<Vec<u32>> = Vec::with_capacity(texts.len());
    for text in texts {
        let text = text.as_deref().unwrap_or_default().trim();
        let mut words = words(text);
        if words.is_empty() && !text.is_empty() {
            words.push(text.to_owned());
        }
        let windows = words.windows(size.min(words.len()).max(1));
        let number = |window: &[String]| {
            let hash: [u8; 32] = blake3::hash(window.join(" ").as_bytes()).into();
            let next = numbers.len() as u32;
            *numbers.entry(hash[..16].try_into().expect("a hash has 32 bytes")).or_insert(next)
        };
        let mut set: Vec<u32> = windows.map(number).collect();
        set.sort_unstable();
        set.dedup();
        counts.resize(numbers.len(), 0);
        set.iter().for_each(|shingle| counts[*shingle as usize] += 1);
        sets.push(set);
    }
    sets.iter_mut().for_each(|set| set.sort_unstable_by_key(|shingle| (counts[*shingle as usize], *shingle)));
    sets
}

/// The shared shingles as a share of all shingles of both.
fn jaccard(a: &[u32], b: &[u32]) -> f64 {
    let mut sorted = a.to_vec();
    sorted.sort_unstable();
    let shared = b.iter().filter(|shingle| sorted.binary_search(shingle).is_ok()).count();
    shared as f64 / (a.len() + b.len() - shared).max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Compares each row with all firsts before it.
    fn reference(rows: usize, least: f64, similarity: impl Fn(usize, usize) -> f64) -> Vec<Option<Hit>> {
        let (mut firsts, mut found) = (Vec::new(), Vec::new());
        for row in 0..rows {
            let hits = firsts.iter().map(|first| Hit { place: *first, score: similarity(*first, row) });
            let mut hits: Vec<Hit> = hits.filter(|hit| hit.score >= least).collect();
            hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.place.cmp(&b.place)));
            if hits.is_empty() {
                firsts.push(row);
            }
            found.push(hits.first().copied());
        }
        found
    }

    #[test]
    fn equal_texts_without_words_are_duplicates() {
        let texts = ["!!!", "😀😀", " !!!", "😀", "", ""].map(|text| Some(text.to_owned()));
        let found: Vec<Option<usize>> =
            like_texts(&texts, 3, 1.0).iter().map(|hit| Some(hit.as_ref()?.place)).collect();
        assert_eq!(found, [None, None, Some(0), None, None, None]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn texts_are_those_of_comparing_all_pairs(
            texts in prop::collection::vec("[a-d]( [a-d]){0,7}|", 0..40), size in 1usize..4, least in 0.1f64..1.0,
        ) {
            let texts: Vec<Option<String>> = texts.into_iter().map(Some).collect();
            let sets: Vec<std::collections::BTreeSet<Vec<String>>> = texts.iter().map(|text| {
                let words = words(text.as_deref().unwrap_or_default());
                words.windows(size.min(words.len()).max(1)).map(<[String]>::to_vec).collect()
            }).collect();
            let similarity = |a: usize, b: usize| {
                let shared = sets[a].intersection(&sets[b]).count();
                shared as f64 / sets[a].union(&sets[b]).count().max(1) as f64
            };
            prop_assert_eq!(like_texts(&texts, size, least), reference(texts.len(), least, similarity));
        }

        #[test]
        fn vectors_are_those_of_comparing_all_pairs(
            rows in prop::collection::vec(prop::collection::vec(-3i8..4, 3), 0..60), least in 0.5f64..1.0,
        ) {
            let mut vectors = Vectors::default();
            for row in rows {
                let numbers: Vec<f32> = row.iter().map(|n| f32::from(*n)).collect();
                // A vector of zeros is refused.
                let _ = vectors.push(&numbers);
            }
            let found = like_vectors(&vectors, least);
            let similarity = |a: usize, b: usize| vectors.similarity(a, &vectors, b);
            prop_assert_eq!(found, reference(vectors.len(), least, similarity));
        }
    }

    #[test]
    fn a_group_does_not_grow_along_a_chain() {
        let texts = ["a b c d", "a b c e", "a b f e", "a b c d"].map(|text| Some(text.to_owned()));
        let found = like_texts(&texts, 1, 0.6);
        let places: Vec<Option<usize>> = found.iter().map(|hit| hit.map(|hit| hit.place)).collect();
        assert_eq!(places, [None, Some(0), None, Some(0)]);
        assert_eq!(found[3].map(|hit| hit.score), Some(1.0));
        assert_eq!(like_texts(&[None, None, Some(String::new())], 3, 0.5), [None, None, None]);
    }
}
