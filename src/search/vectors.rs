//! Vectors: the nearest of many by cosine similarity, exactly.
//!
//! A block of queries is multiplied with a block of vectors in single precision, which is fast, and whose rounding
//! depends on the processor. What may be among the nearest by the bound of that rounding is computed again in double
//! precision, in an order that is the same everywhere. So the result is that of comparing all pairs.

use std::ops::Range;

use super::hit::{Hit, keep_best};
use crate::stats::in_parallel;

/// Queries and vectors of a block. Their products take 4 MiB.
const QUERIES: usize = 1024;
const BLOCK: usize = 1024;
/// Products that are compared with the limit at once.
const LANES: usize = 16;

/// Vectors of one length.
#[derive(Debug, Default)]
pub(crate) struct Vectors {
    width: usize,
    /// The vectors divided by their norms, one after the other.
    units: Vec<f32>,
    /// The norms of these, which are 1 apart from rounding.
    norms: Vec<f64>,
}

/// Why a vector can't be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VectorFault {
    /// It has another length than those before it.
    Length { found: usize, expected: usize },
    /// It contains a number that is not finite.
    NotFinite,
    /// All its numbers are zero, so that it has no direction.
    Zero,
}

/// What is searched for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nearest<'a> {
    /// The most vectors for each query.
    pub(crate) k: usize,
    /// The least similarity.
    pub(crate) least: Option<f64>,
    /// For each query, the place that it must not find.
    pub(crate) own: &'a [Option<usize>],
}

impl Vectors {
    pub(crate) fn len(&self) -> usize {
        self.norms.len()
    }

    /// The length of the vectors; 0 if there are none.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Adds a vector, which has the next place.
    pub(crate) fn push(&mut self, vector: &[f32]) -> Result<(), VectorFault> {
        if self.norms.is_empty() {
            self.width = vector.len();
        }
        if vector.len() != self.width {
            return Err(VectorFault::Length { found: vector.len(), expected: self.width });
        }
        if vector.iter().any(|number| !number.is_finite()) {
            return Err(VectorFault::NotFinite);
        }
        let norm = product(vector, vector).sqrt();
        if norm == 0.0 {
            return Err(VectorFault::Zero);
        }
        let first = self.units.len();
        self.units.extend(vector.iter().map(|number| (f64::from(*number) / norm) as f32));
        let unit = &self.units[first..];
        self.norms.push(product(unit, unit).sqrt());
        Ok(())
    }

    /// Returns the nearest of these vectors to each query, the nearest one first. All have the same length.
    pub(crate) fn nearest(&self, queries: &Vectors, wanted: Nearest<'_>) -> Vec<Vec<Hit>> {
        if self.norms.is_empty() || wanted.k == 0 {
            return vec![Vec::new(); queries.len()];
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let size = queries.len().div_ceil(threads).clamp(1, QUERIES);
        let blocks = in_parallel(queries.len().div_ceil(size), |block, _| {
            self.block(queries, block * size..queries.len().min((block + 1) * size), wanted)
        });
        blocks.into_iter().flatten().collect()
    }

    /// The vectors at these places.
    pub(super) fn part(&self, places: Range<usize>) -> Vectors {
        let units = self.view(places.clone()).to_vec();
        Vectors { width: self.width, units, norms: self.norms[places].to_vec() }
    }

    /// Adds a vector of `others`.
    pub(super) fn push_from(&mut self, others: &Vectors, place: usize) {
        self.width = others.width;
        self.units.extend_from_slice(others.unit(place));
        self.norms.push(others.norms[place]);
    }

    /// The cosine similarity of one of these vectors and one of `others`.
    pub(crate) fn similarity(&self, place: usize, others: &Vectors, other: usize) -> f64 {
        let cosine = product(self.unit(place), others.unit(other)) / (self.norms[place] * others.norms[other]);
        cosine.clamp(-1.0, 1.0)
    }

    fn unit(&self, place: usize) -> &[f32] {
        &self.units[place * self.width..][..self.width]
    }

    fn view(&self, places: Range<usize>) -> &[f32] {
        &self.units[places.start * self.width..places.end * self.width]
    }

    fn block(&self, queries: &Vectors, block: Range<usize>, wanted: Nearest<'_>) -> Vec<Vec<Hit>> {
        let candidates = |query| Candidates::new(self, queries, query, wanted);
        let mut found: Vec<Candidates<'_>> = block.clone().map(candidates).collect();
        let mut products = vec![0.0; BLOCK.min(self.len()) * block.len()];
        for first in (0..self.len()).step_by(BLOCK) {
            let places = first..self.len().min(first + BLOCK);
            let products = &mut products[..places.len() * block.len()];
            multiply(queries.view(block.clone()), self.view(places.clone()), self.width, products);
            let rows = products.chunks_exact(places.len());
            found.iter_mut().zip(rows).for_each(|(found, products)| found.look(first, products));
        }
        found.into_iter().map(Candidates::finish).collect()
    }
}

/// The vectors that may be among the nearest to a query.
struct Candidates<'a> {
    vectors: &'a Vectors,
    queries: &'a Vectors,
    query: usize,
    k: usize,
    least: f64,
    own: Option<usize>,
    /// No product in single precision is further from the similarity than this.
    slack: f32,
    /// Products below this are not among the nearest.
    limit: f32,
    /// Vectors with their products, which are not compared yet.
    new: Vec<(usize, f32)>,
    /// The nearest so far.
    nearest: Vec<Hit>,
}

impl<'a> Candidates<'a> {
    fn new(vectors: &'a Vectors, queries: &'a Vectors, query: usize, wanted: Nearest<'_>) -> Self {
        // A sum of n products of unit vectors is off by at most n units of rounding, in any order; twice as much is
        // allowed for.
        let slack = (vectors.width + 8) as f32 * f32::EPSILON;
        let least = wanted.least.unwrap_or(-1.0);
        let (k, own) = (wanted.k, wanted.own.get(query).copied().flatten());
        let (new, nearest) = (Vec::new(), Vec::new());
        Candidates { vectors, queries, query, k, least, own, slack, limit: least as f32 - slack, new, nearest }
    }

    /// Looks at the products with the vectors from place `first` on.
    fn look(&mut self, first: usize, products: &[f32]) {
        for (chunk, products) in products.chunks(LANES).enumerate() {
            let highest = products.iter().fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
            if highest < self.limit {
                continue;
            }
            for (i, product) in products.iter().enumerate().filter(|(_, product)| **product >= self.limit) {
                let place = first + chunk * LANES + i;
                if Some(place) != self.own {
                    self.new.push((place, *product));
                }
            }
            if self.new.len() >= 64.max(4 * self.k) {
                self.settle();
            }
        }
    }

    /// Compares the new vectors exactly, and raises the limit.
    fn settle(&mut self) {
        if self.new.len() > self.k {
            let (_, last, _) = self.new.select_nth_unstable_by(self.k - 1, |a, b| b.1.total_cmp(&a.1));
            let limit = last.1 - 2.0 * self.slack;
            self.new.retain(|(_, product)| *product >= limit);
        }
        let (vectors, queries, query) = (self.vectors, self.queries, self.query);
        let hit = |(place, _)| Hit { place, score: queries.similarity(query, vectors, place) };
        let least = self.least;
        self.nearest.extend(self.new.drain(..).map(hit).filter(|hit| hit.score >= least));
        keep_best(&mut self.nearest, self.k);
        if let Some(last) = self.nearest.get(self.k - 1) {
            self.limit = self.limit.max(last.score as f32 - self.slack);
        }
    }

    fn finish(mut self) -> Vec<Hit> {
        self.settle();
        self.nearest
    }
}

/// Writes the products of all `a` and all `b`, vectors of length `width`: for each of `a` those with `b` in order.
fn multiply(a: &[f32], b: &[f32], width: usize, products: &mut [f32]) {
    let (rows, columns) = (a.len() / width, b.len() / width);
    assert!(a.len() == rows * width && b.len() == columns * width && products.len() == rows * columns);
    let (stride, length) = (width as isize, columns as isize);
    // SAFETY: `a` is a matrix of `rows` times `width`, `b` the transpose of one of `width` times `columns`, and `products`
    // has a number for each row and column; the assertion above says that all lengths fit.
    unsafe {
        let (a, b, products) = (a.as_ptr(), b.as_ptr(), products.as_mut_ptr());
        matrixmultiply::sgemm(rows, width, columns, 1.0, a, stride, 1, b, 1, stride, 0.0, products, length, 1);
    }
}

/// The scalar product, summed in eight lanes: the same on every processor.
fn product(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0; 8];
    let (mut left, mut right) = (a.chunks_exact(8), b.chunks_exact(8));
    for (a, b) in left.by_ref().zip(right.by_ref()) {
        for i in 0..8 {
            sums[i] += f64::from(a[i]) * f64::from(b[i]);
        }
    }
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::Streams;

    fn vectors(all: &[Vec<f32>]) -> Vectors {
        let mut vectors = Vectors::default();
        all.iter().for_each(|vector| vectors.push(vector).unwrap());
        vectors
    }

    /// All pairs, compared in double precision.
    fn reference(all: &Vectors, queries: &Vectors, wanted: Nearest<'_>) -> Vec<Vec<(usize, f64)>> {
        let cosine = |query: usize, place: usize| {
            let (a, b) = (queries.unit(query), all.unit(place));
            let dot = |a: &[f32], b: &[f32]| product(a, b);
            (dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())).clamp(-1.0, 1.0)
        };
        let one = |query: usize| {
            let places = (0..all.len()).filter(|place| Some(*place) != wanted.own[query]);
            let mut hits: Vec<(usize, f64)> = places.map(|place| (place, cosine(query, place))).collect();
            hits.retain(|(_, score)| *score >= wanted.least.unwrap_or(-1.0));
            hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            hits.truncate(wanted.k);
            hits
        };
        (0..queries.len()).map(one).collect()
    }

    /// Random vectors, some of which are copies of others, or nearly.
    fn random(rows: usize, width: usize, seed: u64) -> Vec<Vec<f32>> {
        let streams = Streams::new(seed, &["vectors"]);
        let mut all: Vec<Vec<f32>> = Vec::new();
        for row in 0..rows {
            let mut stream = streams.of(row as u64);
            let mut vector: Vec<f32> = (0..width).map(|_| stream.unit() as f32 - 0.5).collect();
            let other = stream.below(rows as u64 * 2) as usize;
            if let Some(other) = all.get(other) {
                vector.clone_from(other);
                vector[0] += [0.0, 1e-6, 0.01][stream.below(3) as usize];
            }
            vector[width - 1] += 1.0;
            all.push(vector);
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_nearest_are_those_of_comparing_all_pairs(
            (rows, queries) in (1usize..1300, 1usize..20),
            width in 1usize..40,
            k in 1usize..30,
            least in prop_oneof![Just(None), (0.0f64..1.0).prop_map(Some)],
            seed in any::<u64>(),
        ) {
            let all = vectors(&random(rows, width, seed));
            let queries = vectors(&random(queries, width, seed ^ 1));
            let own: Vec<Option<usize>> = (0..queries.len()).map(|query| (query % 2 == 0).then_some(query)).collect();
            let wanted = Nearest { k, least, own: &own };
            let found = all.nearest(&queries, wanted);
            let found: Vec<Vec<(usize, f64)>> =
                found.iter().map(|hits| hits.iter().map(|hit| (hit.place, hit.score)).collect()).collect();
            prop_assert_eq!(found, reference(&all, &queries, wanted));
        }
    }

    #[test]
    fn equal_vectors_keep_their_order() {
        let all = vectors(&vec![vec![0.3, 0.1, 0.7]; 3000]);
        let places = |own: Option<usize>| {
            let query = vectors(&[vec![0.6, 0.2, 1.4]]);
            let found = all.nearest(&query, Nearest { k: 4, least: Some(1.0), own: &[own] });
            assert!(found[0].iter().all(|hit| hit.score == 1.0), "{found:?}");
            found[0].iter().map(|hit| hit.place).collect::<Vec<_>>()
        };
        assert_eq!(places(None), [0, 1, 2, 3]);
        assert_eq!(places(Some(1)), [0, 2, 3, 4]);
    }

    #[test]
    fn vectors_without_a_direction_are_refused() {
        let mut vectors = vectors(&[vec![1.0, 0.0]]);
        assert_eq!(vectors.push(&[1.0]), Err(VectorFault::Length { found: 1, expected: 2 }));
        assert_eq!(vectors.push(&[f32::NAN, 1.0]), Err(VectorFault::NotFinite));
        assert_eq!(vectors.push(&[f32::INFINITY, 1.0]), Err(VectorFault::NotFinite));
        assert_eq!(vectors.push(&[0.0, 0.0]), Err(VectorFault::Zero));
        assert_eq!(vectors.push(&[f32::MAX, f32::MAX]), Ok(()));
        assert_eq!(vectors.push(&[1e-45, 0.0]), Ok(()));
        assert_eq!((vectors.len(), vectors.width()), (3, 2));
        assert_eq!(vectors.similarity(0, &vectors, 2), 1.0);
        let found = vectors.nearest(&Vectors::default(), Nearest { k: 1, least: None, own: &[] });
        assert!(found.is_empty());
        let none = Vectors::default().nearest(&vectors, Nearest { k: 1, least: None, own: &[None; 3] });
        assert_eq!(none, vec![Vec::new(); 3]);
    }
}
