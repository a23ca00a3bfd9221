//! Spending: what the recorded calls of a project cost.

use std::collections::BTreeMap;
use std::path::Path;

use super::call::Cost;
use crate::spec::{Price, Spec};
use crate::store::{CallTotals, Ledger, LedgerError, StoreError, WorkerTotals};

/// The cost of all calls in the ledger, by the prices of the models with the same id. Calls of models without a price
/// cost no dollars.
pub(crate) fn earlier_cost(spec: &Spec, ledger: &Ledger) -> Result<Cost, LedgerError> {
    let spent = ledger.spent()?;
    let costs = spent.iter().map(|(id, totals)| {
        let cost = Cost::of(totals.tokens(), price(spec, id), false);
        Cost { calls: totals.attempts, ..cost }
    });
    Ok(costs.fold(Cost::default(), Cost::plus))
}

/// What the workers of a run have sent, by the same prices. `None` if they sent nothing.
pub(super) fn of_workers(spec: &Spec, paid: &BTreeMap<String, CallTotals>) -> Option<WorkerTotals> {
    let mut sum = WorkerTotals::default();
    for (id, totals) in paid {
        sum.calls += totals.calls;
        sum.attempts += totals.attempts;
        sum.prompt_tokens += totals.prompt_tokens;
        sum.completion_tokens += totals.completion_tokens;
        if let Some(price) = price(spec, id) {
            sum.usd = Some(sum.usd.unwrap_or_default() + Cost::of(totals.tokens(), Some(price), false).usd);
        }
    }
    (sum.calls > 0).then_some(sum)
}

fn price(spec: &Spec, id: &str) -> Option<Price> {
    spec.models.values().filter(|model| model.model.id == id).find_map(|model| model.price)
}

/// Like [`earlier_cost`], if the budget limits the total of all runs.
pub(super) fn earlier_if_limited(spec: &Spec, ledger: &Path) -> Result<Cost, StoreError> {
    match spec.budget.total {
        Some(_) => Ok(earlier_cost(spec, &Ledger::open(ledger)?)?),
        None => Ok(Cost::default()),
    }
}
