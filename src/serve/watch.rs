//! A watched run: its progress, its waits, its failures and its cost against the budget, as JSON.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::report::Totals;
use crate::plan::Plan;
use crate::report::progress::{event, log_line};
use crate::report::text::{number, usd};
use crate::report::wait::line;
use crate::run::{Progress, Stop, StopReason};
use crate::spec::Spending;
use crate::store::{ErrorKind, StageTotals};

/// The time limit of calls in flight after the run was stopped.
const DRAIN: Duration = Duration::from_secs(30);

pub(crate) struct Watched {
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    stop: Stop,
    /// The exit code, once the run has ended.
    pub(super) exit: Option<u8>,
    /// Whether a person has stopped the run in the page.
    pub(super) is_stopped: bool,
}

impl Watched {
    pub(crate) fn new(plan: Arc<Plan>, progress: Arc<Progress>, stop: Stop) -> Watched {
        Watched { plan, progress, stop, exit: None, is_stopped: false }
    }

    /// The totals of the stages so far.
    pub(super) fn totals(&self) -> Totals {
        let stages = self.plan.stages().map(|id| (self.plan.spec.stage(id).name.to_string(), self.progress.totals(id)));
        stages.collect()
    }

    pub(super) fn state(&self) -> Value {
        let totals = self.totals();
        let stages = self.progress.stages().filter_map(|stage| {
            let (now, totals) = (stage.snapshot(), totals.get(&stage.name)?);
            let mut shown = event(&stage.name, &now);
            shown["text"] = json!(log_line(&stage.name, &now));
            shown["done_rows"] = json!(totals.counts.total());
            shown["rows"] = json!(totals.rows);
            shown["failures"] = totals.errors.iter().map(|(kind, error)| failure(kind, error)).collect();
            Some(shown)
        });
        let stages: Vec<Value> = stages.collect();
        let (waits, at) = self.progress.waits().shown();
        let waits: Vec<String> = waits.iter().map(|wait| line(wait, at)).collect();
        json!({
            "stages": stages, "waits": waits, "budget": spent(totals.values(), &self.plan.spec.budget.of_a_run()),
            "stopping": self.exit.is_none() && self.stop.is_draining(), "exit": self.exit,
        })
    }

    /// Sends no new call. Those in flight end, or are aborted after some time, as after Ctrl-C.
    pub(super) fn drain(&mut self) {
        self.is_stopped = true;
        self.stop.drain(StopReason::Interrupted);
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DRAIN).await;
            stop.abort();
        });
    }
}

fn failure(kind: &str, error: &ErrorKind) -> Value {
    let single = [(error.count, &error.rows, &error.message)];
    let all = error.messages.iter().map(|message| (message.count, &message.rows, &message.message));
    let messages: Vec<_> = if error.messages.is_empty() { single.to_vec() } else { all.collect() };
    let message = |(count, rows, message): &(u64, &Vec<String>, &String)| json!({ "count": count, "rows": rows, "message": message });
    json!({ "kind": kind, "count": error.count, "messages": messages.iter().map(message).collect::<Vec<_>>() })
}

/// What the run has spent of each limit of its budget, and its cost.
fn spent<'a>(totals: impl Iterator<Item = &'a StageTotals> + Clone, most: &Spending) -> Vec<Value> {
    let sum = |part: fn(&StageTotals) -> u64| totals.clone().map(part).sum::<u64>();
    let calls = sum(|stage| stage.attempts);
    let tokens = sum(|stage| stage.prompt_tokens + stage.completion_tokens);
    let dollars = totals.clone().filter_map(|stage| stage.usd).reduce(|sum, more| sum + more);
    let row = |what: &str, text: String, share: Option<f64>| json!({ "what": what, "text": text, "share": share });
    let counted = |what: &str, now: u64, most: Option<u64>| match most {
        Some(most) => row(what, format!("{} of {}", number(now), number(most)), Some(now as f64 / most as f64)),
        None => row(what, number(now), None),
    };
    let mut rows = vec![
        counted("requests", calls, most.calls.map(|most| most.get())),
        counted("tokens", tokens, most.tokens.map(|most| most.get())),
    ];
    rows.extend(dollars.map(|now| match most.usd {
        Some(most) => row("cost", format!("{} of {}", usd(now), usd(most)), Some(now / most)),
        None => row("cost", usd(now), None),
    }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_compared_with_each_limit_of_the_budget() {
        let stage = |usd| StageTotals {
            attempts: 30,
            prompt_tokens: 900,
            completion_tokens: 100,
            usd,
            ..StageTotals::default()
        };
        let most = Spending { calls: std::num::NonZeroU64::new(120), tokens: None, usd: Some(2.0) };
        let rows = spent([stage(Some(0.5)), stage(None)].iter(), &most);
        let text = |row: &Value| (row["text"].as_str().unwrap_or_default().to_owned(), row["share"].as_f64());
        assert_eq!(text(&rows[0]), ("60 of 120".to_owned(), Some(0.5)));
        assert_eq!(text(&rows[1]), ("2,000".to_owned(), None));
        assert_eq!(text(&rows[2]), (format!("{} of {}", usd(0.5), usd(2.0)), Some(0.25)));
        assert_eq!(spent([stage(None)].iter(), &most).len(), 2, "a model without a price costs no dollars");
    }

    #[test]
    fn a_kind_of_failure_has_an_example_of_each_message() {
        let message = |count, text: &str| crate::store::ErrorMessage {
            count,
            rows: vec!["a".to_owned()],
            message: text.to_owned(),
        };
        let one =
            ErrorKind { count: 2, rows: vec!["a".to_owned()], message: "no JSON".to_owned(), messages: Vec::new() };
        assert_eq!(failure("malformed", &one)["messages"][0]["message"], "no JSON");
        let two = ErrorKind { messages: vec![message(2, "x"), message(1, "y")], count: 3, ..one };
        assert_eq!(failure("malformed", &two)["messages"].as_array().map(Vec::len), Some(2));
    }
}
