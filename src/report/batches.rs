//! Texts about batches that are at their providers.

use std::fmt::{self, Display, Formatter};

use chrono::{DateTime, SecondsFormat};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::text::{count, number};
use crate::provider::{BatchJob, BatchState};
use crate::run::Standing;
use crate::store::Batch;

/// A batch as the ledger knows it, in one line.
pub(crate) fn line(batch: &Batch) -> String {
    let state = match (&batch.job, &batch.state) {
        (None, _) => "perhaps not sent",
        (Some(_), None) => "sent",
        (Some(_), Some(word)) => word,
    };
    let done = if batch.done > 0 { format!(", {} ended", number(batch.done)) } else { String::new() };
    let job = batch.job.as_ref().map_or(String::new(), |job| format!(" as {job}"));
    format!(
        "batch {}: {} to {}{done}, {state}, since {} at {}{job}",
        batch.name,
        count(batch.calls, "call"),
        batch.model,
        time(batch.created),
        batch.server
    )
}

/// The same for programs.
pub(crate) fn value(batch: &Batch) -> Value {
    json!({
        "name": batch.name, "server": batch.server, "model": batch.model, "calls": batch.calls, "ended": batch.done,
        "created_at": time(batch.created), "job": batch.job, "state": batch.state,
    })
}

/// How many batches are open; `None` if none is.
pub(crate) fn open(batches: &[Batch]) -> Option<String> {
    let calls = count(batches.iter().map(|batch| batch.calls).sum(), "call");
    let (batches, are) = match batches.len() {
        0 => return None,
        1 => ("1 batch".to_owned(), "is"),
        several => (format!("{several} batches"), "are"),
    };
    Some(format!("{batches} with {calls} {are} at the provider"))
}

fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map_or_else(String::new, |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The report of `fanfold batches`.
pub(crate) struct BatchesReport(pub(crate) Vec<Standing>);

fn present(Standing { batch, job, .. }: &Standing) -> Batch {
    let mut batch = batch.clone();
    if let Ok(Some(job)) = job {
        (batch.done, batch.state) = (job.done, Some(job.word.clone()));
    }
    batch
}

/// What is to be said about a batch besides its line.
fn remark(standing: &Standing) -> Option<String> {
    let failure = |job: &BatchJob| match &job.state {
        BatchState::Failed(error) => Some(error.message.clone()),
        _ => None,
    };
    let cancelled = || "cancelled; the next run keeps the replies that there are".to_owned();
    match &standing.job {
        Err(error) => Some(format!("the provider can't be asked: {error}")),
        Ok(None) => standing.batch.job.as_ref().map(|_| "the provider does not know it".to_owned()),
        Ok(Some(job)) => failure(job).or_else(|| standing.is_cancelled.then(cancelled)),
    }
}

impl Display for BatchesReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "no batch is open");
        }
        for one in &self.0 {
            writeln!(f, "{}", line(&present(one)))?;
            if let Some(remark) = remark(one) {
                writeln!(f, "  {remark}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for BatchesReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let batches = self.0.iter().map(|standing| {
            let mut value = value(&present(standing));
            value["cancelled"] = json!(standing.is_cancelled);
            value["remark"] = json!(remark(standing));
            value
        });
        json!({ "schema_version": 1, "batches": batches.collect::<Vec<_>>() }).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_a_batch_is() {
        let mut batch = Batch {
            name: "b".into(),
            server: "openai http://x".into(),
            model: "m".into(),
            calls: 1200,
            ..Batch::default()
        };
        let text = line(&batch);
        assert_eq!(text, "batch b: 1,200 calls to m, perhaps not sent, since 1970-01-01T00:00:00Z at openai http://x");
        (batch.job, batch.state, batch.done) = (Some("j".into()), Some("in_progress".into()), 7);
        assert!(
            line(&batch).contains("1,200 calls to m, 7 ended, in_progress, since") && line(&batch).ends_with(" as j")
        );
        assert_eq!(open(&[]), None);
        assert_eq!(open(&[batch.clone()]).unwrap(), "1 batch with 1,200 calls is at the provider");
        assert_eq!(open(&[batch.clone(), batch]).unwrap(), "2 batches with 2,400 calls are at the provider");
    }
}
