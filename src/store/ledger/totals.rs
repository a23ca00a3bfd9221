//! Totals over the calls of a ledger, by model.

use std::collections::BTreeMap;

use rusqlite::{Row, params};

use super::{CallTotals, Ledger, LedgerError, count};

const SUMS: &str = "COUNT(*), COALESCE(SUM(attempts), 0), COALESCE(SUM(prompt_tokens), 0),
    COALESCE(SUM(completion_tokens), 0), COALESCE(SUM(latency_ms), 0.0), COALESCE(SUM(latency_ms > 0), 0)";
/// The number of the last calls whose lengths and latencies are looked at.
const RECENT: u64 = 10_000;

impl Ledger {
    /// The totals of all calls by the model's id, failed and retired ones included: each was paid for.
    pub(crate) fn spent(&self) -> Result<BTreeMap<String, CallTotals>, LedgerError> {
        let all = || {
            let mut find = self.connection.prepare(&format!("SELECT {SUMS}, model FROM calls GROUP BY model"))?;
            let found = find.query_map([], |row| Ok((row.get(6)?, totals(row)?)))?;
            found.collect::<Result<BTreeMap<_, _>, _>>()
        };
        all().map_err(self.failed())
    }

    /// The totals of the model's answers among the last calls.
    pub(crate) fn recent(&self, model: &str) -> Result<CallTotals, LedgerError> {
        let sql = format!(
            "SELECT {SUMS} FROM (SELECT * FROM calls ORDER BY id DESC LIMIT ?2)
                WHERE model = ?1 AND error IS NULL AND attempts > 0"
        );
        self.connection.query_row(&sql, params![model, RECENT as i64], totals).map_err(self.failed())
    }
}

fn totals(row: &Row<'_>) -> Result<CallTotals, rusqlite::Error> {
    Ok(CallTotals {
        calls: count(row, 0)?,
        attempts: count(row, 1)?,
        prompt_tokens: count(row, 2)?,
        completion_tokens: count(row, 3)?,
        latency_ms: row.get(4)?,
        timed: count(row, 5)?,
    })
}
