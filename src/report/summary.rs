//! The summary of a run: numbers that add up, how often each label was given, the first rows of each kind of error, where
//! the tables are. As text for people and as JSON.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::interval::wilson;
use crate::store::{ErrorKind, Manifest, RowCounts, Share, StageTotals};

/// The longest message that is shown of an error.
const MESSAGE: usize = 160;

/// Rows that were done in a second.
fn rate(manifest: &Manifest, elapsed: Duration) -> f64 {
    let done: u64 = manifest.stages.values().map(|t| t.counts.total()).sum();
    done as f64 / elapsed.as_secs_f64().max(0.001)
}

/// The summary as text; `calls` is where the calls table is.
pub fn summary(manifest: &Manifest, elapsed: Duration, calls: &str) -> String {
    let mut out = String::new();
    let width = manifest.stages.keys().map(String::len).max().unwrap_or(0);
    for (name, totals) in &manifest.stages {
        let known = if manifest.replay.is_some() { "recorded" } else { "from the ledger" };
        stage(&mut out, name, width, totals, known);
    }
    for output in manifest.outputs.values() {
        let rows = count(output.rows, "row");
        let columns = count(output.columns as u64, "column");
        let _ = writeln!(out, "wrote {}: {rows}, {columns}", output.path);
    }
    let rate = rate(manifest, elapsed);
    let rate = if rate < 100.0 { format!("{rate:.1}") } else { number(rate.round() as u64) };
    let _ = writeln!(out, "calls table: {calls}\n{:.1} s, {rate} rows/s", elapsed.as_secs_f64());
    out
}

/// The same as JSON.
pub fn summary_json(manifest: &Manifest, elapsed: Duration, calls: &str) -> Value {
    let stages = manifest.stages.iter().map(|(name, totals)| {
        let mut stage = json!(totals);
        let shares = totals.shares.iter().map(|(column, share)| (column.clone(), share_json(share)));
        stage["shares"] = Value::Object(shares.collect());
        (name.clone(), stage)
    });
    let stages: Map<String, Value> = stages.collect();
    json!({
        "pipeline": manifest.pipeline,
        "run": manifest.run,
        "state": manifest.state,
        "replay": manifest.replay,
        "seconds": elapsed.as_secs_f64(),
        "rows_per_second": rate(manifest, elapsed),
        "stages": stages,
        "outputs": manifest.outputs,
        "calls_table": calls,
    })
}

fn share_json(share: &Share) -> Value {
    let of = share.of();
    let labels = share.labels.iter().map(|(label, given)| {
        let (low, high) = wilson(*given, of);
        let share = (of > 0).then(|| *given as f64 / of as f64);
        (label.clone(), json!({ "count": given, "share": share, "low": low, "high": high }))
    });
    json!({ "of": of, "null": share.null, "labels": labels.collect::<Map<String, Value>>() })
}

/// `known` says of calls that were not sent where their answers are from.
fn stage(out: &mut String, name: &str, width: usize, totals: &StageTotals, known: &str) {
    let StageTotals { rows, counts: RowCounts { answered, failed, skipped }, .. } = totals;
    let open = rows - totals.counts.total().min(*rows);
    let rest = if open > 0 { format!(" + {} not reached", number(open)) } else { String::new() };
    let _ = writeln!(
        out,
        "{name:width$}  {} = {} answered + {} failed + {} skipped{rest}",
        count(*rows, "row"),
        number(*answered),
        number(*failed),
        number(*skipped)
    );
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
    if totals.attempts > totals.calls {
        let retries = totals.attempts - totals.calls;
        parts.push(format!("{} {}", number(retries), if retries == 1 { "retry" } else { "retries" }));
    }
    let tokens = format!("{} tokens in, {} out", number(totals.prompt_tokens), number(totals.completion_tokens));
    let money = totals.usd.map_or(String::new(), |usd| format!(", {usd:.*} usd", if usd < 1.0 { 4 } else { 2 }));
    let _ = writeln!(out, "{:width$}  {}; {tokens}{money}", "", parts.join(", "));
    *out += &super::audit::lines(totals, width);
    let longest = totals.shares.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    for (column, share) in &totals.shares {
        for (i, line) in labels(share).into_iter().enumerate() {
            let column = if i == 0 { column } else { "" };
            let _ = writeln!(out, "{:width$}  {column:longest$}  {line}", "");
        }
    }
    for (kind, error) in &totals.errors {
        let _ = writeln!(out, "{:width$}  {}", "", failures(kind, error));
    }
}

/// A line for each label, and one for null; of booleans how often they are true is enough.
fn labels(share: &Share) -> Vec<String> {
    let of = share.of();
    let told = |given: u64| {
        if of == 0 {
            return String::new();
        }
        let (low, high) = wilson(given, of);
        let share = 100.0 * given as f64 / of as f64;
        format!(" ({share:.1} %, 95 % interval {:.1} to {:.1} %)", 100.0 * low, 100.0 * high)
    };
    let mut labels: Vec<(&str, u64)> = share.labels.iter().map(|(label, given)| (label.as_str(), *given)).collect();
    if labels.iter().map(|(label, _)| *label).eq(["true", "false"]) {
        let null = if share.null > 0 { format!(", {} null", number(share.null)) } else { String::new() };
        return vec![format!("{}/{}{}{null}", number(labels[0].1), number(of), told(labels[0].1))];
    }
    let nulls = (share.null > 0).then_some(("null", share.null));
    let longest = labels.iter().chain(&nulls).map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let digits = labels.iter().chain(&nulls).map(|(_, given)| number(*given).len()).max().unwrap_or(0);
    let lines = labels
        .drain(..)
        .map(|(label, given)| format!("{label:longest$}  {:>digits$}/{}{}", number(given), number(of), told(given)));
    // Null is no label: the shares are of what has one.
    let nulls = nulls.iter().map(|(label, given)| format!("{label:longest$}  {:>digits$}", number(*given)));
    lines.chain(nulls).collect()
}

/// How often calls failed in this way, in which rows first, and what was said about the first one.
fn failures(kind: &str, error: &ErrorKind) -> String {
    let message: String = error.message.chars().take(MESSAGE).collect();
    let rows = error.rows.join(", ");
    let more = if error.count > error.rows.len() as u64 { ", …" } else { "" };
    let rows = match (error.rows.len(), more) {
        (1, "") => format!("row {rows}"),
        _ => format!("rows {rows}{more}"),
    };
    format!("{} failed as {kind}, {rows}: {message}", count(error.count, "call"))
}

/// A number with its noun: `1 row`, `1,234 rows`.
pub fn count(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", number(n), if n == 1 { "" } else { "s" })
}

/// A number with a comma at every thousand.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share<const N: usize>(labels: [(&str, u64); N], null: u64) -> Share {
        Share { labels: labels.map(|(label, given)| (label.to_owned(), given)).into_iter().collect(), null }
    }

    fn manifest() -> Manifest {
        let mut manifest = Manifest::start("p", "h", "r");
        let error = |count, rows: &[&str], message: &str| ErrorKind {
            count,
            rows: rows.iter().map(|row| (*row).to_owned()).collect(),
            message: message.to_owned(),
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
            attempts: 2410,
            prompt_tokens: 1_000_000,
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
                ("malformed".to_owned(), error(2, &["id-7", "id-9"], "there is no JSON object in it")),
                ("refused".to_owned(), error(1, &["id-7"], "no")),
                ("timeout".to_owned(), error(9, &["a", "b", "c", "d", "e"], "after 600 s")),
            ]
            .into_iter()
            .collect(),
        };
        manifest.stages.insert("tone".into(), totals);
        manifest
    }

    #[test]
    fn the_numbers_add_up_and_labels_and_errors_are_told() {
        let expected = "\
tone  1,234 rows = 1,228 answered + 3 failed + 3 skipped
      2,400 calls sent, 62 from the ledger, 20 rows kept from before, 2,502 calls in all, 10 retries; 1,000,000 tokens in, \
999 out, 0.1506 usd
      tone    positive  1,200/1,228 (97.7 %, 95 % interval 96.7 to 98.4 %)
              neutral       0/1,228 (0.0 %, 95 % interval 0.0 to 0.3 %)
              negative     28/1,228 (2.3 %, 95 % interval 1.6 to 3.3 %)
      topic   war       10/12 (83.3 %, 95 % interval 55.2 to 95.3 %)
              trade      2/12 (16.7 %, 95 % interval 4.7 to 44.8 %)
              null   1,216
      refund  5/38 (13.2 %, 95 % interval 5.8 to 27.3 %)
      glad    0/0, 2 null
      2 calls failed as malformed, rows id-7, id-9: there is no JSON object in it
      1 call failed as refused, row id-7: no
      9 calls failed as timeout, rows a, b, c, d, e, …: after 600 s
calls table: calls
2.0 s, 617 rows/s
";
        assert_eq!(summary(&manifest(), Duration::from_secs(2), "calls"), expected);
    }

    #[test]
    fn the_same_numbers_stand_in_json() {
        let found = summary_json(&manifest(), Duration::from_secs(2), "calls");
        assert_eq!((&found["state"], &found["rows_per_second"]), (&json!("running"), &json!(617.0)));
        let stage = &found["stages"]["tone"];
        assert_eq!((&stage["needed"], &stage["usd"], &stage["attempts"]), (&json!(2502), &json!(0.1506), &json!(2410)));
        assert_eq!(stage["errors"]["refused"], json!({ "count": 1, "rows": ["id-7"], "message": "no" }));
        let refund = &stage["shares"]["refund"];
        assert_eq!((&refund["of"], &refund["null"]), (&json!(38), &json!(0)));
        let (low, high) = wilson(5, 38);
        let expected = json!({ "count": 5, "share": 5.0 / 38.0, "low": low, "high": high });
        assert_eq!(refund["labels"]["true"], expected);
        // Of nothing there is no share.
        assert_eq!(stage["shares"]["glad"]["labels"]["true"]["share"], Value::Null);
    }
}
