//! Abilities: whether the providers of a stage's models can do what the stage needs.

use super::pipeline::Spec;
use super::resolve::Resolver;
use super::stages::Asking;
use crate::name::listed;
use crate::prompt::Mode;
use crate::provider::{Endpoint, PROVIDERS, default_endpoint};
use crate::stage::Stage;

impl Resolver<'_> {
    /// Only some providers have models of embeddings.
    pub(super) fn embeddings(&mut self, spec: &Spec, stage: &Asking<'_>, bound: &Stage) {
        if !bound.info.embeds {
            return;
        }
        let has = |endpoint: &dyn Endpoint| endpoint.has_embeddings();
        for (i, model) in without(has, spec, stage) {
            let message = format!("an `embed` asks for vectors, which the provider of {model} does not have");
            let help = format!("use a model of embeddings of {}", kinds_with(has));
            self.error("no-embeddings", stage.at.key("models").index(i), message).help(help);
        }
    }

    /// Only some providers report the probabilities of labels.
    pub(super) fn probabilities(&mut self, spec: &Spec, stage: &Asking<'_>, bound: &Stage) {
        if !bound.info.probabilities {
            return;
        }
        let what = if asks(bound, Mode::Logprobs) { "logprobs" } else { "prob" };
        let reports = |endpoint: &dyn Endpoint| endpoint.gives_probabilities();
        for (i, model) in without(reports, spec, stage) {
            let message =
                format!("`{what}` needs the probabilities of labels, which the provider of {model} does not report");
            let help = format!("providers that do: {}; or leave `{what}` out", kinds_with(reports));
            self.error("no-probabilities", stage.at.key("models").index(i), message).help(help);
        }
    }

    /// Warns about models that repeat the answers of a distribution.
    pub(super) fn one_answer(&mut self, spec: &Spec, asking: &Asking<'_>, bound: &Stage) {
        if !asks(bound, Mode::Sample) {
            return;
        }
        for (i, name) in asking.stage.table.models.iter().enumerate() {
            let model = spec.models.get(asking.model(name));
            if model.is_some_and(|model| model.model.sampling.temperature == Some(0.0)) {
                let message = format!("`{name}` has the temperature 0, so all answers of `sample` are equal");
                let at = asking.at.key("models").index(i);
                self.problems.warning("no-effect", at, message).help("set a `temperature` above 0, such as 1");
            }
        }
    }
}

/// The models of a stage whose provider lacks an ability, by their positions: their names, each with its provider.
fn without(ability: fn(&dyn Endpoint) -> bool, spec: &Spec, stage: &Asking<'_>) -> Vec<(usize, String)> {
    let of = |name: &String| {
        let endpoint = &spec.endpoints[&spec.models.get(stage.model(name))?.endpoint].endpoint;
        (!ability(endpoint.as_ref())).then(|| format!("`{name}` ({})", endpoint.kind()))
    };
    stage.stage.table.models.iter().enumerate().filter_map(|(i, name)| Some((i, of(name)?))).collect()
}

/// The providers with an ability.
fn kinds_with(ability: fn(&dyn Endpoint) -> bool) -> String {
    let has = |kind: &&str| default_endpoint(kind).is_some_and(|endpoint| ability(endpoint.as_ref()));
    listed(PROVIDERS.iter().map(|kind| kind.name).filter(has))
}

/// Whether the stage measures distributions in this way.
fn asks(stage: &Stage, mode: Mode) -> bool {
    stage.info.distributions.iter().any(|distributed| distributed.modes.iter().any(|(of, _)| *of == mode))
}
