//! Many rows to one answer: `reduce`, and whole pipelines of it over long documents.

use std::time::Duration;

use crate::project::Project;
use crate::recipe::rows;
use crate::server::{Asked, Say, Server, answer};
use crate::weights;

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const OUT: &str = "out/sums.parquet";

/// Speeches, an analysis `gist` of each, and a reduce `sums` of it with these lines.
fn spec(sums: &str) -> String {
    format!(
        r#"name = "sums"
seed = 1
[models.llama]
provider = "ollama"
model = "llama3.2"
num_ctx = 4096
[models.mistral]
provider = "ollama"
model = "mistral"
num_ctx = 4096
[sources.speeches]
type = "file"
path = "data.csv"
key = "id"
[stages.gist]
type = "analysis"
input = "speeches"
models = ["llama"]
prompt = "Gist of {{{{ text }}}}"
chunk_size = 7
[stages.sums]
type = "reduce"
input = "gist"
{sums}
prompt = "Of {{{{ year }}}}:{{% for row in rows %}} {{{{ row.id }}}}={{{{ row.gist }}}};{{% endfor %}}"
[outputs.sums]
input = "sums"
path = "out/sums.parquet"
"#
    )
}

/// Speeches, three in a year.
fn speeches(count: usize) -> Vec<[String; 3]> {
    let mut all = rows(count);
    all.iter_mut().skip(1).enumerate().for_each(|(i, row)| row[1] = (1800 + i / 3).to_string());
    all
}

fn project(server: &Server, sums: &str, count: usize) -> Project {
    Project::new().env("OLLAMA_HOST", &server.url()).spec(&spec(sums)).csv("data.csv", &speeches(count))
}

/// The questions of `sums`, sorted.
fn sums(server: &Server) -> Vec<String> {
    let mut asked: Vec<String> = server.asked().iter().map(|a| a.question().to_owned()).collect();
    asked.retain(|question| question.starts_with("Of "));
    asked.sort();
    asked
}

#[test]
fn each_group_is_one_question_and_rows_that_failed_are_left_out_and_counted() {
    let say = |asked: &Asked, _: usize| match asked.question().contains("Speech 4,") {
        true => Say::status(400),
        false => Say::Text(format!("g{}", answer(asked).len())),
    };
    let server = Server::new().script(say).start();
    let by_year = "models = [\"mistral\"]\ngroup_by = [\"year\"]\norder_by = [\"id\"]\ndescending = true\n";
    let project = project(&server, by_year, 8);
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("gather sums.groups: rows not known yet, of gist, no calls"), "{plan}");
    assert!(
        plan.contains("stage sums: rows not known yet of sums.groups, asked of mistral\n    calls not known yet"),
        "{plan}"
    );
    project.run(&RUN).exits(1).says("sums  3 rows = 3 answered + 0 failed + 0 skipped");
    let table = project.table(OUT);
    assert_eq!(table.columns(), ["year", "sums_rows", "sums_left_out", "sums", "sums_error"]);
    assert_eq!(table.texts("year"), ["1800", "1801", "1802"]);
    assert_eq!(
        (table.ints("sums_rows"), table.ints("sums_left_out")),
        (vec![Some(3), Some(2), Some(2)], vec![Some(0), Some(1), Some(0)])
    );
    let asked = sums(&server);
    assert_eq!(asked.len(), 3);
    assert!(asked[1].starts_with("Of 1801: s0005=g") && !asked[1].contains("s0004"), "{asked:?}");
    assert_eq!(server.requests_of("mistral"), 3);
    let told = project.run(&["explain", OUT, "1801", "sums"]).exits(0).stdout;
    assert!(told.contains("gather of gist") && told.contains("Of 1801: s0005="), "{told}");
    // The failed row is asked again; its answer changes only its group.
    let mended = Server::new().script(|asked, _| Say::Text(format!("g{}", answer(asked).len()))).start();
    let project = project.env("OLLAMA_HOST", &mended.url());
    project.run(&RUN).exits(0);
    assert_eq!((mended.requests_of("llama3.2"), mended.requests_of("mistral")), (1, 1));
    assert_eq!(project.table(OUT).ints("sums_left_out"), [Some(0); 3]);
    project.run(&["verify", "pipeline.toml"]).exits(0);
    let status = project.run(&["status", "pipeline.toml"]).exits(0).stdout;
    let done = status.lines().filter(|line| line.contains(" done ") && line.ends_with(" 0"));
    assert_eq!(done.count(), 2, "{status}");
}

#[test]
fn a_condition_is_about_the_group() {
    let server = Server::new().start();
    let by_year = "models = [\"mistral\"]\ngroup_by = [\"year\"]\n";
    let project = project(&server, &format!("{by_year}when = 'year != \"1800\" and sums_rows > 1'"), 7);
    project.run(&RUN).exits(0).says("sums  3 rows = 1 answered + 0 failed + 2 skipped");
    let asked = sums(&server);
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("Of 1801:"), "{asked:?}");
    assert_eq!(project.table(OUT).nulls("sums"), 2);

    project.write("pipeline.toml", spec(&format!("{by_year}when = 'text != \"\" and yaer > 1'")));
    let told = project.run(&["validate", "pipeline.toml"]).exits(2).stderr;
    assert!(told.contains("the condition is about groups, which have no column `text`"), "{told}");
    assert!(told.contains("did you mean `year`?"), "{told}");
    // A mistake beside it hides neither.
    project.write("pipeline.toml", spec("models = [\"mistral\"]\ngroup_by = [\"yaer\"]\nwhen = 'yaer > 1'"));
    let told = project.run(&["validate", "pipeline.toml"]).exits(2).stderr;
    assert!(told.contains("`yaer`") && !told.contains("the condition"), "{told}");
}

#[test]
fn a_group_of_which_nothing_is_left_is_skipped_and_the_whole_table_is_a_group() {
    let failing = |asked: &Asked, _: usize| match asked.question().contains("Gist of") {
        true => {
            let body = format!("{{\"error\": \"{}\"}}", ["verbs", "words", "nouns", "names"][asked.number % 4]);
            Say::Status { code: 400, retry_after: None, body }
        }
        false => Say::Text("never".to_owned()),
    };
    let server = Server::new().script(failing).start();
    let project = project(&server, "models = [\"mistral\"]\ngroup_by = [\"year\"]", 4);
    project.run(&RUN).exits(1).says("sums  2 rows = 0 answered + 0 failed + 2 skipped");
    assert_eq!(server.requests_of("mistral"), 0);
    assert_eq!(project.table(OUT).nulls("sums"), 2);

    let server = Server::new().start();
    let whole = spec("models = [\"mistral\"]").replace("Of {{ year }}:", "Of all:");
    let project = project.env("OLLAMA_HOST", &server.url());
    project.write("pipeline.toml", &whole);
    project.run(&RUN).exits(0).says("sums  1 row = 1 answered");
    let asked = sums(&server);
    assert_eq!((asked.len(), asked[0].matches('=').count()), (1, 4));
}

#[test]
fn a_group_that_does_not_fit_is_a_tree_whatever_the_lanes_and_the_parts() {
    let tree = "models = [\"mistral\"]\nmax_input_tokens = 100\n";
    let of_all = |text: &str| text.replace("Of {{ year }}:", "Of all:");
    let run = |spec: &str| {
        let server = Server::new().latency_ms(2).start();
        let project = project(&server, "", 60);
        project.write("pipeline.toml", spec);
        project.run(&RUN).exits(0).says("sums  1 row = 1 answered");
        let longest = server.asked().iter().map(|a| a.question().len()).max();
        assert!(longest <= Some(400), "{longest:?} bytes");
        (project.bytes(OUT), server.requests_of("mistral"), project)
    };
    let (bytes, calls, project) = run(&of_all(&spec(tree)));
    assert!(calls > 10, "{calls}");
    let again = of_all(&spec(&format!("{tree}workers = 1\nbatch_size = 1\nchunk_size = 1"))).replace("= 7", "= 100");
    let (same, same_calls, _) = run(&again);
    assert!(bytes == same, "another table with other lanes");
    assert_eq!(calls, same_calls);
    // Each level's calls are in the ledger, and the last one's answer in the table.
    let table = project.calls();
    let of_sums = table.texts("stage").iter().filter(|s| *s == "sums").count();
    assert_eq!(of_sums, calls);
    assert_eq!(table.texts("reply").last(), project.table(OUT).texts("sums").last());
    // The leaves of one group are asked about at once; only they are new here.
    let other = Server::new().latency_ms(300).start();
    let project = project.env("OLLAMA_HOST", &other.url());
    project.write("pipeline.toml", of_all(&spec(tree)).replace("Of all:", "Of them all:"));
    project.run(&RUN).exits(0);
    assert_eq!(other.requests_of("llama3.2"), 0);
    // Four are in flight until the first answer.
    assert!(other.max_in_flight() >= 4, "{} at once", other.max_in_flight());
    project.write("pipeline.toml", of_all(&spec(tree)));
    let none = Server::new().start();
    let project = project.env("OLLAMA_HOST", &none.url());
    std::fs::remove_dir_all(project.path(".fanfold/runs")).expect("runs");
    project.run(&RUN).exits(0);
    assert_eq!(none.requests(), 0, "all of it is in the ledger");
    assert!(project.bytes(OUT) == bytes);
}

#[test]
fn a_fold_hands_its_answer_on_and_stages_that_share_a_stage_run_it_once() {
    let server = Server::new().start();
    let fold = "models = [\"mistral\"]\nstrategy = \"fold\"\nmax_input_tokens = 32\ngroup_by = [\"year\"]\n\
                combine = \"Go on from {{ answer }} with{% for row in rows %} {{ row.id }}={{ row.gist }};{% endfor %}\"";
    let project = project(&server, fold, 9);
    let other = "[stages.again]\ntype = \"reduce\"\ninput = \"gist\"\nmodels = [\"llama\", \"mistral\"]\nfanout = true\n\
                 prompt = \"Of all {{ rows | length }}{% for row in rows %}{{ row.id }}{% endfor %}\"\n\
                 [outputs.again]\ninput = \"again\"\npath = \"out/again.parquet\"\n";
    project.write("pipeline.toml", format!("{}{other}", spec(fold).replace("chunk_size = 7", "chunk_size = 4")));
    project.run(&RUN).exits(0);
    let gists = server.asked().iter().filter(|a| a.question().starts_with("Gist of")).count();
    assert_eq!(gists, 9, "both read the same gists");
    let asked = server.asked();
    let onwards: Vec<&str> =
        asked.iter().map(Asked::question).filter(|q| q.starts_with("Go on from an answer of")).collect();
    assert!(onwards.iter().any(|q| q.contains("s0002=")), "{onwards:?}");
    let again = project.table("out/again.parquet");
    assert_eq!(
        again.columns(),
        ["again_rows", "again_left_out", "again_llama", "again_error_llama", "again_mistral", "again_error_mistral"]
    );
    assert_eq!(again.ints("again_rows"), [Some(9)]);
}

/// The shipped pipeline over all 233 addresses, asked of the server at `OLLAMA_HOST`.
fn shipped() -> Project {
    let spec = include_str!("../../pipelines/themes-by-decade.toml");
    let data: &[u8] = include_bytes!("../../pipelines/data/sotu.parquet");
    Project::new().spec(spec).file("data/sotu.parquet", data)
}

const KEY_AND_TYPES: &str = "key = \"id\"\ntypes = { year = \"integer\", decade = \"integer\" }";

fn editor_and_reader() -> Server {
    Server::new().models(&["llama3.2", "llama3.2:1b"]).start()
}

#[test]
fn the_map_reduce_over_all_addresses_survives_kills_in_bounded_memory() {
    let server = editor_and_reader();
    let project = shipped().env("OLLAMA_HOST", &server.url());
    // The texts alone are 11 MB; a debug build of everything else takes most of this.
    project.run_within(400 << 10, &RUN).exits(0).says("gist     1,954 rows = 1,954 answered");
    let addresses = project.table("out/addresses.parquet");
    assert_eq!((addresses.len(), addresses.nulls("theme")), (233, 0));
    let pieces: i64 = addresses.ints("summary_rows").into_iter().flatten().sum();
    assert_eq!(pieces, 1954);
    assert_eq!(project.text("out/decades.csv").lines().count(), 25, "a header and 24 decades");
    let (expected, calls) = (project.bytes("out/addresses.parquet"), server.requests());
    let decades = project.bytes("out/decades.csv");

    let server = editor_and_reader();
    let project = shipped().env("OLLAMA_HOST", &server.url());
    let mut kills = 0;
    // Within the pieces, the addresses, the themes, the decades.
    for answered in [300, 1500, 2000, 2250, 2435] {
        let mut running = project.spawn(&RUN);
        while server.answered() < answered && !running.ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !running.ended() {
            running.kill();
            kills += 1;
        }
    }
    project.run(&RUN).exits(0);
    assert!(kills >= 3, "{kills}");
    assert!(project.bytes("out/addresses.parquet") == expected, "another table after {kills} kills");
    assert!(project.bytes("out/decades.csv") == decades, "another table after {kills} kills");
    let again = server.requests() - calls;
    assert!(again <= kills * 16, "{again} calls more after {kills} kills with 16 in flight");
}

#[test]
fn a_recorded_map_reduce_is_replayed_byte_for_byte() {
    let server = Server::new().start();
    let project = project(&server, "models = [\"mistral\"]\ngroup_by = [\"year\"]\nmax_input_tokens = 60", 12);
    project.run(&RUN).exits(0);
    let (bytes, asked) = (project.bytes(OUT), server.requests());
    project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    std::fs::remove_dir_all(project.path(".fanfold")).expect("the project");
    std::fs::remove_file(project.path(OUT)).expect("the table");
    project.run(&["run", "pipeline.toml", "--replay", "calls.parquet"]).exits(0);
    assert!(project.bytes(OUT) == bytes);
    assert_eq!(server.requests(), asked, "a replay sends no call");
}

#[test]
fn the_small_model_sums_addresses_up() {
    let Some(project) = weights::or_skip("a map-reduce on a real model", shipped()) else { return };
    let spec = project.text("pipeline.toml");
    let spec = spec
        .replace("provider = \"ollama\"\nmodel = \"llama3.2:1b\"", "provider = \"embedded\"\nmodel = \"smollm2:135m\"");
    let spec = spec
        .replace("provider = \"ollama\"\nmodel = \"llama3.2\"", "provider = \"embedded\"\nmodel = \"smollm2:135m\"");
    let spec = spec.replace("max_tokens = 120", "max_tokens = 40").replace("max_tokens = 300", "max_tokens = 120");
    // A debug build reads slowly: a few short pieces do.
    let spec = spec.replace("size = 1000", "size = 12").replace("max_tokens = 40", "max_tokens = 24");
    let spec = spec.replace("num_ctx = 4096", "num_ctx = 2048").replace("num_ctx = 8192", "num_ctx = 2048");
    project
        .write("pipeline.toml", spec.replace("data/sotu.parquet", "short.csv").replace("key = \"id\"", KEY_AND_TYPES));
    let short = "id,year,decade,president,text\n\
                 a,1790,1790,Washington,The public credit has risen. Our harvests were plentiful. Peace prevails on every frontier.\n\
                 b,1801,1800,Jefferson,The taxes may be dispensed with. The army is reduced to its posts.\n";
    project.write("short.csv", short);
    let ran = project.run(&RUN).exits(0);
    let ran = ran.says("summary  2 rows = 2 answered + 0 failed");
    ran.says("decades  2 rows = 2 answered + 0 failed");
    let table = project.table("out/addresses.parquet");
    assert!(table.texts("summary").iter().all(|summary| !summary.trim().is_empty()));
    assert_eq!(table.nulls("theme"), 0);
}
