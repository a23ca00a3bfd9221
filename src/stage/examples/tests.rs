//! Examples in front of the prompts of stages, and those that are refused.

use super::*;
use crate::document::{Document, SpecFormat};
use crate::stage::{STAGES, Stage};
use arrow_array::StringArray;
use arrow_schema::DataType;

/// The stage that these lines make over rows with an id, a text, a party and a year, with these examples.
fn stage(lines: &str, examples: &[(Value, Value)]) -> Result<Stage, Vec<String>> {
    let document = Document::parse("stage.toml", lines.to_owned(), SpecFormat::Toml).unwrap();
    let kind = document.root.get("type").and_then(|node| node.as_str()).unwrap().to_owned();
    let kind = STAGES.iter().find(|stage| stage.name == kind).unwrap();
    let mut root = document.root.clone();
    if let crate::document::Value::Table(entries) = &mut root.value {
        entries.retain(|entry| entry.key != "type");
    }
    let mut problems = Problems::default();
    let path = Path::root();
    let config = (kind.decode)(&root, &path, &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
    let input = Arc::new(schema());
    let site = BindContext {
        name: "tone",
        path: &path,
        input: &input,
        hidden: 0,
        key: Some(0),
        fold: 1,
        seed: None,
        read: &|_| Err("no files here".to_owned()),
    };
    let stage = config.bind(&site, &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
    let example = |(i, (row, answer)): (usize, &(Value, Value))| Example {
        row: row.as_object().unwrap().clone(),
        answer: answer.clone(),
        origin: ExampleOrigin::Spec(path.key("examples").index(i)),
    };
    let examples: Vec<Example> = examples.iter().enumerate().map(example).collect();
    with_examples(stage, &site, &examples, &mut problems).ok_or(problems.iter().map(|p| p.message.clone()).collect())
}

fn schema() -> Schema {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Schema::new(vec![text("id"), text("text"), text("party"), Field::new("year", DataType::Int64, true)])
}

/// What is said about a row with this text and year.
fn said(stage: &Stage, text: &str, year: Option<i64>) -> Vec<(Role, String)> {
    let texts = ["s1", text, "Whig"].map(|text| Arc::new(StringArray::from(vec![text])) as ArrayRef);
    let year = Arc::new(arrow_array::Int64Array::from(vec![year])) as ArrayRef;
    let batch = RecordBatch::try_new(Arc::new(schema()), texts.into_iter().chain([year]).collect()).unwrap();
    let prompts = stage.ask.prompts(Row::new(&batch, 0, 0), &[]).unwrap();
    assert_eq!(prompts.len(), 1);
    prompts[0].messages.iter().map(|message| (message.role, message.content.clone())).collect()
}

const ANALYSIS: &str = r#"
type = "analysis"
system = "You judge."
prompt = "Tone in {{ year }}?\n\n{{ text }}"

[output]
label = { type = "string", enum = ["good", "bad"] }
"#;

fn good(row: Value) -> (Value, Value) {
    (row, json!({ "label": "Good" }))
}

#[test]
fn examples_stand_between_the_system_text_and_the_question() {
    let examples = [
        good(json!({ "text": "Joy.", "year": 1800 })),
        (json!({ "year": 1801, "text": "Woe.", "party": null }), json!({ "label": "bad" })),
    ];
    let stage = stage(ANALYSIS, &examples).unwrap();
    let (one, other) = (said(&stage, "We won.", Some(1810)), said(&stage, "We lost.", None));
    let turns: Vec<(Role, &str)> = one[1..].iter().map(|(role, text)| (*role, text.as_str())).collect();
    let expected = [
        (Role::User, "Tone in 1800?\n\nJoy."),
        (Role::Assistant, r#"{"label":"good"}"#),
        (Role::User, "Tone in 1801?\n\nWoe."),
        (Role::Assistant, r#"{"label":"bad"}"#),
        (Role::User, "Tone in 1810?\n\nWe won."),
    ];
    assert_eq!((one[0].0, turns), (Role::System, expected.to_vec()));
    assert_eq!(one[..5], other[..5], "the same letter by letter");
    assert_ne!(stage.info.meaning, self::stage(ANALYSIS, &examples[..1]).unwrap().info.meaning);
}

#[test]
fn what_an_example_must_be_is_said() {
    let cases = [
        (good(json!({ "text": "Joy." })), "the row of an example lacks `year`, which the prompt reads"),
        (good(json!({ "text": "Joy.", "year": "soon" })), "the column `year` holds whole numbers, not \"soon\""),
        (good(json!({ "txt": "Joy.", "year": 1 })), "the input has no column `txt`"),
        (
            (json!({ "text": "Joy.", "year": 1 }), json!({ "label": "glad" })),
            "the answer of an example can't be used: \"label\" must be one of \"good\", \"bad\", not \"glad\"",
        ),
        (
            (json!({ "text": "Joy.", "year": 1 }), json!("good")),
            "the answer of an example can't be used: it must be a table of `label`, not \"good\"",
        ),
    ];
    for (example, message) in cases {
        assert_eq!(stage(ANALYSIS, &[example]).unwrap_err(), [message]);
    }
    let needs = ANALYSIS.replace("system =", "text_column = \"text\"\nsystem =");
    let told = stage(&needs, &[good(json!({ "text": " ", "year": 1 }))]).unwrap_err();
    assert_eq!(told, ["the row of an example lacks `text`; such a row is skipped"]);
}

#[test]
fn a_value_that_is_to_be_filled_need_not_be_there_and_an_example_serves_where_the_same_keys_lack() {
    let lines = r#"
type = "fill-missing"
text_column = "text"

[fields]
year = { type = "integer", column = "year" }
place = { type = "string" }
"#;
    let example = (json!({ "text": "In 1800, Rome." }), json!({ "year": 1800, "place": "Rome" }));
    let stage = stage(lines, std::slice::from_ref(&example)).unwrap();
    let both = said(&stage, "In 1810, Bonn.", None);
    assert_eq!(both[2], (Role::Assistant, r#"{"year":1800,"place":"Rome"}"#.to_owned()));
    assert_eq!(both.len(), 4);
    assert_eq!(said(&stage, "In Bonn.", Some(1810)).len(), 2, "only the place is asked for");
    let told = self::stage(lines, &[(json!({ "text": "Rome.", "year": 1800 }), example.1)]).unwrap_err();
    assert_eq!(told, ["the answer of an example can't be used: \"year\" is not asked for; the keys are `place`"]);
}

#[test]
fn a_file_holds_texts_for_values() {
    let place = ExampleOrigin::File(Path::root(), 3);
    let said = |text: &str| place.parsed(&json!(text));
    assert_eq!(
        [said("12"), said(" TRUE "), said("[1, 2]"), said("x")],
        [json!(12), json!(true), json!([1, 2]), json!("x")]
    );
    assert_eq!(ExampleOrigin::Spec(Path::root()).parsed(&json!("12")), json!("12"));
    assert_eq!(place.problem("bad-example", &["row"], "it is wrong".into()).message, "row 3: it is wrong");
}
