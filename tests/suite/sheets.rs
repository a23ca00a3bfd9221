//! Coding sheets: what people do with them survives every run, and their codes come back as a source.

use crate::project::{Project, Ran};
use crate::python::Python;
use crate::server::{Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];

/// Sentences, a model that labels them, and the sheet of a coder. `SHEET` is replaced.
const SPEC: &str = r#"name = "labels"
models.a = { provider = "mock", model = "any", pick = "first" }
sources.sentences = { type = "file", path = "sentences.csv", key = "id" }
sources.anna = { type = "file", path = "coding/anna.csv", key = "id", columns = ["id", { from = "tone", name = "anna" }] }

[stages.tone]
type = "analysis"
input = "sentences"
models = ["a"]
prompt = "What is the tone? {{ text }}"
output.tone = { type = "string", enum = ["glad", "sad"] }

[stages.coded]
type = "join"
input = "tone"
with = "anna"
on = ["id"]

[outputs.anna]
input = "sentences"
path = "coding/anna.csv"
columns = ["id", "text"]
blind = true
keep = true
fill = { tone = ["glad", "sad"], note = [] }

[outputs.coded]
input = "coded"
path = "coded.parquet"
"#;

fn project(spec: &str) -> Project {
    let spec =
        spec.replace("provider = \"mock\", model = \"any\", pick = \"first\"", "provider = \"mock\", model = \"any\"");
    let project = Project::new().spec(&spec);
    sentences(&project, 3);
    project
}

/// The first `count` sentences.
fn sentences(project: &Project, count: usize) {
    let rows: String = (1..=count).map(|row| format!("s{row},\"Sentence {row}, \"\"so\"\".\"\n")).collect();
    project.write("sentences.csv", format!("id,text\n{rows}"));
}

#[track_caller]
fn stays(project: &Project, sheet: &str) -> Ran {
    project.write("coding/anna.csv", sheet);
    let ran = project.run(&RUN).exits(0);
    assert_eq!(project.text("coding/anna.csv"), sheet);
    ran
}

#[test]
fn a_spec_reads_the_sheet_that_it_writes_before_and_after_people_fill_it() {
    let project = project(SPEC);
    project.run(&["validate", "pipeline.toml"]).exits(0);
    project.run(&["plan", "pipeline.toml"]).exits(0);
    let status = project.run(&["status", "pipeline.toml"]).exits(0);
    assert!(
        status.stdout.contains("0 of 3 rows coded in coding/anna.csv, which the next run writes"),
        "{}",
        status.stdout
    );
    project.run(&RUN).exits(0).says("wrote coding/anna.csv: 3 rows, 4 columns");
    let sheet = "id,text,tone,note\ns1,\"Sentence 1, \"\"so\"\".\",,\ns2,\"Sentence 2, \"\"so\"\".\",,\ns3,\"Sentence 3, \"\"so\"\".\",,\n";
    assert_eq!(project.text("coding/anna.csv"), sheet);
    assert_eq!(project.table("coded.parquet").strings("anna"), [None, None, None]);
    let status = project.run(&["status", "pipeline.toml"]).exits(0);
    assert!(
        status.stdout.contains("labels: done") && status.stdout.contains("0 of 3 rows coded in coding/anna.csv\n"),
        "{}",
        status.stdout
    );
    project.run(&["verify", "pipeline.toml"]).exits(0);
    stays(&project, &sheet.replace("s2,\"Sentence 2, \"\"so\"\".\",,", "s2,\"Sentence 2, \"\"so\"\".\",Sad,why"))
        .says("kept coding/anna.csv: 3 rows, 1 coded");
    assert_eq!(project.table("coded.parquet").strings("anna"), [None, Some("sad".to_owned()), None]);
    project.run(&["verify", "pipeline.toml"]).exits(0);
    let status = project.run(&["status", "pipeline.toml", "--format", "json"]).exits(0).json();
    let sheet = &status["sheets"][0];
    assert_eq!(
        (sheet["coded"].as_u64(), sheet["rows"].as_u64(), sheet["path"].as_str()),
        (Some(1), Some(3), Some("coding/anna.csv"))
    );
}

#[test]
fn what_people_do_with_a_sheet_survives_every_run() {
    let project = project(SPEC);
    project.run(&RUN).exits(0);
    let sheets = [
        // Edited cells, another order, an added column, a deleted row, another column order.
        "id,text,tone,note\ns1,edited,glad,\ns2,x,,\ns3,y,,\n",
        "id,text,tone,note\ns3,y,sad,\ns1,x,glad,\ns2,z,,\n",
        "id,text,tone,note,sure\ns1,x,glad,,yes\ns2,y,,,\ns3,z,,,no\n",
        "note,tone,id\n,,s1\nhm,sad,s2\n,,s3\n",
        // As Excel saves it, and without a line end.
        "\u{feff}id;text;tone;note\r\ns1;x;glad;\r\ns2;y;;\r\ns3;z;;\r\n",
        "id,text,tone,note\ns1,x,glad,\ns2,y,,\ns3,z,,",
        "sep=;\r\nid;text;tone;note\r\ns1;x;glad;\r\ns2;y;;\r\ns3;z;;\r\n",
    ];
    for sheet in sheets {
        stays(&project, sheet);
        sentences(&project, 5);
        let ran = project.run(&RUN).exits(0);
        assert!(
            ran.stderr.contains("kept coding/anna.csv: 5 rows, ") && ran.stderr.contains(" coded, 2 added"),
            "{}",
            ran.stderr
        );
        let text = project.text("coding/anna.csv");
        let (before, added) = text.split_at(sheet.len());
        assert_eq!(before, sheet);
        assert_eq!(
            (added.matches("s4").count(), added.matches("s5").count(), added.matches("s1").count()),
            (1, 1, 0),
            "{added}"
        );
        let codes = project.table("coded.parquet");
        assert_eq!(
            (codes.len(), codes.strings("anna").iter().flatten().count()),
            (5, sheet.matches("glad").count() + sheet.matches("sad").count())
        );
        assert_eq!(project.run(&RUN).exits(0).code, 0);
        assert_eq!(project.text("coding/anna.csv"), text, "no row is added twice");
        sentences(&project, 3);
        project.run(&RUN).exits(0).says("2 rows of the sheet are not in `sentences`: s4, s5");
        assert_eq!(project.text("coding/anna.csv"), text, "no row is removed");
    }
}

#[test]
fn codes_that_a_person_saves_during_a_run_stay() {
    let script = |_: &crate::server::Asked, _: usize| Say::Json(serde_json::json!({ "tone": "glad" }));
    let server = Server::new().models(&["one"]).script(script).latency_ms(1500).start();
    let spec = SPEC
        .replace("provider = \"mock\", model = \"any\", pick = \"first\"", "provider = \"ollama\", model = \"one\"");
    let project = Project::new().spec(&spec).env("OLLAMA_HOST", &server.url());
    sentences(&project, 1);
    project.run(&RUN).exits(0);
    sentences(&project, 2);
    let before = server.requests_of("one");
    let running = project.spawn(&RUN);
    while server.requests_of("one") == before {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    project.write("coding/anna.csv", "id,text,tone,note\ns1,x,sad,now\n");
    running.wait().exits(0);
    assert_eq!(project.text("coding/anna.csv"), "id,text,tone,note\ns1,x,sad,now\ns2,\"Sentence 2, \"\"so\"\".\",,\n");
}

#[test]
fn codes_outside_the_labels_are_named() {
    let project = project(SPEC);
    project.run(&RUN).exits(0);
    let sheet = "id,text,tone,note\ns1,x,glda,\ns2,y,sad,\ns3,z,7,\n";
    project.write("coding/anna.csv", sheet);
    for command in ["plan", "run", "status"] {
        let ran = project.run(&[command, "pipeline.toml"]).exits(2);
        let message =
            "coding/anna.csv: 2 codes are not labels: row 1 (s1): tone is \"glda\"; row 3 (s3): tone is \"7\"";
        assert!(ran.stderr.contains(message) && ran.stderr.contains("did you mean `glad`?"), "{}", ran.stderr);
    }
    assert_eq!(project.text("coding/anna.csv"), sheet);
}

#[test]
fn a_sheet_that_can_not_be_read_stops_the_run_before_its_calls() {
    let spec = SPEC.replace(", { from = \"tone\", name = \"anna\" }", "").replace("sources.anna", "sources.berta");
    let project = project(
        &spec.replace("coding/anna.csv\", key", "berta.csv\", key").replace("with = \"anna\"", "with = \"berta\""),
    );
    project.write("berta.csv", "id\ns1\n");
    let sheets = [
        ("text,tone,note\nx,glad,\n", "has no column `id`"),
        ("id,text,note\ns1,x,\n", "has no column `tone`"),
        ("id,text,tone,note\ns1,x\n", "row 1"),
        ("", "has no header row"),
    ];
    for (sheet, message) in sheets {
        project.write("coding/anna.csv", sheet);
        let ran = project.run(&RUN);
        assert!(ran.code != 0 && ran.stderr.contains(message), "{sheet}: {}", ran.stderr);
        assert_eq!(project.text("coding/anna.csv"), sheet);
        assert!(!project.has("coded.parquet"), "nothing was asked");
    }
}

#[test]
fn a_blind_sheet_has_no_column_of_a_model_or_of_another_coder() {
    let refused = |from: &str, to: &str, message: &str| {
        let project = project(&SPEC.replace(from, to));
        let ran = project.run(&["validate", "pipeline.toml"]).exits(2);
        assert!(ran.stderr.contains(message) || ran.stdout.contains(message), "{to}: {}{}", ran.stdout, ran.stderr);
    };
    let sheet = "input = \"sentences\"\npath = \"coding/anna.csv\"\ncolumns = [\"id\", \"text\"]";
    let model = "comes from answers of models (stage `tone`)";
    // An answer under another name, its error, an answer behind a join, and one that a transform has copied.
    let tone =
        "input = \"tone\"\npath = \"coding/anna.csv\"\nrename = { tone = \"text\" }\ncolumns = [\"id\", \"tone\"]";
    refused(sheet, tone, model);
    refused(sheet, "input = \"tone\"\npath = \"coding/anna.csv\"\ncolumns = [\"id\", \"tone_error\"]", model);
    refused(
        sheet,
        "input = \"coded\"\npath = \"coding/anna.csv\"\nrename = { tone = \"x\" }\ncolumns = [\"id\", \"tone\"]",
        model,
    );
    let made = "input = \"pieces\"\npath = \"coding/anna.csv\"\ncolumns = [\"id\", \"pieces\"]";
    let split = "[stages.pieces]\ntype = \"split\"\ninput = \"tone\"\ntext_column = \"tone\"\nunit = \"words\"\nsize = 5\n\n[outputs.anna]";
    let project = project(&SPEC.replace(sheet, made).replace("[outputs.anna]", split));
    let ran = project.run(&["validate", "pipeline.toml"]).exits(2);
    assert!(ran.stderr.contains(model) || ran.stdout.contains(model), "{}{}", ran.stdout, ran.stderr);
    let coder = "input = \"coded\"\npath = \"coding/berta.csv\"\ncolumns = [\"id\", \"anna\"]";
    let both = format!("{SPEC}\n[outputs.berta]\n{coder}\nblind = true\nkeep = true\nfill = {{ tone = [] }}\n");
    refused(SPEC, &both, "has the codes of other people (source `anna`)");
}

#[test]
fn sheets_that_would_lose_codes_are_refused() {
    let refused = |from: &str, to: &str, message: &str| {
        let project = project(&SPEC.replace(from, to));
        let ran = project.run(&["validate", "pipeline.toml"]).exits(2);
        assert!(ran.stderr.contains(message) || ran.stdout.contains(message), "{to}: {}{}", ran.stdout, ran.stderr);
    };
    refused("keep = true\n", "", "people fill this file, but the next run would overwrite it");
    refused(
        "path = \"coding/anna.csv\"\ncolumns = [\"id\", \"text\"]",
        "path = \"coding/anna.csv\"\ncolumns = [\"text\"]",
        "the sheet lacks the key `id`",
    );
    refused("columns = [\"id\", \"text\"]\nblind", "blind", "needs the `columns` that they see");
    refused(
        "fill = { tone = [\"glad\", \"sad\"]",
        "fill = { tone = [\"glad\", \"Glad \"]",
        "`glad` and `Glad ` can't be told apart",
    );
    refused("note = [] }", "text = [] }", "the sheet has a column `text` already");
    refused("path = \"sentences.csv\", key = \"id\" }", "path = \"sentences.csv\" }", "`sentences` has no key");
    let json = SPEC.replace("path = \"coding/anna.csv\"\n", "path = \"coding/anna.jsonl\"\n");
    refused(SPEC, &json, "new rows are only added to .csv and .xlsx");
}

#[test]
fn a_workbook_keeps_everything_that_people_save_in_it() {
    let Some(python) = Python::or_skip("a_workbook_keeps_everything_that_people_save_in_it") else { return };
    let project = project(&SPEC.replace("anna.csv", "anna.xlsx"));
    project.run(&["validate", "pipeline.toml"]).exits(0);
    project.run(&RUN).exits(0).says("wrote coding/anna.xlsx: 3 rows, 4 columns");
    let fill = r#"
import openpyxl
from openpyxl.styles import PatternFill
book = openpyxl.load_workbook("coding/anna.xlsx")
sheet = book["data"]
rules = sheet.data_validations.dataValidation
print([(str(rule.sqref), rule.formula1) for rule in rules])
sheet["C3"] = "sad"
sheet["B2"].fill = PatternFill("solid", fgColor="FF0000")
sheet["F1"] = "sure"
sheet["F3"] = "=1+1"
sheet.insert_rows(2)
book.create_sheet("remarks")["A1"] = "mine"
book.save("coding/anna.xlsx")
"#;
    assert_eq!(python.run(project.folder(), fill).trim(), "[('C2:C1048576', '\"glad,sad\"')]");
    let filled = project.bytes("coding/anna.xlsx");
    project.run(&RUN).exits(0).says("kept coding/anna.xlsx: 3 rows, 1 coded");
    assert!(project.bytes("coding/anna.xlsx") == filled, "no byte changes");
    assert_eq!(project.table("coded.parquet").strings("anna"), [None, Some("sad".to_owned()), None]);
    sentences(&project, 5);
    project.run(&RUN).exits(0).says("kept coding/anna.xlsx: 5 rows, 1 coded, 2 added");
    let read = r#"
import openpyxl
book = openpyxl.load_workbook("coding/anna.xlsx")
sheet = book["data"]
print([[cell.value for cell in row] for row in sheet.iter_rows(min_row=6)])
print(sheet["B3"].fill.fgColor.rgb, sheet["F4"].value, book["remarks"]["A1"].value, len(sheet.data_validations.dataValidation))
"#;
    let rows = "[['s4', 'Sentence 4, \"so\".', None, None, None, None], ['s5', 'Sentence 5, \"so\".', None, None, None, None]]";
    assert_eq!(python.run(project.folder(), read).trim(), format!("{rows}\n00FF0000 =1+1 mine 1"));
}
