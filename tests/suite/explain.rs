//! `fanfold explain`: it shows the prompt that the server received and the reply that it sent.

use std::fs;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use serde_json::Value;

use crate::project::{Cell, Project};
use crate::recipe::{TYPED, project, spec, told};
use crate::server::{Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];

/// The explanation of a row, as JSON.
#[track_caller]
fn explained(project: &Project, args: &[&str]) -> Value {
    let args = [&["explain"], args, &["--format", "json"]].concat();
    let ran = project.run(&args).exits(0);
    ran.json()
}

/// The rows of the only stage in the explanation.
#[track_caller]
fn rows_of(told: &Value) -> &Vec<Value> {
    let stages = told["explanation"]["stages"].as_array().expect("stages");
    assert_eq!(stages.len(), 1, "{told:#}");
    stages[0]["rows"].as_array().expect("rows")
}

/// A cell as JSON.
fn json(cell: &Cell) -> Value {
    match cell {
        Cell::Text(text) => Value::from(text.as_str()),
        Cell::Int(number) => Value::from(*number),
        _ => Value::Null,
    }
}

#[test]
fn every_cell_of_a_fan_out_has_its_call() {
    let server = Server::new().start();
    let text = spec(&format!("models = [\"llama\", \"mistral\"]\nfanout = true\nchunk_size = 4\n{TYPED}"));
    let project = project(&server, &text, 11);
    project.run(&RUN).exits(0);
    let (table, calls) = (project.table(OUT), project.calls());
    let keys = calls.texts("call_key");
    for row in [0, 3, 4, 10] {
        for (model, id) in [("llama", "llama3.2"), ("mistral", "mistral")] {
            let column = format!("label_{model}");
            let said = explained(&project, &[OUT, &format!("s{row:04}"), &column]);
            let rows = rows_of(&said);
            assert_eq!((rows.len(), rows[0]["calls"].as_array().map(Vec::len)), (1, Some(1)), "{said:#}");
            assert_eq!(rows[0]["cells"][&column], json(&table.cells(&column)[row]));
            assert_eq!(rows[0]["cells"][format!("tone_error_{model}")], Value::Null);
            let call = &rows[0]["calls"][0];
            assert_eq!((&call["model"], &call["model_id"]), (&Value::from(model), &Value::from(id)));
            assert_eq!(call["reply"], told(&server, id, &format!("Speech {row},")));
            assert!(call["prompt"].as_str().is_some_and(|p| p.contains(&format!("Speech {row},"))), "{call}");
            assert!(keys.iter().any(|key| call["call_key"] == key.as_str()));
            assert_eq!(call["server"]["quantization"], "Q4_K_M");
            let column = &said["explanation"]["stages"][0]["column"];
            assert_eq!(column["from"], serde_json::json!(["output", "label"]));
            assert_eq!(column["schema"]["enum"][0], "positive", "{column}");
            assert_eq!(said["explanation"]["row"], row + 1);
        }
    }
    // Without a column it shows both models, with `--model` only that one.
    let all = explained(&project, &[OUT, "s0005"]);
    assert_eq!(rows_of(&all)[0]["calls"].as_array().map(Vec::len), Some(2));
    let one = explained(&project, &[OUT, "s0005", "--model", "mistral"]);
    assert_eq!(rows_of(&one)[0]["calls"][0]["model"], "mistral");
    assert!(rows_of(&one)[0]["cells"].get("label_llama").is_none(), "{one:#}");
}

#[test]
fn folded_rows_are_distinguished_and_stages_are_followed() {
    let server = Server::new().start();
    let text = spec(&format!(
        "models = [\"llama\", \"mistral\"]\nfanout = true\nlayout = \"long\"\nreplicates = 3\nchunk_size = 4\n{TYPED}"
    ));
    let text =
        text.replace("input = \"tone\"\n", "input = \"why\"\n").replace("temperature = 0.0", "temperature = 0.7");
    let why = "\n[stages.why]\ntype = \"analysis\"\ninput = \"tone\"\nmodels = [\"llama\"]\nchunk_size = 7\nprompt = \"Why {{ label }} {{ model }} {{ replicate }}? {{ text }}\"\n";
    let project = project(&server, &format!("{text}{why}"), 9);
    project.run(&RUN).exits(0);
    let table = project.table(OUT);
    let (ids, models, replicates) = (table.texts("id"), table.texts("model"), table.ints("replicate"));
    for place in [0, 5, 17, 31, 53] {
        let (id, model, number) = (&ids[place], &models[place], replicates[place].expect("a number"));
        for column in ["score", "why"] {
            let number = number.to_string();
            let said = explained(&project, &[OUT, id, column, "--model", model, "--replicate", &number]);
            let rows = rows_of(&said);
            let same = rows.iter().filter(|row| row["cells"]["model"] == model.as_str()).collect::<Vec<_>>();
            assert_eq!(same.len(), 1, "{said:#}");
            assert_eq!(same[0]["cells"][column], json(&table.cells(column)[place]), "{said:#}");
            let calls = same[0]["calls"].as_array().expect("calls");
            assert_eq!(calls.len(), 1, "{said:#}");
            if column == "why" {
                let start = format!("Why {} {model} {number}?", table.texts("label")[place]);
                assert!(calls[0]["prompt"].as_str().is_some_and(|p| p.starts_with(&start)), "{said:#}");
            } else {
                assert_eq!(
                    (&calls[0]["model"], calls[0]["replicate"].to_string()),
                    (&Value::from(model.as_str()), number)
                );
            }
        }
    }
    let all = explained(&project, &[OUT, "s0002"]);
    let stages = all["explanation"]["stages"].as_array().expect("stages");
    let counts: Vec<usize> = stages.iter().filter_map(|s| s["rows"].as_array()).map(Vec::len).collect();
    assert_eq!(counts, [6, 6]);
    project.run(&["explain", OUT, "s0002", "--replicate", "4"]).exits(2).says("numbered from 1 to 3");
}

#[test]
fn tries_failures_and_skipped_rows_are_shown() {
    let server = Server::new().script(|asked, attempt| match asked.question() {
        q if q.contains("Speech 1,") && attempt == 1 => Say::Text("no JSON \u{1b}[31m\nat all".into()),
        q if q.contains("Speech 2,") => Say::Text("never JSON".into()),
        _ => Say::Default,
    });
    let server = server.start();
    let stage = format!("models = [\"llama\"]\nmax_attempts = 2\nwhen = \"id != 's0003'\"\nmax_failed = 1\n{TYPED}");
    let project = project(&server, &spec(&stage), 5);
    project.run(&RUN).exits(0);
    let shown = |row: &str| project.run(&["explain", OUT, row]).exits(0).stdout;
    let tried = shown("s0001");
    for line in
        ["    try 1   malformed: ", "      | no JSON \u{fffd}[31m\n      | at all\n", "2 attempts, ", "checks  passed"]
    {
        assert!(tried.contains(line), "`{line}` is not in:\n{tried}");
    }
    assert!(!tried.contains('\u{1b}'));
    let failed = shown("s0002");
    for line in
        ["  tone_error = \"malformed: ", "checks  failed: malformed: ", "      | never JSON\n", "  label = null"]
    {
        assert!(failed.contains(line), "`{line}` is not in:\n{failed}");
    }
    let skipped = shown("s0003");
    assert!(skipped.contains("no call was made: the row was skipped"), "{skipped}");
    let read = project.run(&["explain", OUT, "s0004", "year"]).exits(0).stdout;
    assert!(
        read.contains("source speeches, data.csv: row 5 of 5\n  year = \"1794\"\n  it was read from the source"),
        "{read}"
    );
}

#[test]
fn rows_are_known_by_their_key_or_their_number() {
    let server = Server::new().start();
    let with_key = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 6);
    with_key.run(&RUN).exits(0);
    assert_eq!(explained(&with_key, &[OUT, "#3"])["explanation"]["key"], "s0002");
    assert_eq!(explained(&with_key, &[OUT, "s0002"])["explanation"]["row"], 3);
    let wrong = |args: &[&str], text: &str| {
        with_key.run(&[&["explain", OUT], args].concat()).exits(2).says(text);
    };
    wrong(&["s002"], "did you mean `s0002`?");
    wrong(&["3"], "no row of source `speeches` has the key `3`");
    wrong(&["#7"], "its rows are #1 to #6");
    wrong(&["#0"], "its rows are #1 to #6");
    wrong(&["s0002", "lable"], "did you mean `label`?");
    wrong(&["s0002", "--model", "lama"], "did you mean `llama`?");
    wrong(&["s0002", "--replicate", "1"], "the rows have no replicates");
    wrong(&["s0002", "--output", "tone"], "`--output` names an output of a spec");
    let text = spec(&format!("models = [\"llama\"]\n{TYPED}")).replace("key = \"id\"\n", "");
    let without = project(&server, &text, 6);
    without.run(&RUN).exits(0);
    for row in ["3", "#3"] {
        let said = explained(&without, &[OUT, row, "label"]);
        assert_eq!((&said["explanation"]["row"], &said["explanation"]["key"]), (&Value::from(3), &Value::Null));
        assert!(rows_of(&said)[0]["calls"][0]["prompt"].as_str().is_some_and(|p| p.contains("Speech 2,")));
    }
    without.run(&["explain", OUT, "s0002"]).exits(2).says("which has no key");
}

#[test]
fn tables_of_some_rows_are_explained_with_their_own_rows() {
    let server = Server::new().start();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 9);
    // Without a full run, and with one.
    for _ in 0..2 {
        for (run, mark, key, number) in [("--rows", "rows-4-6", "s0004", 4), ("--sample", "sample-3", "", 0)] {
            project.run(&["run", "pipeline.toml", run, if run == "--rows" { "4:6" } else { "3" }]).exits(0);
            let out = format!("out/tone.{mark}.parquet");
            let keys = project.table(&out).texts("id");
            let (place, key) = (1, if key.is_empty() { keys[1].as_str() } else { key });
            assert_eq!(keys[place], key);
            let number = if number > 0 { number } else { key[1..].parse().expect("a number") };
            for row in [key, "#2"] {
                let said = explained(&project, &[&out, row, "label"]);
                assert_eq!(said["explanation"]["key"], key, "{said:#}");
                let prompt = rows_of(&said)[0]["calls"][0]["prompt"].as_str().expect("a prompt").to_owned();
                assert!(prompt.contains(&format!("Speech {number},")), "{out} {row}: {prompt}");
            }
            let absent = (0..9).map(|row| format!("s{row:04}")).find(|key| !keys.contains(key)).expect("another row");
            project.run(&["explain", &out, &absent]).exits(2).says("no row of source `speeches` has the key");
        }
        project.run(&RUN).exits(0);
    }
}

#[test]
fn tables_of_all_formats_and_specs_are_found() {
    let server = Server::new().start();
    let more = "\n[outputs.csv]\ninput = \"tone\"\npath = \"out/deep/tone.csv\"\n[outputs.raw]\ninput = \"speeches\"\npath = \"out/raw.jsonl\"\n";
    let text = spec(&format!("models = [\"llama\"]\n{TYPED}{more}"));
    let project = project(&server, &text, 6);
    project.run(&RUN).exits(0);
    let requests = server.requests();
    let reply = |args: &[&str]| rows_of(&explained(&project, args))[0]["calls"][0]["reply"].clone();
    let expected = Value::from(told(&server, "llama3.2", "Speech 4,"));
    for table in [&[OUT, "s0004"][..], &["out/deep/tone.csv", "s0004"], &["pipeline.toml", "s0004", "--output", "csv"]]
    {
        assert_eq!(reply(table), expected, "{table:?}");
    }
    let raw = explained(&project, &["out/raw.jsonl", "s0004", "year"]);
    assert_eq!(
        (&raw["explanation"]["input"], &raw["explanation"]["stages"]),
        (&Value::from("1794"), &Value::Array(vec![]))
    );
    project.run(&["explain", "pipeline.toml", "s0004"]).exits(2).says("`tone`, `csv` and `raw`");
    project.run(&["explain", "pipeline.toml", "s0004", "--output", "tones"]).exits(2).says("did you mean `tone`?");
    project.run(&["explain", "data.csv", "s0004"]).exits(3).says("no run says that it wrote `data.csv`");
    project.run(&["explain", "nothing.parquet", "s0004"]).exits(2).says("the table `nothing.parquet` does not exist");
    // The spec may have changed; a moved table still names its run.
    project.write("pipeline.toml", text.replace("What is the tone?", "Which tone?"));
    assert_eq!(reply(&[OUT, "s0004"]), expected);
    assert_eq!(server.requests(), requests, "nothing is asked");
}

#[test]
fn a_missing_run_is_reported() {
    let server = Server::new().start();
    let text = spec(&format!("models = [\"llama\"]\nworkers = 1\nbatch_size = 1\n{TYPED}"));
    let project = project(&server, &text, 6);
    project
        .run(&["explain", "pipeline.toml", "s0001"])
        .exits(3)
        .says("tone.parquet` does not exist")
        .says("fanfold run pipeline.toml");
    project.run(&RUN).exits(0);
    fs::copy(project.path(OUT), project.path("moved.parquet")).expect("a copy");
    explained(&project, &["moved.parquet", "s0001"]);
    // The run started again and was stopped: the table is older.
    project.write("pipeline.toml", text.replacen("seed = 42\n", "seed = 42\nbudget = { calls = 2 }\n", 1));
    project.run(&["run", "pipeline.toml", "--fresh"]).exits(4);
    project.run(&["explain", OUT, "s0001"]).exits(3).says("has started again and has not finished");
    project.write("pipeline.toml", text);
    project.run(&RUN).exits(0);
    explained(&project, &[OUT, "s0001"]);
    fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs are there");
    project.run(&["explain", OUT, "s0001"]).exits(3).says("does not exist any more").says("`fanfold run SPEC`");
}

/// Writes the parts again without the checksums of their calls, as an older version did.
fn parts_of_an_older_version(project: &Project) {
    for file in
        project.files(".fanfold/runs").into_iter().filter(|file| file.contains("/part-") && file.ends_with(".parquet"))
    {
        let path = project.path(&file);
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).expect("a part")).expect("Parquet");
        let metadata = reader.metadata().file_metadata().key_value_metadata().cloned().expect("facts");
        let facts = metadata.iter().find(|fact| fact.key == "fanfold.part").and_then(|fact| fact.value.clone());
        let mut facts: Value = serde_json::from_str(&facts.expect("facts")).expect("JSON");
        facts.as_object_mut().expect("an object").remove("calls_sum").expect("a new field");
        let batches: Vec<RecordBatch> = reader.build().expect("rows").collect::<Result<_, _>>().expect("rows");
        let file = fs::File::create(&path).expect("a part");
        let mut writer = ArrowWriter::try_new(file, batches[0].schema(), None).expect("Parquet");
        batches.iter().for_each(|batch| writer.write(batch).expect("rows"));
        writer.append_key_value_metadata(KeyValue::new("fanfold.part".to_owned(), facts.to_string()));
        writer.close().expect("a file");
        let sum = blake3::hash(&fs::read(&path).expect("a part")).to_hex();
        fs::write(path.with_extension("sum"), sum.as_str()).expect("a checksum");
    }
}

#[test]
fn a_run_with_other_columns_of_calls_is_exported_and_explained() {
    let server = Server::new().start();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\nchunk_size = 4\n{TYPED}")), 6);
    project.run(&RUN).exits(0);
    let export = ["ledger", "export", "pipeline.toml", "-o"];
    project.run(&[&export[..], &["all.parquet"]].concat()).exits(0);
    let before = explained(&project, &[OUT, "s0005"]);
    for file in project.files(".fanfold/runs").into_iter().filter(|file| file.contains("/calls/")) {
        // As an older version that lacks columns, and a later one that has more, would write it.
        let path = project.path(&file);
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).expect("calls")).expect("Parquet");
        let batches: Vec<RecordBatch> = reader.build().expect("rows").collect::<Result<_, _>>().expect("rows");
        let changed = |batch: &RecordBatch| {
            let rows = batch.num_rows() as i64;
            let kept =
                ["build", "notes", "pack_size", "audit"].map(|name| batch.schema().index_of(name).expect("a column"));
            let kept: Vec<usize> = (0..batch.num_columns()).filter(|i| !kept.contains(i)).collect();
            let batch = batch.project(&kept).expect("fewer columns");
            let fields =
                batch.schema().fields().iter().map(|f| (f.name().clone(), f.is_nullable())).collect::<Vec<_>>();
            let columns = fields
                .into_iter()
                .zip(batch.columns().iter().cloned())
                .map(|((name, null), column)| (name, column, null));
            let later: arrow_array::ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
            RecordBatch::try_from_iter_with_nullable(columns.chain([("later".to_owned(), later, true)]))
                .expect("columns")
        };
        let batches: Vec<RecordBatch> = batches.iter().map(changed).collect();
        let file = fs::File::create(&path).expect("calls");
        let mut writer = ArrowWriter::try_new(file, batches[0].schema(), None).expect("Parquet");
        batches.iter().for_each(|batch| writer.write(batch).expect("rows"));
        writer.close().expect("a file");
    }
    parts_of_an_older_version(&project);
    project.run(&[&export[..], &["fewer.parquet"]].concat()).exits(0);
    assert!(project.bytes("fewer.parquet") == project.bytes("all.parquet"), "the missing columns were null");
    let mut after = explained(&project, &[OUT, "s0005"]);
    let call = &mut after["explanation"]["stages"][0]["rows"][0]["calls"][0];
    assert_eq!((&call["later"], &call["notes"], &call["audit"]), (&1.into(), &Value::Null, &Value::Null), "{call}");
    let call = call.as_object_mut().expect("a call");
    call.remove("later");
    call.insert("audit".to_owned(), false.into());
    assert_eq!(after, before);
    let human = project.run(&["explain", OUT, "s0005"]).exits(0);
    assert!(human.stdout.contains("Speech 5,"), "{}", human.stdout);
}

#[test]
fn a_piece_is_traced_to_the_text_that_it_was_cut_from() {
    let spec = r#"
models.m = { provider = "mock", model = "m" }
sources.s = { type = "file", path = "d.csv", key = "id" }
stages.gist = { type = "analysis", input = "s", models = ["m"], prompt = "Gist of {{ t }}" }
stages.p = { type = "split", input = "gist", text_column = "t", size = 2, unit = "words" }
stages.tone = { type = "analysis", input = "p", models = ["m"], prompt = "Tone of {{ p }}" }
outputs.o = { input = "tone", path = "o.csv" }
"#;
    let project = Project::new().spec(spec).csv("d.csv", &[["id", "t"], ["1", "a b c d"], ["11", "c d"]]);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let told = project.run(&["explain", "pipeline.toml", "1#2"]).exits(0).stdout;
    assert!(told.contains("source s, d.csv: row 1 of 2"), "{told}");
    assert!(told.contains("Tone of c d") && told.contains("Gist of a b c d"), "{told}");
    let told = project.run(&["explain", "pipeline.toml", "11#1", "p"]).exits(0).stdout;
    assert!(told.contains("it was copied from `gist`") && told.contains("row 2 of 2"), "{told}");
}

#[test]
fn a_piece_of_a_table_without_a_key_is_traced_by_its_number() {
    let spec = r#"
models.m = { provider = "mock", model = "m" }
sources.s = { type = "file", path = "d.csv" }
stages.p = { type = "split", input = "s", text_column = "t", size = 2, unit = "words" }
stages.tone = { type = "analysis", input = "p", models = ["m"], prompt = "Tone of {{ p }}" }
outputs.o = { input = "tone", path = "o.csv" }
"#;
    let project = Project::new().spec(spec).csv("d.csv", &[["t"], ["a b c d"], ["c d"], ["e f c d"]]);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let told = project.run(&["explain", "pipeline.toml", "3#2"]).exits(0).stdout;
    assert!(told.contains("source s, d.csv: row 3 of 3") && !told.contains("same values"), "{told}");
}
