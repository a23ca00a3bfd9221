//! What stands behind a row of a table, in words.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value};

use super::summary::{count, number};
use crate::store::{Explanation, Origin, Row};

/// The explanation as text; `column` is the one that was asked for.
pub fn human(explanation: &Explanation, origin: &Origin, file: &Path, column: Option<&str>) -> String {
    let Explanation { row, key, source, read, input, stages } = explanation;
    let manifest = &origin.manifest;
    let key =
        key.as_ref().zip(read.key.as_ref()).map(|(key, column)| format!(" ({column} = {})", key.replace('\n', " ")));
    let mut out = format!("{}, row {}{}\n", file.display(), number(*row), key.unwrap_or_default());
    let ended = manifest.finished_at.as_ref().map_or(String::new(), |at| format!(", ended {at}"));
    let _ = writeln!(out, "run {}{ended}", manifest.run);
    if let Some(replay) = &manifest.replay {
        let _ = writeln!(out, "answered from {replay}");
    }
    let files = if read.paths.is_empty() { String::new() } else { format!(", {}", read.paths.join(", ")) };
    let _ = writeln!(out, "source {source}{files}: row {} of {}", number(*row), number(read.rows));
    if let (Some(value), Some(column)) = (input, column) {
        let _ = writeln!(out, "  {column} = {value}");
        let asked = if stages.is_empty() { "it was read, not asked for" } else { "a stage fills it where it is empty" };
        let _ = writeln!(out, "  {asked}");
    }
    for staged in stages {
        let _ = writeln!(out, "\nstage {}", staged.stage);
        if let Some(from) = staged.column.as_ref().filter(|c| !c.from.is_empty()) {
            let schema = from.schema.as_ref().map_or(String::new(), |schema| format!(", checked against {schema}"));
            let _ = writeln!(out, "  {} is {} of the spec{schema}", from.name, from.from.join("."));
        }
        if staged.rows.is_empty() {
            let _ = writeln!(out, "  no row of it is asked for");
        }
        for row in &staged.rows {
            row_lines(&mut out, row);
        }
    }
    out
}

fn row_lines(out: &mut String, row: &Row) {
    let _ = writeln!(out);
    for (name, value) in &row.cells {
        let _ = writeln!(out, "  {name} = {value}");
    }
    let total = row.calls.len();
    if total == 0 {
        let failed = row.cells.iter().any(|(name, value)| name.contains("_error") && !value.is_null());
        let why = match failed {
            true => "it failed before anything was asked",
            false => "the row was skipped (something that it needs is missing, or `when` is false) or lacked nothing",
        };
        let _ = writeln!(out, "  no call was made: {why}");
    }
    for (i, call) in row.calls.iter().enumerate() {
        let _ = writeln!(out, "\n  call {} of {}", i + 1, count(total as u64, "call"));
        call_lines(out, call);
    }
}

fn call_lines(out: &mut String, call: &Map<String, Value>) {
    let text = |name: &str| call.get(name).and_then(Value::as_str);
    let whole = |name: &str| call.get(name).and_then(Value::as_u64).unwrap_or(0);
    let server = |name: &str| call.get("server").and_then(|server| server[name].as_str());
    let mut build =
        vec![text("provider").unwrap_or_default().to_owned(), text("model_id").unwrap_or_default().to_owned()];
    build.extend(text("model_digest").map(|digest| format!("digest {digest}")));
    build.extend(server("quantization").map(str::to_owned));
    build.extend(server("template").map(|template| format!("template {template}")));
    build.extend(text("build").map(|build| format!("build {build}")));
    line(out, "model", &format!("{}: {}", text("model").unwrap_or_default(), build.join(", ")));
    line(out, "key", text("call_key").unwrap_or_default());
    if call.get("audit") == Some(&Value::Bool(true)) {
        line(out, "audit", "asked one by one to compare; the table has the answer of the pack");
    }
    let pack = call.get("pack_size").and_then(Value::as_u64);
    if let Some(size) = pack {
        line(out, "pack", &format!("item {} of {size} in one prompt", whole("pack_position")));
    }
    if let Some(system) = text("system") {
        block(out, "system", system);
    }
    block(out, "prompt", text("prompt").unwrap_or_default());
    for (i, attempt) in call.get("earlier_tries").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let error = attempt["error"].as_str().unwrap_or("no answer");
        line(out, &format!("try {}", i + 1), error);
        if let Some(reply) = attempt["reply"].as_str().filter(|reply| !reply.is_empty()) {
            block(out, "said", reply);
        }
    }
    match text("reply") {
        Some(reply) => block(out, "reply", reply),
        None => line(out, "reply", "none"),
    }
    if let Some(part) = text("item_reply") {
        line(out, "item", part);
    }
    if let Some(likely) = call.get("probabilities").filter(|value| !value.is_null()) {
        line(out, "labels", &likely.to_string());
    }
    match text("error").or(text("item_error")) {
        None => line(out, "checks", "passed"),
        Some(error) => line(out, "checks", &format!("failed: {error}")),
    }
    if let Some(notes) = call.get("notes").filter(|value| !value.is_null()) {
        line(out, "notes", &notes.to_string());
    }
    let ended = text("finish_reason").map_or(String::new(), |reason| format!("; it ended with `{reason}`"));
    let from = if call.get("from_ledger") == Some(&Value::Bool(true)) { ", from the ledger" } else { "" };
    let latency = call.get("latency_ms").and_then(Value::as_f64).unwrap_or(0.0);
    let (prompt, reply) = (number(whole("prompt_tokens")), number(whole("completion_tokens")));
    let attempts = count(whole("attempts"), "attempt");
    let of = pack.map_or(String::new(), |size| format!(", for all {size} items"));
    line(out, "cost", &format!("{attempts}{from}, {prompt} tokens in, {reply} out, {latency:.0} ms{of}{ended}"));
}

fn line(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "    {name:<7} {}", text.replace('\n', "\n            "));
}

/// A text of its own lines.
fn block(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "    {name}");
    for text in text.lines() {
        let _ = writeln!(out, "      | {text}");
    }
}
