//! The codes of several coders, and views of them: all coders together, and each pair.

use std::collections::BTreeMap;

use super::kappa::Pairs;
use super::ratings::Ratings;
use super::scale::Scale;

/// The code of a unit that a coder did not code.
const NONE: u32 = u32::MAX;

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
    /// For each unit of the codes, its place among the different units of the view. `NONE` without a code.
    places: Vec<u32>,
    units: usize,
    /// The categories that are used, as codes.
    pub(crate) categories: Vec<usize>,
    pub(crate) ratings: Ratings,
    /// The pairs of codes, if there are two coders.
    pub(crate) pairs: Option<Pairs>,
    /// The places of the units that both coders coded.
    both: Vec<usize>,
}

impl Codes {
    pub(crate) fn new(coders: usize, clustered: bool) -> Self {
        Codes { coders, clusters: clustered.then(Vec::new), ..Codes::default() }
    }

    pub(crate) fn push(&mut self, codes: impl Iterator<Item = Option<usize>>, count: u64, cluster: usize) {
        self.codes.extend(codes.map(|code| code.map_or(NONE, |code| code as u32)));
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
        (0..self.counts.len()).any(|unit| self.unit(unit)[coder] != NONE)
    }

    /// The same units with other codes.
    pub(crate) fn mapped(&self, code: impl Fn(usize) -> usize) -> Codes {
        let map = |old: &u32| if *old == NONE { NONE } else { code(*old as usize) as u32 };
        Codes { codes: self.codes.iter().map(map).collect(), ..self.clone() }
    }

    /// Merges equal units and sorts them, so that the order of the units does not matter.
    pub(crate) fn merged(self) -> Codes {
        let cluster = |unit: usize| self.clusters.as_ref().map_or(0, |clusters| clusters[unit]);
        let key = |unit: &usize| (self.unit(*unit), cluster(*unit));
        let mut order: Vec<usize> = (0..self.counts.len()).collect();
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        let mut merged = Codes::new(self.coders, self.clusters.is_some());
        for run in order.chunk_by(|a, b| key(a) == key(b)) {
            merged.codes.extend_from_slice(self.unit(run[0]));
            merged.counts.push(run.iter().map(|unit| self.counts[*unit]).sum());
            if let Some(clusters) = &mut merged.clusters {
                clusters.push(cluster(run[0]));
            }
        }
        merged
    }

    /// The view of some coders. `scale` makes the scale of the categories that they use. `all` lists the categories if
    /// unused ones count too.
    pub(crate) fn view(&self, coders: &[usize], all: Option<usize>, scale: impl Fn(&[usize]) -> Scale) -> View {
        let categories = match all {
            Some(number) => (0..number).collect(),
            None => self.used(coders),
        };
        let place = |code: u32| categories.binary_search(&(code as usize)).unwrap_or_default();
        let is_pair = coders.len() == 2;
        let mut known: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        let mut key = Vec::new();
        let mut places = Vec::with_capacity(self.counts.len());
        for unit in 0..self.counts.len() {
            key.clear();
            key.extend(coders.iter().map(|coder| self.unit(unit)[*coder]));
            if !is_pair {
                key.sort_unstable();
            }
            if key.iter().all(|code| *code == NONE) {
                places.push(NONE);
                continue;
            }
            let next = known.len() as u32;
            places.push(match known.get(&key) {
                Some(place) => *place,
                None => *known.entry(key.clone()).or_insert(next),
            });
        }
        let mut units = vec![Vec::new(); known.len()];
        known.into_iter().for_each(|(codes, place)| units[place as usize] = codes);
        let given = |codes: &Vec<u32>| -> Vec<usize> {
            codes.iter().filter(|code| **code != NONE).map(|code| place(*code)).collect()
        };
        let given: Vec<Vec<usize>> = units.iter().map(given).collect();
        let both: Vec<usize> = (0..given.len()).filter(|unit| is_pair && given[*unit].len() == 2).collect();
        let cells = both.iter().map(|unit| (given[*unit][0], given[*unit][1])).collect();
        View {
            places,
            units: given.len(),
            ratings: Ratings::new(scale(&categories), categories.len(), given.iter().map(Vec::as_slice)),
            pairs: is_pair.then(|| Pairs::new(cells, categories.len())),
            categories,
            both,
        }
    }

    fn used(&self, coders: &[usize]) -> Vec<usize> {
        let codes = (0..self.counts.len()).flat_map(|unit| coders.iter().map(move |coder| self.unit(unit)[*coder]));
        let mut used: Vec<usize> = codes.filter(|code| *code != NONE).map(|code| code as usize).collect();
        used.sort_unstable();
        used.dedup();
        used
    }
}

impl View {
    /// The number of different units.
    pub(crate) fn len(&self) -> usize {
        self.units
    }

    /// The weights of the view's units, from the weights of all units.
    pub(crate) fn weights(&self, weights: &[f64]) -> Vec<f64> {
        let mut own = vec![0.0; self.units];
        for (place, weight) in self.places.iter().zip(weights).filter(|(place, _)| **place != NONE) {
            own[*place as usize] += weight;
        }
        own
    }

    /// The weights of the pairs, from the weights of the view's units.
    pub(crate) fn of_pairs(&self, own: &[f64]) -> Vec<f64> {
        self.both.iter().map(|unit| own[*unit]).collect()
    }
}
