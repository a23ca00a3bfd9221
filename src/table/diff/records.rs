//! Records of the rows of two tables: the hashes of keys and cells, in temporary files, and how the rows match.
//!
//! Memory holds 16 bytes for each row, and the records of a share of the keys at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use super::Which;

/// The most keys that are matched at a time, on average.
const AT_ONCE: u64 = 1 << 19;
const BYTES: usize = 32;

pub(super) struct Records {
    writer: BufWriter<File>,
    count: u64,
}

struct Record {
    key: u128,
    cells: u128,
    /// The number of the row, from 0.
    row: u64,
}

impl Records {
    pub(super) fn new() -> io::Result<Records> {
        Ok(Records { writer: BufWriter::new(tempfile::tempfile()?), count: 0 })
    }

    /// Adds the next row.
    pub(super) fn add(&mut self, key: u128, cells: u128) -> io::Result<()> {
        self.count += 1;
        self.writer.write_all(&key.to_le_bytes())?;
        self.writer.write_all(&cells.to_le_bytes())
    }

    /// Calls `each` with the records of share `number` of `shares`, in order.
    fn each(&mut self, (number, shares): (u64, u64), mut each: impl FnMut(Record)) -> io::Result<()> {
        self.writer.flush()?;
        let file = self.writer.get_mut();
        file.rewind()?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        for row in 0..self.count {
            let mut bytes = [0; BYTES];
            reader.read_exact(&mut bytes)?;
            let half = |at: usize| {
                let mut half = [0; BYTES / 2];
                half.copy_from_slice(&bytes[at..at + BYTES / 2]);
                u128::from_le_bytes(half)
            };
            let key = half(0);
            if key % u128::from(shares) == u128::from(number) {
                each(Record { key, cells: half(BYTES / 2), row });
            }
        }
        Ok(())
    }
}

/// How a row of B matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfB {
    Only,
    /// The row of A that has the same cells.
    Same(u64),
    /// The row of A that has other cells.
    Differs(u64),
}

/// How a row of A matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfA {
    Only,
    Same,
    /// The place of the cells of the row of B.
    Differs(u64),
}

const ONLY: u64 = u64::MAX;
const SAME: u64 = u64::MAX - 1;
/// Set in the number of a row whose cells differ.
const DIFFERS: u64 = 1 << 63;

/// How the rows match, by their numbers.
pub(super) struct Matches {
    a: Vec<u64>,
    b: Vec<u64>,
}

impl Matches {
    pub(super) fn a(&self, row: u64) -> OfA {
        match self.a[row as usize] {
            ONLY => OfA::Only,
            SAME => OfA::Same,
            place => OfA::Differs(place),
        }
    }

    pub(super) fn b(&self, row: u64) -> OfB {
        match self.b[row as usize] {
            ONLY => OfB::Only,
            row if row & DIFFERS == 0 => OfB::Same(row),
            row => OfB::Differs(row & !DIFFERS),
        }
    }

    /// Keeps where the cells of the row of B are that differs from row `row` of A.
    pub(super) fn keep(&mut self, row: u64, place: u64) {
        self.a[row as usize] = place;
    }
}

struct Met {
    cells: u128,
    /// The row of A; `None` if only B has the key.
    row: Option<u64>,
    /// Whether a row of B has the key.
    by_b: bool,
}

/// Matches the rows by their keys. The inner error is the first row whose key a row before it has.
pub(super) fn match_rows(a: &mut Records, b: &mut Records) -> io::Result<Result<Matches, (Which, u64)>> {
    let shares = a.count.max(b.count).div_ceil(AT_ONCE).max(1);
    let mut matches = Matches { a: vec![ONLY; a.count as usize], b: vec![ONLY; b.count as usize] };
    let (mut twice_a, mut twice_b) = (None, None);
    for number in 0..shares {
        let mut met: HashMap<u128, Met> = HashMap::new();
        a.each((number, shares), |Record { key, cells, row }| match met.entry(key) {
            Entry::Vacant(free) => {
                free.insert(Met { cells, row: Some(row), by_b: false });
            }
            Entry::Occupied(_) => twice_a = twice_a.into_iter().chain([row]).min(),
        })?;
        b.each((number, shares), |Record { key, cells, row }| match met.entry(key) {
            Entry::Vacant(free) => {
                free.insert(Met { cells, row: None, by_b: true });
            }
            Entry::Occupied(mut taken) => {
                let taken = taken.get_mut();
                if std::mem::replace(&mut taken.by_b, true) {
                    twice_b = twice_b.into_iter().chain([row]).min();
                } else if let Some(other) = taken.row {
                    let is_same = taken.cells == cells;
                    matches.b[row as usize] = if is_same { other } else { other | DIFFERS };
                    matches.a[other as usize] = if is_same { SAME } else { 0 };
                }
            }
        })?;
    }
    let twice = twice_a.map(|row| (Which::A, row)).or(twice_b.map(|row| (Which::B, row)));
    Ok(twice.map_or(Ok(matches), Err))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(rows: &[(u128, u128)]) -> Records {
        let mut records = Records::new().unwrap();
        rows.iter().for_each(|(key, cells)| records.add(*key, *cells).unwrap());
        records
    }

    #[test]
    fn rows_match_by_their_keys() {
        let (mut a, mut b) = (records(&[(1, 10), (2, 20), (3, 30)]), records(&[(3, 30), (4, 40), (2, 21)]));
        let mut matches = match_rows(&mut a, &mut b).unwrap().unwrap();
        assert_eq!([0, 1, 2].map(|row| matches.b(row)), [OfB::Same(2), OfB::Only, OfB::Differs(1)]);
        matches.keep(1, 77);
        assert_eq!([0, 1, 2].map(|row| matches.a(row)), [OfA::Only, OfA::Differs(77), OfA::Same]);
    }

    #[test]
    fn the_first_row_with_a_key_for_the_second_time_is_told() {
        let (once, twice) = ([(1, 1), (2, 2)], [(5, 0), (2, 0), (1, 0), (1, 0), (2, 0)]);
        let told = |a: &[(u128, u128)], b: &[(u128, u128)]| match_rows(&mut records(a), &mut records(b)).unwrap().err();
        assert_eq!(told(&once, &twice), Some((Which::B, 3)));
        assert_eq!(told(&twice, &once), Some((Which::A, 3)));
        assert_eq!(told(&twice, &twice), Some((Which::A, 3)));
        assert_eq!(told(&once, &once), None);
    }

    #[test]
    fn many_rows_are_matched_in_shares() {
        let rows = AT_ONCE * 2 + 5;
        let key = |row: u64| u128::from(row) * 0x9e37_79b9_7f4a_7c15;
        let (mut a, mut b) = (Records::new().unwrap(), Records::new().unwrap());
        for row in 0..rows {
            a.add(key(row), 0).unwrap();
            b.add(key(rows - 1 - row), u128::from(row % 2)).unwrap();
        }
        let matches = match_rows(&mut a, &mut b).unwrap().unwrap();
        for row in 0..rows {
            let other = rows - 1 - row;
            assert_eq!(matches.b(row), if row % 2 == 0 { OfB::Same(other) } else { OfB::Differs(other) });
        }
    }
}
