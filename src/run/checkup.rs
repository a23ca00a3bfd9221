//! Checkups: what about a spec and its servers does not fit together, although a run would go. Pure.
//!
//! Only what can be seen is said. How many calls an Ollama works on at once stands on no page of its: the variables of this
//! process are looked at where the server is on this machine, and may not be those that it was started with. A new hint is
//! a function here, called by [`hints`].

use super::inventory::{Need, Surveyed};
use crate::plan::routing;
use crate::provider::{DEFAULT_NUM_CTX, Env, Inventory, Listed};
use crate::spec::{Concurrency, Order, Spec, StageSpec};

/// Something to think about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// A word for it that stays the same, for programs.
    pub kind: &'static str,
    /// What it is about: a server, a stage or a model, by its name in the spec.
    pub about: String,
    /// What it is.
    pub message: String,
}

/// What does not fit; `memory` is this machine's, in bytes.
pub fn hints(spec: &Spec, surveyed: &[Surveyed], env: Env<'_>, memory: Option<u64>) -> Vec<Hint> {
    let mut found = Vec::new();
    for server in surveyed {
        let mut add = |kind, about: &str, message: String| found.push(Hint { kind, about: about.to_owned(), message });
        let busiest = asking(spec, server).max_by_key(|stage| lanes(stage));
        let most = match spec.endpoints[server.name.as_str()].limits.max_concurrent_calls {
            Some(Concurrency::Calls(calls)) => calls.get() as usize,
            // `auto` finds out by itself how many the server answers at once.
            Some(Concurrency::Auto) => 1,
            None => usize::MAX,
        };
        if let Some(stage) = busiest {
            let (name, wanted) = (stage.name.as_str(), lanes(stage));
            if most < wanted && most > 1 {
                let message = format!(
                    "it keeps {wanted} calls in flight (`workers` x `batch_size`), but `max_concurrent_calls = {most}` of \
                     `{}` lets only {most} through",
                    server.name
                );
                add("more_lanes_than_calls", name, message);
            }
            if let Ok(inventory) = &server.inventory {
                at_once(inventory, server, (name, wanted.min(most)), env, &mut add);
            }
        }
        if server.kind == "ollama" {
            several_models(spec, server, env, &mut add);
        }
        for need in &server.needs {
            let Some(listed) = &need.listed else { continue };
            context(spec, server, need, listed, &mut add);
            let local = server.inventory.as_ref().is_ok_and(|inventory| inventory.local);
            size(need, listed, memory.filter(|_| local), &mut add);
        }
    }
    found
}

/// The stages that ask a model of the server.
fn asking<'a>(spec: &'a Spec, server: &'a Surveyed) -> impl Iterator<Item = &'a StageSpec> {
    let asks = |stage: &&StageSpec| stage.models.iter().any(|model| spec.model(*model).1.endpoint == server.name);
    spec.stages.iter().filter(asks)
}

fn lanes(stage: &StageSpec) -> usize {
    stage.workers * stage.batch_size
}

/// A stage that sends more calls than the server works on at once.
fn at_once(
    inventory: &Inventory,
    server: &Surveyed,
    (stage, wanted): (&str, usize),
    env: Env<'_>,
    add: &mut impl FnMut(&'static str, &str, String),
) {
    let variable = "OLLAMA_NUM_PARALLEL";
    let set = env(variable).filter(|_| inventory.local).and_then(|value| value.trim().parse::<usize>().ok());
    match (inventory.slots, set.filter(|calls| *calls > 0)) {
        (Some(slots), _) if (slots as usize) < wanted => add(
            "fewer_slots_than_lanes",
            &server.name,
            format!(
                "the server works on {slots} at once (its slots), stage `{stage}` sends {wanted}: the others wait in its \
                 queue; start it with `--parallel {wanted}`, or set `max_concurrent_calls = {slots}`"
            ),
        ),
        (None, Some(calls)) if server.kind == "ollama" && calls < wanted => add(
            "fewer_slots_than_lanes",
            &server.name,
            format!(
                "`{variable}={calls}` here: if the server was started with it too, it works on {calls} at once, and stage \
                 `{stage}` sends {wanted}: the others wait in its queue"
            ),
        ),
        (None, None) if server.kind == "ollama" && wanted > 1 => add(
            "unknown_slots",
            &server.name,
            format!(
                "how many calls it works on at once (`{variable}` where it was started) can't be read from it; stage \
                 `{stage}` sends {wanted}, and `fanfold bench` shows whether that is of use"
            ),
        ),
        _ => {}
    }
}

/// Models that take turns although only one fits into memory at a time.
fn several_models(spec: &Spec, server: &Surveyed, env: Env<'_>, add: &mut impl FnMut(&'static str, &str, String)) {
    let variable = "OLLAMA_MAX_LOADED_MODELS";
    let local = server.inventory.as_ref().is_ok_and(|inventory| inventory.local);
    if !local || env(variable).is_none_or(|value| value.trim() != "1") {
        return;
    }
    for stage in asking(spec, server) {
        let of_server = stage.models.iter().filter(|model| spec.model(**model).1.endpoint == server.name).count();
        if of_server > 1 && routing::order(stage, true) == Order::RowMajor {
            let message = format!(
                "it asks {of_server} models of `{}` row by row, and `{variable}=1` here: the server would load one after \
                 the other for every row; `order = \"model-major\"` asks one model for all rows first",
                server.name
            );
            add("models_take_turns", stage.name.as_str(), message);
        }
    }
}

/// A context that the model or the server does not have.
fn context(
    spec: &Spec,
    server: &Surveyed,
    need: &Need,
    listed: &Listed,
    add: &mut impl FnMut(&'static str, &str, String),
) {
    let model = &spec.model(need.index).1;
    let asked = match server.kind {
        "ollama" => Some(model.model.sampling.num_ctx.unwrap_or(DEFAULT_NUM_CTX).into()),
        "embedded" => model.model.sampling.num_ctx.map(u64::from),
        _ => None,
    };
    if let (Some(asked), Some(most)) = (asked, listed.context)
        && asked > most
    {
        add(
            "context_too_large",
            &need.model,
            format!("`num_ctx = {asked}` is more than the model's context of {most}"),
        );
    }
    if let (Some(asked), Some(loaded)) = (asked, listed.loaded_context)
        && asked != loaded
    {
        let message = format!("it is loaded with a context of {loaded}; the first call, with {asked}, loads it anew");
        add("loaded_otherwise", &need.model, message);
    }
    let held = listed.loaded_context.or(listed.context).filter(|_| asked.is_none());
    if let (Some(said), Some(held)) = (model.context_tokens, held)
        && said > held
    {
        add(
            "context_too_large",
            &need.model,
            format!("`context_tokens = {said}`, but the server holds {held} for a call"),
        );
    }
}

/// Weights that don't fit.
fn size(need: &Need, listed: &Listed, memory: Option<u64>, add: &mut impl FnMut(&'static str, &str, String)) {
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let on_gpu = listed.on_gpu.unwrap_or(0.0);
    match (listed.bytes, memory) {
        (Some(bytes), Some(memory)) if bytes > memory && on_gpu == 0.0 => {
            let message =
                format!("its weights are {}, this machine has {} of memory", gigabytes(bytes), gigabytes(memory));
            add("too_big", &need.model, message);
        }
        _ if on_gpu > 0.0 && on_gpu < 0.995 => {
            let message = format!(
                "only {:.0} % of it is in the GPU's memory, the rest runs on the CPU; a smaller quantisation or `num_ctx` may fit",
                100.0 * on_gpu
            );
            add("partly_on_gpu", &need.model, message);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
