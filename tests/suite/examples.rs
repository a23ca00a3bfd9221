//! Examples: rows with their answers, which every prompt contains between the system text and the question.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::pack::{corrupted, json_of, packs_of};
use crate::recipe::{TYPED, openai_spec, project, spec};
use crate::server::{Asked, Say, Server};
#[cfg(feature = "embedded")]
use crate::{project::Project, recipe::rows, weights};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const PLAN: [&str; 4] = ["plan", "pipeline.toml", "--format", "json"];
const SYSTEM: &str = "system = \"You judge speeches.\"\nmodels = [\"llama\"]\n";
const INLINE: &str = r#"
examples = [
    { row = { text = "Joy everywhere." }, answer = { score = 10, label = "Positive" } },
    { row = { text = "A dark hour." }, answer = { label = "negative", score = 1 } },
]
"#;
/// The turns of [`INLINE`].
const TURNS: [(&str, &str); 4] = [
    ("user", "What is the tone?\n\nJoy everywhere."),
    ("assistant", r#"{"label":"positive","score":10}"#),
    ("user", "What is the tone?\n\nA dark hour."),
    ("assistant", r#"{"label":"negative","score":1}"#),
];

/// The lines of a stage with examples, typed answers and a system text.
fn stage(examples: &str) -> String {
    format!("{SYSTEM}{examples}{TYPED}")
}

fn turns(asked: &Asked) -> Vec<(&str, &str)> {
    asked.messages.iter().map(|(role, text)| (role.as_str(), text.as_str())).collect()
}

/// The last that is said to the model, which is the question.
fn question(asked: &Asked) -> &str {
    asked.messages.last().map_or("", |(_, text)| text)
}

#[test]
fn they_arrive_in_order_and_the_same_for_all_rows() {
    for spec in [spec(&stage(INLINE)), openai_spec("", &stage(INLINE))] {
        let server = Server::new().start();
        let project = project(&server, &spec, 9);
        project.run(&RUN).exits(0).says("9 rows = 9 answered");
        let asked = server.asked();
        let mut beginnings = BTreeSet::new();
        let mut questions = BTreeSet::new();
        for asked in &asked {
            let turns = turns(asked);
            assert_eq!((turns[0].0, &turns[1..5], turns.len()), ("system", &TURNS[..], 6), "{asked:?}");
            assert!(turns[0].1.starts_with("You judge speeches.\n\nAnswer with one JSON object"), "{asked:?}");
            beginnings.insert(json!(turns[..5]).to_string());
            questions.insert(question(asked).to_owned());
        }
        assert_eq!((asked.len(), beginnings.len(), questions.len()), (9, 1, 9));
        assert!(questions.contains("What is the tone?\n\nSpeech 3, on trade and peace."), "{questions:?}");
        assert_eq!(project.table(OUT).nulls("tone_error"), 9);
    }
}

#[test]
fn files_say_the_same_as_the_spec() {
    let csv = "text,label,score\nJoy everywhere.,Positive,10\nA dark hour.,negative,1\n";
    let jsonl = "{\"text\": \"Joy everywhere.\", \"score\": 10, \"label\": \"positive\"}\n\
                 {\"text\": \"A dark hour.\", \"answer.label\": \"negative\", \"label\": \"negative\", \"score\": 1}\n";
    let jsonl = jsonl.replace("\"answer.label\": \"negative\", ", "");
    for (file, contents) in [("examples.csv", csv), ("examples.jsonl", &jsonl)] {
        let server = Server::new().start();
        let project = project(&server, &spec(&stage(&format!("examples_file = \"{file}\""))), 2);
        project.write(file, contents);
        project.run(&RUN).exits(0);
        assert!(server.asked().iter().all(|asked| turns(asked)[1..5] == TURNS), "{file}: {:?}", server.asked());
    }
    // An output of fanfold is a file of examples too, where no other column is in the way.
    let server = Server::new().start();
    let first = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 3);
    first.run(&RUN).exits(0);
    let kept = spec(&stage("examples_file = \"kept.parquet\""));
    let second = project(&server, &kept, 5);
    second.write("kept.parquet", first.bytes(OUT));
    let told = second.run(&["validate", "pipeline.toml"]).exits(2).stderr;
    assert!(told.contains("row 1: the answer of an example can't be used: \"tone_error\" is not asked for"), "{told}");
}

#[test]
fn a_plain_text_is_answered_by_a_text() {
    let server = Server::new().start();
    let file = "models = [\"llama\"]\nexamples_file = \"examples.csv\"";
    let inline = "models = [\"llama\"]\nexamples = [{ row = { text = \"Joy.\" }, answer = \"It is glad.\" }]";
    for stage in [file, inline] {
        let project = project(&server, &spec(stage), 1);
        project.write("examples.csv", "text,answer\nJoy.,It is glad.\n");
        project.run(&RUN).exits(0);
        let asked = server.asked();
        let expected = [("user", "What is the tone?\n\nJoy."), ("assistant", "It is glad.")];
        assert_eq!(turns(&asked[asked.len() - 1])[..2], expected);
    }
}

#[test]
fn wrong_examples_are_refused_before_a_call() {
    let server = Server::new().start();
    let cases = [
        ("{ label = \"glad\", score = 1 }", "\"label\" must be one of"),
        ("{ label = \"neutral\", score = 11 }", "\"score\" must be a whole number from 0 to 10, not 11"),
        ("{ label = \"neutral\" }", "the key \"score\" is missing"),
        ("\"neutral\"", "it must be a table of `label` and `score`, not \"neutral\""),
    ];
    for (answer, reason) in cases {
        let example = format!("examples = [{{ row = {{ text = \"Joy.\" }}, answer = {answer} }}]");
        let told = project(&server, &spec(&stage(&example)), 2).run(&RUN).exits(2).stderr;
        assert!(told.contains(reason) && told.contains("pipeline.toml:"), "{told}");
    }
    let reduce = spec("models = [\"llama\"]\nexamples = []")
        .replace("\"analysis\"", "\"reduce\"")
        .replace("{{ text }}", "{% for row in rows %}{{ row.text }}{% endfor %}");
    let told = project(&server, &reduce, 2).run(&["validate", "pipeline.toml"]).exits(2).stderr;
    assert!(told.contains("there are no examples"), "{told}");
    let some = reduce.replace("examples = []", "examples = [{ row = {}, answer = \"a\" }]");
    let told = project(&server, &some, 2).run(&["validate", "pipeline.toml"]).exits(2).stderr;
    assert!(told.contains("a reduce can't have examples"), "{told}");
    let outside = spec(&stage("examples_file = \"../examples.csv\""));
    let told = project(&server, &outside, 2).run(&["validate", "pipeline.toml"]).exits(2).stderr;
    assert!(told.contains("leaves the folder of the spec"), "{told}");
    assert_eq!(server.requests(), 0);
}

/// What the scripted server says to packs and rows that stand behind examples: the truth, but for some.
fn truth_after_examples(per_mille: u64) -> Server {
    let script = move |asked: &Asked, _: usize| {
        let mut alone = asked.clone();
        alone.messages = vec![("user".to_owned(), question(asked).to_owned())];
        corrupted(&alone, per_mille)
    };
    Server::new().script(script).start()
}

#[test]
fn packs_are_shown_them_as_a_pack_and_its_reply() {
    let server = truth_after_examples(300);
    let project = project(&server, &packs_of(5, INLINE), 40);
    project.run(&RUN).exits(0).says("40 rows = 40 answered");
    let table = project.table(OUT);
    let of_row = |row: i64| (["positive", "neutral", "negative"][(row % 3) as usize], row % 11);
    let found: Vec<(String, Option<i64>)> = table.texts("label").into_iter().zip(table.ints("score")).collect();
    let expected: Vec<(String, Option<i64>)> = (0..40).map(of_row).map(|(l, s)| (l.to_owned(), Some(s))).collect();
    assert_eq!(found, expected);

    let (packs, singles): (Vec<Asked>, Vec<Asked>) =
        server.asked().into_iter().partition(|asked| question(asked).contains("\nThe items:\n"));
    assert!(packs.len() >= 8 && !singles.is_empty());
    assert!(singles.iter().all(|asked| turns(asked)[1..5] == TURNS), "one by one they are what they are without packs");
    let beginnings: BTreeSet<String> = packs.iter().map(|asked| json!(turns(asked)[..3]).to_string()).collect();
    assert_eq!(beginnings.len(), 1);
    let [(_, _), (_, shown), (role, reply), (_, asked)] = turns(&packs[0])[..] else {
        panic!("four turns: {:?}", packs[0])
    };
    assert!(shown.contains("\nJoy everywhere.\n</item ") && !shown.contains("Speech"), "{shown}");
    assert!(!asked.contains("Joy everywhere."), "{asked}");
    let reply: Value = json_of(reply);
    let answers: Vec<&Value> = reply.as_object().unwrap().values().collect();
    let expected = [json!({ "label": "positive", "score": 10 }), json!({ "label": "negative", "score": 1 })];
    assert_eq!((role, answers), ("assistant", expected.iter().collect()));
}

#[test]
fn another_example_is_another_call() {
    let server = Server::new().start();
    let project = project(&server, &spec(&stage(INLINE)), 6);
    project.run(&RUN).exits(0);
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 6);
    let changed = INLINE.replace("A dark hour.", "A darker hour.");
    project.write("pipeline.toml", spec(&stage(&changed)));
    project.run(&["verify", "pipeline.toml"]).exits(5);
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 12);
    // What is as it was is known.
    project.write("pipeline.toml", spec(&stage(INLINE)));
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 12);
    let shown = project.run(&["explain", "pipeline.toml", "s0002", "label"]).exits(0).stdout;
    assert!(shown.contains("A dark hour.") && shown.contains(r#"{"label":"positive","score":10}"#), "{shown}");
    let plan = project.run(&["plan", "pipeline.toml", "--render", "1"]).exits(0).stdout;
    assert!(
        plan.contains("[user]\nWhat is the tone?\n\nA dark hour.\n[assistant]\n{\"label\":\"negative\",\"score\":1}\n"),
        "{plan}"
    );
}

#[test]
fn a_plan_says_how_much_all_rows_share() {
    let server = Server::new().start();
    let project = project(&server, &spec(&stage(INLINE)), 50);
    let stage_of = |plan: &str| json_of(plan)["stages"][0].clone();
    let plan = stage_of(&project.run(&PLAN).exits(0).stdout);
    let bytes = |name: &str| plan[name].as_u64().unwrap_or_else(|| panic!("no {name} in {plan}"));
    project.run(&RUN).exits(0);
    let asked = server.asked();
    let sent: usize = asked.iter().flat_map(|asked| &asked.messages).map(|(_, text)| text.len()).sum();
    let before: usize = asked[0].messages[..5].iter().map(|(_, text)| text.len()).sum();
    let beginning = (before + "What is the tone?\n\n".len()) as u64;
    assert_eq!((bytes("prompt_bytes"), bytes("prompt_bytes_shared_beginnings")), (sent as u64, 50 * beginning));
    assert_eq!(bytes("prompt_bytes_with_prefix_cache"), sent as u64 - 49 * beginning);
    let said = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    let tokens = |bytes: u64| (bytes / 4).to_string();
    let (shared, read) = (tokens(50 * beginning), tokens(sent as u64 - 49 * beginning));
    let share = (50 * beginning) as f64 / sent as f64 * 100.0;
    let line =
        format!("    first prompts: about {} tokens {read} on a server with a prefix cache (", tokens(sent as u64));
    assert!(said.contains(&format!("({share:.1} % shared)")) && shared.parse::<u64>().is_ok(), "{said}");
    assert!(said.replace(',', "").contains(&line), "{said}");
    assert!(!said.contains("hint:"), "{said}");

    let instructions = "Think of who speaks, of when and of whom. ".repeat(10);
    let behind = spec(&stage(INLINE)).replace("{{ text }}", &format!("{{{{ text }}}}\\n\\n{instructions}"));
    project.write("pipeline.toml", behind);
    let said = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(said.contains("hint: 105 tokens of each prompt are the same for all rows"), "{said}");
    let plan = stage_of(&project.run(&PLAN).exits(0).stdout);
    assert_eq!(plan["prompt_bytes_shared_behind_rows"], json!(50 * (instructions.len() + 2)));
}

#[test]
fn what_is_not_known_yet_is_not_counted() {
    let server = Server::new().script(|_, _| Say::Text("a summary".to_owned())).start();
    let text = spec("models = [\"llama\"]")
        + "\n[stages.next]\ntype = \"analysis\"\ninput = \"tone\"\nmodels = [\"llama\"]\nprompt = \"Is it so? {{ tone }}\"\n\
           examples = [{ row = { tone = \"glad\" }, answer = \"Yes.\" }]\n";
    let project = project(&server, &text.replace("input = \"tone\"\npath", "input = \"next\"\npath"), 4);
    let plan = json_of(&project.run(&PLAN).exits(0).stdout);
    assert_eq!((&plan["stages"][1]["not_known_yet"], &plan["stages"][1]["prompt_bytes"]), (&json!(4), &json!(0)));
    project.run(&RUN).exits(0);
    let last = server.asked().into_iter().filter(|asked| question(asked).contains("a summary")).collect::<Vec<_>>();
    let expected = [("user", "Is it so? glad"), ("assistant", "Yes."), ("user", "Is it so? a summary")];
    // The four rows say the same, so that they are one call.
    assert_eq!((last.len(), turns(&last[0])), (1, expected.to_vec()));
}

#[test]
#[cfg(feature = "embedded")]
fn a_real_model_is_shown_them() {
    let text = spec(&stage(INLINE))
        .replace("type = \"ollama\"\nmax_concurrent_calls = 16", "type = \"embedded\"")
        .replace("provider = \"here\"\nmodel = \"llama3.2\"", "provider = \"embedded\"\nmodel = \"smollm2-135m\"")
        .replace("[providers.here]\ntype = \"embedded\"\n", "")
        .replace("provider = \"here\"\nmodel = \"mistral\"", "provider = \"mock\"\nmodel = \"mock-a\"")
        .replace("num_ctx = 4096\n", "");
    let made = Project::new().spec(&text).csv("data.csv", &rows(3));
    let Some(project) = weights::or_skip("a_real_model_is_shown_them", made) else { return };
    project.run(&RUN).exits(0).says("3 rows = 3 answered");
    let table = project.table(OUT);
    assert!(table.texts("label").iter().all(|label| ["positive", "neutral", "negative"].contains(&label.as_str())));
    // Of all runs so far.
    let tokens = |project: &Project| project.calls().ints("prompt_tokens").into_iter().flatten().sum::<i64>();
    let with = tokens(&project);
    project.write("pipeline.toml", text.replace(INLINE, ""));
    project.run(&RUN).exits(0);
    let without = tokens(&project) - with;
    assert!(with > without + 3 * 40, "the model reads them: {with} tokens, {without} without");
}
