//! The span of a run: the times of its first and its last call, and what its answers cost.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::pieces::open_table;
use super::rundir::RunDir;
use crate::table::Value;

/// The times of the first and the last call of a run, and the cost of its calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CallSpan {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<String>,
    /// The cost of all answers in US dollars, whenever they were paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usd: Option<f64>,
}

impl CallSpan {
    pub(crate) fn is_empty(&self) -> bool {
        *self == CallSpan::default()
    }

    /// Reads the committed calls of a run. Counts a call that several rows share once.
    pub(crate) fn read(dir: &RunDir) -> Result<CallSpan, StoreError> {
        let mut span = CallSpan::default();
        let mut seen = HashSet::new();
        for file in dir.call_files()? {
            let table = open_table(&file)?;
            if table.schema().index_of("at").is_err() {
                continue;
            }
            for batch in table.with_columns(&["call_key", "at", "usd"]).read(0, table.rows(), 4096)? {
                let batch = batch?;
                let [keys, times, costs] = ["call_key", "at", "usd"].map(|name| batch.column_by_name(name));
                for row in 0..batch.num_rows() {
                    if let Value::Text(at) = Value::of(times, row) {
                        span.first = span.first.take().map(|first| first.min(at.to_string())).or(Some(at.to_string()));
                        span.last = span.last.take().max(Some(at.into_owned()));
                    }
                    if let Value::Number(usd) = Value::of(costs, row)
                        && seen.insert(Value::of(keys, row).into_text())
                    {
                        span.usd = Some(span.usd.unwrap_or(0.0) + usd);
                    }
                }
            }
        }
        Ok(span)
    }
}
