//! The ledger keeps what it receives, serves only sound answers, and opens files of older versions.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::care::VerifyCounts;
use super::*;
use crate::store::Notes;

fn call(n: u8, error: Option<&str>) -> Record {
    Record {
        key: Key([n; 16]),
        model: "m".into(),
        reply: format!("reply {n}"),
        finish: "stop".into(),
        prompt_tokens: 10,
        completion_tokens: 2,
        latency_ms: 1.5,
        attempts: 1,
        build: None,
        error: error.map(str::to_owned),
        tries: None,
        probabilities: (n % 2 == 1).then(|| format!(r#"{{"label":{{"a":0.{n}}}}}"#)),
        notes: Notes { repaired: n % 2 == 1, ..Notes::default() },
        at: None,
    }
}

#[test]
fn answers_come_back_and_failures_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    assert!(ledger.is_empty().unwrap());
    ledger.append(&[call(1, None), call(2, Some("timeout: x"))]).unwrap();
    let mut second = Ledger::open(&path).unwrap();
    let later = Record { reply: "later".into(), ..call(1, None) };
    let earlier = second.append(&[later, call(2, None), call(3, Some("e"))]).unwrap();
    assert_eq!(earlier, [Some(call(1, None)), None, None], "the first answer counts");
    let found = ledger.find(&[Key([3; 16]), Key([1; 16]), Key([2; 16])]).unwrap();
    assert_eq!(found, [None, Some(call(1, None)), Some(call(2, None))]);
    assert_eq!(ledger.count().unwrap(), (2, 2));
}

#[test]
fn answers_of_before_a_moment_become_history() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&folder.path().join("l")).unwrap();
    ledger.append(&[call(1, None), call(2, None)]).unwrap();
    ledger.connection.execute("UPDATE calls SET at = 1000", []).unwrap();
    ledger.append(&[call(3, None)]).unwrap();
    let keys = [1, 2, 3].map(|n| Key([n; 16]));
    assert_eq!(ledger.find_since(&keys, Since::time(1000)).unwrap(), [1, 2, 3].map(|n| Some(call(n, None))));
    assert_eq!(ledger.find_since(&keys, Since::time(1001)).unwrap(), [None, None, Some(call(3, None))]);
    ledger.retire_before(&keys, Since::time(1000)).unwrap();
    assert_eq!(ledger.count().unwrap(), (3, 0));
    ledger.retire_before(&keys[..1], Since::time(1001)).unwrap();
    assert_eq!(ledger.find(&keys).unwrap(), [None, Some(call(2, None)), Some(call(3, None))]);
    // Asked again, it is served, and both are there.
    assert_eq!(ledger.append(&[call(1, None)]).unwrap(), [None]);
    ledger.retire_before(&keys, Since::time(1001)).unwrap();
    assert_eq!(ledger.find(&keys).unwrap(), [Some(call(1, None)), None, Some(call(3, None))]);
    let contents = ledger.contents().unwrap();
    assert_eq!((contents.answers, contents.retired, contents.failed_calls), (2, 2, 0));
}

#[test]
fn a_record_that_was_changed_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&folder.path().join("l")).unwrap();
    let changes = ["reply = 'forged'", "probabilities = '{}'", "probabilities = NULL", "build = 'b'", "tries = '[]'"];
    for change in changes {
        ledger.append(&[call(1, None)]).unwrap();
        ledger.connection.execute(&format!("UPDATE calls SET {change}"), []).unwrap();
        assert_eq!(ledger.find(&[Key([1; 16])]).unwrap(), [None], "{change}");
    }
    ledger.append(&[call(1, None)]).unwrap();
    assert_eq!(ledger.find(&[Key([1; 16])]).unwrap(), [Some(call(1, None))]);
}

/// A file as the first format was, with the record of `call(2, None)` in it.
const FORMAT_1: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE calls (
        id INTEGER PRIMARY KEY, key BLOB NOT NULL, model TEXT NOT NULL, reply TEXT NOT NULL, finish TEXT NOT NULL,
        prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, latency_ms REAL NOT NULL,
        attempts INTEGER NOT NULL, build TEXT, error TEXT, tries TEXT, at INTEGER NOT NULL, checksum INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX answered ON calls (key) WHERE error IS NULL;
    CREATE TABLE builds (
        provider TEXT NOT NULL, model TEXT NOT NULL, build TEXT NOT NULL, PRIMARY KEY (provider, model)
    ) STRICT;
    INSERT INTO calls VALUES
        (1, x'02020202020202020202020202020202', 'm', 'reply 2', 'stop', 10, 2, 1.5, 1, NULL, NULL, NULL, 0, -152778731242142719);
    PRAGMA user_version = 1;";

#[test]
fn a_ledger_of_format_1_is_upgraded_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(FORMAT_1).unwrap();
    let before = call(2, None);
    // Several at once, while another connection is open: one upgrades it, the others find it done.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let ledger = Ledger::open(&path).unwrap();
                assert_eq!(ledger.find(&[before.key]).unwrap(), [Some(before.clone())]);
            });
        }
    });
    let mut ledger = Ledger::open(&path).unwrap();
    assert_eq!(format(&ledger.connection).unwrap(), FORMAT);
    ledger.append(&[call(3, None)]).unwrap();
    assert_eq!(ledger.find(&[Key([3; 16])]).unwrap(), [Some(call(3, None))]);
    let count = |from: &Connection| from.query_row("SELECT COUNT(*) FROM calls", [], |row| row.get::<_, i64>(0));
    assert_eq!(count(&old).unwrap(), 2);
}

#[test]
fn answers_of_format_2_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(FORMAT_1).unwrap();
    old.execute_batch("ALTER TABLE calls ADD COLUMN probabilities TEXT").unwrap();
    // The sum of format 2 of `call(3, None)`, with its probabilities.
    old.execute_batch(
        r#"INSERT INTO calls VALUES (2, x'03030303030303030303030303030303', 'm', 'reply 3', 'stop', 10, 2, 1.5, 1, NULL,
            NULL, NULL, 0, -5037903556881318151, '{"label":{"a":0.3}}'); PRAGMA user_version = 2;"#,
    )
    .unwrap();
    let ledger = Ledger::open(&path).unwrap();
    assert_eq!(format(&ledger.connection).unwrap(), FORMAT);
    let keys = [Key([2; 16]), Key([3; 16])];
    let before_notes = Record { notes: Notes::default(), ..call(3, None) };
    assert_eq!(ledger.find(&keys).unwrap(), [Some(call(2, None)), Some(before_notes)]);
    assert_eq!(ledger.verify().unwrap(), VerifyCounts { sound: 2, corrupt: 0 });
    old.execute("UPDATE calls SET probabilities = NULL", []).unwrap();
    assert_eq!(ledger.find(&keys).unwrap(), [Some(call(2, None)), None]);
}

#[test]
fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    Ledger::open(&path).unwrap().connection.execute_batch("PRAGMA user_version = 99").unwrap();
    let error = Ledger::open(&path).err().unwrap().to_string();
    assert!(error.contains("written by a newer fanfold (format 99"), "{error}");
}

#[test]
fn answers_are_retired_by_their_ids() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&folder.path().join("ledger.sqlite")).unwrap();
    let added = ledger.add(&[call(1, None), call(2, Some("timeout: x")), call(3, None)]).unwrap();
    let again = ledger.add(&[call(1, None), call(4, None)]).unwrap();
    assert!(again[0].earlier.is_some() && again[1].earlier.is_none());
    ledger.retire_ids(&[added[0].id, added[1].id, again[1].id], Retired::Changed).unwrap();
    let found = ledger.find(&[1, 3, 4].map(|n| Key([n; 16]))).unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!((ledger.contents().unwrap().retired, ledger.contents().unwrap().failed_calls), (2, 1));
}

#[test]
fn builds_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&folder.path().join("l")).unwrap();
    assert_eq!(ledger.known_build("ollama", "m").unwrap(), None);
    ledger.remember_build("ollama", "m", "1").unwrap();
    ledger.remember_build("ollama", "m", "2").unwrap();
    assert_eq!(ledger.known_build("ollama", "m").unwrap(), Some("2".into()));
}

#[test]
fn the_time_of_a_call_is_known_unless_it_was_imported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    let made = Record { at: Some(1_700_000_000_000), ..call(1, None) };
    ledger.append(std::slice::from_ref(&made)).unwrap();
    ledger.append(&[call(2, None)]).unwrap();
    for ledger in [ledger, Ledger::open(&path).unwrap()] {
        let found = ledger.find(&[made.key, Key([2; 16])]).unwrap();
        assert_eq!(found.iter().flatten().map(|record| record.at).collect::<Vec<_>>(), [made.at, None]);
    }
}

#[test]
fn many_keys_in_any_order_give_the_answers_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&folder.path().join("l")).unwrap();
    let mut dice = StdRng::seed_from_u64(7);
    let mut keys: Vec<Key> = (0..500).map(|_| Key(dice.random())).collect();
    let record = |(place, key): (usize, &Key)| {
        let error = (place % 11 == 0).then_some("timeout: x");
        Record { key: *key, reply: format!("reply {place}"), ..call(1, error) }
    };
    let records: Vec<Record> = keys.iter().enumerate().map(record).collect();
    ledger.append(&records).unwrap();
    ledger.connection.execute("UPDATE calls SET reply = 'forged' WHERE id % 37 = 0", []).unwrap();
    ledger.retire_ids(&[40, 41, 42], Retired::Unfit).unwrap();
    let is_served =
        |place: usize| !place.is_multiple_of(11) && !(place + 1).is_multiple_of(37) && !(39..42).contains(&place);
    let expected: HashMap<Key, Record> = keys
        .iter()
        .zip(&records)
        .enumerate()
        .filter(|(i, _)| is_served(*i))
        .map(|(_, (k, r))| (*k, r.clone()))
        .collect();
    let unknown: Vec<Key> = (0..50).map(|_| Key(dice.random())).collect();
    let again = keys[100..150].to_vec();
    let in_order = keys.clone();
    keys.extend(unknown.into_iter().chain(again));
    let reversed = keys.iter().rev().copied().collect();
    let every_fifth = in_order.iter().step_by(5).copied().collect();
    let every_thirtieth = in_order.iter().step_by(30).copied().collect();
    let mut shuffled = keys.clone();
    shuffled.shuffle(&mut dice);
    for sought in [in_order, keys, reversed, every_fifth, every_thirtieth, shuffled] {
        let found = ledger.find(&sought).unwrap();
        assert_eq!(found, sought.iter().map(|key| expected.get(key).cloned()).collect::<Vec<_>>());
    }
}

#[test]
fn a_stopped_call_is_continued_once_and_leaves_only_its_last_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&folder.path().join("l")).unwrap();
    let stopped = |n: u8, tries: &str| Record { tries: Some(tries.into()), ..call(n, Some(STOPPED)) };
    let keys = |ledger: &Ledger| ledger.stopped_keys().unwrap().len();
    assert_eq!(keys(&ledger), 0);
    ledger.append(&[stopped(1, "[1]"), stopped(2, "[1]"), call(3, Some("timeout: x"))]).unwrap();
    assert_eq!(keys(&ledger), 2);
    let last = ledger.now().unwrap();
    assert_eq!(ledger.stopped(Key([1; 16]), Since::after(last)).unwrap(), None, "a fresh run begins anew");
    let found = ledger.stopped(Key([1; 16]), Since::ALWAYS).unwrap().unwrap();
    assert_eq!((found.tries.as_deref(), found.attempts), (Some("[1]"), 1));
    // The next run stops again; the one after it gets the answer. Another process has answered the second call.
    ledger.append(&[stopped(1, "[1,2]")]).unwrap();
    let records = |ledger: &Ledger| ledger.spent().unwrap()["m"].calls;
    assert_eq!((keys(&ledger), ledger.count().unwrap(), records(&ledger)), (2, (0, 1), 3));
    ledger.append(&[Record { tries: Some("[1,2,3]".into()), ..call(1, None) }, call(2, None)]).unwrap();
    let left = (keys(&ledger), ledger.count().unwrap(), records(&ledger));
    assert_eq!(left, (1, (2, 1), 4), "what was paid for the second call is kept");
    assert!(ledger.now().unwrap() > last);
    assert_eq!(Ledger::open(&folder.path().join("l")).unwrap().stopped_keys().unwrap().len(), 1);
}

#[test]
fn a_sweep_keeps_the_stopped_calls_of_unfinished_runs() {
    for (kept, left) in [(vec!["m".to_owned()], 1), (Vec::new(), 0)] {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&folder.path().join("l")).unwrap();
        ledger.append(&[call(1, Some(STOPPED)), call(2, Some("timeout: x"))]).unwrap();
        let none = std::iter::empty::<Result<Key, LedgerError>>();
        ledger.sweep(none, (&kept, false, i64::MAX), false).unwrap();
        assert_eq!(ledger.stopped_keys().unwrap().len(), left);
    }
}
