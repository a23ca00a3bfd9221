//! Packs: the calls that packing saved, and how packed answers differ from those of the audit.

use std::fmt::Write;

use super::text::{count, figure, number, percent};
use crate::store::{Audit, StageTotals};

/// The lines about a stage with packs, indented by `width` columns. Empty for other stages.
pub(super) fn packing(totals: &StageTotals, width: usize) -> String {
    let mut out = String::new();
    let singles = totals.audit.as_ref().map_or(0, |audit| audit.single.answers);
    if totals.without_packing > 0 {
        let calls = totals.calls + totals.from_ledger;
        let audit = if singles > 0 { ", including the audit" } else { "" };
        let without = number(totals.without_packing);
        let _ = writeln!(out, "{:width$}  {}{audit}, instead of {without} without packing", "", count(calls, "call"));
    }
    if let Some(audit) = &totals.audit {
        compared(&mut out, audit, width);
    }
    out
}

fn compared(out: &mut String, audit: &Audit, width: usize) {
    let failed = if audit.failed > 0 { format!(", {} failed", number(audit.failed)) } else { String::new() };
    let _ =
        writeln!(out, "{:width$}  audit: {} repeated one by one{failed}", "", count(audit.single.answers, "answer"));
    for (name, column) in &audit.columns {
        let share = percent(column.differ as f64 / audit.compared.max(1) as f64);
        let (differ, of) = (number(column.differ), number(audit.compared));
        let _ = writeln!(out, "{:width$}    {name}: {differ} of {of} differ ({share})", "");
        for (label, discord) in column.labels.iter().filter(|(_, d)| d.packed_only + d.single_only > 0) {
            let (packed, single) = (number(discord.packed_only), number(discord.single_only));
            let _ = writeln!(
                out,
                "{:width$}      {label}: {packed} only in a pack, {single} only alone, McNemar p = {}",
                "",
                p(discord.p_value)
            );
        }
    }
    if let (Some(single), Some(packed)) = (audit.single.mean(), audit.packed.mean()) {
        let saved = 1.0 - packed / single.max(f64::MIN_POSITIVE);
        let than = if saved < 0.0 { "more" } else { "less" };
        let _ = writeln!(
            out,
            "{:width$}    {} tokens an answer alone, {} in packs ({} {than})",
            "",
            figure(single),
            figure(packed),
            percent(saved.abs())
        );
    }
}

fn p(value: f64) -> String {
    if value < 0.001 { "< 0.001".to_owned() } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::audit::Cost;

    #[test]
    fn what_packs_saved_and_changed() {
        let labels = ["good", "bad"].map(str::to_owned);
        let mut one = Audit { compared: 10, ..Audit::default() };
        for _ in 0..6 {
            one.compare("label", &labels, Some("good"), Some("bad"));
        }
        one.compare("sure", &["true".to_owned()], Some("true"), Some("true"));
        one.single = Cost { answers: 10, tokens: 500 };
        one.packed = Cost { answers: 1000, tokens: 20_000 };
        let mut audit = Audit::default();
        audit.add(&one);
        let totals = StageTotals { calls: 110, without_packing: 1000, audit: Some(audit), ..StageTotals::default() };
        let expected = "      110 calls, including the audit, instead of 1,000 without packing
      audit: 10 answers repeated one by one
        label: 6 of 10 differ (60 %)
          good: 6 only in a pack, 0 only alone, McNemar p = 0.031
          bad: 0 only in a pack, 6 only alone, McNemar p = 0.031
        sure: 0 of 10 differ (0 %)
        50 tokens an answer alone, 20 in packs (60 % less)
";
        assert_eq!(packing(&totals, 4), expected);
        assert_eq!(packing(&StageTotals { calls: 7, ..StageTotals::default() }, 4), "");
    }
}
