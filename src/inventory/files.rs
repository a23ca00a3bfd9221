//! Files of models that run in the process: reports the models that can't run, and what a Modelfile adds in vain.

use crate::document::{Diagnostic, Path};
use crate::provider::{ConnectContext, Env};
use crate::spec::Spec;

/// Reads headers, and no weights. Only warns about models that are not on this machine.
pub(crate) fn check_files(spec: &Spec, env: Env<'_>) -> Vec<Diagnostic> {
    let context = ConnectContext { env, folder: &spec.folder };
    let problems = spec.models.iter().flat_map(|(name, model)| {
        let path = Path::of(["models", name.as_str(), "model"]);
        let examined = spec.endpoints[&model.endpoint].endpoint.examine(&model.model.id, &context);
        let error = examined.error.map(|error| {
            let diagnostic = Diagnostic::error("unusable-model", path.clone(), error.message);
            Diagnostic { help: error.help, ..diagnostic }
        });
        let note = unused(&model.model.id, &examined.unused).filter(|_| error.is_none());
        let note = note.map(|note| Diagnostic::warning("unused-modelfile", path.clone(), note).help(INSTEAD));
        let missing = examined.missing.map(|missing| {
            let diagnostic = Diagnostic::warning("missing-model", path.clone(), missing.message);
            Diagnostic { help: missing.help, ..diagnostic }
        });
        error.into_iter().chain(note).chain(missing)
    });
    problems.collect()
}

const INSTEAD: &str =
    "write in the spec what you need of it (`system`, `temperature` ..), or use the provider `ollama`";

/// A sentence about the parts of a Modelfile that the provider does not use.
pub(super) fn unused(id: &str, parts: &[String]) -> Option<String> {
    let parts = Some(parts.join(", ")).filter(|parts| !parts.is_empty());
    parts.map(|parts| format!("only the weights of Ollama's `{id}` are used, without its {parts}"))
}
