//! The codes of several coders, and views of them: all coders together, and each pair.

use std::borrow::Cow;
use std::collections::HashMap;

use super::kappa::Pairs;
use super::ratings::Ratings;
use super::scale::Scale;

/// The code of a unit that a coder did not code.
pub(crate) const NO_CODE: u32 = u32::MAX;

/// The codes of units by several coders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Codes {
    coders: usize,
    /// A code of each coder, unit after unit.
    codes: Vec<u32>,
    /// How many equal units each unit is.
    counts: Vec<u64>,
    /// The cluster of each unit, if clusters are drawn.
    clusters: Option<Vec<usize>>,
}

/// Some of the coders, with the categories that they use.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// For each unit of the codes, its place among the different units of the view. `NO_CODE` without a code. Empty if each
    /// unit has its number as its place.
    places: Vec<u32>,
    units: usize,
    /// The categories that are used, as codes.
    pub(crate) categories: Vec<usize>,
    pub(crate) ratings: Ratings,
    /// The pairs of codes, if there are two coders.
    pub(crate) pairs: Option<Pairs>,
    /// The places of the units that both coders coded.
    both: Vec<u32>,
}

impl Codes {
    pub(crate) fn new(coders: usize, clustered: bool) -> Self {
        Codes { coders, clusters: clustered.then(Vec::new), ..Codes::default() }
    }

    /// Adds a unit with a code, or [`NO_CODE`], of each coder.
    pub(crate) fn push(&mut self, codes: impl Iterator<Item = u32>, count: u64, cluster: usize) {
        self.codes.extend(codes);
        self.counts.push(count);
        if let Some(clusters) = &mut self.clusters {
            clusters.push(cluster);
        }
    }

    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }

    pub(crate) fn clusters(&self) -> Option<&[usize]> {
        self.clusters.as_deref()
    }

    fn unit(&self, unit: usize) -> &[u32] {
        &self.codes[unit * self.coders..(unit + 1) * self.coders]
    }

    /// Whether a coder has any code.
    pub(crate) fn has_codes(&self, coder: usize) -> bool {
        (0..self.counts.len()).any(|unit| self.unit(unit)[coder] != NO_CODE)
    }

    /// The same units with other codes.
    pub(crate) fn mapped(&self, code: impl Fn(usize) -> usize) -> Codes {
        let map = |old: &u32| if *old == NO_CODE { NO_CODE } else { code(*old as usize) as u32 };
        Codes { codes: self.codes.iter().map(map).collect(), ..self.clone() }
    }

    /// Merges equal units and sorts them, so that the order of the units does not matter.
    pub(crate) fn merged(self) -> Codes {
        let cluster = |unit: usize| self.clusters.as_ref().map_or(0, |clusters| clusters[unit]);
        let key = |unit: &u32| (self.unit(*unit as usize), cluster(*unit as usize));
        if (1..self.counts.len() as u32).all(|unit| key(&(unit - 1)) < key(&unit)) {
            return self;
        }
        let mut order: Vec<u32> = (0..self.counts.len() as u32).collect();
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        let mut merged = Codes::new(self.coders, self.clusters.is_some());
        for run in order.chunk_by(|a, b| key(a) == key(b)) {
            merged.codes.extend_from_slice(self.unit(run[0] as usize));
            merged.counts.push(run.iter().map(|unit| self.counts[*unit as usize]).sum());
            if let Some(clusters) = &mut merged.clusters {
                clusters.push(cluster(run[0] as usize));
            }
        }
        merged
    }

    /// The view of some coders. `scale` makes the scale of the categories that they use. `all` lists the categories if
    /// unused ones count too.
    pub(crate) fn view(&self, coders: &[usize], all: Option<usize>, scale: impl Fn(&[usize]) -> Scale) -> View {
        let categories: Vec<usize> = match all {
            Some(number) => (0..number).collect(),
            None => self.used(coders),
        };
        let mut numbers = vec![0; categories.last().map_or(0, |last| last + 1)];
        categories.iter().zip(0..).for_each(|(code, number)| numbers[*code] = number);
        let is_pair = coders.len() == 2;
        let mut keys: Vec<u32> = Vec::with_capacity(self.counts.len() * coders.len());
        (0..self.counts.len()).for_each(|unit| keys.extend(coders.iter().map(|coder| self.unit(unit)[*coder])));
        if !is_pair {
            keys.chunks_mut(coders.len()).for_each(<[u32]>::sort_unstable);
        }
        let key = |unit: usize| &keys[unit * coders.len()..(unit + 1) * coders.len()];
        let mut users = vec![0u8; numbers.len()];
        for code in keys.iter().filter(|code| **code != NO_CODE) {
            users[*code as usize] = users[*code as usize].saturating_add(1);
        }
        let (places, firsts) = places(self.counts.len(), key, &users);
        drop(users);
        let (mut codes, mut ends) = (Vec::with_capacity(keys.len()), Vec::with_capacity(firsts.len()));
        let (mut both, mut cells) = (Vec::new(), Vec::new());
        for (unit, first) in firsts.iter().enumerate() {
            let start = codes.len();
            codes.extend(
                key(*first as usize).iter().filter(|code| **code != NO_CODE).map(|code| numbers[*code as usize]),
            );
            ends.push(codes.len() as u32);
            if let ([a, b], true) = (&codes[start..], is_pair) {
                both.push(unit as u32);
                cells.push((*a, *b));
            }
        }
        drop((keys, numbers));
        View {
            places,
            units: firsts.len(),
            ratings: Ratings::new(scale(&categories), categories.len(), codes, &ends),
            pairs: is_pair.then(|| Pairs::new(cells, categories.len())),
            categories,
            both,
        }
    }

    fn used(&self, coders: &[usize]) -> Vec<usize> {
        let units = self.codes.chunks(self.coders);
        let codes =
            || units.clone().flat_map(|unit| coders.iter().map(|coder| unit[*coder]).filter(|code| *code != NO_CODE));
        let mut used = vec![false; codes().max().map_or(0, |last| last as usize + 1)];
        codes().for_each(|code| used[code as usize] = true);
        let mut categories = Vec::with_capacity(used.iter().filter(|is_used| **is_used).count());
        categories.extend((0..used.len()).filter(|code| used[*code]));
        categories
    }
}

/// The place of each unit among the different keys, in the order of their first units, and these first units. A unit
/// without a code has no place. `users` has the number of times that each code occurs.
fn places<'a>(units: usize, key: impl Fn(usize) -> &'a [u32], users: &[u8]) -> (Vec<u32>, Vec<u32>) {
    let (mut firsts, mut known) = (Vec::new(), HashMap::new());
    let place = |unit: usize| {
        let key = key(unit);
        let mut codes = key.iter().filter(|code| **code != NO_CODE).peekable();
        if codes.peek().is_none() {
            return NO_CODE;
        }
        let mut new = || {
            firsts.push(unit as u32);
            firsts.len() as u32 - 1
        };
        // No other unit is equal to one with a code that occurs once.
        if codes.any(|code| users[*code as usize] == 1) { new() } else { *known.entry(key).or_insert_with(new) }
    };
    let places: Vec<u32> = (0..units).map(place).collect();
    (if firsts.len() == units { Vec::new() } else { places }, firsts)
}

impl View {
    /// The number of different units.
    pub(crate) fn len(&self) -> usize {
        self.units
    }

    /// The weights of the view's units, from the weights of all units.
    pub(crate) fn weights<'a>(&self, weights: &'a [f64]) -> Cow<'a, [f64]> {
        if self.places.is_empty() {
            return Cow::Borrowed(weights);
        }
        let mut own = vec![0.0; self.units];
        for (place, weight) in self.places.iter().zip(weights).filter(|(place, _)| **place != NO_CODE) {
            own[*place as usize] += weight;
        }
        Cow::Owned(own)
    }

    /// The weights of the pairs, from the weights of the view's units.
    pub(crate) fn of_pairs(&self, own: &[f64]) -> Vec<f64> {
        self.both.iter().map(|unit| own[*unit as usize]).collect()
    }
}
