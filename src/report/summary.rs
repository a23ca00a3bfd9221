//! The summary of a run: numbers that add up, one example per kind of error, where the tables are.

use std::fmt::Write;
use std::time::Duration;

use super::interval::wilson;
use crate::store::{Manifest, Share, StageTotals};

/// The longest message that is shown of an error.
const MESSAGE: usize = 160;

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
    let done: u64 = manifest.stages.values().map(|t| t.answered + t.failed + t.skipped).sum();
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let _ = writeln!(out, "calls table: {calls}\n{:.1} s, {rate:.1} rows/s", elapsed.as_secs_f64());
    out
}

/// `known` says of calls that were not sent where their answers are from.
fn stage(out: &mut String, name: &str, width: usize, totals: &StageTotals, known: &str) {
    let StageTotals { rows, answered, failed, skipped, .. } = totals;
    let open = rows - (answered + failed + skipped).min(*rows);
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
    if totals.attempts > totals.calls {
        parts.push(format!("{} in all", count(totals.attempts, "attempt")));
    }
    let tokens = format!("{} tokens in, {} out", number(totals.prompt_tokens), number(totals.completion_tokens));
    let _ = writeln!(out, "{:width$}  {}; {tokens}", "", parts.join(", "));
    *out += &super::audit::lines(totals, width);
    let longest = totals.shares.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, Share { yes, of }) in &totals.shares {
        let (low, high) = wilson(*yes, *of);
        let share = 100.0 * *yes as f64 / (*of).max(1) as f64;
        let _ = writeln!(
            out,
            "{:width$}  {name:longest$}  {}/{} ({share:.1} %, 95 % interval {:.1} to {:.1} %)",
            "",
            number(*yes),
            number(*of),
            100.0 * low,
            100.0 * high
        );
    }
    for (kind, error) in &totals.errors {
        let message: String = error.message.chars().take(MESSAGE).collect();
        let rows = count(error.count, "call");
        let _ = writeln!(out, "{:width$}  {rows} failed as {kind}, e.g. row {}: {message}", "", error.row);
    }
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
    use crate::store::ErrorKind;

    #[test]
    fn the_numbers_add_up_and_errors_have_an_example() {
        let mut manifest = Manifest::start("p", "h", "r");
        let error = ErrorKind { count: 2, row: "id-7".into(), message: "there is no JSON object in it".into() };
        let totals = StageTotals {
            rows: 1234,
            answered: 1230,
            failed: 1,
            skipped: 3,
            calls: 2400,
            from_ledger: 62,
            attempts: 2410,
            prompt_tokens: 1_000_000,
            completion_tokens: 999,
            shares: [("refund".to_owned(), Share { yes: 5, of: 38 })].into_iter().collect(),
            errors: [("malformed".to_owned(), error)].into_iter().collect(),
            ..StageTotals::default()
        };
        manifest.stages.insert("tone".into(), totals);
        let text = summary(&manifest, Duration::from_secs(2), "calls");
        let expected = "\
tone  1,234 rows = 1,230 answered + 1 failed + 3 skipped
      2,400 calls sent, 62 from the ledger, 2,410 attempts in all; 1,000,000 tokens in, 999 out
      refund  5/38 (13.2 %, 95 % interval 5.8 to 27.3 %)
      2 calls failed as malformed, e.g. row id-7: there is no JSON object in it
calls table: calls
2.0 s, 617.0 rows/s
";
        assert_eq!(text, expected);
    }
}
