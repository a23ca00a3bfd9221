//! The report of `fanfold run`: shows row and call counts, label shares, the first rows of each kind of error, and the
//! files written.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write};
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexSet;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::changes;
use super::columns::StageColumns;
use super::import::fresh_imports;
use super::money::prices_used;
use super::packs::packing;
use super::requests::{of_retries, of_workers, refusals};
use super::table_files::RunFiles;
use super::text::{count, duration, figure, from_cache, number, of_thoughts, percent, rate, usd};
use crate::name::Name;
use crate::plan::Plan;
use crate::run::MissingCall;
use crate::spec::TableId;
use crate::stats::wilson_of_share;
use crate::store::{ErrorKind, Manifest, OutputFacts, RowCounts, Share, SheetFacts, StageTotals, State};

/// The most characters of a message.
const MESSAGE: usize = 160;
/// The most messages that are shown for a kind of failed call.
const MESSAGES: usize = 3;
const RECORDED: &str = "recorded";
/// The most columns of indentation under the name of a stage. A longer name has its lines below it.
const STAGE: usize = 16;
/// The same for the names of columns.
const COLUMN: usize = 28;

pub(crate) fn announcements(plan: &Plan) -> Vec<String> {
    let announcement = |i: TableId| {
        let stage = plan.spec.stage(i);
        let models = stage.models_in_words();
        match plan.rows(stage.input).zip(plan.calls(i)) {
            Some((rows, calls)) => {
                let most = if stage.packs() { "at best" } else { "at most" };
                format!("{}: {}, {most} {} of {models}", stage.name, count(rows, "row"), count(calls, "call"))
            }
            None => format!("{}: rows that depend on answers, asked of {models}", stage.name),
        }
    };
    let first = |id: TableId| plan.spec.stage(id).grid.as_ref();
    let mut lines = fresh_imports(plan);
    let stages: Vec<TableId> = plan.stages().collect();
    for of_grid in stages.chunk_by(|a, b| first(*a).is_some() && first(*a) == first(*b)) {
        match first(of_grid[0]) {
            None => lines.push(announcement(of_grid[0])),
            Some(grid) => lines.push(universes(plan, grid, of_grid)),
        }
    }
    lines
}

/// The line about the universes of a grid.
fn universes(plan: &Plan, grid: &Name, universes: &[TableId]) -> String {
    let stages = || universes.iter().map(|id| plan.spec.stage(*id));
    let models: IndexSet<&str> = stages().flat_map(|stage| &stage.model_names).map(String::as_str).collect();
    let models = models.into_iter().collect::<Vec<_>>().join(", ");
    let of = count(universes.len() as u64, "universe");
    let rows = plan.rows(plan.spec.stage(universes[0]).input);
    match rows.zip(universes.iter().map(|id| plan.calls(*id)).sum::<Option<u64>>()) {
        Some((rows, calls)) => {
            format!("{grid}: {of} of {}, at most {} of {models}", count(rows, "row"), count(calls, "call"))
        }
        None => format!("{grid}: {of} of rows that depend on answers, asked of {models}"),
    }
}

/// The beginning of a run, for programs.
pub(crate) fn start_event(plan: &Plan) -> Value {
    let stages = plan.stages().map(|id| {
        let stage = plan.spec.stage(id);
        json!({
            "name": stage.name, "models": stage.model_names, "rows": plan.rows(stage.input),
            "most_calls": plan.calls(id),
        })
    });
    let stages: Vec<Value> = stages.collect();
    json!({ "event": "start", "pipeline": plan.spec.name, "run": plan.run_name(), "stages": stages })
}

pub(crate) fn missing_calls(total: u64, first: &[MissingCall]) -> String {
    let line = |call: &MissingCall| format!("  row {}, stage {}, model {}\n", call.row, call.stage, call.model);
    let mut out: String = first.iter().map(line).collect();
    if total > first.len() as u64 {
        out += &format!("  and {} more\n", number(total - first.len() as u64));
    }
    out + "no table was written"
}

pub(crate) struct RunSummary {
    pub(crate) manifest: Manifest,
    pub(crate) elapsed: Duration,
    pub(crate) calls: String,
    /// What the answer columns of the stages contain, by stage, if the run finished.
    pub(crate) columns: BTreeMap<String, StageColumns>,
    /// The main statistics of the methods, by stage, if the run finished.
    pub(crate) findings: Vec<(String, Vec<String>)>,
    /// The folder of the run.
    pub(crate) folder: String,
    /// The files with the rows of the tables.
    pub(crate) files: RunFiles,
    /// What the tables are made from and what they contain, if the run finished with all rows of all stages.
    pub(crate) lock: Option<Value>,
    /// The tables that this run replaced by different ones: the earlier file and the output.
    pub(crate) replaced: Vec<(PathBuf, PathBuf)>,
}

impl RunSummary {
    fn calls_per_second(&self) -> f64 {
        let calls: u64 = self.manifest.stages.values().map(|totals| totals.calls).sum();
        calls as f64 / self.elapsed.as_secs_f64().max(0.001)
    }

    fn rows_per_second(&self) -> f64 {
        let done = |totals: &StageTotals| totals.counts.total().saturating_sub(totals.kept);
        let done: u64 = self.manifest.stages.values().map(done).sum();
        done as f64 / self.elapsed.as_secs_f64().max(0.001)
    }

    /// Whether a finished run sent nothing and has nothing else to report.
    pub(crate) fn is_quiet(&self) -> bool {
        let is_quiet = |totals: &StageTotals| {
            totals.calls + totals.attempts + totals.counts.failed + totals.cut == 0 && totals.changes.is_empty()
        };
        let manifest = &self.manifest;
        let is_new = manifest.replay.is_some() || manifest.workers.is_some();
        manifest.state == State::Done && !is_new && manifest.stages.values().all(is_quiet)
    }

    /// The number of answers about each row of a stage by the same model.
    fn replicates(&self, stage: &str) -> f64 {
        self.manifest.tables.get(stage).map_or(1, |shape| shape.replicates.max(1)) as f64
    }

    fn time(&self) -> String {
        let seconds = self.elapsed.as_secs_f64();
        if seconds < 60.0 { format!("{} s", figure(seconds)) } else { duration(self.elapsed) }
    }

    /// The files to open, a line for each output.
    pub(crate) fn files(&self) -> Vec<String> {
        let file = |output: &OutputFacts| {
            let (rows, columns) = (count(output.rows, "row"), count(output.columns as u64, "column"));
            let mut file = match (output.codebook, output.sheet) {
                (true, _) => format!("wrote {}: a codebook of {}", output.path, count(output.rows, "column")),
                (_, Some(SheetFacts { added, coded })) if added < output.rows => {
                    let added = if added > 0 { format!(", {} added", number(added)) } else { String::new() };
                    format!("kept {}: {rows}, {} coded{added}", output.path, number(coded))
                }
                _ => format!("wrote {}: {rows}, {columns}", output.path),
            };
            output.notes.iter().for_each(|note| file += &format!("\n  {note}"));
            file
        };
        self.manifest.outputs.values().map(file).collect()
    }

    /// Everything but the files. A run that sent nothing has one line unless `is_whole`.
    pub(crate) fn text(&self, is_whole: bool) -> String {
        let mut out = String::new();
        // Writing to a text does not fail.
        let _ = if self.is_quiet() && !is_whole { self.write_reused(&mut out) } else { self.write_stages(&mut out) };
        out
    }

    fn write_reused(&self, out: &mut String) -> fmt::Result {
        let stages = || self.manifest.stages.values();
        let (known, kept): (u64, u64) = (stages().map(|t| t.from_ledger).sum(), stages().map(|t| t.kept).sum());
        let mut parts = vec!["0 calls sent".to_owned()];
        parts.extend((known > 0).then(|| format!("{} from the ledger", number(known))));
        parts.extend((kept > 0).then(|| format!("{} kept from before", count(kept, "row"))));
        let every = if known + kept > 0 { "every answer is reused: " } else { "" };
        writeln!(out, "{every}{} ({})", parts.join(", "), self.time())?;
        self.write_notes(out)
    }

    fn write_notes(&self, out: &mut String) -> fmt::Result {
        for (name, lines) in &self.findings {
            lines.iter().try_for_each(|line| writeln!(out, "{name}: {line}"))?;
        }
        for (name, model) in self.manifest.models.iter().filter(|_| self.manifest.state == State::Done) {
            if let Some(unchecked) = &model.unchecked {
                writeln!(out, "model `{name}`: {unchecked}")?;
            }
        }
        for (name, totals) in self.manifest.stages.iter().filter(|(_, totals)| totals.other_servers > 0) {
            writeln!(out, "{name}: {}", other_servers(totals.other_servers))?;
        }
        let some = self.manifest.limit.is_some() || self.manifest.rows.is_some();
        for (name, columns) in &self.columns {
            columns.correction_warnings(some).iter().try_for_each(|line| writeln!(out, "warning: {name}: {line}"))?;
        }
        for (before, now) in &self.replaced {
            writeln!(out, "to see what changed: fanfold diff {} {}", before.display(), now.display())?;
        }
        Ok(())
    }

    fn write_stages(&self, f: &mut String) -> fmt::Result {
        let manifest = &self.manifest;
        let shown =
            manifest.stages.keys().map(|name| manifest.grid_of(name).map_or(name.len(), |(grid, _)| grid.len()));
        let width = shown.max().unwrap_or(0).min(STAGE);
        let known = if manifest.replay.is_some() { RECORDED } else { "from the ledger" };
        for (name, totals) in &manifest.stages {
            let Some((grid, universes)) = manifest.grid_of(name) else {
                write_rows(f, &format!("{name:width$}"), totals)?;
                self.write_stage(f, (name, width), totals, known)?;
                continue;
            };
            // The universes of a grid are shown together, at the first of them.
            if universes[0] == *name {
                let sum = StageTotals::sum(universes.iter().filter_map(|name| manifest.stages.get(name)));
                write_rows(f, &format!("{grid:width$}  {}:", count(universes.len() as u64, "universe")), &sum)?;
                self.write_stage(f, (grid, width), &sum, known)?;
            }
        }
        if let Some(workers) = &manifest.workers {
            writeln!(f, "{}", of_workers(workers))?;
        }
        self.write_notes(f)?;
        manifest.refusals.iter().try_for_each(|(model, totals)| writeln!(f, "{model}: {}", refusals(totals)))?;
        prices_used(manifest).iter().try_for_each(|line| writeln!(f, "{line}"))?;
        let rate = match self.calls_per_second() {
            0.0 => String::new(),
            per_second => format!(", {}", rate(per_second, "call")),
        };
        let costs: Vec<f64> = manifest.stages.values().filter_map(|totals| totals.usd).collect();
        let cost = if costs.len() > 1 { format!(", {} in all", usd(costs.iter().sum())) } else { String::new() };
        let run = manifest.name.as_ref().map_or(String::new(), |name| format!("run {name}, "));
        writeln!(f, "{run}calls table: {}\n{}{rate}{cost}", self.calls, self.time())
    }
}

impl Display for RunSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(false))?;
        self.files().iter().try_for_each(|file| writeln!(f, "{file}"))
    }
}

impl Serialize for RunSummary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let manifest = &self.manifest;
        let stages = manifest.stages.iter().map(|(name, totals)| {
            let mut stage = json!(totals);
            let shares = totals.shares.iter();
            let shares = shares.map(|(column, share)| (column.clone(), share_json(share, self.replicates(name))));
            stage["shares"] = Value::Object(shares.collect());
            if let Some(columns) = self.columns.get(name) {
                stage["columns"] = json!(columns.columns_json());
                stage["agreement"] = json!(columns.agreement_json());
                if let Some(distributions) = columns.distributions().json() {
                    stage["distributions"] = distributions;
                }
                let lost: Vec<&str> = columns.lost_corrections().collect();
                if !lost.is_empty() {
                    stage["lost_corrections"] = json!(lost);
                }
            }
            (name.clone(), stage)
        });
        let unchecked = manifest.models.iter().filter_map(|(name, model)| Some((name, model.unchecked.as_ref()?)));
        let value = json!({
            "unchecked": unchecked.collect::<BTreeMap<_, _>>(),
            "pipeline": manifest.pipeline, "run": manifest.run, "name": manifest.name, "state": manifest.state, "replay": manifest.replay,
            "seconds": self.elapsed.as_secs_f64(), "rows_per_second": self.rows_per_second(),
            "stages": stages.collect::<Map<String, Value>>(), "outputs": manifest.outputs, "calls_table": self.calls,
            "folder": self.folder, "tables": self.files.tables, "calls": self.files.calls, "lock": self.lock,
            "refusals": manifest.refusals, "findings": self.findings.iter().cloned().collect::<BTreeMap<_, _>>(),
        });
        value.serialize(serializer)
    }
}

fn share_json(share: &Share, replicates: f64) -> Value {
    let of = share.of();
    let labels = share.labels.iter().map(|(label, given)| {
        let (low, high) = interval(*given, of, replicates);
        let share = (of > 0).then(|| *given as f64 / of as f64);
        (label.clone(), json!({ "count": given, "share": share, "low": low, "high": high }))
    });
    json!({ "of": of, "null": share.null, "labels": labels.collect::<Map<String, Value>>() })
}

/// The interval of a share of answers. Replicates of a row are not independent, so rows are counted, not answers.
pub(crate) fn interval(given: u64, of: u64, replicates: f64) -> (f64, f64) {
    wilson_of_share(given as f64 / (of as f64).max(1.0), of as f64 / replicates)
}

/// A sentence about recorded answers that name no server.
pub(super) fn other_servers(answers: u64) -> String {
    let verb = if answers == 1 { "is" } else { "are" };
    format!(
        "{} {verb} perhaps of another server: an earlier fanfold recorded them without it (`--fresh` asks again)",
        count(answers, "recorded answer")
    )
}

fn write_rows(f: &mut String, name: &str, totals: &StageTotals) -> fmt::Result {
    let StageTotals { rows, counts: RowCounts { answered, failed, skipped }, .. } = totals;
    let open = rows - totals.counts.total().min(*rows);
    let rest = if open > 0 { format!(" + {} not reached", number(open)) } else { String::new() };
    let [answered, failed, skipped] = [answered, failed, skipped].map(|n| number(*n));
    writeln!(f, "{name}  {} = {answered} answered + {failed} failed + {skipped} skipped{rest}", count(*rows, "row"))
}

impl RunSummary {
    /// The lines of a stage after the line about its rows; `known` names the origin of calls that were not sent.
    fn write_stage(
        &self,
        f: &mut String,
        (name, width): (&str, usize),
        totals: &StageTotals,
        known: &str,
    ) -> fmt::Result {
        let mut parts = vec![format!("{} sent", count(totals.calls, "call"))];
        if totals.from_ledger > 0 {
            parts.push(format!("{} {known}", number(totals.from_ledger)));
        }
        if totals.kept > 0 {
            parts.push(format!("{} kept from before", count(totals.kept, "row")));
        }
        if totals.needed > totals.calls {
            parts.push(format!("{} in all", count(totals.needed, "call")));
        }
        let retries = totals.attempts.saturating_sub(totals.calls + totals.aborted + totals.stopped);
        if retries > 0 {
            parts.push(of_retries(retries));
        }
        if totals.stopped > 0 {
            parts.push(format!("{} stopped between two tries", number(totals.stopped)));
        }
        if totals.aborted > 0 {
            parts.push(format!("{} aborted, which the server may charge for", number(totals.aborted)));
        }
        let cached = from_cache(totals.cached_tokens, totals.cache_write_tokens);
        let thought = of_thoughts(totals.reasoning_tokens);
        let (prompt, reply) = (number(totals.prompt_tokens), number(totals.completion_tokens));
        let tokens = format!("{prompt} tokens in{cached}, {reply} out{thought}");
        let money = totals.usd.map_or(String::new(), |cost| format!(", {}", usd(cost)));
        writeln!(f, "{:width$}  {}; {tokens}{money}", "", parts.join(", "))?;
        if totals.calls > 0 {
            f.push_str(&changes::lines(&totals.changes, width + 2));
        }
        f.push_str(&packing(totals, width));
        if totals.cut > 0 {
            let what = if known == RECORDED { "used; a run without `--replay` asks again" } else { "asked again" };
            writeln!(
                f,
                "{:width$}  {} {known} whose prompt the server had cut ({what})",
                "",
                count(totals.cut, "answer")
            )?;
        }
        let columns = self.columns.get(name);
        let replicates = self.replicates(name);
        let mut lines: Vec<(&str, Vec<String>)> =
            totals.shares.iter().map(|(column, share)| (column.as_str(), labels(share, replicates))).collect();
        lines.extend(columns.iter().flat_map(|columns| columns.lines()).map(|(column, line)| (column, vec![line])));
        lines.sort_by_key(|(column, _)| columns.map_or(0, |columns| columns.place(column)));
        let longest = lines.iter().map(|(column, _)| column.chars().count()).max().unwrap_or(0).min(COLUMN);
        for (column, lines) in lines {
            let is_long = column.chars().count() > COLUMN && lines.len() > 1;
            if is_long {
                writeln!(f, "{:width$}  {column}", "")?;
            }
            let longest = if is_long { 0 } else { longest };
            for (i, line) in lines.into_iter().enumerate() {
                let column = if i == 0 && !is_long { column } else { "" };
                writeln!(f, "{:width$}  {column:longest$}  {line}", "")?;
            }
        }
        let distances = columns.iter().flat_map(|columns| columns.distributions().lines());
        for line in columns.iter().flat_map(|columns| columns.agreement()).chain(distances) {
            writeln!(f, "{:width$}  {line}", "")?;
        }
        for (kind, error) in &totals.errors {
            failures(kind, error).iter().try_for_each(|line| writeln!(f, "{:width$}  {line}", ""))?;
        }
        Ok(())
    }
}

/// One line per label and one for null. Booleans only get a line for true.
fn labels(share: &Share, replicates: f64) -> Vec<String> {
    let of = share.of();
    let interval = |given: u64| {
        if of == 0 {
            return String::new();
        }
        let (low, high) = interval(given, of, replicates);
        let share = percent(given as f64 / of as f64);
        format!(" ({share}, 95 % sampling interval {} to {})", figure(100.0 * low), percent(high))
    };
    let mut labels: Vec<(&str, u64)> = share.labels.iter().map(|(label, given)| (label.as_str(), *given)).collect();
    if labels.iter().map(|(label, _)| *label).eq(["true", "false"]) {
        let null = if share.null > 0 { format!(", {} null", number(share.null)) } else { String::new() };
        return vec![format!("{}/{}{}{null}", number(labels[0].1), number(of), interval(labels[0].1))];
    }
    let nulls = (share.null > 0).then_some(("null", share.null));
    let longest = labels.iter().chain(&nulls).map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let digits = labels.iter().chain(&nulls).map(|(_, given)| number(*given).len()).max().unwrap_or(0);
    let lines = labels.drain(..).map(|(label, given)| {
        format!("{label:longest$}  {:>digits$}/{}{}", number(given), number(of), interval(given))
    });
    // Null is not a label, so it has no share.
    let nulls = nulls.iter().map(|(label, given)| format!("{label:longest$}  {:>digits$}", number(*given)));
    lines.chain(nulls).collect()
}

/// A line for each of the first messages of a kind of failed call.
fn failures(kind: &str, error: &ErrorKind) -> Vec<String> {
    let ErrorKind { count: all, rows, message, messages } = error;
    if messages.is_empty() {
        return vec![failure(kind, *all, rows, message)];
    }
    let mut lines: Vec<String> =
        messages.iter().take(MESSAGES).map(|m| failure(kind, m.count, &m.rows, &m.message)).collect();
    let rest: u64 = messages.iter().skip(MESSAGES).map(|m| m.count).sum();
    lines.extend((rest > 0).then(|| format!("{} failed as {kind} with other messages", count(rest, "call"))));
    lines
}

fn failure(kind: &str, calls: u64, rows: &[String], message: &str) -> String {
    let message: String = message.chars().take(MESSAGE).collect();
    let more = if calls > rows.len() as u64 { ", …" } else { "" };
    let names = rows.join(", ");
    let rows = match (rows.len(), more) {
        (1, "") => format!("row {names}"),
        _ => format!("rows {names}{more}"),
    };
    format!("{} failed as {kind}, {rows}: {message}", count(calls, "call"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Changes;
    use crate::store::RefusalTotals;

    fn share<const N: usize>(labels: [(&str, u64); N], null: u64) -> Share {
        Share { labels: labels.map(|(label, given)| (label.to_owned(), given)).into_iter().collect(), null }
    }

    fn manifest() -> Manifest {
        let mut manifest = Manifest::start("p", "h", "r");
        let error = |count, rows: &[&str], message: &str| ErrorKind {
            count,
            rows: rows.iter().map(|row| (*row).to_owned()).collect(),
            message: message.to_owned(),
            messages: Vec::new(),
        };
        let totals = StageTotals {
            rows: 1234,
            counts: RowCounts { answered: 1228, failed: 3, skipped: 3 },
            kept: 20,
            calls: 2400,
            from_ledger: 62,
            needed: 2502,
            without_packing: 0,
            audit: None,
            changes: [("small".to_owned(), Changes { equal: 36, different: 2, newly_failed: 0, newly_answered: 1 })]
                .into_iter()
                .collect(),
            attempts: 2414,
            aborted: 4,
            stopped: 0,
            cut: 2,
            other_servers: 0,
            prompt_tokens: 1_000_000,
            cached_tokens: 800_000,
            cache_write_tokens: 1_024,
            reasoning_tokens: 420,
            completion_tokens: 999,
            usd: Some(0.1506),
            shares: [
                ("tone".to_owned(), share([("positive", 1200), ("neutral", 0), ("negative", 28)], 0)),
                ("topic".to_owned(), share([("war", 10), ("trade", 2)], 1216)),
                ("refund".to_owned(), share([("true", 5), ("false", 33)], 0)),
                ("glad".to_owned(), share([("true", 0), ("false", 0)], 2)),
            ]
            .into_iter()
            .collect(),
            errors: [
                ("malformed".to_owned(), error(2, &["id-7", "id-9"], "the reply has no JSON object")),
                ("refused".to_owned(), error(1, &["id-7"], "no")),
                ("timeout".to_owned(), error(9, &["a", "b", "c", "d", "e"], "after 600 s")),
            ]
            .into_iter()
            .collect(),
        };
        manifest.stages.insert("tone".into(), totals);
        manifest
    }

    fn report(manifest: Manifest) -> RunSummary {
        RunSummary {
            manifest,
            elapsed: Duration::from_secs(2),
            calls: "calls".to_owned(),
            columns: BTreeMap::new(),
            findings: Vec::new(),
            folder: "run".to_owned(),
            files: RunFiles::default(),
            lock: None,
            replaced: Vec::new(),
        }
    }

    #[test]
    fn text_has_counts_shares_and_errors() {
        let expected = "\
tone  1,234 rows = 1,228 answered + 3 failed + 3 skipped
      2,400 calls sent, 62 from the ledger, 20 rows kept from before, 2,502 calls in all, 10 retries, 4 aborted, which the server \
may charge for; 1,000,000 tokens in (800,000 from the cache, 1,024 written to it), 999 out (420 of thoughts), 0.151 USD
      small: 3 of 39 answers changed (7.69 %, 95 % interval 2.65 to 20.3 %): 2 different, 1 newly answered
      2 answers from the ledger whose prompt the server had cut (asked again)
      tone    positive  1,200/1,228 (97.7 %, 95 % sampling interval 96.7 to 98.4 %)
              neutral       0/1,228 (0 %, 95 % sampling interval 0 to 0.312 %)
              negative     28/1,228 (2.28 %, 95 % sampling interval 1.58 to 3.28 %)
      topic   war       10/12 (83.3 %, 95 % sampling interval 55.2 to 95.3 %)
              trade      2/12 (16.7 %, 95 % sampling interval 4.7 to 44.8 %)
              null   1,216
      refund  5/38 (13.2 %, 95 % sampling interval 5.75 to 27.3 %)
      glad    0/0, 2 null
      2 calls failed as malformed, rows id-7, id-9: the reply has no JSON object
      1 call failed as refused, row id-7: no
      9 calls failed as timeout, rows a, b, c, d, e, …: after 600 s
calls table: calls
2 s, 1,200 calls/s
";
        assert_eq!(report(manifest()).to_string(), expected);
    }

    #[test]
    fn refusals_are_counted_with_the_time_that_they_cost() {
        let text =
            |refused, unavailable, waited_seconds| refusals(&RefusalTotals { refused, unavailable, waited_seconds });
        assert_eq!(text(113, 0, 33.2), "113 calls refused; 34 s waited");
        assert_eq!(text(1, 2, 0.0), "1 call refused, 2 calls not taken, since the server was down or busy; 0 s waited");
        let mut with = manifest();
        with.refusals.insert("llama".to_owned(), RefusalTotals { refused: 2, ..RefusalTotals::default() });
        assert!(report(with).to_string().contains("\nllama: 2 calls refused; 0 s waited\n"));
    }

    #[test]
    fn json_has_the_same_numbers() {
        let found = json!(report(manifest()));
        assert_eq!((&found["state"], &found["rows_per_second"]), (&json!("running"), &json!(607.0)));
        let stage = &found["stages"]["tone"];
        assert_eq!((&stage["needed"], &stage["usd"], &stage["attempts"]), (&json!(2502), &json!(0.1506), &json!(2414)));
        assert_eq!(stage["errors"]["refused"], json!({ "count": 1, "rows": ["id-7"], "message": "no" }));
        let refund = &stage["shares"]["refund"];
        assert_eq!((&refund["of"], &refund["null"]), (&json!(38), &json!(0)));
        let (low, high) = crate::stats::wilson(5, 38);
        let expected = json!({ "count": 5, "share": 5.0 / 38.0, "low": low, "high": high });
        assert_eq!(refund["labels"]["true"], expected);
        // A share needs rows.
        assert_eq!(stage["shares"]["glad"]["labels"]["true"]["share"], Value::Null);
    }

    #[test]
    fn replicated_answers_count_as_rows_in_an_interval() {
        let (low, high) = interval(30, 60, 3.0);
        assert_eq!((low, high), crate::stats::wilson(10, 20));
        let text = labels(&share([("yes", 30), ("no", 30)], 0), 3.0);
        assert_eq!(text[0], "yes  30/60 (50 %, 95 % sampling interval 29.9 to 70.1 %)");
    }

    #[test]
    fn a_run_that_sent_nothing_has_two_lines() {
        let mut manifest = manifest();
        manifest.state = State::Done;
        let totals = StageTotals { rows: 12, kept: 12, needed: 24, ..StageTotals::default() };
        manifest.stages = [("tone".to_owned(), totals)].into_iter().collect();
        let output = OutputFacts { path: "out/tone.csv".into(), rows: 12, columns: 7, ..OutputFacts::default() };
        manifest.outputs.insert("tone".into(), output);
        let text = "every answer is reused: 0 calls sent, 12 rows kept from before (2 s)\n\
                    wrote out/tone.csv: 12 rows, 7 columns\n";
        assert_eq!(report(manifest.clone()).to_string(), text);
        manifest.stages["tone"].counts.failed = 1;
        assert!(!report(manifest.clone()).is_quiet(), "failures are shown");
        manifest.stages["tone"].counts.failed = 0;
        manifest.replay = Some("calls.parquet".to_owned());
        assert!(!report(manifest).is_quiet(), "a replay shows what is recorded");
    }
}
