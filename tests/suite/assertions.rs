//! `fanfold test`: the tests of a spec on existing tables and on those of a replay, its output formats, and the errors
//! without tables. Also the pre-commit hook and the workflow of the book.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::book::block;
use crate::project::{Project, Ran};
use crate::recipe::{TYPED, project, rows, spec};
use crate::server::{Say, Server};
use crate::venv::skipped;

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const TEST: [&str; 2] = ["test", "pipeline.toml"];
const OUT: &str = "out/tone.parquet";

/// The usual spec with these tests.
fn tested(tests: &str) -> String {
    spec(&format!("models = [\"llama\"]\nchunk_size = 7\n{TYPED}{tests}"))
}

fn test(fields: &str) -> String {
    format!("\n[[tests]]\n{fields}\n")
}

/// A run of 20 rows, the third of which failed.
fn with_a_failed_row(tests: &str) -> (Project, Server) {
    let server = Server::new().script(|asked, _| match asked.question().contains("Speech 2,") {
        true => Say::Text("no JSON at all".into()),
        false => Say::Default,
    });
    let server = server.start();
    let project = project(&server, &tested(tests), 20);
    project.run(&RUN).exits(1).says("20 rows = 19 answered + 1 failed");
    (project, server)
}

fn json_of(ran: &Ran) -> Value {
    ran.json()
}

/// For each kind, a test that holds and one that does not, with the finding.
const KINDS: [(&str, &str, &str); 8] = [
    ("type = \"rows\"\nequals = 20", "type = \"rows\"\nminimum = 21", "20 rows"),
    ("type = \"failed\"\nmaximum = \"5%\"", "type = \"failed\"\nmaximum = 0", "1 of 20 failed"),
    (
        "type = \"allowed\"\ncolumn = \"label\"\nvalues = [\"positive\", \"neutral\", \"negative\"]",
        "type = \"allowed\"\ncolumn = \"year\"\nvalues = [\"1790\", \"1791\", \"1792\"]",
        "17 rows with another value",
    ),
    (
        "type = \"share\"\ncolumn = \"year\"\nvalue = \"1790\"\nminimum = 0.05\nmaximum = 0.05",
        "type = \"share\"\ncolumn = \"year\"\nvalue = \"1790\"\nminimum = 0.06",
        "0.05 (1 of 20)",
    ),
    (
        "type = \"unique\"\ncolumns = [\"id\", \"year\"]",
        "type = \"unique\"\ncolumn = \"label\"",
        "repeat an earlier one",
    ),
    (
        "type = \"not_null\"\ncolumn = \"id\"",
        "type = \"not_null\"\ncolumns = [\"id\", \"label\"]",
        "1 of 20 rows with a null",
    ),
    (
        "type = \"between\"\ncolumn = \"score\"\nminimum = 0\nmaximum = 10",
        "type = \"between\"\ncolumn = \"score\"\nminimum = 11",
        "19 rows outside",
    ),
    (
        "type = \"expression\"\nexpression = \"rows == 20 and failed == 1 and nulls.label == 1\"",
        "type = \"expression\"\nexpression = \"rows == 20 and failed == 0\"",
        "failed = 1, rows = 20",
    ),
];

#[test]
fn every_kind_of_test_can_hold_and_fail() {
    // The output is named directly; the other stage has no output.
    for table in ["tone", "raw"] {
        let good: String = KINDS.iter().map(|(holds, _, _)| test(&format!("input = \"{table}\"\n{holds}"))).collect();
        let bad: String = KINDS.iter().map(|(_, breaks, _)| test(&format!("input = \"{table}\"\n{breaks}"))).collect();
        let server = Server::new().script(|asked, _| match asked.question().contains("Speech 2,") {
            true => Say::Text("no JSON at all".into()),
            false => Say::Default,
        });
        let server = server.start();
        let named = |tests: &str| match table {
            "tone" => tested(tests),
            _ => tested(tests).replace("[stages.tone", "[stages.raw").replace(
                "[outputs.tone]\ninput = \"tone\"\npath = \"out/tone.parquet\"",
                "[outputs.people]\ninput = \"speeches\"\npath = \"out/people.csv\"",
            ),
        };
        let project = project(&server, &named(&good), 20);
        project.run(&RUN).exits(1);
        let asked = server.requests();
        let ran = project.run(&TEST).exits(0);
        assert!(ran.stdout.ends_with("8 tests: 8 ok\n"), "{}", ran.stdout);
        // Other tests do not change the meaning of the spec, so they use the same tables.
        project.write("pipeline.toml", named(&bad));
        let ran = project.run(&[&TEST[..], &["--format", "json"]].concat()).exits(1);
        let found = json_of(&ran);
        assert_eq!((&found["ok"], &found["failed"]), (&Value::from(0), &Value::from(8)), "{found}");
        for (i, (_, _, expected)) in KINDS.iter().enumerate() {
            let told = found["tests"][i]["found"].as_str().expect("text");
            assert!(told.contains(expected), "{table}: {told} is not {expected}");
        }
        let failed = &found["tests"][1]["examples"][0];
        assert_eq!(failed["row"], "s0002", "{failed}");
        assert!(failed["value"].as_str().expect("text").starts_with("malformed"), "{failed}");
        assert_eq!(found["tests"][6]["examples"].as_array().map(Vec::len), Some(5));
        assert_eq!(server.requests(), asked, "testing sends nothing");
    }
}

#[test]
fn a_warning_is_reported_and_does_not_fail() {
    let warn =
        test("input = \"tone\"\ntype = \"rows\"\nminimum = 50\nseverity = \"warn\"\nname = \"enough <rows> & more\"");
    let (project, _server) = with_a_failed_row(&warn);
    let ran = project.run(&TEST).exits(0);
    let expected = "warned  enough <rows> & more: found 20 rows, wanted at least 50 rows\n1 test: 1 warned\n";
    assert_eq!(ran.stdout, expected);
    let ran = project.run(&[&TEST[..], &["--format", "junit"]].concat()).exits(0);
    assert!(ran.stdout.contains("<testcase name=\"enough &lt;rows&gt; &amp; more\""), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("failures=\"0\"") && ran.stdout.contains("<system-out>warned: 20 rows"),
        "{}",
        ran.stdout
    );
    let ran = project.run(&[&TEST[..], &["--format", "github"]].concat()).exits(0);
    assert!(ran.stdout.starts_with("::warning title="), "{}", ran.stdout);
}

#[test]
fn failures_are_reported_in_every_format() {
    let tests = [
        test("input = \"tone\"\ntype = \"failed\"\nmaximum = 0\nname = \"100 % answered, \\\"all\\\"\""),
        test("input = \"tone\"\ntype = \"rows\"\nequals = 20"),
        test("input = \"tone\"\ntype = \"between\"\ncolumn = \"score\"\nminimum = 11"),
    ];
    let (project, _server) = with_a_failed_row(&tests.concat());
    let text = project.text("pipeline.toml");
    let lines: Vec<usize> = text.lines().enumerate().filter(|(_, l)| *l == "[[tests]]").map(|(i, _)| i + 1).collect();
    let shown = project.run(&TEST).exits(1).stdout;
    let shown: Vec<&str> = shown.lines().collect();
    assert_eq!(shown[0], "FAILED  100 % answered, \"all\": found 1 of 20 failed, wanted no row failed");
    assert!(shown[1].starts_with("          row s0002: malformed"), "{shown:?}");
    assert_eq!(shown[2], "ok      tone: 20 rows: found 20 rows");
    assert!(shown[3].starts_with("FAILED  tone: score at least 11: found 19 rows outside, from "), "{shown:?}");
    assert_eq!((shown[9], shown[10]), ("          and 14 more", "3 tests: 1 ok, 2 failed"));

    let ran = project.run(&[&TEST[..], &["--format", "json"]].concat()).exits(1);
    let found = json_of(&ran);
    assert_eq!(found["schema_version"], 1);
    let told: Vec<(&str, &str, usize)> = found["tests"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|t| (t["type"].as_str().unwrap(), t["outcome"].as_str().unwrap(), t["line"].as_u64().unwrap() as usize))
        .collect();
    assert_eq!(told, [("failed", "failed", lines[0]), ("rows", "ok", lines[1]), ("between", "failed", lines[2])]);

    let ran = project.run(&[&TEST[..], &["--format", "github"]].concat()).exits(1).says("3 tests: 1 ok, 2 failed");
    let printed: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(printed.len(), 2, "{printed:?}");
    let place = format!("file=pipeline.toml,line={0},endLine={0}", lines[0]);
    assert!(printed[0].starts_with("::error title=fanfold (test),") && printed[0].contains(&place), "{}", printed[0]);
    let message = "::100 %25 answered, \"all\": found 1 of 20 failed, wanted no row failed%0Arow s0002: malformed";
    assert!(printed[0].contains(message), "{}", printed[0]);
    // In a GitHub workflow, this is the default.
    let Ran { stdout, .. } = project.env("GITHUB_ACTIONS", "true").run(&TEST).exits(1);
    assert_eq!(stdout, ran.stdout);
}

#[test]
fn junit_is_xml_with_the_same_findings() {
    let name = "a <b> & \\\"c\\\" 'd' ]]> é\\u0007";
    let tests = [
        test(&format!("input = \"tone\"\ntype = \"failed\"\nmaximum = 0\nname = \"{name}\"")),
        test("input = \"tone\"\ntype = \"rows\"\nequals = 20"),
    ];
    let (project, _server) = with_a_failed_row(&tests.concat());
    let xml = project.run(&[&TEST[..], &["--format", "junit"]].concat()).exits(1).stdout;
    let lines: Vec<&str> = xml.lines().collect();
    assert_eq!(lines[0], "<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    assert_eq!(lines[1], "<testsuites tests=\"2\" failures=\"1\" errors=\"0\">");
    // The markup is exactly what the program writes, so names cannot add any.
    let tags: Vec<String> =
        xml.split('<').skip(2).map(|tag| tag.split([' ', '>']).next().unwrap_or("").to_owned()).collect();
    let expected = [
        "testsuites",
        "testsuite",
        "testcase",
        "failure",
        "/failure",
        "/testcase",
        "testcase",
        "/testsuite",
        "/testsuites",
    ];
    assert_eq!(tags, expected);
    let attribute = |line: &str, name: &str| {
        let value = line.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
        let value = value.unwrap_or_else(|| panic!("{name} in {line}")).to_owned();
        let read = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#10;", "\n"), ("&amp;", "&")];
        read.iter().fold(value, |text, (code, c)| text.replace(code, c))
    };
    assert_eq!(attribute(lines[3], "name"), "a <b> & \"c\" 'd' ]]> é\u{fffd}");
    assert_eq!(attribute(lines[4], "message"), "1 of 20 failed");
    assert!(lines[4].contains(">1 of 20 failed, wanted no row failed&#10;row s0002: malformed"), "{}", lines[4]);
    assert_eq!(attribute(lines[6], "name"), "tone: 20 rows");
}

#[test]
fn a_missing_table_is_an_error() {
    let tests = [
        test("input = \"speeches\"\ntype = \"rows\"\nminimum = 1"),
        test("input = \"tone\"\ntype = \"rows\"\nminimum = 1"),
    ];
    let server = Server::new().start();
    let project = project(&server, &tested(&tests.concat()), 12);
    let help = "fanfold run pipeline.toml";
    let ran = project.run(&TEST).exits(3).says("no finished run matches this spec").says(help);
    assert_eq!(ran.stdout, "");
    project.run(&[&RUN[..], &["--limit", "5"]].concat()).exits(0);
    project.run(&TEST).exits(3).says("no finished run matches this spec").says(help);
    project.run(&RUN).exits(0);
    project.run(&TEST).exits(0);
    // A run of the first rows writes another file.
    std::thread::sleep(Duration::from_millis(20));
    project.run(&[&RUN[..], &["--limit", "5"]].concat()).exits(0);
    project.run(&TEST).exits(0);
    // The file has only the first rows now.
    project.write(OUT, project.bytes("out/tone.limit-5.parquet"));
    project.run(&TEST).exits(3).says("out/tone.parquet was changed after the last full run ended").says(help);
    project.run(&RUN).exits(0);
    project.run(&TEST).exits(0);
    fs::remove_file(project.path(OUT)).expect("the table is there");
    project.run(&TEST).exits(3).says("out/tone.parquet does not exist").says(help);
    project.run(&RUN).exits(0);
    // With another source or prompt, the table is out of date.
    let project = project.csv("data.csv", &rows(13));
    project.run(&TEST).exits(3).says("no finished run matches this spec");
    let project = project.csv("data.csv", &rows(12));
    project.run(&TEST).exits(0);
    let text = project.text("pipeline.toml");
    project.write("pipeline.toml", text.replace("What is the tone?", "Which tone is it?"));
    project.run(&TEST).exits(3).says("no finished run matches this spec");
    project.write("pipeline.toml", text.replace("[[tests]]", "[[test]]"));
    project.run(&TEST).exits(2).says("there is no field `test` here");
    // A source needs no run.
    project.write("pipeline.toml", tested(&tests[0]).replace("What is the tone?", "Which tone is it?"));
    project.run(&TEST).exits(0);
    project.write("pipeline.toml", tested(""));
    project.run(&TEST).exits(0).says("no tests");
}

#[test]
fn parts_and_text_outputs_are_tested() {
    let tests = [
        test("input = \"tone\"\ntype = \"between\"\ncolumn = \"score\"\nminimum = 0\nmaximum = 10"),
        test("input = \"lines\"\ntype = \"expression\"\nexpression = \"means.score >= 0 and rows == 20\""),
    ];
    let csv = "\n[outputs.lines]\ninput = \"tone\"\npath = \"out/lines.csv\"\n";
    let (project, _server) = with_a_failed_row(&format!("{}{csv}", tests.concat()));
    project.run(&TEST).exits(0);
    fs::remove_file(project.path("out/lines.csv")).expect("it is there");
    project.run(&TEST).exits(3).says("out/lines.csv does not exist");
    let spec = project.text("pipeline.toml").replace("input = \"lines\"\ntype", "input = \"tone\"\ntype");
    project.write("pipeline.toml", spec);
    project.run(&TEST).exits(0);
}

#[test]
fn a_replay_is_tested() {
    let good = test("input = \"tone\"\ntype = \"failed\"\nmaximum = 1");
    let (project, server) = with_a_failed_row(&good);
    project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    let asked = server.requests();
    let replay = ["test", "pipeline.toml", "--replay", "calls.parquet"];
    let copy = Project::new();
    for file in ["pipeline.toml", "data.csv", "calls.parquet"] {
        copy.write(file, project.bytes(file));
    }
    // A row fails again; the tests decide whether that is acceptable.
    let ran = copy.run(&replay).exits(0);
    assert_eq!(ran.stderr, "", "only the tests are shown");
    assert_eq!(
        ran.stdout,
        "ok      tone: at most 1 failed: found 1 of 20 failed\n          row s0002: ".to_owned()
            + ran.stdout.split("row s0002: ").nth(1).unwrap_or("")
    );
    assert!(copy.bytes(OUT) == project.bytes(OUT), "the table differs");
    // The tables of the replay can be tested again.
    copy.run(&TEST).exits(0);
    copy.write("pipeline.toml", tested(&good.replace("maximum = 1", "maximum = 0")));
    copy.run(&replay).exits(1);
    copy.write("pipeline.toml", tested(&good).replace("chunk_size = 7", "chunk_size = 7\nmax_failed = 0"));
    let ran = copy.run(&replay).exits(1).says("more than the 0 that `max_failed` allows");
    assert_eq!(ran.stdout, "");
    copy.write("pipeline.toml", tested(&good));
    let copy = copy.csv("data.csv", &rows(25));
    copy.run(&replay).exits(6).says("lacks 5 calls of this run");
    assert_eq!(server.requests(), asked);
}

#[test]
fn tests_do_not_change_the_meaning_of_a_spec() {
    let server = Server::new().start();
    let project = project(&server, &tested(""), 5);
    project.run(&RUN).exits(0);
    let before = project.files(".fanfold/runs");
    project.write("pipeline.toml", tested(&test("input = \"tone\"\ntype = \"rows\"\nminimum = 9")));
    project.run(&TEST).exits(1);
    project.run(&RUN).exits(0).says("0 calls sent, 5 rows kept");
    assert_eq!(project.files(".fanfold/runs"), before, "the same run");
}

#[test]
fn the_shipped_run_passes_its_tests() {
    let test = "the_shipped_run_passes_its_tests";
    if !cfg!(feature = "embedded") {
        return skipped(test, "this build has no built-in models");
    }
    let project = Project::new().file("nothing/here", "");
    for file in ["quickstart.toml", "data/paragraphs.csv", "replay/quickstart.parquet"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(file);
        project.write(&format!("pipelines/{file}"), fs::read(path).expect("a file of the pipelines"));
    }
    let nothing = project.path("nothing").display().to_string();
    let project = project.env("FANFOLD_MODELS", &nothing).env("PATH", &nothing);
    // The steps of the workflow in the book, verbatim.
    let workflow = block("docs/src/ci.md", "With a replay file, CI needs", "yaml");
    let workflow: Value = serde_yaml::from_str(&workflow).expect("YAML");
    let steps = workflow["jobs"]["specs"]["steps"].as_array().expect("steps");
    let commands = steps.iter().filter_map(|step| step["run"].as_str()?.strip_prefix("fanfold "));
    let mut ran = Vec::new();
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        let shown = project.run(&words).exits(0);
        ran.push((words[0].to_owned(), shown.stdout + &shown.stderr));
    }
    assert_eq!(ran.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>(), ["validate", "test"]);
    assert!(ran[1].1.contains("2 tests: 2 ok"), "{}", ran[1].1);
}

#[test]
fn the_hook_for_pre_commit_validates_specs() {
    let hooks: Value = serde_yaml::from_str(include_str!("../../.pre-commit-hooks.yaml")).expect("YAML");
    let [hook] = hooks.as_array().expect("a list").as_slice() else { panic!("one hook: {hooks}") };
    assert_eq!((&hook["id"], &hook["language"]), (&Value::from("fanfold-validate"), &Value::from("system")));
    for field in ["id", "name", "entry", "language"] {
        assert!(hook[field].as_str().is_some_and(|text| !text.is_empty()), "{field} is needed");
    }
    assert_eq!(hook["files"], r"(^pipelines/[^/]+|(^|[/.])fanfold)\.(toml|ya?ml)$");
    // Like pre-commit: the words of the entry, then the files.
    let words: Vec<&str> = hook["entry"].as_str().expect("text").split(' ').collect();
    let project = Project::new().spec(&tested("")).csv("data.csv", &rows(2));
    let [program, command @ ..] = words.as_slice() else { panic!("{words:?}") };
    assert_eq!(*program, "fanfold");
    project.run(&[command, &["pipeline.toml"]].concat()).exits(0).says("no problems");
    project.write("pipeline.toml", tested("wrokers = 1"));
    project.run(&[command, &["pipeline.toml"]].concat()).exits(2);
}
