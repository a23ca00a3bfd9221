//! The budget of a run: reserved before a call is sent, settled with its actual cost. Calls in flight can exceed it
//! only by the amount that they cost beyond their estimates.

use std::num::NonZeroU64;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::run::under_way::{Busy, UnderWay};
use crate::run::wait::{Wait, WaitKind};
use crate::spec::{Budget, CallTokens, Price, Spending};

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    pub(crate) calls: u64,
    pub(crate) tokens: u64,
    pub(crate) usd: f64,
}

impl Cost {
    /// `batched`: the calls were sent as a batch.
    pub(crate) fn of(tokens: CallTokens, price: Option<Price>, batched: bool) -> Cost {
        let usd = price.map_or(0.0, |price| price.cost(tokens, batched));
        Cost { calls: 1, tokens: tokens.prompt.saturating_add(tokens.reply), usd }
    }

    pub(crate) fn plus(self, other: Cost) -> Cost {
        Cost { calls: self.calls + other.calls, tokens: self.tokens + other.tokens, usd: self.usd + other.usd }
    }

    /// The name of the limit that this cost exceeds.
    fn exceeds(&self, limit: &Spending) -> Option<&'static str> {
        let over = |limit: Option<NonZeroU64>, spent: u64| limit.is_some_and(|limit| spent > limit.get());
        [
            (over(limit.calls, self.calls), "calls"),
            (over(limit.tokens, self.tokens), "tokens"),
            // Sums of many small amounts are not exact.
            (limit.usd.is_some_and(|usd| self.usd > usd + 1e-9), "usd"),
        ]
        .into_iter()
        .find_map(|(over, what)| over.then_some(what))
    }
}

/// A limit of the budget that the next call might exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpentLimit {
    /// `calls`, `tokens` or `usd`.
    pub(crate) what: &'static str,
    /// Whether it limits all runs of the project, not only this one.
    pub(crate) of_all_runs: bool,
}

#[derive(Debug)]
pub(crate) struct BudgetMeter {
    run: Spending,
    total: Spending,
    /// What earlier runs of the project cost.
    earlier: Cost,
    state: Mutex<State>,
    settled: Notify,
    waiting: UnderWay,
}

#[derive(Debug, Default)]
struct State {
    spent: Cost,
    reserved: Vec<(u64, Cost)>,
    next: u64,
}

impl State {
    fn with(&self, cost: Cost) -> Cost {
        self.reserved.iter().fold(self.spent.plus(cost), |sum, (_, cost)| sum.plus(*cost))
    }
}

/// The reservation of a call in flight; `None` without a budget. If dropped without a reply, it costs one call.
#[derive(Debug)]
pub(crate) struct Reserved<'a>(Option<(&'a BudgetMeter, u64)>);

impl BudgetMeter {
    /// `earlier` is what earlier runs of the project cost.
    pub(crate) fn new(budget: Budget, earlier: Cost) -> BudgetMeter {
        let (run, total) = (budget.of_a_run(), budget.total.unwrap_or_default());
        let (state, settled) = (Mutex::default(), Notify::new());
        BudgetMeter { run, total, earlier, state, settled, waiting: UnderWay::default() }
    }

    /// Whether the number of tokens decides how much is left.
    pub(crate) fn limits_tokens(&self) -> bool {
        [self.run, self.total].iter().any(|limit| limit.tokens.is_some() || limit.usd.is_some())
    }

    fn exceeded(&self, cost: Cost) -> Option<SpentLimit> {
        let run = cost.exceeds(&self.run).map(|what| SpentLimit { what, of_all_runs: false });
        let total = || self.earlier.plus(cost).exceeds(&self.total);
        run.or_else(|| total().map(|what| SpentLimit { what, of_all_runs: true }))
    }

    /// Waits while calls in flight may cost less than reserved. The error is the limit that is reached.
    pub(crate) async fn reserve(&self, cost: Cost) -> Result<Reserved<'_>, SpentLimit> {
        if [self.run, self.total] == [Spending::default(); 2] {
            return Ok(Reserved(None));
        }
        let mut waiting = None;
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable();
            {
                let mut state = self.state.lock();
                match self.exceeded(state.with(cost)) {
                    None => {
                        let id = state.next;
                        state.next += 1;
                        state.reserved.push((id, cost));
                        return Ok(Reserved(Some((self, id))));
                    }
                    // The calls in flight cannot release enough.
                    Some(limit) if state.reserved.is_empty() || self.exceeded(state.spent.plus(cost)).is_some() => {
                        return Err(limit);
                    }
                    Some(_) => {}
                }
            }
            waiting.get_or_insert_with(|| self.waiting.begin());
            settled.await;
        }
    }
}

impl BudgetMeter {
    pub(crate) fn wait(&self) -> Option<Wait> {
        let Busy { oldest, .. } = self.waiting.busy()?;
        let on = "budget".to_owned();
        Some(Wait { kind: WaitKind::Budget, on, since: oldest, until: None, because: String::new() })
    }
}

impl Reserved<'_> {
    pub(crate) fn settle(self, cost: Cost) {
        let Some((meter, _)) = self.0 else { return };
        let mut state = meter.state.lock();
        // The request itself is counted when the reservation is dropped.
        state.spent = state.spent.plus(Cost { calls: 0, ..cost });
    }

    /// Spends what is reserved, because the call will be paid after the run.
    pub(crate) fn keep(mut self) {
        let Some((meter, id)) = self.0.take() else { return };
        let mut state = meter.state.lock();
        let kept =
            state.reserved.iter().position(|(other, _)| *other == id).map(|place| state.reserved.swap_remove(place));
        state.spent = kept.map_or(state.spent, |(_, cost)| state.spent.plus(cost));
        drop(state);
        meter.settled.notify_waiters();
    }

    /// Ends the reservation of a call that was not sent.
    pub(crate) fn release(mut self) {
        if let Some((meter, id)) = self.0.take() {
            meter.state.lock().reserved.retain(|(other, _)| *other != id);
            meter.settled.notify_waiters();
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let Some((meter, id)) = self.0 else { return };
        let mut state = meter.state.lock();
        state.reserved.retain(|(other, _)| *other != id);
        state.spent.calls += 1;
        drop(state);
        meter.settled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn meter(calls: u64, tokens: u64, usd: f64) -> BudgetMeter {
        let usd = (usd > 0.0).then_some(usd);
        let (calls, tokens) = (NonZeroU64::new(calls), NonZeroU64::new(tokens));
        BudgetMeter::new(Budget { calls, tokens, usd, ..Budget::default() }, Cost::default())
    }

    #[test]
    fn prices_are_per_million_tokens() {
        let tokens = CallTokens { prompt: 2_000_000, reply: 500_000, ..CallTokens::default() };
        let price = Price { input: 0.15, output: 0.6, batch: Some(0.5), ..Price::default() };
        let cost = Cost::of(tokens, Some(price), false);
        assert_eq!((cost.calls, cost.tokens), (1, 2_500_000));
        assert!((cost.usd - 0.6).abs() < 1e-12);
        assert!((Cost::of(tokens, Some(price), true).usd - 0.3).abs() < 1e-12);
        assert_eq!(Cost::of(tokens, None, false).usd, 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_in_flight_reserve_their_cost() {
        let meter = meter(0, 100, 0.0);
        let cost = |tokens| Cost { calls: 1, tokens, usd: 0.0 };
        let first = meter.reserve(cost(60)).await.expect("it fits");
        // Not now, but the first one may cost less.
        let mut second = Box::pin(meter.reserve(cost(60)));
        assert!(timeout(Duration::from_secs(1), &mut second).await.is_err());
        first.settle(cost(30));
        let second = timeout(Duration::from_secs(1), second).await.expect("it is notified").expect("it fits now");
        second.settle(cost(60));
        assert_eq!(meter.reserve(cost(20)).await.err().map(|limit| limit.what), Some("tokens"));
        assert!(meter.reserve(cost(10)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_a_reply_costs_only_the_call() {
        let meter = meter(2, 100, 1.0);
        let dear = Cost { calls: 1, tokens: 100, usd: 1.0 };
        drop(meter.reserve(dear).await.expect("it fits"));
        meter.reserve(dear).await.expect("it fits again").release();
        drop(meter.reserve(dear).await.expect("it fits, since the second was not sent"));
        assert_eq!(
            meter.reserve(Cost { calls: 1, tokens: 0, usd: 0.0 }).await.err().map(|limit| limit.what),
            Some("calls")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_total_counts_what_earlier_runs_cost() {
        let total = Spending { usd: Some(1.0), ..Spending::default() };
        let budget = Budget { usd: Some(0.5), total: Some(total), ..Budget::default() };
        let usd = |usd| Cost { calls: 1, tokens: 0, usd };
        let limit = |of_all_runs| SpentLimit { what: "usd", of_all_runs };
        let meter = BudgetMeter::new(budget, usd(0.7));
        meter.reserve(usd(0.2)).await.expect("it fits").settle(usd(0.2));
        assert_eq!(meter.reserve(usd(0.2)).await.err(), Some(limit(true)));
        assert_eq!(meter.reserve(usd(0.4)).await.err(), Some(limit(false)), "the limit of the run comes first");
        assert!(meter.reserve(usd(0.1)).await.is_ok());
    }
}
