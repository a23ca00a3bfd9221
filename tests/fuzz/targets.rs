//! What is fuzzed: one function per target, for the fuzzer and for the plain test that runs the corpus (`corpus.rs`).
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz TARGET` fuzzes one of them. An input that breaks something goes to
//! `corpus/TARGET/` after the fix. This file is a part of the library in its unit tests and under the fuzzer.
//!
//! To add a target: a function here, a file of four lines, a `[[bin]]` in `Cargo.toml`, a folder in `corpus`, and a line
//! in `corpus.rs`.

use std::io::{Cursor, Write as _};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::document::{Document, SpecFormat};
use crate::prompt::{AnswerType, BoundCondition, Expect, Field, Template};
use crate::provider::{Answer, Model, Sampling, default_endpoint};
use crate::report::diagnostics;
use crate::source::documents::read_bytes as read_document;
use crate::source::{Changes, File, FileFormat, Source};
use crate::spec::Spec;
use crate::starlark::{Arguments, Heap, Host, Machine, Meter, Stop, Value, display, parse};
use crate::store::{Key, Ledger, Notes, Record};
use crate::table::Row;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// A spec, as TOML and as YAML: read, checked, and its problems shown in every form.
pub fn spec(data: &[u8]) {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("data.csv"), "id,text,year\n1,a,1790\n").expect("the file is written");
        folder
    });
    let Ok(text) = std::str::from_utf8(data) else { return };
    for format in [SpecFormat::Toml, SpecFormat::Yaml] {
        let (document, problems) = match Document::parse("spec", text.to_owned(), format) {
            Err(unread) => (unread.document, unread.problems),
            Ok(mut document) => {
                let (spec, problems) = Spec::check(&mut document, FOLDER.path());
                assert!(spec.is_some() || !problems.is_empty(), "a spec without a problem is a spec");
                (document, problems)
            }
        };
        for problem in &problems {
            let span = document.span(&problem.place);
            assert!(document.text.get(span).is_some(), "a problem points outside of the text");
        }
        let shown = diagnostics::human(&problems, &document, false, None);
        assert!(!shown.contains(|c: char| !crate::report::text::is_printable(c)), "a control character is shown");
        diagnostics::json(&problems, &document);
        diagnostics::github(&problems, &document);
        diagnostics::sarif(&problems, &document);
    }
}

/// Reads all rows of a file with these bytes.
fn table(format: FileFormat, data: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("table"), data).expect("the file is written");
    let source = File { path: "table".to_owned(), format: Some(format), ..File::default() };
    let schema = source.schema(folder.path());
    let Ok(batches) = source.read_counting(folder.path(), &Changes::tolerant()) else { return };
    for batch in batches.take(1000).map_while(Result::ok) {
        assert_eq!(Ok(&batch.schema()), schema.as_ref(), "the columns of the rows");
    }
}

/// An SPSS file.
pub fn sav(data: &[u8]) {
    table(FileFormat::Sav, data);
}

/// A Stata file.
pub fn dta(data: &[u8]) {
    table(FileFormat::Dta, data);
}

/// A sheet of Excel or OpenDocument; or the name of a part, a line feed, and its bytes in a whole file.
pub fn sheet(data: &[u8]) {
    if data.starts_with(b"PK") {
        table(FileFormat::Xlsx, data);
        table(FileFormat::Ods, data);
        return;
    }
    let Some((part, bytes)) = headed(data) else { return };
    let (format, base): (_, &[u8]) = match part {
        "content.xml" => (FileFormat::Ods, include_bytes!("corpus/sheet/small.ods")),
        _ => (FileFormat::Xlsx, include_bytes!("corpus/sheet/small.xlsx")),
    };
    table(format, &with_part(base, part, bytes));
}

/// The first line, and the bytes after it.
fn headed(data: &[u8]) -> Option<(&str, &[u8])> {
    let end = data.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&data[..end]).ok()?, &data[end + 1..]))
}

/// The archive `base` with other bytes in a part, so that no checksum keeps a reader from them.
fn with_part(base: &[u8], name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut old = ZipArchive::new(Cursor::new(base)).expect("an archive");
    let mut new = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for index in 0..old.len() {
        let mut part = old.by_index(index).expect("a part");
        let other = part.name().expect("a name").into_owned();
        if other != name && new.start_file(other, options).is_ok() {
            std::io::copy(&mut part, &mut new).expect("the part is copied");
        }
    }
    if new.start_file(name, options).is_ok() {
        new.write_all(bytes).expect("the part is written");
    }
    new.finish().expect("an archive").into_inner()
}

/// An Arrow or a Parquet file.
pub fn arrow(data: &[u8]) {
    table(if data.starts_with(b"PAR1") { FileFormat::Parquet } else { FileFormat::Arrow }, data);
}

/// A JSON list, or JSON Lines.
pub fn json(data: &[u8]) {
    table(FileFormat::Json, data);
    table(FileFormat::Jsonl, data);
}

/// A template, then a NUL, then the text of the row; the template is tried as a condition too.
pub fn template(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let (source, text) = input.split_once('\0').unwrap_or((input, "A speech on trade."));
    let text: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let year: ArrayRef = Arc::new(Int64Array::from(vec![1790]));
    let rows = RecordBatch::try_from_iter([("text", text), ("year", year)]).expect("two columns");
    let row = Row::new(&rows, 0, 0);
    if let Ok(template) = Template::new(source)
        && let Ok(bound) = template.bind(&rows.schema(), Some(0), &[])
    {
        drop(bound.render(row, &[]));
    }
    if let Ok(bound) = BoundCondition::new(source, &rows.schema(), &[]) {
        drop(bound.holds(row, &[]));
    }
}

/// Answers every call of a program with a text or with a failure.
struct Answering {
    calls: u32,
    printed: String,
}

impl Host for Answering {
    const FUNCTIONS: &'static [&'static str] = &["print", "llm_query", "final"];

    fn call(&mut self, name: &'static str, arguments: Arguments, heap: &mut Heap) -> Result<Value, Stop> {
        self.calls += 1;
        for value in &arguments.plain {
            let text = display(value, heap)?;
            self.printed.push_str(&text);
        }
        match (name, self.calls % 3) {
            ("final", _) => Err(Stop::Host),
            ("llm_query", 0) => heap.failed("timeout", "no answer"),
            _ => heap.text("an answer"),
        }
    }
}

/// A program of a recursive stage: it ends within its bounds, each time in the same way.
pub fn program(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let run = || {
        let host = Answering { calls: 0, printed: String::new() };
        let mut machine = Machine::new(host, Meter::new(100_000, 4 << 20));
        let context = machine.heap.text("A speech on trade, and on peace.").expect("memory");
        machine.set("context", context);
        let ended = parse(source).and_then(|program| machine.run(&program));
        (ended, std::mem::take(&mut machine.host.printed))
    };
    assert_eq!(run(), run(), "the same program ends in another way");
}

/// The fields of a source in JSON, then a NUL, then a file: read as CSV and as TSV, twice with the same result.
pub fn csv(data: &[u8]) {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));
    let end = data.iter().position(|&byte| byte == 0);
    let (fields, file) = end.map_or((&b"{}"[..], data), |end| (&data[..end], &data[end + 1..]));
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_slice(fields) else { return };
    let name = format!("{:?}.csv", std::thread::current().id());
    std::fs::write(FOLDER.path().join(&name), file).expect("the file is written");
    fields.insert("path".to_owned(), name.into());
    for format in ["csv", "tsv"] {
        fields.insert("format".to_owned(), format.into());
        let Ok(source) = serde_json::from_value::<File>(fields.clone().into()) else { return };
        let read = || {
            let schema = source.schema(FOLDER.path()).map_err(|error| error.message)?;
            let batches = source.read(FOLDER.path()).map_err(|error| error.message)?;
            let batches: Vec<_> = batches.collect::<Result<_, _>>().map_err(|error| error.message)?;
            assert!(batches.iter().all(|batch| batch.schema() == schema), "a batch with other columns");
            Ok::<_, String>(batches)
        };
        assert_eq!(read(), read(), "the same file is read differently");
    }
}

/// A reply, read as plain text and as a record of every kind of field.
pub fn reply(data: &[u8]) {
    let reply = String::from_utf8_lossy(data);
    let options = || vec!["positive".to_owned(), "neutral".to_owned(), "very negative".to_owned()];
    let labelled = vec![("A".to_owned(), "yes".to_owned()), ("B".to_owned(), "no".to_owned())];
    let kinds = [
        ("text", AnswerType::Text(std::num::NonZeroU32::new(20))),
        ("label", AnswerType::Enum(options())),
        ("count", AnswerType::Integer(Some(0.0), Some(10.0))),
        ("score", AnswerType::Number(None, None)),
        ("sure", AnswerType::Boolean),
        ("items", AnswerType::List(Box::new(AnswerType::Integer(None, None)))),
        ("choice", AnswerType::Labelled(labelled)),
        ("some", AnswerType::Some(Box::new(AnswerType::Enum(options())), 2)),
    ];
    let field = |(name, kind): (&str, AnswerType)| Field { kind, loose: false, ..Field::loose(name) };
    let fields: Vec<Field> = kinds.into_iter().map(field).collect();
    let columns = fields.len();
    for (expect, columns) in [
        (Expect::Text, 1),
        (Expect::Record(fields.clone()), columns),
        (Expect::Record(vec![Field::loose("text"), Field::loose("label")]), 2),
    ] {
        for cells in [expect.read(&reply, None).ok(), expect.read_repaired(&reply, None)].into_iter().flatten() {
            assert_eq!(cells.len(), columns, "a cell per column");
        }
    }
    // One field at a time: a record of all of them is hard to hit.
    for field in fields {
        drop(Expect::Record(vec![field]).read(&reply, None));
    }
}

/// A document: its extension, a line feed, and its bytes; or its extension, a space, the name of a part, a line feed, and
/// the bytes of this part.
pub fn document(data: &[u8]) {
    let Some((first, bytes)) = headed(data) else { return };
    let (extension, bytes) = match first.split_once(' ') {
        Some((extension, part)) => {
            let base: &[u8] = match extension {
                "docx" => include_bytes!("corpus/document/talk.docx"),
                "odt" => include_bytes!("corpus/document/text.odt"),
                "epub" => include_bytes!("corpus/document/book.epub"),
                _ => return,
            };
            // The extension and a line feed come first.
            (extension, with_part(&base[extension.len() + 1..], part, bytes))
        }
        None => (first, bytes.to_vec()),
    };
    match read_document(extension, bytes) {
        Ok(text) => assert!(!text.contains('\0'), "a NUL byte in a text"),
        Err(why) => assert!(!why.is_empty(), "an error without words"),
    }
}

/// A body of Ollama's.
pub fn ollama(data: &[u8]) {
    body("ollama", data);
}

/// A body of an OpenAI-compatible server.
pub fn openai(data: &[u8]) {
    body("openai", data);
}

/// A body of Anthropic's.
pub fn anthropic(data: &[u8]) {
    body("anthropic", data);
}

/// A body of Gemini's.
pub fn gemini(data: &[u8]) {
    body("gemini", data);
}

/// A body with a status of each class; whatever is said about it must be fit to be shown.
fn body(kind: &str, data: &[u8]) {
    let endpoint = default_endpoint(kind).expect("a kind of provider");
    let model = Model { id: "llama3.2".to_owned(), sampling: Sampling::default() };
    for status in [200, 400, 404, 429, 500] {
        let answer = Answer { status, retry_after: None, body: data };
        let reading = endpoint.read(&model, answer).expect("a kind with a protocol");
        assert!(status == 200 || reading.reply.is_err(), "a failure is an answer");
        for error in [reading.reply.err(), reading.build.err()].into_iter().flatten() {
            assert!(error.message.chars().count() <= crate::provider::failure::LONGEST_MESSAGE, "a long message");
            assert!(!error.message.contains(char::is_control), "a control character in a message");
        }
    }
}

/// A ledger's file: `=` and its bytes, or else groups of four bytes, each three of place and one that is flipped in
/// there, in a real ledger.
pub fn ledger(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ledger.sqlite");
    let bytes = match data.split_first() {
        Some((b'=', bytes)) => bytes.to_vec(),
        _ => flipped(data),
    };
    std::fs::write(&path, bytes).expect("the file is written");
    drop(used(&path));
}

/// The bytes of a real ledger with some of them changed.
fn flipped(data: &[u8]) -> Vec<u8> {
    static REAL: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ledger.sqlite");
        let mut ledger = Ledger::open(&path).expect("a new ledger");
        let records: Vec<Record> = (0..20).map(record).collect();
        ledger.append(&records).expect("records are added");
        ledger.remember_build("ollama", "m", "{}").expect("a build is added");
        drop(ledger);
        std::fs::read(&path).expect("the file of a closed ledger")
    });
    let mut bytes = REAL.clone();
    for change in data.chunks_exact(4) {
        let place = usize::from(change[0]) << 16 | usize::from(change[1]) << 8 | usize::from(change[2]);
        let place = place % bytes.len();
        bytes[place] ^= change[3];
    }
    bytes
}

fn record(number: u8) -> Record {
    Record {
        key: Key([number; 16]),
        model: "m".to_owned(),
        reply: format!("the reply of call {number}, which is as long as replies are"),
        finish: "stop".to_owned(),
        prompt_tokens: 10 + u64::from(number),
        completion_tokens: 5,
        latency_ms: 1.5,
        attempts: 1,
        build: Some("b1".to_owned()),
        error: None,
        tries: None,
        probabilities: None,
        notes: Notes::default(),
        at: None,
    }
}

/// Uses a ledger in every way; an answer that it gives must be the one that was put in.
fn used(path: &Path) -> Result<(), crate::store::LedgerError> {
    let mut ledger = Ledger::open(path)?;
    drop(ledger.count());
    drop(ledger.known_build("ollama", "m"));
    for number in 0..20 {
        let right = record(number);
        if let [Some(found)] = &ledger.find(&[right.key])?[..] {
            let same = (&found.model, &found.reply, &found.finish) == (&right.model, &right.reply, &right.finish);
            assert!(same, "a changed answer is served: {found:?}");
        }
    }
    ledger.append(&[record(20)])?;
    ledger.find(&[record(20).key])?;
    ledger.remember_build("ollama", "m", "{}")
}

#[cfg(test)]
#[path = "corpus.rs"]
mod corpus;
