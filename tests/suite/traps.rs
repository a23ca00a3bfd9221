//! Traps: what would cost a table, mix two models in one column or ask every row the same, and says so instead.

use crate::project::Project;
use crate::recipe::{TYPED, project, spec};
use crate::server::Server;

const LOCK: &str = "pipeline.toml.lock";
const OUTPUTS: [&str; 3] = ["out/tone.parquet", "out/tone.csv", "out/lines.jsonl"];

/// Two stages whose tables are written in three formats.
fn study() -> String {
    spec(&format!(
        r#"models = ["llama"]
{TYPED}
[stages.why]
type = "analysis"
input = "tone"
models = ["llama"]
prompt = "Why {{{{ label }}}}? {{{{ text }}}}"

[outputs.csv]
input = "tone"
path = "out/tone.csv"

[outputs.lines]
input = "why"
path = "out/lines.jsonl"
"#
    ))
}

#[test]
fn a_run_of_some_rows_or_stages_leaves_the_tables_of_a_full_run() {
    let server = Server::new().start();
    let project = project(&server, &study(), 12);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let kept = [&OUTPUTS[..], &[LOCK]].concat();
    let before: Vec<Vec<u8>> = kept.iter().map(|path| project.bytes(path)).collect();
    let unchanged = || {
        for (path, bytes) in kept.iter().zip(&before) {
            assert!(project.bytes(path) == *bytes, "{path} was changed");
        }
        project.run(&["test", "pipeline.toml"]);
        project.run(&["verify", "pipeline.toml"]).exits(0);
        let status = project.run(&["status", "pipeline.toml"]).exits(0);
        assert!(status.stdout.contains("done") && !status.stdout.contains("stale"), "{}", status.stdout);
    };
    let cases: [(&[&str], &[&str]); 4] = [
        (&["--limit", "5"], &["out/tone.limit-5.parquet", "out/tone.limit-5.csv", "out/lines.limit-5.jsonl"]),
        (&["--select", "tone"], &["out/tone.select-tone.parquet", "out/tone.select-tone.csv"]),
        (&["--select", "tone", "--limit", "2"], &["out/tone.select-tone.limit-2.csv"]),
        (&["--fresh", "--limit", "3"], &["out/tone.limit-3.parquet", "out/lines.limit-3.jsonl"]),
    ];
    for (arguments, written) in cases {
        let ran = project.run(&[&["run", "pipeline.toml"], arguments].concat()).exits(0);
        for path in written {
            assert!(project.has(path), "{path} is missing");
            assert!(ran.stderr.contains(&format!("wrote {path}")), "{}", ran.stderr);
        }
        assert!(ran.stderr.contains("ran only "), "{}", ran.stderr);
        unchanged();
    }
    assert_eq!(project.table("out/tone.limit-5.parquet").len(), 5);
    assert_eq!(project.text("out/tone.select-tone.limit-2.csv").lines().count(), 3);
    let plan = project.run(&["plan", "pipeline.toml", "--limit", "5"]).exits(0).stdout;
    assert!(plan.contains("out/tone.limit-5.csv") && !plan.contains("out/tone.csv"), "{plan}");
    project.run(&["explain", "out/tone.limit-5.parquet", "s0003", "label"]).exits(0);
}

#[test]
fn a_partial_run_before_a_full_one_leaves_nothing_to_mistake() {
    let server = Server::new().start();
    let project = project(&server, &study(), 6);
    project.run(&["run", "pipeline.toml", "--limit", "2"]).exits(0);
    assert!(!project.has(LOCK) && OUTPUTS.iter().all(|path| !project.has(path)));
    let status = project.run(&["status", "pipeline.toml"]).exits(0).stdout;
    assert!(status.contains("never run"), "{status}");
    project.run(&["run", "pipeline.toml"]).exits(0).says("wrote pipeline.toml.lock");
    assert_eq!(server.requests(), 12, "the rows of the first run are not asked again");
}

#[test]
fn a_selection_of_all_stages_is_a_full_run() {
    let server = Server::new().start();
    let project = project(&server, &study(), 4);
    let selected = ["run", "pipeline.toml", "--select", "why", "--select", "tone"];
    project.run(&selected).exits(0).says("wrote out/tone.parquet").says("wrote pipeline.toml.lock");
    project.run(&["verify", "pipeline.toml"]).exits(0);
}

#[test]
fn a_partial_run_never_writes_over_its_own_source() {
    let server = Server::new().start();
    let text = spec("models = [\"llama\"]")
        .replace("path = \"data.csv\"", "path = \"out/tone.limit-2.csv\"")
        .replace("out/tone.parquet", "out/tone.csv");
    let project = project(&server, &text, 0).file("out/tone.limit-2.csv", "id,year,text\na,1,x\nb,2,y\n");
    project.run(&["run", "pipeline.toml", "--limit", "2"]).exits(2).says("`out/tone.limit-2.csv`");
    assert!(project.text("out/tone.limit-2.csv").starts_with("id,year,text\na,1,x"));
    assert_eq!(server.requests(), 0);
}

/// The spec of a stage with these lines over a small table.
fn staged(stage: &str) -> Project {
    let text = format!(
        "models.a = {{ provider = \"mock\", model = \"m\" }}\nmodels.b = {{ provider = \"mock\", model = \"n\" }}\n\
         sources.rows = {{ type = \"file\", path = \"data.csv\" }}\noutputs.ask = {{ input = \"ask\", path = \"o.csv\" }}\n\
         [stages.ask]\ninput = \"rows\"\n{stage}\n"
    );
    Project::new().spec(&text).file("data.csv", "id,remark,party\n1,Peace,Whig\n2,War,\n")
}

#[test]
fn several_models_must_say_how_they_read_the_rows() {
    let kinds = [
        "type = \"analysis\"\nprompt = \"{{ remark }}\"",
        "type = \"survey\"\nquestions = { \"Yes or no?\" = [\"yes\", \"no\"] }",
        "type = \"fill-missing\"\ntext_column = \"remark\"\nfields.party = { type = \"string\", column = \"party\" }",
        "type = \"reduce\"\nprompt = \"{% for row in rows %}{{ row.remark }}{% endfor %}\"",
    ];
    for kind in kinds {
        let with = |models: &str| staged(&format!("{models}\n{kind}")).run(&["run", "pipeline.toml"]);
        let refused = with("models = [\"a\", \"b\"]").exits(2);
        for text in ["missing-fanout", "asks 2 models", "`fanout = true`", "`fanout = false`"] {
            assert!(refused.stderr.contains(text), "{kind}: {text} is not in\n{}", refused.stderr);
        }
        for written in
            ["models = [\"a\", \"b\"]\nfanout = true", "models = [\"a\", \"b\"]\nfanout = false", "models = [\"a\"]"]
        {
            with(written).exits(0);
        }
    }
}

#[test]
fn a_question_that_reads_no_row_is_for_samples_only() {
    let ask = |more: &str| {
        let stage = format!("models = [\"a\"]\ntype = \"analysis\"\nprompt = \"Toss a coin.\"\n{more}");
        staged(&stage).run(&["run", "pipeline.toml"])
    };
    ask("").exits(2).says("constant-prompt");
    ask("fanout = true\nlayout = \"long\"").exits(2).says("constant-prompt");
    ask("replicates = 3").exits(0);
}

#[test]
fn prompts_that_read_the_row_in_any_way_are_no_mistake() {
    for stage in [
        "type = \"analysis\"\nprompt = \"{{ remark }}\"",
        "type = \"analysis\"\nprompt = \"{% if party %}Party{% else %}None{% endif %}\"",
        "type = \"analysis\"\nprompt = \"{{ row['remark'] }}\"",
        "type = \"analysis\"\nprompt = \"{% for key in row %}{{ key }}{% endfor %}\"",
        "type = \"analysis\"\ntext_column = \"remark\"\nprompt = \"<text>{{ text }}</text> Answer {yes} or [no], in $.\"",
        "type = \"analysis\"\nprompt = '{\"a\": \"{{ remark | upper }}\"}'\nrows_per_prompt = 2",
        "type = \"analysis\"\nprompt = \"{{ remark }}\"\nexamples = [{ row = { remark = \"x\" }, answer = \"y\" }]",
        "type = \"fill-missing\"\ntext_column = \"remark\"\nfields.x = { type = \"string\" }",
        "type = \"survey\"\nquestions = { \"Yes?\" = [\"yes\", \"no\"] }",
        "type = \"survey\"\npersona = \"You are a person.\"\nquestions = { \"Yes?\" = [\"yes\", \"no\"] }",
        "type = \"reduce\"\nprompt = \"{{ rows | length }}\"",
    ] {
        let validated = staged(&format!("models = [\"a\"]\n{stage}")).run(&["validate", "pipeline.toml"]).exits(0);
        assert!(validated.stderr.contains("no problems"), "{stage}:\n{}", validated.stderr);
    }
}

#[test]
fn commands_that_people_guess_are_answered() {
    let project = Project::new();
    for (word, help) in [
        ("check", "fanfold validate"),
        ("build", "fanfold run"),
        ("resume", "fanfold run"),
        ("eval", "fanfold test"),
        ("export", "fanfold ledger export"),
        ("purge", "fanfold clean"),
        ("list", "fanfold runs"),
        ("download", "fanfold models pull"),
        ("render", "--render"),
        ("view", "fanfold show"),
    ] {
        project.run(&[word, "pipeline.toml"]).exits(2).says(&format!("no command `{word}`")).says(help);
    }
    project.run(&["runn"]).exits(2).says("run");
}

#[test]
fn flags_that_people_guess_are_answered() {
    let project = Project::new();
    for (typed, help) in [
        (&["plan", "--json"][..], "write `--format json`"),
        (&["runs", "--json"], "write `--format json`"),
        (&["run", "--stage", "tone"], "write `--select STAGE`"),
        (&["run", "--model=llama"], "`--set models.NAME.model=ID`"),
        (&["plan", "-n"], "a plan sends nothing"),
        (&["run", "--force"], "`--fresh` repeats every call"),
        (&["run", "-o", "a.csv"], "`path` in `[outputs.NAME]`"),
    ] {
        project.run(typed).exits(2).says("there is no `-").says(help);
    }
    // A flag without a guess, and one that the command does not have either.
    project.run(&["run", "--nonsense"]).exits(2).says("unexpected argument");
    project.run(&["init", "--json"]).exits(2).says("unexpected argument");
}
