//! Adding records of finished calls.

use std::borrow::Borrow;
use std::sync::LazyLock;

use rusqlite::{Statement, TransactionBehavior, params};

use super::find::look_up;
use super::{FORMAT, Ledger, LedgerError, RETIRE, Retired, Since, columns, stopped};
use crate::store::record::{FIELDS, Record};

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let values = vec!["?"; FIELDS.len() + 3].join(", ");
    format!("INSERT OR IGNORE INTO calls (key, {}) VALUES ({values})", columns(FORMAT))
});

/// Older versions ignore this table.
const IMPORTS: &str = "CREATE TABLE IF NOT EXISTS imports (at INTEGER PRIMARY KEY) STRICT";

/// What became of a record that was added.
#[derive(Debug)]
pub(crate) struct Added {
    /// The id of the record in the ledger.
    pub(crate) id: i64,
    /// The earlier answer to the call, if there is one. The record was then dropped.
    pub(crate) earlier: Option<Record>,
}

impl Ledger {
    /// Adds records in one transaction. A record without a time is imported. If the ledger already has an answer to a
    /// call, the new answer is dropped. Returns these earlier answers, in the order of the records.
    pub(crate) fn append<R: Borrow<Record>>(&mut self, records: &[R]) -> Result<Vec<Option<Record>>, LedgerError> {
        Ok(self.add(records)?.into_iter().map(|added| added.earlier).collect())
    }

    /// Like [`Self::append`]; also returns the ids of the records.
    pub(crate) fn add<R: Borrow<Record>>(&mut self, records: &[R]) -> Result<Vec<Added>, LedgerError> {
        let at = chrono::Utc::now().timestamp_millis();
        let is_import = records.iter().any(|record| record.borrow().at.is_none());
        let mut add = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if is_import {
                transaction.execute_batch(IMPORTS)?;
                transaction.execute("INSERT OR IGNORE INTO imports VALUES (?1)", [at])?;
                self.imports.insert(at);
            }
            if records.iter().any(|record| record.borrow().is_stopped()) {
                stopped::prepare(&transaction)?;
            }
            let has_stopped = stopped::has_stopped(&transaction)?;
            let mut added = Vec::with_capacity(records.len());
            {
                let mut insert = transaction.prepare_cached(&INSERT)?;
                for record in records.iter().map(Borrow::borrow) {
                    let mut before = Ok(None);
                    if !add_one(&mut insert, record, at)? {
                        let known = look_up(&transaction, record.key, Since::ALWAYS, &self.imports)?;
                        before = known.map(|(_, known)| known).transpose();
                        if before.is_err() {
                            transaction.execute(RETIRE, params![record.key.0, Retired::Corrupt.error()])?;
                            add_one(&mut insert, record, at)?;
                        }
                    }
                    let (id, earlier) = (transaction.last_insert_rowid(), before.unwrap_or_default());
                    if has_stopped && earlier.is_none() {
                        stopped::forget(&transaction, record, id)?;
                    }
                    added.push(Added { id, earlier });
                }
            }
            transaction.commit()?;
            Ok(added)
        };
        add().map_err(LedgerError::sqlite(&self.path))
    }
}

/// Adds a record. Returns `false` if the ledger already has an answer to the call.
fn add_one(insert: &mut Statement<'_>, record: &Record, at: i64) -> Result<bool, rusqlite::Error> {
    insert.raw_bind_parameter(1, record.key.0)?;
    for (i, field) in FIELDS.iter().enumerate() {
        insert.raw_bind_parameter(2 + i, field.get(record))?;
    }
    insert.raw_bind_parameter(2 + FIELDS.len(), record.checksum())?;
    insert.raw_bind_parameter(3 + FIELDS.len(), record.at.unwrap_or(at))?;
    Ok(insert.raw_execute()? > 0)
}
