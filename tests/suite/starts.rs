//! First steps: `init` with its templates and for a data file, and `ask`.

use serde_json::Value;

use crate::project::Project;
use crate::server::{Say, Server};

const TEMPLATES: [&str; 4] = ["label", "extract", "survey", "long"];
const REMARKS: &str =
    "nr,town,remark\n7,Ulm,Peace and plenty for the whole town.\n9,,We mourn our dead at the river.\n";

#[test]
fn every_template_is_valid_and_runs() {
    for template in TEMPLATES {
        let project = Project::new();
        let made = project.run(&["init", "--template", template]).exits(0);
        assert!(made.stderr.contains("next: fanfold plan pipeline.toml"), "{}", made.stderr);
        let text = project.text("pipeline.toml");
        for part in ["#:schema ./pipeline.schema.json\n", "[budget]", "[[tests]]", "seed = 42"] {
            assert!(text.contains(part), "{template}: {part}");
        }
        assert!(!text.contains('@'), "{template}: a gap is left in\n{text}");
        assert!(project.text(".gitignore").contains("\n.fanfold/\n"));
        assert!(project.text(".gitattributes").contains("\n* -text\n"));
        let schema: Value = serde_json::from_str(&project.text("pipeline.schema.json")).expect("JSON");
        assert_eq!(schema["title"], "fanfold pipeline spec");
        let validated = project.run(&["validate"]).exits(0);
        assert!(validated.stderr.contains("no problems"), "{template}: {}", validated.stderr);
        let mock = text.replace("\nprovider = \"embedded\"", "\nprovider = \"mock\"");
        assert_ne!(mock, text);
        project.write("pipeline.toml", mock);
        project.run(&["run"]).exits(0);
        project.run(&["test"]).exits(0);
        assert_eq!(project.files("out").len(), 1, "{template}");
    }
}

#[test]
fn a_spec_for_a_data_file_reads_its_columns() {
    for template in ["label", "extract", "long"] {
        let project = Project::new().file("Data 1.csv", REMARKS);
        let made = project.run(&["init", "--from", "Data 1.csv", "--template", template]).exits(0);
        assert!(made.stderr.contains("the prompt reads `remark`, and its key is `nr`"), "{}", made.stderr);
        let text = project.text("pipeline.toml");
        assert!(text.contains("# The columns of Data 1.csv: nr, town, remark"), "{text}");
        let validated = project.run(&["validate"]).exits(0);
        assert!(validated.stderr.contains("no problems"), "{template}: {}\n{text}", validated.stderr);
        assert!(project.run(&["plan"]).exits(0).stdout.contains("2 rows"));
        assert!(!project.has("remarks.csv"));
    }
}

#[test]
fn names_of_several_lines_do_not_break_a_first_spec() {
    let project = Project::new().file("a.csv", "id,\"How do you\nfeel, in words?\"\n1,Very well\n2,Not so well\n");
    project.run(&["init", "--from", "a.csv"]).exits(0);
    project.run(&["validate"]).exits(0).says("no problems");
    assert!(project.run(&["plan", "--render", "1"]).exits(0).stdout.contains("Very well"));
}

#[test]
fn a_first_spec_has_what_was_detected_in_the_file() {
    for (file, text, setting) in [
        ("a.csv", "id;remark\n1;Peace and plenty\n2;We mourn\n", "delimiter = \";\""),
        ("b.csv", "id;remark;weight\n1;Peace and plenty;0,5\n2;We mourn;1,5\n", "delimiter = \";\""),
        ("c.csv", "id\tremark\n1\tPeace and plenty\n2\tWe mourn\n", "delimiter = \"\\t\""),
        ("d.csv", "sep=;\nid;remark\n1;Peace and plenty\n2;We mourn\n", "skip_rows = 1"),
    ] {
        let project = Project::new().file(file, text);
        project.run(&["init", "--from", file, "--name", "first"]).exits(0).says("its key is `id`");
        let asked = project.run(&["ask", file, "--prompt", "Tone?", "--model", "mock", "--name", "second"]).exits(0);
        assert!(asked.stderr.contains("2 rows = 2 answered"), "{}", asked.stderr);
        for spec in ["first.toml", "second.toml"] {
            assert!(project.text(spec).contains(setting), "{file}: {}", project.text(spec));
            project.run(&["validate", spec]).exits(0).says("no problems");
        }
    }
}

#[test]
fn init_never_overwrites_and_says_how_to_go_on() {
    let project = Project::new().file("data.csv", REMARKS).file(".gitignore", "mine\n");
    project.run(&["init", "--from", "data.csv"]).exits(0).says("kept .gitignore");
    assert_eq!(project.text(".gitignore"), "mine\n");
    let before = project.bytes("pipeline.toml");
    let refused = project.run(&["init", "--from", "data.csv"]).exits(2);
    for text in ["pipeline.toml already exists", "fanfold run pipeline.toml", "fanfold init --name NAME"] {
        assert!(refused.stderr.contains(text), "{}", refused.stderr);
    }
    assert!(project.bytes("pipeline.toml") == before);
    project.run(&["init", "--name", "second"]).exits(0).says("wrote second.toml");
    project.run(&["init", "sub", "--from", "data.csv"]).exits(2).says("is not in the folder `sub`");
    project.run(&["init", "--from", "absent.csv"]).exits(2).says("there is no file `absent.csv`");
    project.run(&["init", "--from", "dta.csv"]).exits(2).says("did you mean `data.csv`?");
    project.run(&["init", "--from", "data.csv", "--template", "survey"]).exits(2).says("makes up its respondents");
    project.run(&["init", "sub/folder", "--template", "survey"]).exits(0);
    project.run(&["validate", "sub/folder/pipeline.toml"]).exits(0);
}

fn asking(server: &Server) -> Project {
    Project::new().env("OLLAMA_HOST", &server.url()).file("remarks.csv", REMARKS)
}

#[test]
fn ask_writes_a_spec_and_runs_it() {
    let server = Server::new().start();
    let project = asking(&server);
    let ask = ["ask", "remarks.csv", "--prompt", "What is the tone?", "--labels", "good, bad", "--model", "llama3.2"];
    let ran = project.run(&ask).exits(0).says("wrote remarks.toml").says("wrote out/remarks.csv");
    for line in ["[stages.answer]", "key = \"nr\"", "output.label = { type = \"string\", enum = [\"good\", \"bad\"] }"]
    {
        assert!(ran.stderr.contains(line), "{}", ran.stderr);
    }
    assert_eq!(server.requests(), 2);
    assert!(server.asked().iter().any(|asked| asked.question().starts_with("What is the tone?\n\nPeace and plenty")));
    assert!(project.text("out/remarks.csv").starts_with("nr,town,remark,label,answer_error\n"));
    // The same question continues. A different question gets a different name.
    project.run(&ask).exits(0).says("has this question already");
    assert_eq!(server.requests(), 2);
    let other = ["ask", "remarks.csv", "--column", "town", "--prompt", "Is it {{ nr }}?", "--model", "llama3.2"];
    project.run(&other).exits(0).says("wrote remarks-2.toml").says("wrote out/remarks-2.csv");
    assert_eq!(server.asked().iter().filter(|asked| asked.question() == "Is it 7?").count(), 1);
    project.run(&["validate", "remarks.toml", "remarks-2.toml"]).exits(0);
}

#[test]
fn ask_fills_columns_and_takes_several_models() {
    let answer = serde_json::json!({ "town": "Bonn", "Occasion": "a funeral" });
    let server = Server::new().script(move |_, _| Say::Json(answer.clone())).start();
    let project = asking(&server);
    project.run(&["ask", "remarks.csv", "--fill", "town,Occasion", "--model", "llama3.2"]).exits(0);
    let text = project.text("out/remarks.csv");
    assert!(text.lines().next().is_some_and(|head| head.contains("Occasion")), "{text}");
    assert!(text.contains("7,Ulm,") && text.contains("9,Bonn,"), "{text}");
    let several =
        ["ask", "remarks.csv", "--prompt", "Tone?", "--model", "llama3.2", "--model", "mistral", "--name", "two"];
    project.run(&several).exits(0);
    assert_eq!((server.requests_of("llama3.2"), server.requests_of("mistral")), (4, 2));
    let head = project.text("out/two.csv");
    assert!(head.starts_with("nr,town,remark,answer_"), "{head}");
}

#[test]
fn ask_reads_and_writes_other_formats_and_overwrites_nothing() {
    let project =
        Project::new().file("a b.jsonl", "{\"k\":1,\"words\":\"One long text\"}\n{\"k\":2,\"words\":\"Two\"}\n");
    project.write("out/a_b.jsonl", "mine\n");
    let ask = ["ask", "a b.jsonl", "--prompt", "Tone?", "--model", "mock"];
    project.run(&ask).exits(0).says("wrote a_b-2.toml").says("wrote out/a_b-2.jsonl");
    assert_eq!(project.text("out/a_b.jsonl"), "mine\n");
    project.run(&[&ask[..], &["--limit", "1"]].concat()).exits(0).says("wrote out/a_b-2.limit-1.jsonl");
    let shown = project.run(&[&ask[..], &["-n", "--name", "shown"]].concat()).exits(0).says("fanfold run shown.toml");
    assert!(shown.stderr.contains("[models.mock]") && !project.has("out/shown.jsonl"), "{}", shown.stderr);
    for (arguments, said) in [
        (&["ask", "a b.jsonl", "--column", "wrods", "--prompt", "x"][..], "did you mean `words`?"),
        (&["ask", "absent.csv", "--prompt", "x"], "there is no file `absent.csv`"),
        (&["ask", "a b.jsonl"], "--prompt"),
        (&["ask", "a b.jsonl", "--prompt", "x", "--labels", "a", "--fill", "b"], "cannot be used with"),
    ] {
        project.run(arguments).exits(2).says(said);
    }
}
