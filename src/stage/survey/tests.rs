//! Surveys over a few people: the questions and the cells of the answers.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use super::KIND;
use crate::document::{Diagnostic, Document, Path, Problems, SpecFormat};
use crate::prompt::{Answer, Message, Prompt, Role};
use crate::stage::{BindContext, Stage};
use crate::table::{Cell, Row};

fn people() -> RecordBatch {
    let id: ArrayRef = Arc::new(StringArray::from(vec!["anna", "ben", "carl", "dora"]));
    let age: ArrayRef = Arc::new(Int64Array::from(vec![Some(34), Some(17), None, Some(70)]));
    let job: ArrayRef = Arc::new(StringArray::from(vec![Some("nurse"), Some(" "), None, Some("none")]));
    let weight: ArrayRef = Arc::new(Int64Array::from(vec![1, 1, 1, 1]));
    RecordBatch::try_from_iter([("id", id), ("age_in_years", age), ("main_job", job), ("weight", weight)]).unwrap()
}

/// The survey that these lines of TOML say, and the problems with it as `path: message`.
fn bound(text: &str) -> (Option<Stage>, Vec<String>) {
    let document = Document::parse("s.toml", text.to_owned(), SpecFormat::Toml).unwrap();
    let (path, mut problems) = (Path::root(), Problems::default());
    let config = (KIND.decode)(&document.root, &path, &mut problems);
    let people = people();
    let site = BindContext {
        name: "talk",
        path: &path,
        input: &people.schema(),
        hidden: 0,
        key: Some(0),
        fold: 1,
        seed: Some(7),
        read: &|_| Err("no files here".to_owned()),
    };
    let stage = config.and_then(|config| config.bind(&site, &mut problems));
    assert_eq!(stage.is_none(), problems.iter().any(Diagnostic::is_error));
    let shown = |p: &Diagnostic| match &p.place {
        crate::document::SourcePosition::Value(path) | crate::document::SourcePosition::Key(path) => {
            format!("{path}: {}", p.message)
        }
        crate::document::SourcePosition::Span(_) => p.message.clone(),
    };
    (stage, problems.iter().map(shown).collect())
}

fn survey(text: &str) -> Stage {
    let (stage, problems) = bound(text);
    assert_eq!(problems, [] as [&str; 0]);
    stage.unwrap()
}

/// The next prompts of person `row` after replies to all prompts so far; a reply is read as the run reads it.
fn next(stage: &Stage, row: usize, replies: &[&str]) -> Result<(Vec<Prompt>, Vec<Answer>), String> {
    let people = people();
    let row = Row::new(&people, row, 0);
    let (mut answers, mut replies) = (Vec::new(), replies.iter());
    loop {
        let prompts = stage.ask.prompts(row, &answers).map_err(|failure| failure.to_string())?;
        for prompt in &prompts {
            let Some(reply) = replies.next() else { return Ok((prompts, answers)) };
            answers.push(prompt.expect.read(reply, None)?);
        }
        if prompts.is_empty() {
            assert_eq!(replies.len(), 0, "more replies than prompts");
            return Ok((prompts, answers));
        }
    }
}

/// The cells of person `row` after these replies to everything.
fn cells(stage: &Stage, row: usize, replies: &[&str]) -> Vec<Cell> {
    let (prompts, answers) = next(stage, row, replies).unwrap();
    assert_eq!(prompts.len(), 0, "not at its end");
    stage.ask.cells(Row::new(&people(), row, 0), "m", &answers)
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn list(items: &[&str]) -> Cell {
    Cell::List(items.iter().map(|item| text(item)).collect())
}

fn said(messages: &[Message]) -> Vec<(Role, &str)> {
    messages.iter().map(|m| (m.role, m.content.as_str())).collect()
}

const ALL: &str = r#"
questions = [
  { id = "trust", text = "Do you trust the news?", options = ["a lot", "a bit", "no", "don't know"] },
  { id = "media", text = "Which do you use?", type = "multiple", options = ["radio", "papers", "web"] },
  { id = "mood", text = "How content are you?", type = "scale", min = 1, max = 7, min_label = "not at all" },
  { id = "hours", text = "How many hours a day?", type = "number", min = 0, max = 24 },
  { id = "why", text = "Why?" },
]
"#;

const REPLIES: [&str; 5] =
    [r#"{"answer": "A Bit."}"#, r#"{"answer": ["web", "Radio"]}"#, r#"{"answer": 7}"#, r#"{"answer": 2}"#, "Because."];

#[test]
fn every_type_of_question_has_its_words_and_its_column() {
    let stage = survey(ALL);
    let (prompts, _) = next(&stage, 0, &[]).unwrap();
    let system = "You are answering a survey as this person:\n- age in years: 34\n- main job: nurse\n\n\
                  Answer every question as this person would, from their own situation and point of view.";
    assert!(prompts.iter().all(|p| p.messages[0].content == system), "{}", prompts[0].messages[0].content);
    let asked: Vec<&str> = prompts.iter().map(|p| p.messages[1].content.as_str()).collect();
    let form = "\n\nAnswer with one JSON object and nothing else. Its key:\n- \"answer\": ";
    assert_eq!(
        asked,
        [
            format!(
                "Do you trust the news?\n- a lot\n- a bit\n- no\n- don't know{form}one of the options, word for word"
            ),
            format!(
                "Which do you use?\n- radio\n- papers\n- web{form}a list of all options that apply, each word for word"
            ),
            format!("How content are you?\n(1 = not at all){form}a whole number from 1 to 7"),
            format!("How many hours a day?{form}a number from 0 to 24"),
            "Why?\n\nAnswer in your own words, with the answer and nothing else.".to_owned(),
        ]
    );
    assert_eq!(
        stage.info.writes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        ["trust", "media", "mood", "hours", "why"]
    );
    // A list has the order of the spec, whatever the order of the reply.
    let expected = [text("a bit"), list(&["radio", "web"]), Cell::Integer(7), Cell::Number(2.0), text("Because.")];
    assert_eq!(cells(&stage, 0, &REPLIES), expected);
    assert_eq!((stage.info.most_prompts, &*stage.info.reads, &*stage.info.needs), (5, &[1, 2][..], &[][..]));
}

#[test]
fn a_persona_says_only_what_is_known() {
    let stage = survey("questions = { 'Why?' = [] }");
    let system = |row| next(&stage, row, &[]).unwrap().0[0].messages[0].content.clone();
    assert!(system(1).starts_with("You are answering a survey as this person:\n- age in years: 17\n\nAnswer every"));
    assert!(system(2).starts_with("You are a person answering a survey.\n\nAnswer every"), "{}", system(2));
    let stage = survey("system = 'Be honest.'\npersona = 'You are {{ main_job }}.'\nquestions = { 'Why?' = [] }");
    let (prompts, _) = next(&stage, 0, &[]).unwrap();
    assert!(prompts[0].messages[0].content.starts_with("Be honest.\n\nYou are nurse.\n\nAnswer every"));
    assert_eq!(stage.info.reads, [2]);
}

#[test]
fn answers_that_fit_no_option_or_two_are_malformed() {
    let stage = survey(ALL);
    for (place, reply) in [(0, "a lot or a bit"), (0, "a"), (1, "radio, web"), (2, "8"), (2, "1.5"), (3, "-1")] {
        let mut replies = REPLIES;
        let reply =
            serde_json::json!({ "answer": serde_json::from_str(reply).unwrap_or_else(|_| serde_json::json!(reply)) });
        let reply = reply.to_string();
        replies[place] = &reply;
        let error = next(&stage, 0, &replies).unwrap_err();
        assert!(error.starts_with("\"answer\" must be "), "{reply}: {error}");
    }
    let stage = survey("option_labels = 'letters'\nquestions = { 'Well?' = ['good', 'bad'] }");
    for (reply, kept) in
        [("A", Some("good")), ("b.", Some("bad")), ("B. bad", Some("bad")), ("Good", Some("good")), ("A. bad", None)]
    {
        let reply = serde_json::json!({ "answer": reply }).to_string();
        let answer = next(&stage, 0, &[&reply]).ok().map(|(_, answers)| answers[0][0].clone());
        assert_eq!(answer, kept.map(text), "{reply}");
    }
}

#[test]
fn respondents_share_what_is_wanted_unless_their_options_have_other_orders() {
    let one_round = |settings: &str| {
        let stage = survey(&format!("{settings}\n{ALL}"));
        let [first, second] = [0, 1].map(|row| next(&stage, row, &[]).unwrap().0);
        let are_shared = |(a, b): (&Prompt, &Prompt)| {
            assert_eq!(a.schema.is_some(), a.expect.schema().is_some());
            Arc::ptr_eq(&a.expect, &b.expect)
                && a.schema.as_ref().zip(b.schema.as_ref()).is_none_or(|(a, b)| Arc::ptr_eq(a, b))
        };
        first.iter().zip(&second).map(are_shared).collect::<Vec<bool>>()
    };
    assert_eq!(one_round(""), [true; 5]);
    assert_eq!(one_round("option_order = 'random'"), [false, false, true, true, true]);
}

#[test]
fn with_memory_a_question_sees_the_ones_before_and_equal_answers_make_equal_calls() {
    let stage = survey(&format!("memory = true\noption_labels = 'letters'\n{ALL}"));
    let (prompts, _) =
        next(&stage, 0, &["{\"answer\": \"b\"}", "{\"answer\": [\"C\", \"a. radio\"]}", "{\"answer\": 3.0}"]).unwrap();
    assert_eq!(prompts.len(), 1, "one question a round");
    let messages = said(&prompts[0].messages);
    let form = "\n\nAnswer with one JSON object and nothing else. Its key:\n- \"answer\": ";
    let first =
        format!("Do you trust the news?\nA. a lot\nB. a bit\nC. no\nD. don't know{form}the letter of one option");
    let second =
        format!("Which do you use?\nA. radio\nB. papers\nC. web{form}a list of the letters of all options that apply");
    assert_eq!(
        messages[1..5],
        [
            (Role::User, first.as_str()),
            (Role::Assistant, r#"{"answer":"B"}"#),
            (Role::User, &second),
            (Role::Assistant, r#"{"answer":["A","C"]}"#),
        ]
    );
    assert_eq!((messages.len(), messages[6]), (8, (Role::Assistant, r#"{"answer":3}"#)));
    let again = ["{\"answer\": \"A bit\"}", "{\"answer\": [\"radio\", \"web\"]}", "so: {\"answer\": 3}"];
    assert_eq!(next(&stage, 0, &again).unwrap().0[0].messages, prompts[0].messages);
}

const SKIPS: &str = r#"
questions = [
  { id = "works", text = "Do you work?", options = ["yes", "no"], when = "age_in_years is none or age_in_years >= 18" },
  { id = "hours", text = "How many hours?", type = "number", when = "works == 'yes'" },
  { id = "mood", text = "How content are you?", type = "scale", min = 1, max = 7 },
  { id = "tired", text = "Are you tired?", options = ["yes", "no"], when = "hours is not none and hours > 40" },
]
"#;

#[test]
fn a_question_is_asked_where_its_condition_holds() {
    for memory in [false, true] {
        let stage = survey(&format!("memory = {memory}\n{SKIPS}"));
        let asked = |row, replies: &[&str]| {
            let (prompts, _) = next(&stage, row, replies).unwrap();
            prompts
                .iter()
                .map(|p| p.messages.last().unwrap().content.split('?').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let [yes, no, ten, fifty] = ["\"yes\"", "\"no\"", "10", "50"].map(|a| format!("{{\"answer\": {a}}}"));
        let mood = r#"{"answer": 4}"#;
        let two: &[&str] = if memory { &["Do you work"] } else { &["Do you work", "How content are you"] };
        assert_eq!(asked(0, &[]), two);
        // Too young for the first question, and so for those that hang on it.
        assert_eq!(asked(1, &[]), ["How content are you"]);
        assert_eq!(cells(&stage, 1, &[mood]), [Cell::Null, Cell::Null, Cell::Integer(4), Cell::Null]);
        fn through(memory: bool, [a, b, c]: [&str; 3]) -> [&str; 3] {
            if memory { [a, b, c] } else { [a, c, b] }
        }
        assert_eq!(cells(&stage, 0, &[&no, mood])[..3], [text("no"), Cell::Null, Cell::Integer(4)]);
        assert_eq!(
            cells(&stage, 0, &through(memory, [&yes, &ten, mood]))[1..],
            [Cell::Number(10.0), Cell::Integer(4), Cell::Null]
        );
        let three = through(memory, [&yes, &fifty, mood]);
        assert_eq!(asked(3, &three), ["Are you tired"]);
        assert_eq!(cells(&stage, 3, &[&three[..], &[&no]].concat())[3], text("no"));
    }
}

#[test]
fn what_was_answered_before_a_failure_is_kept() {
    let stage = survey(&format!("memory = true\noption_order = 'reversed'\nquestion_order = 'reversed'\n{SKIPS}"));
    let people = people();
    let row = Row::new(&people, 0, 0);
    let (_, answers) = next(&stage, 0, &[r#"{"answer": "yes"}"#, r#"{"answer": 10}"#]).unwrap();
    let names: Vec<&str> = stage.info.writes.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["works", "works_shown", "hours", "mood", "tired", "tired_shown", "talk_question_order"]);
    let kept = stage.ask.unanswered(row, &answers);
    let order = list(&["works", "hours"]);
    assert_eq!(
        kept,
        [text("yes"), list(&["no", "yes"]), Cell::Number(10.0), Cell::Null, Cell::Null, Cell::Null, order]
    );
    assert_eq!(stage.ask.unanswered(row, &[]), vec![Cell::Null; 7]);
    // A condition that can't be told fails the row.
    let stage = survey(&SKIPS.replace("works == 'yes'", "1 / 0 > 1"));
    assert!(stage.ask.prompts(row, &[]).unwrap_err().to_string().starts_with("when: "));
}

#[test]
fn questions_tied_by_conditions_move_as_one_block() {
    let text = r#"
memory = true
question_order = "reversed"
questions = [
  { id = "a", text = "A?" },
  { id = "b", text = "B?" },
  { id = "c", text = "C?" },
  { id = "d", text = "D?", when = "b == 'x'" },
  { id = "e", text = "E?", pinned = true },
  { id = "f", text = "F?" },
]
"#;
    let stage = survey(text);
    // Blocks a | b c d | e | f; e is pinned to the third place.
    let order = cells(&stage, 0, &["y", "x", "y", "y", "y", "y"]).pop().unwrap();
    assert_eq!(order, list(&["f", "b", "c", "d", "e", "a"]));
    let order = cells(&stage, 0, &["y", "y", "y", "y", "y"]).pop().unwrap();
    assert_eq!(order, list(&["f", "b", "c", "e", "a"]), "what was asked");
}

#[test]
fn a_whole_questionnaire_in_one_call() {
    let stage = survey(&format!("per = 'respondent'\nquestion_order = 'reversed'\noption_order = 'reversed'\n{ALL}"));
    let (prompts, _) = next(&stage, 0, &[]).unwrap();
    assert_eq!((prompts.len(), stage.info.most_prompts), (1, 1));
    let asked = &prompts[0].messages[1].content;
    assert_eq!(
        asked,
        "Please answer this questionnaire.\n\n1. Why?\n\n2. How many hours a day?\n\n3. How content are you?\n(1 = not at all)\n\n\
         4. Which do you use?\n- web\n- papers\n- radio\n\n5. Do you trust the news?\n- don't know\n- no\n- a bit\n- a lot\n\n\
         Answer with one JSON object and nothing else. Its keys:\n\
         - \"why\": your answer to question 1, text, in your own words\n\
         - \"hours\": your answer to question 2, a number from 0 to 24\n\
         - \"mood\": your answer to question 3, a whole number from 1 to 7\n\
         - \"media\": your answer to question 4, a list of all options that apply, each word for word\n\
         - \"trust\": your answer to question 5, one of the options, word for word"
    );
    let schema = prompts[0].schema.as_ref().unwrap();
    assert_eq!(schema["properties"]["trust"]["enum"], serde_json::json!(["don't know", "no", "a bit", "a lot"]));
    let reply = r#"{"trust": "no", "media": [], "mood": 1, "hours": 0.5, "why": "So."}"#;
    let cells = cells(&stage, 0, &[reply]);
    assert_eq!(cells[0..2], [text("no"), list(&["don't know", "no", "a bit", "a lot"])]);
    assert_eq!(cells[2..4], [list(&[]), list(&["web", "papers", "radio"])]);
    assert_eq!(
        cells[4..],
        [Cell::Integer(1), Cell::Number(0.5), text("So."), list(&["why", "hours", "mood", "media", "trust"])]
    );
}

#[test]
fn both_forms_of_a_questionnaire_say_the_same() {
    let short = survey("questions = { 'Well?' = ['good', 'bad'], 'Why?' = [], 'And?' = 'text' }");
    let long = r#"questions = [
        { id = "q1", text = "Well?", type = "single", options = ["good", "bad"] },
        { id = "q2", text = "Why?", type = "text" },
        { id = "q3", text = "And?" },
    ]"#;
    assert_eq!(short.info.meaning, survey(long).info.meaning);
    let other = survey(&long.replace("bad", "worse"));
    assert_ne!(short.info.meaning, other.info.meaning);
    assert_eq!(short.info.meaning["seed"], serde_json::Value::Null);
    assert_eq!(survey(&format!("option_order = 'random'\n{long}")).info.meaning["seed"], 7);
}

#[test]
fn every_problem_is_told_at_its_place() {
    let options: Vec<String> = (0..27).map(|n| format!("option {n}")).collect();
    let text = format!(
        "option_labels = 'letters'\nquestion_order = 'random'\nmemory = true\nquestions = [\n\
         {{ id = 'a', text = 'A?', options = {options:?} }},\n\
         {{ id = 'talk_question_order', text = 'B?', option_order = 'random', pinned_options = ['x'] }},\n\
         {{ id = 'c', text = 'C?', type = 'number', min = 1, max = 1 }},\n\
         {{ id = 'd', text = 'D?', type = 'multiple', options = ['x', 'b'], pinned_options = ['X'] }} ]"
    );
    assert_eq!(
        bound(&text).1,
        [
            "questions[0].options: question `a` has 27 options, more than there are letters",
            "questions[1].pinned_options: `pinned_options` is for `single` and `multiple`, not for `text`",
            "questions[1].option_order: `option_order` is for `single` and `multiple`, not for `text`",
            "questions[2].min: `min` (1) must be below `max` (1)",
            "questions[3].options[1]: the option `b` reads like a label, so that an answer could mean two options",
            "questions[3].pinned_options[0]: question `d` has no option `X`",
            "questions[1].id: the column `talk_question_order` is written twice",
        ]
    );
}

#[test]
fn settings_that_change_nothing_are_warned_of() {
    let (stage, problems) = bound("question_order = 'random'\nquestions = { 'Why?' = [] }");
    assert!(stage.is_some());
    assert_eq!(problems, ["question_order: `question_order` changes no answer here: each question is asked alone"]);
    let text =
        "questions = [{ id = 'a', text = 'A?', options = ['1', '2'] }, { id = 'b', text = 'B?', when = 'a > 1' }]";
    let refused = "questions[1].when: `a > 1` compares text with a number: `a` is text";
    assert_eq!(bound(text).1, [refused]);
}
