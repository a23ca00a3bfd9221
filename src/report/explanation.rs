//! The report of `fanfold explain`: shows how a row of a table was produced.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::text::{count, from_cache, number, of_thoughts, usd};
use crate::prompt::mass_key;
use crate::spec::Correction;
use crate::store::{Explanation, InputExplanation, Origin, QuotePlace, RetrievedRows, Row};

const BAR: &str = "      | ";
/// The most characters of a value of a row that was found.
const RETRIEVED: usize = 60;

pub(crate) struct ExplanationReport {
    pub(crate) explanation: Explanation,
    pub(crate) origin: Origin,
    pub(crate) file: PathBuf,
    /// The width at which texts are wrapped, if there is a terminal.
    pub(crate) width: Option<usize>,
}

impl Serialize for ExplanationReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (origin, manifest) = (&self.origin, &self.origin.manifest);
        let value = json!({
            "schema_version": 1, "table": self.file, "output": origin.name, "pipeline": manifest.pipeline,
            "run": manifest.run, "spec_hash": manifest.spec_hash, "folder": origin.dir.root(),
            "name": manifest.name, "calls": manifest.calls, "finished_at": manifest.finished_at, "replay": manifest.replay, "explanation": self.explanation,
        });
        value.serialize(serializer)
    }
}

impl Display for ExplanationReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Explanation { row, key, read, .. } = &self.explanation;
        let manifest = &self.origin.manifest;
        let key = key
            .as_ref()
            .zip(read.key.as_ref())
            .map(|(key, column)| format!(" ({column} = {})", key.replace('\n', " ")));
        writeln!(f, "{}, row {}{}", self.file.display(), number(*row), key.unwrap_or_default())?;
        let ended = manifest.finished_at.as_ref().map_or(String::new(), |at| format!(", ended {at}"));
        let run = match &manifest.name {
            Some(name) => format!("{name} ({})", manifest.run),
            None => manifest.run.clone(),
        };
        writeln!(f, "run {run}{ended}")?;
        let calls = &manifest.calls;
        if let Some((first, last)) = calls.first.as_ref().zip(calls.last.as_ref()) {
            let cost = calls.usd.map_or(String::new(), |cost| format!(", {} in all", usd(cost)));
            let second = |time: &str| format!("{}Z", time.get(..19).unwrap_or(time));
            writeln!(f, "calls from {} to {}{cost}", second(first), second(last))?;
        }
        if let Some(replay) = &manifest.replay {
            writeln!(f, "answered from {replay}")?;
        }
        explanation_lines(f, &self.explanation, self.width)
    }
}

/// The row of the source, the stages that changed it, and the rows of other tables behind it.
fn explanation_lines(f: &mut Formatter<'_>, explanation: &Explanation, width: Option<usize>) -> fmt::Result {
    let Explanation { row, source, read, column, input, stages, retrieved, made_from, .. } = explanation;
    let files = if read.paths.is_empty() { String::new() } else { format!(", {}", read.paths.join(", ")) };
    writeln!(f, "source {source}{files}: row {} of {}", number(*row), number(read.rows))?;
    if let Some((value, column)) = input.as_ref().zip(column.as_ref()) {
        writeln!(f, "  {column} = {value}")?;
        // The columns by which rows were matched are in several inputs; the last one has the rows.
        let origin = match (stages.is_empty(), made_from.iter().rfind(|from| from.explanation.is_some())) {
            (true, None) => "it was read from the source".to_owned(),
            (true, Some(from)) => format!("it was copied from `{}`", from.table),
            (false, _) => "a stage fills it where it is empty".to_owned(),
        };
        writeln!(f, "  {origin}")?;
    }
    retrieved.iter().try_for_each(|retrieved| retrieved_lines(f, retrieved))?;
    for staged in stages {
        writeln!(f, "\nstage {}", staged.stage)?;
        if let Some(from) = staged.column.as_ref().filter(|c| !c.from.is_empty()) {
            let schema = from.schema.as_ref().map_or(String::new(), |schema| format!(", checked against {schema}"));
            writeln!(f, "  {} is {} of the spec{schema}", from.name, from.from.join("."))?;
        }
        staged.corrections.iter().try_for_each(|correction| writeln!(f, "  {}", corrected(correction)))?;
        if staged.rows.is_empty() {
            writeln!(f, "  no prompt of this stage was sent for it")?;
        }
        staged.rows.iter().try_for_each(|row| row_lines(f, row, width))?;
    }
    for InputExplanation { table, equal_rows, explanation } in made_from {
        let Some(explanation) = explanation else {
            writeln!(f, "\n{source} copied no row of {table}")?;
            continue;
        };
        let equal = match equal_rows {
            1 => String::new(),
            n => format!(" ({} rows of {table} have the same values; this is the first)", number(*n)),
        };
        writeln!(f, "\n{source} copied a row of {table}{equal}")?;
        explanation_lines(f, explanation, width)?;
    }
    Ok(())
}

/// A line for each row that was found. Long texts are cut.
fn retrieved_lines(f: &mut Formatter<'_>, retrieved: &RetrievedRows) -> fmt::Result {
    let RetrievedRows { column, from, rows } = retrieved;
    writeln!(f, "  {column}: {} of {from}", count(rows.len() as u64, "row"))?;
    for item in rows {
        let rest = item.iter().filter(|(name, _)| *name != "rank");
        let short = |value: &Value| if value.is_f64() { start_of(&rounded(value)) } else { start_of(value) };
        let cells: Vec<String> = rest.map(|(name, value)| format!("{name} = {}", short(value))).collect();
        writeln!(f, "    {}. {}", item.get("rank").unwrap_or(&Value::Null), cells.join(", "))?;
    }
    Ok(())
}

/// The first characters of a value in JSON.
fn start_of(value: &Value) -> String {
    let text = value.to_string();
    let start: String = text.chars().take(RETRIEVED).collect();
    if start.len() < text.len() { format!("{start}…") } else { text }
}

/// A value of a person in words.
pub(crate) fn corrected(correction: &Correction) -> String {
    let Correction { column, value, by, reason, .. } = correction;
    let value = value.as_ref().map_or("null".to_owned(), |value| format!("{value:?}"));
    let by = by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
    let reason = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    format!("corrected{by}, {column} = {value}{reason}")
}

fn row_lines(f: &mut Formatter<'_>, row: &Row, width: Option<usize>) -> fmt::Result {
    writeln!(f)?;
    // The line of a quote shows its place.
    let is_place = |name: &str| ["_quote_start", "_quote_end", "_quote_found"].iter().any(|part| name.contains(part));
    for (name, value) in row.cells.iter().filter(|(name, _)| row.quotes.is_empty() || !is_place(name)) {
        writeln!(f, "  {name} = {value}")?;
    }
    row.quotes.iter().try_for_each(|quote| quote_lines(f, quote))?;
    let total = row.calls.len();
    if total == 0 {
        let failed = row.cells.iter().any(|(name, value)| name.contains("_error") && !value.is_null());
        let why = match failed {
            true => "the row failed before the first call",
            false => "the row was skipped (a needed value is missing, or `when` is false) or was already complete",
        };
        writeln!(f, "  no call was made: {why}")?;
    }
    for (i, call) in row.calls.iter().enumerate() {
        writeln!(f, "\n  call {} of {}", i + 1, count(total as u64, "call"))?;
        call_lines(f, call, width)?;
    }
    Ok(())
}

fn quote_lines(f: &mut Formatter<'_>, quote: &QuotePlace) -> fmt::Result {
    let QuotePlace { column, words, found, range, text } = quote;
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let place = range.map_or(String::new(), |(start, end)| format!(", characters {start} to {end}"));
    let verdict = match found.as_str() {
        "no" => "NOT FOUND in the text".to_owned(),
        how => format!("found ({how}){place}"),
    };
    writeln!(f, "  quote of {column}: \"{}\", {verdict}", one_line(words))?;
    match text {
        Some([before, inside, after]) => {
            writeln!(f, "    .. {} [{}] {} ..", one_line(before), one_line(inside), one_line(after))
        }
        None => Ok(()),
    }
}

/// What a call said and cost. Texts are wrapped at `width`.
fn call_lines(f: &mut Formatter<'_>, call: &Map<String, Value>, width: Option<usize>) -> fmt::Result {
    let block = |f: &mut Formatter<'_>, name: &str, text: &str| block(f, name, text, width);
    let text = |name: &str| call.get(name).and_then(Value::as_str);
    let whole = |name: &str| call.get(name).and_then(Value::as_u64).unwrap_or(0);
    let service = call.get("server").map(|server| &server["service"]);
    line(f, "model", &build(call))?;
    if let Some(service) = service {
        service_lines(f, service, text("system").is_none(), width)?;
    }
    line(f, "key", text("call_key").unwrap_or_default())?;
    if let Some(at) = text("at") {
        line(f, "at", at)?;
    }
    if call.get("audit") == Some(&Value::Bool(true)) {
        line(f, "audit", "a call for this row alone, for comparison; the table has the answer of the pack")?;
    }
    let pack = call.get("pack_size").and_then(Value::as_u64);
    if let Some(size) = pack {
        line(f, "pack", &format!("item {} of {size} in one prompt", whole("pack_position")))?;
    }
    if let Some(system) = text("system") {
        block(f, "system", system)?;
    }
    block(f, "prompt", text("prompt").unwrap_or_default())?;
    for (i, attempt) in call.get("earlier_tries").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let error = attempt["error"].as_str().unwrap_or("no answer");
        line(f, &format!("try {}", i + 1), error)?;
        if let Some(reply) = attempt["reply"].as_str().filter(|reply| !reply.is_empty()) {
            block(f, "said", reply)?;
        }
        if let Some(then) = attempt["then"]["said"].as_str() {
            let seed = attempt["then"]["seed"].as_u64().map_or(String::new(), |seed| format!(", with the seed {seed}"));
            block(f, &format!("then sent{seed}"), then)?;
        }
    }
    match text("reply") {
        Some(reply) => block(f, "reply", reply)?,
        None => line(f, "reply", "none")?,
    }
    if let Some(part) = text("item_reply") {
        line(f, "item", part)?;
    }
    if let Some(likely) = call.get("probabilities").and_then(Value::as_object) {
        // The masses before they are scaled are in the calls table.
        let scaled = likely.iter().filter(|(key, _)| !key.starts_with(&mass_key("")));
        line(f, "labels", &rounded(&scaled.map(|(key, of)| (key.clone(), of.clone())).collect()).to_string())?;
    }
    match text("error").or(text("item_error")) {
        None => line(f, "checks", "passed")?,
        Some(error) => line(f, "checks", &format!("failed: {error}"))?,
    }
    if let Some(notes) = call.get("notes").filter(|value| !value.is_null()) {
        line(f, "notes", &notes.to_string())?;
    }
    line(f, "cost", &cost(call))
}

/// The model that answered a call, with everything that is known about its build.
pub(crate) fn build(call: &Map<String, Value>) -> String {
    let text = |name: &str| call.get(name).and_then(Value::as_str);
    let server = |name: &str| call.get("server").and_then(|server| server[name].as_str());
    let mut build =
        vec![text("provider").unwrap_or_default().to_owned(), text("model_id").unwrap_or_default().to_owned()];
    build.extend(text("model_digest").map(|digest| format!("digest {digest}")));
    build.extend(server("quantization").map(str::to_owned));
    build.extend(server("template").map(|template| format!("template {template}")));
    build.extend(text("build").map(|build| format!("build {build}")));
    format!("{}: {}", text("model").unwrap_or_default(), build.join(", "))
}

/// The attempts, tokens, cost and time of a call.
pub(crate) fn cost(call: &Map<String, Value>) -> String {
    let text = |name: &str| call.get(name).and_then(Value::as_str);
    let whole = |name: &str| call.get(name).and_then(Value::as_u64).unwrap_or(0);
    let ended = text("finish_reason").map_or(String::new(), |reason| format!("; it ended with `{reason}`"));
    let from = if call.get("from_ledger") == Some(&Value::Bool(true)) { ", from the ledger" } else { "" };
    let latency = call.get("latency_ms").and_then(Value::as_f64).unwrap_or(0.0);
    let (prompt, reply) = (number(whole("prompt_tokens")), number(whole("completion_tokens")));
    let attempts = count(whole("attempts"), "attempt");
    let pack = call.get("pack_size").and_then(Value::as_u64);
    let of = pack.map_or(String::new(), |size| format!(", for all {size} items"));
    let money = call.get("usd").and_then(Value::as_f64).map_or(String::new(), |cost| format!(", {}", usd(cost)));
    let cached = from_cache(whole("cached_tokens"), whole("cache_write_tokens"));
    let thought = of_thoughts(whole("reasoning_tokens"));
    format!("{attempts}{from}, {prompt} tokens in{cached}, {reply} out{thought}{money}, {latency:.0} ms{of}{ended}")
}

/// The value with numbers of three decimals.
fn rounded(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!((number.as_f64().unwrap_or(0.0) * 1e3).round() / 1e3),
        Value::Object(table) => table.iter().map(|(key, value)| (key.clone(), rounded(value))).collect(),
        other => other.clone(),
    }
}

/// What the server's model adds to the request. Its system text only counts if the prompt has none.
fn service_lines(f: &mut Formatter<'_>, service: &Value, uses_system: bool, width: Option<usize>) -> fmt::Result {
    let block = |f: &mut Formatter<'_>, name: &str, text: &str| block(f, name, text, width);
    let texts = |name: &str| service[name].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(software) = service["software"].as_str() {
        line(f, "server", software)?;
    }
    let parameters: Vec<&str> = texts("parameters").collect();
    if !parameters.is_empty() {
        line(f, "adds", &format!("parameters, where the request has none: {}", parameters.join(", ")))?;
    }
    if let Some(system) = service["system"].as_str().filter(|_| uses_system) {
        block(f, "adds this system text, from its Modelfile", system)?;
    }
    let messages: Vec<&str> = texts("messages").collect();
    if !messages.is_empty() {
        block(f, "adds these messages, from its Modelfile", &messages.join("\n"))?;
    }
    Ok(())
}

fn line(f: &mut Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "    {name:<7} {}", text.replace('\n', "\n            "))
}

fn block(f: &mut Formatter<'_>, name: &str, text: &str, width: Option<usize>) -> fmt::Result {
    writeln!(f, "    {name}")?;
    for text in text.lines() {
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(BAR.len()).max(BAR.len()));
        wrapped(text, room).iter().try_for_each(|text| writeln!(f, "{BAR}{text}"))?;
    }
    Ok(())
}

/// The text in lines of at most `room` columns, broken between words where that is possible.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut taken = 0;
    for word in text.split_inclusive(' ') {
        if taken > 0 && taken + word.trim_end().width() > room {
            let line = lines.last_mut().expect("there is a line");
            line.truncate(line.trim_end().len());
            lines.push(String::new());
            taken = 0;
        }
        for c in word.chars() {
            if taken + c.width().unwrap_or(0) > room && c != ' ' {
                lines.push(String::new());
                taken = 0;
            }
            taken += c.width().unwrap_or(0);
            lines.last_mut().expect("there is a line").push(c);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_wrapped_between_words() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("one two three", 5), ["one", "two", "three"]);
        assert_eq!(wrapped("  indented text", 12), ["  indented", "text"]);
        assert_eq!(wrapped("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(
            (wrapped("", 4), wrapped("平和と繁栄", 6)),
            (vec![String::new()], vec!["平和と".into(), "繁栄".into()])
        );
        assert_eq!(wrapped("as it is", usize::MAX), ["as it is"]);
    }
}
