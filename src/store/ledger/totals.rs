//! Totals over the calls of a ledger, by model.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use super::{CallTotals, Ledger, LedgerError, NOTES, count, format};

const SUMS: &str = "COUNT(*), COALESCE(SUM(attempts), 0), COALESCE(SUM(prompt_tokens), 0),
    COALESCE(SUM(completion_tokens), 0), COALESCE(SUM(latency_ms), 0.0), COALESCE(SUM(latency_ms > 0), 0)";
/// The number of the last calls whose lengths and latencies are looked at.
const RECENT: u64 = 10_000;

/// The sums, with those of the notes.
fn sums(connection: &Connection) -> Result<String, rusqlite::Error> {
    let notes = if format(connection)? < NOTES { "NULL" } else { "notes" };
    let of = |field: &str| {
        format!("COALESCE(SUM(CASE WHEN json_valid({notes}) THEN json_extract({notes}, '$.{field}') END), 0)")
    };
    Ok(format!("{SUMS}, {}, {}", of("cached_tokens"), of("cache_write_tokens")))
}

impl Ledger {
    /// The totals of all calls by the model's id, failed and retired ones included: each was paid for.
    pub(crate) fn spent(&self) -> Result<BTreeMap<String, CallTotals>, LedgerError> {
        let all = || {
            let sums = sums(&self.connection)?;
            let mut find = self.connection.prepare(&format!("SELECT {sums}, model FROM calls GROUP BY model"))?;
            let found = find.query_map([], |row| Ok((row.get(8)?, totals(row)?)))?;
            found.collect::<Result<BTreeMap<_, _>, _>>()
        };
        all().map_err(self.failed())
    }

    /// The totals of the model's answers among the last calls.
    pub(crate) fn recent(&self, model: &str) -> Result<CallTotals, LedgerError> {
        let read = || {
            let sql = format!(
                "SELECT {} FROM (SELECT * FROM calls ORDER BY id DESC LIMIT ?2)
                    WHERE model = ?1 AND error IS NULL AND attempts > 0",
                sums(&self.connection)?
            );
            self.connection.query_row(&sql, params![model, RECENT as i64], totals)
        };
        read().map_err(self.failed())
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
        cached_tokens: count(row, 6)?,
        cache_write_tokens: count(row, 7)?,
    })
}
