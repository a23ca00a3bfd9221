//! Damaged ledgers: whatever bytes are wrong, every answer that is served or salvaged was written before.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::config::DbConfig;
use tempfile::TempDir;

use super::care::VerifyCounts;
use super::*;
use crate::store::Notes;

/// Records of all sizes, some longer than a page.
fn records() -> Vec<Record> {
    let record = |n: u128| Record {
        key: Key(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()),
        model: "llama3.2".into(),
        reply: format!("reply {n} ").repeat(if n % 10 == 3 { 1200 } else { 1 + n as usize % 7 }),
        finish: "stop".into(),
        prompt_tokens: 10,
        completion_tokens: n as u64,
        latency_ms: n as f64,
        attempts: 1,
        build: n.is_multiple_of(2).then(|| "fp_1".to_owned()),
        notes: Notes { repaired: n.is_multiple_of(4), ..Notes::default() },
        error: None,
        tries: n.is_multiple_of(5).then(|| "[]".to_owned()),
        probabilities: n.is_multiple_of(3).then(|| r#"{"label":{"a":0.5}}"#.to_owned()),
        at: None,
    };
    (1..=80).map(record).collect()
}

/// A folder for a ledger, and its path.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    (folder, path)
}

/// The bytes of a closed ledger with these records.
fn bytes(records: &[Record]) -> Vec<u8> {
    let (_folder, path) = place();
    Ledger::open(&path).unwrap().append(records).unwrap();
    fs::read(&path).unwrap()
}

fn put(path: &Path, bytes: &[u8], log: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::write(path.with_extension("sqlite-wal"), log).unwrap();
    let _ = fs::remove_file(path.with_extension("sqlite-shm"));
}

/// Opens a ledger that is left as it is when it is closed, which is faster.
fn open(path: &Path) -> Result<Ledger, LedgerError> {
    let ledger = Ledger::open(path)?;
    ledger.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    Ok(ledger)
}

/// The answers that the ledger at `path` serves; an error serves none. Each must be one that was written.
fn served(path: &Path, records: &[Record]) -> usize {
    let Ok(ledger) = open(path) else { return 0 };
    let mut served = 0;
    for record in records {
        match ledger.find(&[record.key]) {
            Ok(found) => {
                assert!(found[0].as_ref().is_none_or(|found| found == record), "served {found:?}");
                served += usize::from(found[0].is_some());
            }
            Err(LedgerError::Damaged { .. } | LedgerError::Sqlite { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let _ = ledger.verify();
    let _ = ledger.contents();
    served
}

/// How many answers are salvaged from `path`, all of which must be ones that were written.
fn salvaged(path: &Path, records: &[Record]) -> usize {
    let written: HashMap<Key, &Record> = records.iter().map(|r| (r.key, r)).collect();
    let mut found = HashSet::new();
    let read = salvage(path, |record| {
        assert_eq!(Some(&&record), written.get(&record.key), "salvaged what was never written");
        found.insert(record.key);
        Ok(())
    });
    assert!(read.is_ok());
    found.len()
}

#[test]
fn a_wrong_byte_anywhere_serves_no_wrong_answer() {
    let records = records();
    let whole = bytes(&records);
    let (_folder, path) = place();
    let mut dice = StdRng::seed_from_u64(6);
    let (mut lost, mut worst) = (0, records.len());
    for _ in 0..1500 {
        let mut damaged = whole.clone();
        let at = dice.random_range(0..damaged.len());
        damaged[at] ^= dice.random_range(1..=255u8);
        put(&path, &damaged, &[]);
        worst = worst.min(salvaged(&path, &records));
        lost += usize::from(served(&path, &records) < records.len());
    }
    assert!(lost > 300, "only {lost} of 1,500 wrong bytes were noticed");
    assert!(worst >= records.len() - 40, "a wrong byte costs no more than a page: {worst} were left");
}

#[test]
fn a_page_of_zeros_costs_only_what_it_held() {
    let records = records();
    let whole = bytes(&records);
    let (_folder, path) = place();
    let pages = whole.len() / 4096;
    assert!(pages > 20, "{pages} pages");
    let mut lost = 0;
    for page in 0..pages {
        let mut damaged = whole.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0);
        put(&path, &damaged, &[]);
        lost += records.len() - salvaged(&path, &records);
        served(&path, &records);
    }
    // A long answer is on several pages; losing any of them loses it.
    assert!(lost >= records.len() && lost <= records.len() + 8 * 4, "{lost} of {} lost in all", records.len());
}

#[test]
fn answers_that_change_places_are_not_served() {
    let records = records();
    let (_folder, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.append(&records).unwrap();
    for column in ["reply", "build", "completion_tokens", "key"] {
        let swap = format!(
            "DROP INDEX answered; CREATE TEMP TABLE was AS SELECT id, {column} AS value FROM calls;
            UPDATE calls SET {column} = (SELECT value FROM was WHERE was.id = 3 - calls.id) WHERE id IN (1, 2);"
        );
        let both = [records[0].key, records[1].key];
        let copy = path.with_extension(column);
        ledger.connection.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        Connection::open(&copy).unwrap().execute_batch(&swap).unwrap();
        assert_eq!(Ledger::open(&copy).unwrap().find(&both).unwrap(), [None, None], "{column}");
    }
    // One that failed doesn't become an answer by losing its error.
    ledger.append(&[Record { error: Some("truncated: x".into()), key: Key([7; 16]), ..records[0].clone() }]).unwrap();
    ledger.connection.execute("UPDATE calls SET error = NULL", []).unwrap();
    assert_eq!(ledger.find(&[Key([7; 16])]).unwrap(), [None]);
    assert_eq!(ledger.verify().unwrap(), VerifyCounts { sound: records.len() as u64, corrupt: 0 });
}

#[test]
fn a_torn_tail_costs_only_the_tail() {
    let records = records();
    let (_folder, path) = place();
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.append(&records[..20]).unwrap();
    ledger.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    // Each commit, and how long the log was after it.
    let log = path.with_extension("sqlite-wal");
    let mut after = vec![(20, 0)];
    for some in [20..22, 22..23, 23..24, 24..25] {
        let end = some.end;
        ledger.append(&records[some]).unwrap();
        after.push((end, fs::metadata(&log).unwrap().len() as usize));
    }
    let (whole, tail) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
    let (_other, copy) = place();
    for cut in tail.len().saturating_sub(4096)..=tail.len() {
        put(&copy, &whole, &tail[..cut]);
        let kept = after.iter().filter(|(_, length)| *length <= cut).map(|(records, _)| *records).max().unwrap();
        let ledger = open(&copy).unwrap();
        let keys: Vec<Key> = records[..25].iter().map(|r| r.key).collect();
        let found = ledger.find(&keys).unwrap();
        assert_eq!(found.iter().flatten().count(), kept, "cut at {cut}");
        assert!(found.iter().zip(&records).take(kept).all(|(found, written)| found.as_ref() == Some(written)));
    }
    // Without the pages of the file, the log alone still has the last records.
    put(&copy, &vec![0; whole.len()], &tail);
    assert!(salvaged(&copy, &records) >= 5);
}

#[test]
fn a_corrupt_answer_makes_room_for_a_new_one() {
    let (_folder, path) = place();
    let records = records();
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.append(&records[..2]).unwrap();
    ledger.connection.execute("UPDATE calls SET build = 'other' WHERE id = 1", []).unwrap();
    // Another process answers the call before anyone looks it up.
    assert_eq!(ledger.append(&records[..2]).unwrap(), [None, Some(records[1].clone())]);
    assert_eq!(ledger.find(&[records[0].key]).unwrap(), [Some(records[0].clone())]);
    let contents = ledger.contents().unwrap();
    assert_eq!((contents.answers, contents.corrupt, contents.failed_calls), (2, 1, 0));
}
