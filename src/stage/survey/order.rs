//! Orders: computes the order of options or questions for each respondent. Pure.
//!
//! Items that are not pinned move among the unpinned positions. An order depends only on the seed, the name of the
//! items and the respondent. It does not depend on the model, the stage, the lanes or other respondents.
//!
//! The balanced orders (cyclic, latin) are assigned in permuted blocks: within each block of respondents, counted from
//! the first, each respondent gets a different sequence of the design, in an order drawn for the block (as in clinical
//! trials; Zelen 1974, <https://doi.org/10.1016/0021-9681(74)90015-0>). A plain rotation by the row's number would
//! rotate all questions with equally many options in step, and in step with the models that share the rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::random::Streams;
use crate::table::{Cell, Row};

/// The rule for the order of options or questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// As in the spec.
    #[default]
    AsGiven,
    /// Reversed, for everyone.
    Reversed,
    /// A random order, all equally likely, drawn for each respondent.
    Random,
    /// Rotated: within every k respondents, each of k items is in each position once.
    Cyclic,
    /// A Williams design: as `cyclic`, and each item also follows each other item equally often. Complete after k
    /// respondents when k is even, after 2k when it is odd.
    Latin,
}

impl Order {
    pub(crate) fn varies(self) -> bool {
        matches!(self, Order::Random | Order::Cyclic | Order::Latin)
    }

    /// Returns the number of sequences in a balanced order of `items` items.
    fn sequences(self, items: u64) -> u64 {
        if self == Order::Latin && items % 2 == 1 { 2 * items } else { items }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Respondent {
    /// The number of the source row, from 0.
    number: u64,
    /// The row's key, which does not change when rows are inserted before it.
    key: Option<String>,
}

impl Respondent {
    /// Returns the respondent of `row`. The table has `fold` rows for each source row, and the key column `key`.
    pub(crate) fn of(row: Row<'_>, key: Option<usize>, fold: u64) -> Self {
        let key = key.and_then(|column| match row.cell(column) {
            Cell::Text(text) => Some(text),
            Cell::Integer(number) => Some(number.to_string()),
            Cell::Null | Cell::Boolean(_) | Cell::Number(_) | Cell::List(_) | Cell::Object(_) => None,
        });
        Respondent { number: row.number() / fold.max(1), key }
    }

    pub(crate) fn identity(&self) -> u64 {
        let hash = match &self.key {
            Some(key) => blake3::hash(format!("key {key}").as_bytes()),
            None => blake3::hash(format!("row {}", self.number).as_bytes()),
        };
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Design {
    order: Order,
    seed: u64,
    name: Vec<String>,
    items: usize,
    free: Vec<usize>,
}

impl Design {
    /// Returns the orders of the items called `name`. `pinned` states for each item whether it keeps its position.
    pub(crate) fn new(order: Order, seed: u64, name: &[&str], pinned: &[bool]) -> Self {
        let free = (0..pinned.len()).filter(|place| !pinned[*place]).collect();
        let name = name.iter().map(|part| (*part).to_owned()).collect();
        Design { order, seed, name, items: pinned.len(), free }
    }

    pub(crate) fn order(&self) -> Order {
        self.order
    }

    pub(crate) fn moving(&self) -> &[usize] {
        &self.free
    }

    pub(crate) fn of(&self, who: &Respondent) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.items).collect();
        for (place, item) in self.free.iter().zip(self.sequence(who)) {
            places[*place] = self.free[item];
        }
        places
    }

    fn sequence(&self, who: &Respondent) -> Vec<usize> {
        let count = self.free.len();
        match self.order {
            Order::AsGiven => (0..count).collect(),
            Order::Reversed => (0..count).rev().collect(),
            Order::Random => {
                let mut items: Vec<usize> = (0..count).collect();
                let mut stream = match &who.key {
                    Some(key) => self.streams(&["key", key]).of(0),
                    None => self.streams(&["row"]).of(who.number),
                };
                stream.shuffle(&mut items);
                items
            }
            Order::Cyclic | Order::Latin => {
                let length = self.order.sequences(count as u64).max(1);
                let mut block: Vec<usize> = (0..length as usize).collect();
                self.streams(&["block"]).of(who.number / length).shuffle(&mut block);
                let sequence = block[(who.number % length) as usize];
                if self.order == Order::Cyclic { rotation(count, sequence) } else { williams(count, sequence) }
            }
        }
    }

    fn streams(&self, more: &[&str]) -> Streams {
        let name: Vec<&str> = ["survey"].into_iter().chain(self.name.iter().map(String::as_str)).collect();
        Streams::new(self.seed, &[&name, more].concat())
    }
}

fn rotation(count: usize, by: usize) -> Vec<usize> {
    (0..count).map(|place| (place + by) % count).collect()
}

/// Sequence `number` of the design of Williams for `count` items (Williams 1949, <https://doi.org/10.1071/CH9490149>):
/// 0, 1, n-1, 2, n-2, .. rotated by the number; for an odd count, those sequences and then each of them reversed.
fn williams(count: usize, number: usize) -> Vec<usize> {
    let first = (0..count).map(|place| if place % 2 == 1 { place.div_ceil(2) } else { (count - place / 2) % count });
    let mut sequence: Vec<usize> = first.map(|item| (item + number) % count).collect();
    if number >= count {
        sequence.reverse();
    }
    sequence
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn design(order: Order, name: &str, pinned: &[bool]) -> Design {
        Design::new(order, 7, &["options", name], pinned)
    }

    fn number(number: u64) -> Respondent {
        Respondent { number, key: None }
    }

    fn key(number: u64, key: &str) -> Respondent {
        Respondent { number, key: Some(key.to_owned()) }
    }

    type Counts = HashMap<(usize, usize), usize>;

    /// How often each item is in each position, and directly follows each other item.
    fn counts(orders: &[Vec<usize>]) -> (Counts, Counts) {
        let (mut places, mut follows) = (Counts::new(), Counts::new());
        for order in orders {
            order.iter().enumerate().for_each(|(place, item)| *places.entry((place, *item)).or_default() += 1);
            order.windows(2).for_each(|pair| *follows.entry((pair[0], pair[1])).or_default() += 1);
        }
        (places, follows)
    }

    #[test]
    fn balanced_orders_put_every_item_in_every_place_equally_often() {
        for count in 1..=7 {
            for (order, length) in
                [(Order::Cyclic, count), (Order::Latin, if count % 2 == 1 { 2 * count } else { count })]
            {
                let design = design(order, "q", &vec![false; count]);
                // Every complete block alone is balanced, and so is any number of them.
                for block in 0..5 {
                    let of = |place: usize| design.of(&number((block * length + place) as u64));
                    let orders: Vec<Vec<usize>> = (0..length).map(of).collect();
                    let (places, follows) = counts(&orders);
                    assert_eq!(places.len(), count * count, "{order:?} of {count}: {orders:?}");
                    assert!(places.values().all(|n| *n == length / count), "{order:?} of {count}: {orders:?}");
                    if order == Order::Latin {
                        assert_eq!(follows.len(), count * (count - 1), "{orders:?}");
                        assert!(follows.values().all(|n| *n == length / count), "{orders:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn pinned_items_stay_and_the_others_are_balanced_among_the_free_places() {
        let pinned = [true, false, false, true, false, true];
        for (order, length) in [(Order::Cyclic, 3), (Order::Latin, 6)] {
            let design = design(order, "q", &pinned);
            let orders: Vec<Vec<usize>> = (0..length).map(|n| design.of(&number(n))).collect();
            let (places, _) = counts(&orders);
            for (place, pinned) in pinned.iter().enumerate() {
                for item in [1, 2, 4] {
                    let times = places.get(&(place, item)).copied().unwrap_or(0);
                    assert_eq!(times, if *pinned { 0 } else { length as usize / 3 }, "{order:?} {place} {item}");
                }
                assert_eq!(places.get(&(place, place)).copied() == Some(length as usize), *pinned);
            }
        }
        assert_eq!(design(Order::Reversed, "q", &pinned).of(&number(3)), [0, 4, 2, 3, 1, 5]);
        for order in [Order::AsGiven, Order::Reversed, Order::Random, Order::Cyclic, Order::Latin] {
            assert_eq!(design(order, "q", &[true, true]).of(&number(3)), [0, 1]);
            assert_eq!(design(order, "q", &[]).of(&number(3)), [0; 0]);
        }
    }

    #[test]
    fn questions_with_as_many_options_do_not_turn_in_step() {
        let [one, two] = ["a", "b"].map(|name| design(Order::Cyclic, name, &[false; 4]));
        let pairs: std::collections::HashSet<_> =
            (0..200).map(|n| (one.of(&number(n))[0], two.of(&number(n))[0])).collect();
        assert_eq!(pairs.len(), 16, "every pair of first options occurs");
        // Nor with two models that share the rows in turn: both see every option first.
        let first: std::collections::HashSet<_> = (0..100).map(|n| (n % 2, one.of(&number(n))[0])).collect();
        assert_eq!(first.len(), 8);
    }

    #[test]
    fn a_random_order_is_the_respondents_own() {
        let random = design(Order::Random, "q", &[false; 6]);
        assert_eq!(random.of(&key(3, "anna")), random.of(&key(9, "anna")), "the key counts, not the place");
        assert_ne!(random.of(&key(3, "anna")), random.of(&key(3, "ben")));
        assert_ne!(random.of(&key(3, "anna")), design(Order::Random, "r", &[false; 6]).of(&key(3, "anna")));
        let mut first = [0u32; 6];
        (0..6000).for_each(|n| first[random.of(&number(n))[0]] += 1);
        // 15.09 is the 99th percentile of chi-square with 5 degrees of freedom; the draws are fixed.
        let chi: f64 = first.iter().map(|n| (f64::from(*n) - 1e3).powi(2) / 1e3).sum();
        assert!(chi < 15.09, "{first:?}");
        // Pinned: another order would be another survey for the same spec.
        let cyclic = design(Order::Cyclic, "q", &[false; 4]);
        let drawn = (random.of(&key(0, "anna")), random.of(&number(2)), [0, 1, 2, 3].map(|n| cyclic.of(&number(n))[0]));
        assert_eq!(drawn, (vec![3, 1, 4, 0, 2, 5], vec![2, 0, 5, 3, 1, 4], [1, 3, 0, 2]));
    }
}
