//! Spending: what the recorded calls of a project cost.

use std::path::Path;

use super::call::Cost;
use crate::spec::{Price, Spec};
use crate::store::{Ledger, LedgerError, StoreError};

/// The cost of all calls in the ledger, by the prices of the models with the same id. Calls of models without a price
/// cost no dollars.
pub(crate) fn earlier_cost(spec: &Spec, ledger: &Ledger) -> Result<Cost, LedgerError> {
    let price = |id: &str| -> Option<Price> {
        spec.models.values().filter(|model| model.model.id == id).find_map(|model| model.price)
    };
    let spent = ledger.spent()?;
    let costs = spent.iter().map(|(id, totals)| {
        let cost = Cost::of(totals.tokens(), price(id), false);
        Cost { calls: totals.attempts, ..cost }
    });
    Ok(costs.fold(Cost::default(), Cost::plus))
}

/// Like [`earlier_cost`], if the budget limits the total of all runs.
pub(super) fn earlier_if_limited(spec: &Spec, ledger: &Path) -> Result<Cost, StoreError> {
    match spec.budget.total {
        Some(_) => Ok(earlier_cost(spec, &Ledger::open(ledger)?)?),
        None => Ok(Cost::default()),
    }
}
