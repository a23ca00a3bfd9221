//! Probabilities: whether the models of a stage can say how probable its labels are.

use super::pipeline::Spec;
use super::resolve::Resolver;
use super::stages::Asking;
use crate::name::listed;
use crate::prompt::Mode;
use crate::provider::{PROVIDERS, default_endpoint};
use crate::stage::Stage;

impl Resolver<'_> {
    /// Reports models whose provider reports no probabilities of labels.
    pub(super) fn probabilities(&mut self, spec: &Spec, stage: &Asking<'_>, bound: &Stage) {
        let what = if has(bound, Mode::Logprobs) { "logprobs" } else { "prob" };
        for (i, name) in stage.stage.table.models.iter().enumerate() {
            let Some(model) = spec.models.get(stage.model(name)) else { continue };
            let endpoint = &spec.endpoints[&model.endpoint].endpoint;
            if endpoint.gives_probabilities() {
                continue;
            }
            let kinds = PROVIDERS.iter().map(|kind| kind.name);
            let able = kinds.filter(|kind| default_endpoint(kind).is_some_and(|e| e.gives_probabilities()));
            let help = format!("providers that do: {}; or leave `{what}` out", listed(able));
            let message = format!(
                "`{what}` needs the probabilities of labels, which the provider of `{name}` ({}) does not report",
                endpoint.kind()
            );
            self.error("no-probabilities", stage.at.key("models").index(i), message).help(help);
        }
    }

    /// Warns about models that repeat the answers of a distribution.
    pub(super) fn one_answer(&mut self, spec: &Spec, asking: &Asking<'_>, bound: &Stage) {
        if !has(bound, Mode::Sample) {
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

/// Whether the stage measures distributions in this way.
fn has(stage: &Stage, mode: Mode) -> bool {
    stage.info.distributions.iter().any(|distributed| distributed.modes.iter().any(|(of, _)| *of == mode))
}
