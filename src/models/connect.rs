//! Connecting: makes a client with a known build for each model of a spec.
//!
//! A model's build is part of its call keys. If a server is down, the last known build is used. If the ledger then has
//! every answer, the run succeeds; otherwise the first call that has to be sent stops it.

use std::sync::Arc;

use indexmap::IndexMap;

use super::target::Target;
use crate::plan::Plan;
use crate::provider::{Build, CallError, CallErrorKind, ConnectContext, Env, Provider};
use crate::spec::Spec;
use crate::store::{Ledger, LedgerError, ModelEntry, ReplayFile, shown};

#[derive(Clone, Copy)]
pub(crate) struct Access<'a> {
    pub(crate) env: Env<'a>,
    /// Remembers the builds of servers. Without a ledger, [`Models::connect`] fails if a server is down.
    pub(crate) ledger: Option<&'a Ledger>,
    pub(crate) recorded: Option<&'a ReplayFile>,
}

#[derive(Debug, Default)]
pub(crate) struct Models {
    /// The targets by index in the spec; `None` for a model that no stage asks.
    targets: Vec<Option<Target>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// An API key, an address or a file is missing from the environment.
    #[error("provider `{provider}`: {message}")]
    Environment { provider: String, message: String, help: Option<String> },
    #[error("model `{model}`: {error}")]
    Server { model: String, error: CallError },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The models that the plan's stages ask, and their fallbacks, by index in the spec.
pub(crate) fn asked_models(plan: &Plan) -> Vec<usize> {
    let asked = plan.stages().flat_map(|stage| &plan.spec.stage(stage).models);
    asked.flat_map(|model| [model].into_iter().chain(&plan.spec.model(*model).1.fallback)).copied().collect()
}

impl Models {
    /// Connects the models `asked`, given by index in the spec, and asks each server for its build.
    pub(crate) async fn connect(spec: &Spec, asked: &[usize], access: Access<'_>) -> Result<Models, ConnectError> {
        let mut models = Models::clients(spec, asked, access.env)?;
        for target in models.targets.iter_mut().flatten() {
            let error = match target.provider.inspect(&target.model).await {
                Ok(build) => {
                    if let Some(ledger) = access.ledger {
                        let json = serde_json::to_string(&build).unwrap_or_default();
                        ledger.remember_build(&server(target), &target.model.id, &json)?;
                    }
                    target.build = build;
                    continue;
                }
                Err(error) => error,
            };
            let known = access.known_build(target)?;
            let down = matches!(
                error.kind,
                CallErrorKind::Unavailable { .. } | CallErrorKind::ServerError { .. } | CallErrorKind::Timeout
            );
            if !down || access.ledger.is_none() || known.is_none() && target.fallback.is_empty() {
                return Err(ConnectError::Server { model: target.name.clone(), error });
            }
            target.build = known.unwrap_or_default();
            target.was_down = true;
        }
        Ok(models)
    }

    /// Models with the known builds, without network access, keys or addresses. They can't be asked.
    pub(crate) fn offline(spec: &Spec, asked: &[usize], access: Access<'_>) -> Result<Models, ConnectError> {
        let mut models = Models::clients(spec, asked, &without_keys(spec, access.env))?;
        for target in models.targets.iter_mut().flatten() {
            target.build = access.known_build(target)?.unwrap_or_default();
            target.is_offline = true;
        }
        Ok(models)
    }

    fn clients(spec: &Spec, asked: &[usize], env: Env<'_>) -> Result<Models, ConnectError> {
        let context = ConnectContext { env, folder: &spec.folder };
        let mut clients: IndexMap<&str, Arc<dyn Provider>> = IndexMap::new();
        let mut models = Models { targets: spec.models.iter().map(|_| None).collect() };
        for index in asked.iter().copied() {
            let (name, model) = spec.model(index);
            if !clients.contains_key(model.endpoint.as_str()) {
                let client = spec.endpoints[&model.endpoint].endpoint.connect(&context);
                let client = client.map_err(|error| ConnectError::Environment {
                    provider: model.endpoint.clone(),
                    message: error.message,
                    help: error.help,
                })?;
                clients.insert(&model.endpoint, client);
            }
            models.targets[index] = Some(Target {
                index,
                name: name.to_string(),
                model: model.model.clone(),
                provider: clients[model.endpoint.as_str()].clone(),
                build: Build::default(),
                price: model.price,
                context_tokens: model.context_tokens,
                fallback: model.fallback.iter().map(|other| (spec.model(*other).0.to_string(), *other)).collect(),
                was_down: false,
                is_offline: false,
            });
        }
        Ok(models)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().flatten()
    }

    pub(crate) fn target(&self, model: usize) -> &Target {
        self.targets[model].as_ref().expect("every model that a stage asks is connected")
    }

    pub(crate) fn preparing(&self) -> impl Fn() -> Option<String> + Send + 'static {
        let mut providers: Vec<Arc<dyn Provider>> = Vec::new();
        for target in self.iter() {
            if !providers.iter().any(|known| Arc::ptr_eq(known, &target.provider)) {
                providers.push(target.provider.clone());
            }
        }
        move || providers.iter().find_map(|provider| provider.preparing())
    }

    pub(crate) fn limit_replies(&mut self, max_tokens: Option<u32>) {
        for target in self.targets.iter_mut().flatten() {
            target.model.sampling.max_tokens = max_tokens.or(target.model.sampling.max_tokens);
        }
    }

    pub(crate) fn set_builds(&mut self, build: impl Fn(&str) -> Build) {
        for target in self.targets.iter_mut().flatten() {
            target.build = build(&target.name);
        }
    }

    pub(crate) fn entries(&self) -> IndexMap<String, ModelEntry> {
        let entry = |target: &Target| ModelEntry {
            provider: target.provider.kind().to_owned(),
            endpoint: target.provider.endpoint(),
            model: target.model.id.clone(),
            build: target.build.clone(),
        };
        self.iter().map(|target| (target.name.clone(), entry(target))).collect()
    }
}

impl Access<'_> {
    fn known_build(&self, target: &Target) -> Result<Option<Build>, LedgerError> {
        let json =
            self.ledger.map(|ledger| ledger.known_build(&server(target), &target.model.id)).transpose()?.flatten();
        let remembered = json.and_then(|json| serde_json::from_str(&json).ok());
        Ok(remembered.or_else(|| recorded_build(self.recorded?, target)))
    }
}

/// The build that the model of this name had in the recorded run, or else that of any model of the same kind and id.
fn recorded_build(file: &ReplayFile, target: &Target) -> Option<Build> {
    let kind = target.provider.kind();
    let id = shown(kind, &target.model.id);
    let models = file.models.iter().filter(|(_, model)| model.provider == kind && model.model == id);
    let same_name = models.clone().find(|(name, _)| **name == target.name);
    let (_, model) = same_name.or_else(|| models.clone().next())?;
    let (digest, quantization) = (model.digest.clone(), model.quantization.clone());
    Some(Build { digest, quantization, template: model.template.clone(), ..Build::default() })
}

/// The name under which the ledger stores a server's builds.
fn server(target: &Target) -> String {
    format!("{} {}", target.provider.kind(), target.provider.endpoint())
}

/// The environment with placeholders for API keys and for addresses that are not set.
fn without_keys<'a>(spec: &'a Spec, env: Env<'a>) -> impl Fn(&str) -> Option<String> + Sync + 'a {
    move |name| {
        let mut endpoints = spec.endpoints.values().map(|spec| &spec.endpoint);
        if endpoints.clone().any(|endpoint| endpoint.secret_env() == Some(name)) {
            return Some("unset".to_owned());
        }
        let is_address = endpoints.any(|endpoint| endpoint.address_env() == Some(name));
        env(name).or_else(|| is_address.then(|| "https://unset.invalid".to_owned()))
    }
}
