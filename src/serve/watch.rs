//! A watched run: its progress, its waits, its failures and its cost against the budget, as JSON.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::report::Totals;
use crate::pipeline::{Preparing, Started};
use crate::plan::Plan;
use crate::report::progress::{event, log_line};
use crate::report::text::{number, usd};
use crate::report::wait::line;
use crate::run::progress::Snapshot;
use crate::run::{Cost, Progress, Stop, StopReason};
use crate::spec::Spending;
use crate::store::{ErrorKind, StageTotals};

/// The time limit of calls in flight after the run was stopped.
const DRAIN: Duration = Duration::from_secs(30);

pub(crate) struct Watched {
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    preparing: Preparing,
    /// What earlier runs cost, if the budget limits the total of all runs.
    earlier: Option<Cost>,
    stop: Stop,
    /// Whether a person has stopped the run in the page.
    pub(super) is_stopped: bool,
}

impl Watched {
    /// `earlier` is what earlier runs cost, if the budget limits the total of all runs.
    pub(crate) fn new(started: &Started, stop: &Stop, earlier: Option<Cost>) -> Watched {
        let Started { plan, progress, preparing, .. } = started;
        let (plan, progress, preparing) = (plan.clone(), progress.clone(), preparing.clone());
        Watched { plan, progress, preparing, earlier, stop: stop.clone(), is_stopped: false }
    }

    /// The totals of the stages so far.
    pub(super) fn totals(&self) -> Totals {
        let stages = self.plan.stages().map(|id| (self.plan.spec.stage(id).name.to_string(), self.progress.totals(id)));
        stages.collect()
    }

    pub(super) fn state(&self, has_ended: bool) -> Value {
        let totals = self.totals();
        let stages = self.progress.stages().filter_map(|stage| {
            let (now, totals) = (stage.snapshot(), totals.get(&stage.name)?);
            let mut shown = event(&stage.name, &now);
            // Nothing is sent any more, so no time is left.
            let sent = if has_ended { 0 } else { now.sent };
            shown["text"] = json!(log_line(&stage.name, &Snapshot { sent, ..now }));
            shown["done_rows"] = json!(totals.counts.total());
            shown["rows"] = json!(totals.rows);
            shown["failures"] = totals.errors.iter().map(|(kind, error)| failure(kind, error)).collect();
            Some(shown)
        });
        let stages: Vec<Value> = stages.collect();
        json!({
            "stages": stages, "waits": self.waits(), "budget": self.budget(&totals), "stopping": self.stop.is_draining(),
        })
    }

    /// What holds back calls. Before the first call has ended, also what has just begun to.
    fn waits(&self) -> Vec<String> {
        let waits = self.progress.waits();
        let is_before = self.progress.stages().all(|stage| stage.snapshot().sent == 0);
        let (waits, at) = if is_before { waits.all() } else { waits.shown() };
        (self.preparing)().into_iter().chain(waits.iter().map(|wait| line(wait, at))).collect()
    }

    /// The cost of this run and, if the budget limits it, of all runs.
    fn budget(&self, totals: &Totals) -> Vec<Value> {
        let budget = &self.plan.spec.budget;
        let (now, is_priced) = cost(totals.values());
        let mut rows = spent("", now, is_priced, &budget.of_a_run());
        if let (Some(earlier), Some(most)) = (self.earlier, &budget.total) {
            rows.extend(spent(" of all runs", earlier.plus(now), is_priced || earlier.usd > 0.0, most));
        }
        rows
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

/// What stages cost, and whether a model has a price.
fn cost<'a>(totals: impl Iterator<Item = &'a StageTotals>) -> (Cost, bool) {
    totals.fold((Cost::default(), false), |(sum, is_priced), stage| {
        let tokens = stage.prompt_tokens + stage.completion_tokens;
        let cost = Cost { calls: stage.attempts, tokens, usd: stage.usd.unwrap_or(0.0) };
        (sum.plus(cost), is_priced || stage.usd.is_some())
    })
}

/// What was spent of each limit of a budget, and the cost. `of` says of what.
fn spent(of: &str, now: Cost, is_priced: bool, most: &Spending) -> Vec<Value> {
    let row = |what: &str, now: String, most: Option<String>, share: Option<f64>| {
        let text = most.map_or(now.clone(), |most| format!("{now} of {most}"));
        json!({ "what": format!("{what}{of}"), "text": text, "share": share })
    };
    let counted = |what: &str, now: u64, most: Option<NonZeroU64>| {
        let most = most.map(NonZeroU64::get);
        row(what, number(now), most.map(number), most.map(|most| now as f64 / most as f64))
    };
    let mut rows = vec![counted("requests", now.calls, most.calls), counted("tokens", now.tokens, most.tokens)];
    rows.extend(is_priced.then(|| row("cost", usd(now.usd), most.usd.map(usd), most.usd.map(|most| now.usd / most))));
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
        let most = Spending { calls: NonZeroU64::new(120), tokens: None, usd: Some(2.0) };
        let (now, is_priced) = cost([stage(Some(0.5)), stage(None)].iter());
        let rows = spent("", now, is_priced, &most);
        let text = |row: &Value| (row["text"].as_str().unwrap_or_default().to_owned(), row["share"].as_f64());
        assert_eq!(text(&rows[0]), ("60 of 120".to_owned(), Some(0.5)));
        assert_eq!(text(&rows[1]), ("2,000".to_owned(), None));
        assert_eq!(text(&rows[2]), (format!("{} of {}", usd(0.5), usd(2.0)), Some(0.25)));
        let (now, is_priced) = cost([stage(None)].iter());
        assert_eq!(spent("", now, is_priced, &most).len(), 2, "a model without a price costs no dollars");
        let all = spent(" of all runs", now.plus(Cost { calls: 50, ..Cost::default() }), is_priced, &most);
        assert_eq!(
            (all[0]["what"].as_str(), all[0]["text"].as_str()),
            (Some("requests of all runs"), Some("80 of 120"))
        );
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
