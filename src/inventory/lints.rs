//! Lints: reports settings that a run accepts but that do not fit the servers. Pure.
//!
//! Ollama has no API that reports how many calls it processes in parallel. For a local server, the environment
//! variables of this process are read, which may differ from those that the server was started with.
//! To add a hint, add a method of `Lints` and call it in [`hints`].

use super::files::unused;
use super::servers::{Need, Surveyed};
use crate::plan::routing;
use crate::provider::{DEFAULT_NUM_CTX, Env, Listed};
use crate::spec::{Concurrency, Order, Spec, StageSpec};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    /// A stable identifier for programs.
    pub(crate) kind: &'static str,
    /// The name of a server, a stage or a model in the spec.
    pub(crate) about: String,
    pub(crate) message: String,
}

/// Hints about settings that do not fit; `memory` is this machine's, in bytes.
pub(crate) fn hints(spec: &Spec, surveyed: &[Surveyed], env: Env<'_>, memory: Option<u64>) -> Vec<Hint> {
    let mut found = Vec::new();
    for server in surveyed {
        let is_local = server.inventory.as_ref().is_ok_and(|inventory| inventory.local);
        let mut lints = Lints { spec, server, env, is_local, found: &mut found };
        lints.in_flight();
        if server.kind == "ollama" {
            lints.several_models();
        }
        for need in &server.needs {
            if let Some(message) = unused(&need.id, &need.unused) {
                lints.add("unused_modelfile", &need.model, message);
            }
            let Some(listed) = &need.listed else { continue };
            lints.context(need, listed);
            lints.size(need, listed, memory.filter(|_| is_local));
        }
    }
    found
}

struct Lints<'a> {
    spec: &'a Spec,
    server: &'a Surveyed,
    env: Env<'a>,
    is_local: bool,
    found: &'a mut Vec<Hint>,
}

fn lanes(stage: &StageSpec) -> usize {
    stage.workers * stage.batch_size
}

impl<'a> Lints<'a> {
    fn add(&mut self, kind: &'static str, about: &str, message: String) {
        self.found.push(Hint { kind, about: about.to_owned(), message });
    }

    fn models_of(&self, stage: &StageSpec) -> usize {
        stage.models.iter().filter(|model| self.spec.model(**model).1.endpoint == self.server.name).count()
    }

    fn stages(&self) -> Vec<&'a StageSpec> {
        self.spec.stages().map(|(_, stage)| stage).filter(|stage| self.models_of(stage) > 0).collect()
    }

    fn in_flight(&mut self) {
        let Some(stage) = self.stages().into_iter().max_by_key(|stage| lanes(stage)) else { return };
        let (name, lanes) = (stage.name.as_str(), lanes(stage));
        let most = match self.spec.endpoints[self.server.name.as_str()].limits.max_concurrent_calls {
            Some(Concurrency::Calls(calls)) => calls.get() as usize,
            // `auto` finds out how many calls the server answers at once.
            Some(Concurrency::Auto) => 1,
            None => usize::MAX,
        };
        if most < lanes && most > 1 {
            let message = format!(
                "it keeps {lanes} calls in flight (`workers` x `batch_size`), but `max_concurrent_calls = {most}` of `{}` \
                 lets only {most} through",
                self.server.name
            );
            self.add("more_lanes_than_calls", name, message);
        }
        if let Ok(inventory) = &self.server.inventory {
            self.slots(inventory.slots, name, lanes.min(most));
        }
    }

    fn slots(&mut self, slots: Option<u64>, stage: &str, sent: usize) {
        let variable = "OLLAMA_NUM_PARALLEL";
        let set = (self.env)(variable).filter(|_| self.is_local).and_then(|value| value.trim().parse::<usize>().ok());
        let is_ollama = self.server.kind == "ollama";
        let (kind, message) = match (slots, set.filter(|calls| *calls > 0)) {
            (Some(slots), _) if (slots as usize) < sent => (
                "fewer_slots_than_lanes",
                format!(
                    "the server works on {slots} at once (its slots), stage `{stage}` sends {sent}: the others wait in its \
                     queue; start it with `--parallel {sent}`, or set `max_concurrent_calls = {slots}`"
                ),
            ),
            (None, Some(calls)) if is_ollama && calls < sent => (
                "fewer_slots_than_lanes",
                format!(
                    "`{variable}={calls}` here: if the server was started with it too, it works on {calls} at once, and \
                     stage `{stage}` sends {sent}: the others wait in its queue"
                ),
            ),
            (None, None) if is_ollama && sent > 1 => (
                "unknown_slots",
                format!(
                    "Ollama does not report how many calls it works on at once (`{variable}` where it was started); stage \
                     `{stage}` sends {sent}, and `fanfold bench` shows whether that helps"
                ),
            ),
            _ => return,
        };
        let server = self.server;
        self.add(kind, &server.name, message);
    }

    fn several_models(&mut self) {
        let variable = "OLLAMA_MAX_LOADED_MODELS";
        if !self.is_local || (self.env)(variable).is_none_or(|value| value.trim() != "1") {
            return;
        }
        for stage in self.stages() {
            let models = self.models_of(stage);
            if models > 1 && routing::order(stage, true) == Order::RowMajor {
                let message = format!(
                    "it asks {models} models of `{}` row by row, and `{variable}=1` here: the server would load one after \
                     the other for every row; `order = \"model-major\"` asks one model for all rows first",
                    self.server.name
                );
                self.add("models_take_turns", stage.name.as_str(), message);
            }
        }
    }

    fn context(&mut self, need: &Need, listed: &Listed) {
        let model = &self.spec.model(need.index).1;
        let asked = match self.server.kind {
            "ollama" => Some(model.model.sampling.num_ctx.unwrap_or(DEFAULT_NUM_CTX).into()),
            "embedded" => model.model.sampling.num_ctx.map(u64::from),
            _ => None,
        };
        if let (Some(asked), Some(most)) = (asked, listed.context)
            && asked > most
        {
            let message = format!("`num_ctx = {asked}` is more than the model's context of {most}");
            self.add("context_too_large", &need.model, message);
        }
        if let (Some(asked), Some(loaded)) = (asked, listed.loaded_context)
            && asked != loaded
        {
            let message =
                format!("it is loaded with a context of {loaded}; the first call, with {asked}, loads it again");
            self.add("loaded_otherwise", &need.model, message);
        }
        let held = listed.loaded_context.or(listed.context).filter(|_| asked.is_none());
        if let (Some(said), Some(held)) = (model.context_tokens, held)
            && said > held
        {
            let message = format!("`context_tokens = {said}`, but the server holds {held} for a call");
            self.add("context_too_large", &need.model, message);
        }
    }

    fn size(&mut self, need: &Need, listed: &Listed, memory: Option<u64>) {
        let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
        let on_gpu = listed.on_gpu.unwrap_or(0.0);
        match (listed.bytes, memory) {
            (Some(bytes), Some(memory)) if bytes > memory && on_gpu == 0.0 => {
                let message =
                    format!("its weights are {}, this machine has {} of memory", gigabytes(bytes), gigabytes(memory));
                self.add("too_big", &need.model, message);
            }
            _ if on_gpu > 0.0 && on_gpu < 0.995 => {
                let message = format!(
                    "only {:.0} % of it is in the GPU's memory, the rest runs on the CPU; a smaller quantisation or \
                     `num_ctx` may fit",
                    100.0 * on_gpu
                );
                self.add("partly_on_gpu", &need.model, message);
            }
            _ => {}
        }
    }
}
