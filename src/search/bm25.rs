//! BM25: how well texts fit the words of a query.
//!
//! The score of a text is the sum over the words of the query of
//!
//! ```text
//! ln(1 + (N - n + 0.5) / (n + 0.5)) * f * (k1 + 1) / (f + k1 * (1 - b + b * length / mean length))
//! ```
//!
//! for N texts, n of them with the word, and f times the word in the text (Robertson and Zaragoza 2009,
//! <https://doi.org/10.1561/1500000019>, with the inverse document frequency of Lucene, which is never negative). A word
//! that is in the query several times counts as often.

use std::collections::HashMap;

use super::hit::{Hit, keep_best};
use super::words::words;
use crate::stats::in_parallel;

const K1: f64 = 1.2;
const B: f64 = 0.75;
/// The queries that a thread takes at once.
const QUERIES: usize = 16;

/// The words of texts, for searches.
#[derive(Debug, Default)]
pub(crate) struct TextIndex {
    terms: HashMap<String, usize>,
    /// For each term, the texts that have it and how often, in order.
    places: Vec<Vec<(u32, u32)>>,
    /// The number of words of each text.
    lengths: Vec<u32>,
}

/// What a thread needs for a search.
#[derive(Default)]
struct Sums {
    /// For each text, its score so far.
    scores: Vec<f64>,
    /// The texts with a score.
    places: Vec<u32>,
}

impl TextIndex {
    /// Adds a text, which has the next place.
    pub(crate) fn push(&mut self, text: &str) {
        let place = self.lengths.len() as u32;
        let words = words(text);
        self.lengths.push(words.len() as u32);
        for word in words {
            let next = self.places.len();
            let term = *self.terms.entry(word).or_insert(next);
            if term == next {
                self.places.push(Vec::new());
            }
            match self.places[term].last_mut() {
                Some((last, count)) if *last == place => *count += 1,
                _ => self.places[term].push((place, 1)),
            }
        }
    }

    /// Returns the `k` best texts for each query, without those that have none of its words. `own` is the place that a
    /// query must not find.
    pub(crate) fn best(&self, queries: &[&str], own: &[Option<usize>], k: usize) -> Vec<Vec<Hit>> {
        let found = in_parallel(queries.len().div_ceil(QUERIES), |block, _| {
            let mut sums = Sums { scores: vec![0.0; self.lengths.len()], places: Vec::new() };
            let queries = queries.iter().zip(own).skip(block * QUERIES).take(QUERIES);
            queries.map(|(query, own)| self.search(query, *own, k, &mut sums)).collect::<Vec<_>>()
        });
        found.into_iter().flatten().collect()
    }

    fn search(&self, query: &str, own: Option<usize>, k: usize, sums: &mut Sums) -> Vec<Hit> {
        let texts = self.lengths.len() as f64;
        let mean = self.lengths.iter().map(|length| u64::from(*length)).sum::<u64>() as f64 / texts;
        for word in words(query) {
            let Some(places) = self.terms.get(&word).map(|term| &self.places[*term]) else { continue };
            let with = places.len() as f64;
            let rarity = (1.0 + (texts - with + 0.5) / (with + 0.5)).ln();
            for (place, count) in places {
                let (count, length) = (f64::from(*count), f64::from(self.lengths[*place as usize]));
                let score = rarity * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length / mean));
                let sum = &mut sums.scores[*place as usize];
                if *sum == 0.0 {
                    sums.places.push(*place);
                }
                *sum += score;
            }
        }
        let found = sums.places.drain(..).map(|place| place as usize);
        let mut hits: Vec<Hit> =
            found.map(|place| Hit { place, score: std::mem::take(&mut sums.scores[place]) }).collect();
        hits.retain(|hit| Some(hit.place) != own);
        keep_best(&mut hits, k);
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(texts: &[&str], query: &str) -> Vec<(usize, f64)> {
        let mut index = TextIndex::default();
        texts.iter().for_each(|text| index.push(text));
        index.best(&[query], &[None], texts.len())[0].iter().map(|hit| (hit.place, hit.score)).collect()
    }

    /// The example of the package `bm25` for Elixir, <https://hexdocs.pm/bm25/BM25.html>.
    #[test]
    fn the_published_scores_of_three_sentences() {
        let texts = ["BM25 is a ranking function", "used by search engines", "to rank matching documents"];
        let found = found(&texts, "ranking search function");
        assert_eq!(found.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 1]);
        for ((_, score), published) in found.iter().zip([1.8455076734299591, 1.0126973514850315]) {
            assert!((score - published).abs() < 1e-12, "{score}");
        }
    }

    /// The example of Elasticsearch 6 for its explain API: five texts with 5.4 words on average, of which one text of
    /// four words has the word once. Its parts are the inverse document frequency 1.3862944 and the frequency 1.1186441.
    #[test]
    fn the_published_score_of_elasticsearch() {
        let texts = ["trying out elasticsearch today", "a b c d e f", "a b c d e f", "a b c d e f", "a b c d e"];
        let found = found(&texts, "Elasticsearch");
        assert_eq!(found.len(), 1);
        assert!((found[0].1 - 1.55077).abs() < 1e-5, "{found:?}");
        assert!((found[0].1 - 1.3862944 * 1.1186441).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn words_of_the_query_count_as_often_as_they_occur() {
        let texts = ["war and peace", "peace", "trade"];
        let (once, twice) = (found(&texts, "war peace"), found(&texts, "war war peace"));
        let (war, peace) = (found(&texts, "war"), found(&texts, "peace"));
        assert_eq!(once[0].1, war[0].1 + peace.iter().find(|(place, _)| *place == 0).unwrap().1);
        assert_eq!(twice[0].1 - once[0].1, war[0].1);
        assert_eq!(found(&texts, "trade trade"), [(2, 2.0 * found(&texts, "trade")[0].1)]);
        assert_eq!(found(&texts, "railway"), []);
        assert_eq!(found(&texts, ""), []);
    }

    #[test]
    fn equal_scores_keep_the_order_and_the_own_text_is_left_out() {
        let mut index = TextIndex::default();
        (0..40).for_each(|_| index.push("the same words"));
        let places = |own: Option<usize>| -> Vec<usize> {
            let queries = vec!["same"; 50];
            let all = index.best(&queries, &vec![own; 50], 3);
            assert!(all.iter().all(|hits| *hits == all[0]), "a search leaves nothing behind");
            all[0].iter().map(|hit| hit.place).collect()
        };
        assert_eq!(places(None), [0, 1, 2]);
        assert_eq!(places(Some(1)), [0, 2, 3]);
    }
}
