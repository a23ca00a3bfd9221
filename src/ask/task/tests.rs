//! Tasks without a model: rounds, failures, packs and their halves.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};

use super::*;
use crate::prompt::{Addressee, Expect, FailureKind, Message};
use crate::store::Record;
use crate::table::Cell;

/// Asks these questions about the text of each row, round by round.
#[derive(Debug)]
struct Rounds(Vec<Vec<&'static str>>);

impl Ask for Rounds {
    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure> {
        let mut asked = 0;
        let round = self.0.iter().find(|round| {
            asked += round.len();
            asked > so_far.len()
        });
        let Cell::Text(text) = row.cell(0) else { unreachable!("a text") };
        let prompt = |question: &&str| Prompt {
            messages: vec![Message::user(format!("{question} {text}")).around(&format!("{question} "), "")],
            expect: Arc::new(Expect::Text),
            schema: None,
            respondent: None,
            pack: None,
            to: Addressee::Row,
        };
        Ok(round.into_iter().flatten().map(prompt).collect())
    }

    fn cells(&self, _: Row<'_>, _: &str, _: &[Answer]) -> Vec<Cell> {
        Vec::new()
    }

    fn unanswered(&self, _: Row<'_>, _: &[Answer]) -> Vec<Cell> {
        Vec::new()
    }
}

/// The hash of the words.
struct Words;

impl Keys for Words {
    fn key(&self, _: Respondent, prompt: &Prompt) -> Key {
        Key(blake3::hash(prompt.messages[0].content.as_bytes()).as_bytes()[..16].try_into().expect("16 bytes"))
    }

    fn enforced_properties(&self, _: Respondent) -> usize {
        0
    }
}

/// What a task asked, in waves, and what came of it.
#[derive(Default)]
struct Log {
    /// The prompts of each wave: the question of a single row, or the number of items of a pack.
    waves: Vec<Vec<String>>,
    results: Vec<SlotResult>,
    sent: u64,
    known: u64,
    singles: u64,
}

impl Log {
    fn slots(&self) -> Vec<(usize, usize, bool)> {
        let mut slots: Vec<_> = self.results.iter().map(|r| (r.slot, r.asked.len(), r.failure.is_some())).collect();
        slots.sort_unstable();
        slots
    }
}

const WHO: Respondent = Respondent { model: 0, replicate: Replicate { number: 0, repeat: 0 } };

/// The items of a pack as `(id, text)`.
fn items(prompt: &Prompt) -> Vec<(&str, &str)> {
    let text = &prompt.messages.last().expect("a question").content;
    let after = text.split("\n<item ").skip(1);
    after.filter_map(|rest| rest.split_once("\n</item")?.0.split_once(">\n")).collect()
}

/// The answer to a prompt; a single text for which `is_bad` holds fails, and a pack's reply lacks it.
fn answer(prompt: &Prompt, is_bad: impl Fn(&str) -> bool) -> Finished {
    let mut record = Record { finish: "stop".to_owned(), attempts: 1, ..Record::default() };
    let text = prompt.messages[0].content.clone();
    let answer = match &prompt.pack {
        None if is_bad(&text) => Err(FailureKind::Malformed.because("bad")),
        None => Ok(vec![Cell::Text(text)]),
        Some(_) => {
            let good = items(prompt).into_iter().filter(|(_, text)| !is_bad(text));
            let entries = good.map(|(id, text)| format!("{{\"id\":\"{id}\",\"answer\":\"{text}\"}}"));
            record.reply = format!("{{\"answers\":[{}]}}", entries.collect::<Vec<_>>().join(","));
            Ok(Vec::new())
        }
    };
    Finished { record: Arc::new(record), answer, from_ledger: false, place: None }
}

/// Carries out a task about rows with these texts; `is_bad` texts get no answer.
fn carry_out(rounds: Vec<Vec<&'static str>>, at_once: bool, texts: &[&str], is_bad: impl Fn(&str) -> bool) -> Log {
    let column: ArrayRef = Arc::new(texts.iter().map(|text| Some(*text)).collect::<StringArray>());
    let input = RecordBatch::try_from_iter([("text", column)]).expect("a column");
    let ask = Rounds(rounds);
    let context =
        TaskContext { ask: &ask, at_once, sub: 0, repair: Repair::None, keys: &Words, input: &input, first_row: 0 };
    let round = |row| ask.prompts(Row::new(&input, row, 0), &[]).expect("prompts").into_iter().map(Arc::new).collect();
    let members = (0..texts.len()).map(|row| Member::new(row, row, round(row))).collect();
    let mut task = Task::new(&context, WHO, members);
    let mut log = Log::default();
    loop {
        let result = task.step(&context, |slot| log.results.push(slot));
        log.sent += result.sent;
        log.known += result.known;
        log.singles += result.singles;
        match result.next {
            Next::Done => return log,
            Next::LookUp => {}
            Next::Ask => {
                let wave: Vec<usize> = task.wave().collect();
                let shown = |number: &usize| {
                    let prompt = &task.question(*number).prompt;
                    match &prompt.pack {
                        Some(pack) => format!("{} items", pack.size()),
                        None => prompt.messages[0].content.clone(),
                    }
                };
                log.waves.push(wave.iter().map(shown).collect());
                for number in wave {
                    let finished = answer(&task.question(number).prompt.clone(), &is_bad);
                    task.answer(number, finished);
                }
            }
        }
    }
}

#[test]
fn a_round_is_asked_in_turn_and_the_next_follows_from_its_answers() {
    let log = carry_out(vec![vec!["a", "b"], vec!["c"]], false, &["x"], |_| false);
    assert_eq!(log.waves, [["a x"], ["b x"], ["c x"]]);
    assert_eq!((log.slots(), log.sent), (vec![(0, 3, false)], 3));
}

#[test]
fn nothing_is_asked_behind_a_failure() {
    let log = carry_out(vec![vec!["a", "b", "c"], vec!["d"]], false, &["x"], |text| text == "b x");
    assert_eq!(log.waves, [["a x"], ["b x"]]);
    assert_eq!((log.slots(), log.sent), (vec![(0, 2, true)], 2));
}

#[test]
fn a_stage_that_asks_at_once_asks_the_whole_round() {
    let log = carry_out(vec![vec!["a", "b", "c"], vec!["d"]], true, &["x"], |text| text == "b x");
    assert_eq!(log.waves, [["a x", "b x", "c x"]]);
    assert_eq!(log.slots(), [(0, 2, true)], "answers behind the failure do not count");
    let log = carry_out(vec![vec!["a", "b"], vec!["d"]], true, &["x"], |_| false);
    assert_eq!(log.waves, [vec!["a x", "b x"], vec!["d x"]]);
}

#[test]
fn rows_are_asked_together_question_by_question() {
    let log = carry_out(vec![vec!["a", "b"], vec!["c"]], false, &["x", "y"], |_| false);
    assert_eq!(log.waves, [["2 items"], ["2 items"], ["2 items"]]);
    assert_eq!((log.slots(), log.sent, log.singles), (vec![(0, 3, false), (1, 3, false)], 3, 6));
}

#[test]
fn bad_items_are_asked_again_by_halves_down_to_single_rows() {
    let texts = ["p", "q", "r", "s", "t"];
    let log = carry_out(vec![vec!["a"]], false, &texts, |text| ["p", "q", "r", "s"].contains(&text));
    let waves = [vec!["5 items"], vec!["2 items"], vec!["2 items"], vec!["a p"], vec!["a q"], vec!["a r"], vec!["a s"]];
    assert_eq!(log.waves, waves);
    let slots = [(0, 3, false), (1, 3, false), (2, 3, false), (3, 3, false), (4, 1, false)];
    assert_eq!((log.slots(), log.sent, log.singles), (slots.to_vec(), 7, 5));
}

#[test]
fn one_bad_item_is_asked_alone_and_its_failure_costs_no_other_row() {
    let log = carry_out(vec![vec!["a", "b"]], false, &["p", "q", "r"], |text| text == "q" || text == "a q");
    assert_eq!(log.waves, [["3 items"], ["a q"], ["2 items"]], "the failed row is not asked the next question");
    assert_eq!(log.slots(), [(0, 2, false), (1, 2, true), (2, 2, false)]);
}

#[test]
fn rows_that_ask_the_same_share_a_call() {
    let log = carry_out(vec![vec!["a"]], false, &["x", "x", "y"], |_| false);
    assert_eq!(log.waves, [["2 items"]]);
    let carries = log.results.iter().filter(|r| r.asked[0].1.place.as_ref().is_some_and(|place| place.carries));
    assert_eq!(carries.count(), 1);
    let log = carry_out(vec![vec!["a"]], false, &["x", "x"], |_| false);
    assert_eq!((&log.waves, log.sent, log.singles), (&vec![vec!["a x".to_owned()]], 1, 2));
    let mut from_ledger: Vec<bool> = log.results.iter().map(|r| r.asked[0].1.from_ledger).collect();
    from_ledger.sort_unstable();
    assert_eq!(from_ledger, [false, true]);
}

#[test]
fn an_abandoned_task_keeps_the_answers_before() {
    let column: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let input = RecordBatch::try_from_iter([("text", column)]).expect("a column");
    let ask = Rounds(vec![vec!["a", "b"]]);
    let context = TaskContext {
        ask: &ask,
        at_once: false,
        sub: 0,
        repair: Repair::None,
        keys: &Words,
        input: &input,
        first_row: 0,
    };
    let round: Vec<_> = ask.prompts(Row::new(&input, 0, 0), &[]).expect("prompts").into_iter().map(Arc::new).collect();
    let mut task = Task::new(&context, WHO, vec![Member::new(7, 0, round)]);
    let known = Finished { from_ledger: true, ..answer(&task.question(0).prompt.clone(), |_| false) };
    task.answer(0, known);
    let result = task.step(&context, |_| panic!("a question is open"));
    assert_eq!((result.next, result.known, result.sent, task.open_count()), (Next::Ask, 1, 0, 1));
    let mut results = Vec::new();
    task.abandon(&FailureKind::Missing.because("gone"), |slot| results.push(slot));
    assert_eq!((results[0].slot, results[0].asked.len()), (7, 1));
    assert_eq!(results[0].failure, Some(FailureKind::Missing.because("gone")));
}

#[test]
fn a_failed_call_to_the_sub_model_is_an_answer_unless_all_its_calls_would_fail() {
    let record = || Arc::new(Record { prompt_tokens: 3, completion_tokens: 1, ..Record::default() });
    let finished = |answer| Finished { record: record(), answer, from_ledger: false, place: None };
    let failed = |to, kind: FailureKind| super::answer(to, &finished(Err(kind.because("why"))));
    let tokens = [Cell::Integer(3), Cell::Integer(1)];
    let failure = vec![Cell::Null, Cell::Text("timeout".to_owned())];
    assert_eq!(failed(Addressee::Sub, FailureKind::Timeout), Some([failure, tokens.to_vec()].concat()));
    assert_eq!(failed(Addressee::Sub, FailureKind::Unauthorized), None);
    assert_eq!(failed(Addressee::Root, FailureKind::Timeout), None);
    assert_eq!(failed(Addressee::Row, FailureKind::Timeout), None);
    let text = || vec![Cell::Text("yes".to_owned())];
    assert_eq!(super::answer(Addressee::Row, &finished(Ok(text()))), Some(text()));
    let counted = [text(), vec![Cell::Null], tokens.to_vec()].concat();
    assert_eq!(super::answer(Addressee::Sub, &finished(Ok(text()))), Some(counted));
}
