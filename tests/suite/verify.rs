//! `fanfold verify`: each change is named, and a change without effect raises no alarm.
//!
//! [`CASES`] changes one thing at a time and says exactly which facets drift. A new facet gets a case there.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::lock::{LOCK, TONE, drifted, edit, studied, verify};
use crate::project::Project;
use crate::server::Server;

/// Rewrites a Parquet file as one batch, changed by `change`.
fn rewrite(project: &Project, path: &str, properties: WriterProperties, change: impl Fn(RecordBatch) -> RecordBatch) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(project.path(path)).expect("the file"));
    let reader = reader.expect("a Parquet file").with_batch_size(1 << 20).build().expect("a reader");
    let batch = change(reader.map(|batch| batch.expect("rows")).next().expect("one batch"));
    let file = File::create(project.path(path)).expect("the file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("the end");
}

/// The batch with the column `name` replaced.
fn replaced(batch: &RecordBatch, name: &str, field: &str, column: ArrayRef) -> RecordBatch {
    let index = batch.schema().index_of(name).expect("the column");
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields[index] = Field::new(field, column.data_type().clone(), true);
    let mut columns = batch.columns().to_vec();
    columns[index] = column;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("the same rows")
}

/// Changes one thing.
type Change = fn(&Project, &Server);

/// A change, and exactly the facets that drift.
const CASES: &[(&str, Change, &[&str])] = &[
    (
        "a prompt",
        |p, _| edit(p, "pipeline.toml", "What is the tone?", "Which tone?"),
        &["spec.meaning", "stages.tone.prompts", "stages.tone.settings"],
    ),
    (
        "an answer",
        |p, _| edit(p, "pipeline.toml", "\"neutral\", ", ""),
        &["spec.meaning", "stages.tone.answers", "stages.tone.prompts", "stages.tone.settings"],
    ),
    (
        "the attempts",
        |p, _| edit(p, "pipeline.toml", "[stages.tone.output]", "max_attempts = 7\n[stages.tone.output]"),
        &["spec.meaning", "stages.tone.settings"],
    ),
    (
        "handling of long prompts",
        |p, _| edit(p, "pipeline.toml", "[stages.tone.output]", "overflow = \"truncate_middle\"\n[stages.tone.output]"),
        &["spec.meaning", "stages.tone.settings"],
    ),
    (
        "a condition",
        |p, _| edit(p, "pipeline.toml", "score < 9", "score < 99"),
        &["spec.meaning", "stages.why.prompts", "stages.why.when"],
    ),
    (
        "the order of the models",
        |p, _| edit(p, "pipeline.toml", "[\"llama\", \"mistral\"]", "[\"mistral\", \"llama\"]"),
        &["spec.meaning", "stages.tone.models"],
    ),
    (
        "replicates",
        |p, _| edit(p, "pipeline.toml", "when = ", "replicates = 2\nwhen = "),
        &["spec.meaning", "stages.why.replicates"],
    ),
    (
        "a layout",
        |p, _| edit(p, "pipeline.toml", "when = ", "fanout = true\nlayout = \"long\"\nwhen = "),
        &["spec.meaning", "stages.why.layout"],
    ),
    (
        "the input of an output",
        |p, _| {
            edit(
                p,
                "pipeline.toml",
                "input = \"tone\"\npath = \"out/tone.csv\"",
                "input = \"why\"\npath = \"out/tone.csv\"",
            )
        },
        &["outputs.sheet.input", "spec.meaning"],
    ),
    (
        "the path of an output",
        |p, _| edit(p, "pipeline.toml", "out/tone.parquet", "out/mood.parquet"),
        &["outputs.tone.content", "outputs.tone.path", "spec.meaning"],
    ),
    (
        "a cell that no prompt reads",
        |p, _| edit(p, "data.csv", "s0003,1793", "s0003,1893"),
        &["sources.speeches.content"],
    ),
    (
        "a text",
        |p, _| edit(p, "data.csv", "Speech 3, on trade", "Speech 3, on war"),
        &["sources.speeches.content", "stages.tone.prompts"],
    ),
    (
        "one more row",
        |p, _| p.write("data.csv", p.text("data.csv") + "s9999,1999,Another.\n"),
        &[
            "sources.speeches.content",
            "sources.speeches.rows",
            "stages.tone.prompts",
            "stages.tone.rows",
            "stages.why.rows",
        ],
    ),
    (
        "one more column",
        |p, _| {
            let lines = p.text("data.csv").lines().map(|line| format!("{line},x\n")).collect::<String>();
            p.write("data.csv", lines);
        },
        &["sources.speeches.columns", "sources.speeches.content"],
    ),
    (
        "the type of a column",
        |p, _| edit(p, "pipeline.toml", "types = { year = \"integer\" }\n", ""),
        &["sources.speeches.columns", "sources.speeches.content", "spec.meaning"],
    ),
    (
        "another model",
        |p, _| edit(p, "pipeline.toml", "model = \"llama3.2\"", "model = \"llama3.2:latest\""),
        &["models.llama.model", "spec.meaning"],
    ),
    (
        "a temperature",
        |p, _| edit(p, "pipeline.toml", "temperature = 0.0", "temperature = 0.5"),
        &["models.llama.sent.options.temperature", "spec.meaning"],
    ),
    (
        "the length of replies",
        |p, _| edit(p, "pipeline.toml", "max_tokens = 64", "max_tokens = 65"),
        &["models.llama.sent.options.num_predict", "spec.meaning"],
    ),
    (
        "the context",
        |p, _| edit(p, "pipeline.toml", "num_ctx = 4096", "num_ctx = 8192"),
        &["models.llama.sent.options.num_ctx", "spec.meaning"],
    ),
    (
        "a model's seed",
        |p, _| edit(p, "pipeline.toml", "num_ctx = 4096", "num_ctx = 4096\nseed = 7"),
        &["models.llama.sent.options.seed", "spec.meaning"],
    ),
    (
        "the seed of all",
        |p, _| edit(p, "pipeline.toml", "seed = 42", "seed = 43"),
        &["models.llama.sent.options.seed", "models.mistral.sent.options.seed", "spec.meaning"],
    ),
    (
        "what ends a reply",
        |p, _| edit(p, "pipeline.toml", "num_ctx = 4096", "num_ctx = 4096\nstop = [\"END\"]"),
        &["models.llama.sent.options.stop", "spec.meaning"],
    ),
    (
        "a field of one's own",
        |p, _| edit(p, "pipeline.toml", "num_ctx = 4096", "num_ctx = 4096\nextra = { options = { top_k = 3 } }"),
        &["models.llama.sent.options.top_k", "spec.meaning"],
    ),
    (
        "another kind of provider",
        |p, _| edit(p, "pipeline.toml", "provider = \"here\"", "provider = \"mock\""),
        &[
            "models.llama.build.digest",
            "models.llama.provider",
            "models.llama.sent.options.num_ctx",
            "models.llama.sent.options.num_predict",
            "models.llama.sent.options.seed",
            "models.llama.sent.options.temperature",
            "models.llama.sent.sampling.max_tokens",
            "models.llama.sent.sampling.num_ctx",
            "models.llama.sent.sampling.seed",
            "models.llama.sent.sampling.temperature",
            "models.llama.sent.shift",
            "models.llama.sent.stream",
            "models.llama.sent.truncate",
            "spec.meaning",
        ],
    ),
    (
        "the weights on the server",
        |_, server| server.rebuild(|build| build.digest = "f".to_owned()),
        &["models.llama.build.digest", "models.mistral.build.digest"],
    ),
    (
        "the quantisation on the server",
        |_, server| server.rebuild(|build| build.quantization = "Q8_0".to_owned()),
        &["models.llama.build.quantization", "models.mistral.build.quantization"],
    ),
    (
        "the template on the server",
        |_, server| server.rebuild(|build| build.template = "{{ .System }}".to_owned()),
        &["models.llama.build.template", "models.mistral.build.template"],
    ),
    (
        "an answer in a table",
        |p, _| {
            rewrite(p, TONE, WriterProperties::default(), |batch| {
                let mut labels: Vec<&str> = vec!["negative"; batch.num_rows()];
                labels[0] = "odd";
                replaced(&batch, "label", "label", Arc::new(StringArray::from(labels)))
            });
        },
        &["outputs.tone.content"],
    ),
    (
        "fewer rows in a table",
        |p, _| rewrite(p, TONE, WriterProperties::default(), |batch| batch.slice(0, 11)),
        &["outputs.tone.content", "outputs.tone.rows"],
    ),
    (
        "the type of a column in a table",
        |p, _| {
            rewrite(p, TONE, WriterProperties::default(), |batch| {
                let scores = batch.column_by_name("score").expect("a column").clone();
                let scores = scores.as_any().downcast_ref::<Int64Array>().expect("whole numbers").clone();
                let numbers = scores.unary::<_, arrow_array::types::Float64Type>(|n| n as f64);
                replaced(&batch, "score", "score", Arc::new(numbers))
            });
        },
        &["outputs.tone.columns", "outputs.tone.content"],
    ),
    ("a cell of a sheet", |p, _| edit(p, "out/tone.csv", "Speech 5", "Speech five"), &["outputs.sheet.content"]),
    (
        "a name in a sheet",
        |p, _| edit(p, "out/tone.csv", "label", "mood"),
        &["outputs.sheet.columns", "outputs.sheet.content"],
    ),
    ("a value of a line", |p, _| edit(p, "out/why.jsonl", "1795", "1796"), &["outputs.lines.content"]),
    ("no table", |p, _| std::fs::remove_file(p.path(TONE)).expect("the file is there"), &["outputs.tone.content"]),
    ("a broken table", |p, _| p.write(TONE, "PAR1"), &["outputs.tone.content"]),
    ("how calls are keyed", |p, _| edit(p, LOCK, "calls = \"", "calls = \"old-"), &["tool.calls"]),
    (
        "what became of the rows of a stage",
        |p, _| {
            let lock = p.text(LOCK);
            let (before, stage) = lock.split_at(lock.find("[stages.tone]").expect("the stage"));
            p.write(
                LOCK,
                before.to_owned() + &stage.replacen("answered = 12\nfailed = 0", "answered = 11\nfailed = 1", 1),
            );
        },
        &["stages.tone.answered", "stages.tone.failed"],
    ),
    (
        "the row counts of an output",
        |p, _| {
            edit(
                p,
                LOCK,
                "rows = 12\nanswered = 12\nfailed = 0\nskipped = 0\ncontent",
                "rows = 12\nanswered = 11\nfailed = 0\nskipped = 1\ncontent",
            )
        },
        &["outputs.sheet.answered", "outputs.sheet.skipped"],
    ),
    (
        "a build that replies named",
        |p, _| edit(p, LOCK, "[models.llama.build]\n", "[models.llama.build]\nreplies = [\"fp_old\"]\n"),
        &["models.llama.build.replies"],
    ),
    (
        "a source that the lock doesn't know",
        |p, _| {
            let lock = p.text(LOCK);
            let from = lock.find("[sources.speeches]").expect("the source");
            let until = lock.find("[models.llama]").expect("the model");
            p.write(LOCK, lock[..from].to_owned() + &lock[until..]);
        },
        &["sources.speeches.columns", "sources.speeches.content", "sources.speeches.rows"],
    ),
];

#[test]
fn each_change_alone_is_named() {
    let server = Server::new().start();
    let project = studied(&server);
    let files = ["pipeline.toml", "data.csv", LOCK, TONE, "out/tone.csv", "out/why.jsonl"];
    let kept = files.map(|file| (file, project.bytes(file)));
    server.forget();
    let mut wrong = Vec::new();
    let mut facets: Vec<String> = Vec::new();
    for (what, change, expected) in CASES {
        change(&project, &server);
        let found = verify(&project);
        if found != *expected {
            wrong.push(format!("{what}: {found:?} instead of {expected:?}"));
        }
        facets.extend(found);
        kept.iter().for_each(|(file, bytes)| project.write(file, bytes));
        server.rebuild(|build| *build = Default::default());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(verify(&project), [] as [&str; 0], "all is as it was");
    assert_eq!(server.requests(), 0, "nothing was asked");
    facets.sort();
    facets.dedup();
    assert!(facets.len() >= 40, "{} facets drifted: {facets:#?}", facets.len());
}

/// Changes the study without effect, in the way of this number.
fn untouched(project: &Project, way: usize) {
    let spec = project.text("pipeline.toml");
    match way % 10 {
        0 => {
            for file in ["pipeline.toml", "data.csv", LOCK, TONE] {
                let file = File::options().append(true).open(project.path(file)).expect("the file");
                file.set_modified(SystemTime::now() + Duration::from_secs(way as u64)).expect("a time");
            }
        }
        1 => project.write("pipeline.toml", format!("# A comment, number {way}.\n{spec}\n# And one at the end.")),
        2 => {
            // The tables in reverse order; the first lines are not tables.
            let (top, tables) = spec.split_at(spec.find("\n[").expect("a table") + 1);
            let mut tables: Vec<String> =
                tables.split("\n[").map(|t| format!("[{}\n", t.trim_start_matches('['))).collect();
            tables.reverse();
            project.write("pipeline.toml", format!("{top}\n{}", tables.concat()));
        }
        3 => {
            let properties = WriterProperties::builder().set_max_row_group_row_count(Some(way % 7 + 1));
            rewrite(project, TONE, properties.set_compression(Compression::SNAPPY).build(), |batch| batch);
        }
        4 => {
            let properties = WriterProperties::builder().set_dictionary_enabled(false);
            rewrite(project, TONE, properties.set_compression(Compression::UNCOMPRESSED).build(), |batch| {
                let texts: arrow_array::LargeStringArray = batch
                    .column_by_name("text")
                    .expect("a column")
                    .as_any()
                    .downcast_ref::<StringArray>()
                    .expect("text")
                    .iter()
                    .collect();
                replaced(&batch, "text", "text", Arc::new(texts))
            });
        }
        5 => {
            let quoted = |line: &str| {
                line.split(',').next().map(|id| format!("\"{id}\"{}", &line[id.len()..])).unwrap_or_default()
            };
            for file in ["data.csv", "out/tone.csv"] {
                let lines: Vec<String> = project.text(file).lines().map(quoted).collect();
                project.write(file, lines.join("\r\n") + "\r\n");
            }
        }
        6 => {
            let lines = project.text("out/why.jsonl");
            let wider = |line: &str| line.replace("\":", "\" :  ") + "  \n";
            project.write("out/why.jsonl", lines.lines().map(wider).collect::<String>());
        }
        7 => {
            let cut = format!("chunk_size = {}\nworkers = 3\nbatch_size = {}\n[stages.tone.output]", way + 1, way + 2);
            project.write("pipeline.toml", spec.replace("[stages.tone.output]", &cut));
        }
        8 => std::fs::remove_dir_all(project.path(".fanfold")).expect("the folder"),
        _ => {
            project.run(&["run", "pipeline.toml"]).exits(0);
        }
    }
}

#[test]
fn fifty_untouched_verifications_without_a_false_alarm() {
    let server = Server::new().start();
    let project = studied(&server);
    let files = ["pipeline.toml", "data.csv", LOCK, TONE, "out/tone.csv", "out/why.jsonl"];
    let kept = files.map(|file| (file, project.bytes(file)));
    for way in 0..50 {
        untouched(&project, way);
        let mut arguments = vec!["verify", "pipeline.toml", "--format", "json"];
        if way % 3 == 0 {
            arguments.push("--models");
        }
        assert_eq!(drifted(&project.run(&arguments)), [] as [&str; 0], "way {way}");
        // Every second one also contains the changes before it.
        if way % 2 == 1 {
            kept.iter().for_each(|(file, bytes)| project.write(file, bytes));
        }
    }
}
