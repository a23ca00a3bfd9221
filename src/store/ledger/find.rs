//! Finding answers by their keys.
//!
//! Rows that are answered one after another have records with consecutive ids. So when a record is found by its key, the
//! records after it are read in the order of their ids, as long as their keys are sought too. This is much faster than
//! a look-up for each key, which goes through two trees.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{FORMAT, Ledger, LedgerError, OLD, Retired, Since, columns};
use crate::store::record::{FIELDS, Key, Record};
use crate::table::Value;

static FIND: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {}, id FROM calls WHERE key = ?1 AND error IS NULL AND NOT {OLD}", columns(FORMAT))
});

/// The records after one, in the order of their ids, and whether they are answers that count. SQLite does not look for
/// these: in a ledger with many retired answers, it would read very far for the next one.
static FOLLOWING: LazyLock<String> = LazyLock::new(|| {
    let columns = columns(FORMAT);
    format!("SELECT {columns}, key, error IS NULL AND NOT {OLD} FROM calls NOT INDEXED WHERE id > ?1 ORDER BY id")
});

/// The last old call that has failed, or whose answer is retired. The index of [`Ledger::index_history`] finds it.
static REPLACED: LazyLock<String> = LazyLock::new(|| {
    let columns = columns(FORMAT);
    format!("SELECT {columns} FROM calls WHERE key = ?1 AND error IS NOT NULL AND {OLD} ORDER BY id DESC LIMIT 1")
});

/// Reading on ends after this number of records in a row that are not sought.
const STRANGERS: usize = 16;
/// The most answers to find by their keys before reading on is tried again, if it found none.
const LONGEST_REST: usize = 1024;

impl Ledger {
    /// Returns the answered calls of `keys`, in order. Never returns records with a wrong checksum, and
    /// retires them.
    pub(crate) fn find(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, LedgerError> {
        self.find_since(keys, Since::ALWAYS)
    }

    /// Like [`Self::find`], but returns only answers that are not older than `since`.
    pub(crate) fn find_since(&self, keys: &[Key], since: Since) -> Result<Vec<Option<Record>>, LedgerError> {
        let all = || {
            // One read transaction covers all keys. Separate look-ups would lock the file each time.
            let reading = self.connection.unchecked_transaction()?;
            let found = Search::new(&self.connection, (since, &self.imports), keys).run(keys)?;
            reading.commit()?;
            Ok(found)
        };
        let (mut found, corrupt) = all().map_err(self.failed())?;
        if let Some(behind) = self.behind.as_ref().filter(|_| since == Since::ALWAYS) {
            let missing = |place: &usize| found[*place].is_none();
            let places: Vec<usize> = (0..keys.len()).filter(missing).collect();
            let sought: Vec<Key> = places.iter().map(|place| keys[*place]).collect();
            places.into_iter().zip(behind(&sought)).for_each(|(place, record)| found[place] = record);
        }
        if !self.is_read_only {
            corrupt.into_iter().try_for_each(|key| self.retire(key, Retired::Corrupt))?;
        }
        Ok(found)
    }

    /// Returns for each of `keys`, in order, the last call older than `since` if a fresh run repeats it: a
    /// retired answer, or a failed call.
    pub(crate) fn replaced(&self, keys: &[Key], since: Since) -> Result<Vec<Option<Record>>, LedgerError> {
        let all = || {
            let reading = self.connection.unchecked_transaction()?;
            let mut find = reading.prepare_cached(&REPLACED)?;
            let of = |key: &Key| {
                find.query_row(params![key.0, since.id, since.ms], |row| read_replaced(*key, row)).optional()
            };
            let found = keys.iter().map(of).collect::<Result<Vec<_>, _>>()?;
            Ok(found.into_iter().map(Option::flatten).collect())
        };
        all().map_err(self.failed())
    }
}

pub(super) struct Corrupt;

/// Returns the answer to a call, and its id.
pub(super) fn look_up(
    connection: &Connection,
    key: Key,
    since: Since,
    imports: &HashSet<i64>,
) -> rusqlite::Result<Option<(i64, Result<Record, Corrupt>)>> {
    let mut find = connection.prepare_cached(&FIND)?;
    let read = |row: &Row<'_>| Ok((row.get(FIELDS.len() + 2)?, read_timed(key, row, imports)?));
    find.query_row(params![key.0, since.id, since.ms], read).optional()
}

struct Search<'a> {
    connection: &'a Connection,
    since: Since,
    imports: &'a HashSet<i64>,
    /// The first place of each key.
    places: HashMap<Key, usize>,
    /// `None` until the key was looked up.
    found: Vec<Option<Option<Record>>>,
    corrupt: Vec<Key>,
}

impl<'a> Search<'a> {
    fn new(connection: &'a Connection, (since, imports): (Since, &'a HashSet<i64>), keys: &[Key]) -> Self {
        let mut places = HashMap::with_capacity(keys.len());
        for (place, key) in keys.iter().enumerate() {
            places.entry(*key).or_insert(place);
        }
        Search { connection, since, imports, places, found: vec![None; keys.len()], corrupt: Vec::new() }
    }

    /// Returns the answers to `keys` and the keys whose answers were altered.
    fn run(mut self, keys: &[Key]) -> rusqlite::Result<(Vec<Option<Record>>, Vec<Key>)> {
        // The answers to find by key before reading on is tried again, now and after the next time without success.
        let (mut rest, mut next_rest) = (0, 1);
        for (place, key) in keys.iter().enumerate() {
            if self.found[place].is_some() {
                continue;
            }
            if self.places[key] < place {
                self.found[place] = self.found[self.places[key]].clone();
                continue;
            }
            let Some((id, record)) = look_up(self.connection, *key, self.since, self.imports)? else {
                self.found[place] = Some(None);
                continue;
            };
            self.keep(place, *key, record);
            // A damaged page that no sought answer is on does no harm.
            if rest > 0 {
                rest -= 1;
            } else if place + 1 < keys.len() && !self.read_on(id).unwrap_or(false) {
                (rest, next_rest) = (next_rest, (2 * next_rest).min(LONGEST_REST));
            } else {
                next_rest = 1;
            }
        }
        Ok((self.found.into_iter().map(Option::flatten).collect(), self.corrupt))
    }

    /// Reads the records after the one with this id. Returns whether some were sought.
    fn read_on(&mut self, id: i64) -> rusqlite::Result<bool> {
        let mut following = self.connection.prepare_cached(&FOLLOWING)?;
        let mut rows = following.query(params![id, self.since.id, self.since.ms])?;
        let (mut strangers, mut has_found) = (0, false);
        while strangers < STRANGERS
            && let Some(row) = rows.next()?
        {
            let key = row.get_ref(FIELDS.len() + 2)?.as_blob().ok().and_then(|key| key.try_into().ok()).map(Key);
            let place = key.and_then(|key| self.places.get(&key)).copied();
            let is_open = |place: &usize| self.found[*place].is_none();
            let sought = key.zip(place.filter(is_open));
            let Some((key, place)) = sought.filter(|_| row.get(FIELDS.len() + 3).is_ok_and(|counts: bool| counts))
            else {
                strangers += 1;
                continue;
            };
            let record = read_timed(key, row, self.imports)?;
            self.keep(place, key, record);
            (strangers, has_found) = (0, true);
        }
        Ok(has_found)
    }

    fn keep(&mut self, place: usize, key: Key, record: Result<Record, Corrupt>) {
        if record.is_err() {
            self.corrupt.push(key);
        }
        self.found[place] = Some(record.ok());
    }
}

/// Reads an answer with its time, in a row that begins with [`columns`].
fn read_timed(key: Key, row: &Row<'_>, imports: &HashSet<i64>) -> rusqlite::Result<Result<Record, Corrupt>> {
    let at = Some(row.get(FIELDS.len() + 1)?).filter(|at| !imports.contains(at));
    Ok(read(key, row)?.map(|record| Record { at, ..record }).ok_or(Corrupt))
}

/// Reads the record in a row that begins with [`columns`]. Returns `None` if the record was altered.
pub(super) fn read(key: Key, row: &Row<'_>) -> Result<Option<Record>, rusqlite::Error> {
    let sum = row.get_ref(FIELDS.len())?.as_i64();
    Ok(read_fields(key, row)?.filter(|record| sum.is_ok_and(|sum| record.fits(sum))))
}

/// Like [`read`], for a row with an error. An answer that is retired as fresh has its error removed.
fn read_replaced(key: Key, row: &Row<'_>) -> Result<Option<Record>, rusqlite::Error> {
    let sum = row.get_ref(FIELDS.len())?.as_i64();
    let record = read_fields(key, row)?.map(|mut record| {
        record.error.take_if(|error| *error == Retired::Fresh.error());
        record
    });
    Ok(record.filter(|record| sum.is_ok_and(|sum| record.fits(sum))))
}

fn read_fields(key: Key, row: &Row<'_>) -> Result<Option<Record>, rusqlite::Error> {
    let mut record = Record { key, ..Record::default() };
    for (i, field) in FIELDS.iter().enumerate() {
        let value = Value::of_sql(row.get_ref(i)?);
        if value.and_then(|value| field.set(&mut record, value)).is_none() {
            return Ok(None);
        }
    }
    Ok(Some(record))
}
