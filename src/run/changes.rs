//! Changes: compares the answers of a block with the answers that a fresh run replaces.

use std::collections::HashMap;
use std::sync::Arc;

use super::block::Slot;
use super::calls::Calls;
use crate::ask::{Exchange, Finished, Terms, asked_model};
use crate::prompt::Answer;
use crate::spec::StageSpec;
use crate::store::{ChangesByModel, Key, Record};

/// Counts the answers of `slots`, by model. Empty unless the run is fresh. Blocking.
pub(crate) fn changes(stage: &StageSpec, slots: &[Slot], calls: &Calls) -> ChangesByModel {
    let mut changes = ChangesByModel::new();
    if calls.recorder().fresh_since().is_none() {
        return changes;
    }
    let keys: Vec<Key> = slots.iter().flat_map(|slot| &slot.asked).map(|(_, now)| now.record.key).collect();
    // The counts are only for information. A ledger that can't be read stops the run elsewhere.
    let found = calls.recorder().replaced(&keys).unwrap_or_default();
    let replaced = keys.into_iter().zip(found).filter_map(|(key, record)| Some((key, Arc::new(record?))));
    let replaced: HashMap<Key, Arc<Record>> = replaced.collect();
    for slot in slots {
        for exchange in &slot.asked {
            let model = asked_model(stage, &exchange.0, slot.model);
            let target = calls.target(stage.models[model]);
            let terms = Terms::new(stage, &target.fallback, target.context_size());
            let Some(record) = replaced.get(&exchange.1.record.key) else { continue };
            if let Some((before, now)) = answers(exchange, record.clone(), &terms) {
                changes.entry(stage.model_names[model].clone()).or_default().count(before, now);
            }
        }
    }
    changes
}

/// The answers before and now. `None` if a pack has no answer about the row, which is then asked again.
fn answers(
    (prompt, now): &Exchange,
    before: Arc<Record>,
    terms: &Terms<'_>,
) -> Option<(Option<Answer>, Option<Answer>)> {
    let before = Finished::shared(before, prompt, terms);
    let Some((pack, place)) = prompt.pack.as_ref().zip(now.place.as_ref()) else {
        return Some((before.answer.ok(), now.answer.clone().ok()));
    };
    let now = now.answer.clone().ok()?;
    let item = before.items(pack, terms.repair).into_iter().nth(place.position - 1);
    Some((item.and_then(|item| item.answer.ok()), Some(now)))
}
