//! Connecting: makes a client with a known build for each model of a spec.
//!
//! A model's build is part of its call keys. If a server does not tell the build, the last known one is used: that of
//! the lock, of the last run, or of the last server. If the ledger then has every answer, the run succeeds; otherwise
//! the first call that has to be sent stops it.

use std::sync::Arc;

use indexmap::IndexMap;

use super::build::KnownBuild;
use super::target::{Servers, Target};
use crate::plan::Plan;
use crate::provider::{Build, CallError, CallErrorKind, ConnectContext, EndpointError, Env, Provider, server_of};
use crate::spec::Spec;
use crate::store::{Ledger, LedgerError, ModelEntry, PriceSource, ReplyLimit, shown};

#[derive(Clone, Copy)]
pub(crate) struct Access<'a> {
    pub(crate) env: Env<'a>,
    /// Remembers the builds of servers. Without a ledger, [`Models::connect`] fails if a server is down.
    pub(crate) ledger: Option<&'a Ledger>,
    /// The builds of earlier runs. The first one that fits a model counts. A run prefers it to the ledger's.
    pub(crate) known: &'a [KnownBuild],
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

/// The most smaller `max_tokens` whose replies are looked up.
const MOST_LIMITS: usize = 4;
/// The host of an address that is not set.
const UNSET: &str = "unset.invalid";

/// Why the client of an endpoint lacks its key or address, by name.
type Missing = IndexMap<String, EndpointError>;

impl ConnectError {
    fn environment(provider: &str, EndpointError { message, help }: EndpointError) -> Self {
        ConnectError::Environment { provider: provider.to_owned(), message, help }
    }

    fn is_outage(&self) -> bool {
        let ConnectError::Server { error, .. } = self else { return false };
        matches!(
            error.kind,
            CallErrorKind::Unavailable { .. }
                | CallErrorKind::Lost
                | CallErrorKind::ServerError { .. }
                | CallErrorKind::Timeout
        )
    }

    fn into_call_error(self) -> CallError {
        match self {
            ConnectError::Server { error, .. } => error,
            other => CallError::new(CallErrorKind::Unauthorized, other.to_string()),
        }
    }
}

/// The models that the plan's stages ask, and their fallbacks, by index in the spec.
pub(crate) fn asked_models(plan: &Plan) -> Vec<usize> {
    let asked = plan.stages().flat_map(|stage| &plan.spec.stage(stage).models);
    asked.flat_map(|model| [model].into_iter().chain(&plan.spec.model(*model).1.fallback)).copied().collect()
}

impl Models {
    /// Connects the models `asked`, given by index in the spec, and asks each server for its build.
    pub(crate) async fn connect(spec: &Spec, asked: &[usize], access: Access<'_>) -> Result<Models, ConnectError> {
        let (mut models, failed) = Models::clients(spec, asked, access.env)?;
        for target in models.targets.iter_mut().flatten() {
            let endpoint = &spec.model(target.index).1.endpoint;
            let error = match failed.get(endpoint) {
                Some(error) => ConnectError::environment(endpoint, error.clone()),
                None => match target.provider.inspect(&target.model).await {
                    Ok(build) => {
                        if let Some(ledger) = access.ledger {
                            let json = serde_json::to_string(&build).unwrap_or_default();
                            ledger.remember_build(&server(target), &target.model.id, &json)?;
                        }
                        target.build = build;
                        continue;
                    }
                    Err(error) => ConnectError::Server { model: target.name.clone(), error },
                },
            };
            let known = match access.known(target) {
                Some(known) => Some(known),
                None => access.remembered(target)?,
            };
            let down = error.is_outage();
            let can_begin = known.is_some() || down && !target.fallback.is_empty();
            if access.ledger.is_none() || !can_begin {
                return Err(error);
            }
            target.build = known.unwrap_or_default();
            target.was_down = down;
            target.unasked = Some(error.into_call_error());
        }
        models.find_servers(access)?;
        Ok(models)
    }

    /// Models with the known builds, without network access, keys or addresses. They can't be asked.
    pub(crate) fn offline(spec: &Spec, asked: &[usize], access: Access<'_>) -> Result<Models, ConnectError> {
        let (mut models, _) = Models::clients(spec, asked, &without_keys(spec, access.env))?;
        for target in models.targets.iter_mut().flatten() {
            target.build = access.remembered(target)?.or_else(|| access.known(target)).unwrap_or_default();
            target.unasked = Some(CallError::new(CallErrorKind::Unauthorized, "no call is sent in a replay"));
        }
        models.find_servers(access)?;
        Ok(models)
    }

    /// Makes the clients. Also returns the endpoints whose key or address is missing, which have placeholders instead.
    fn clients(spec: &Spec, asked: &[usize], env: Env<'_>) -> Result<(Models, Missing), ConnectError> {
        let (folder, placeholders) = (&spec.folder, without_keys(spec, env));
        let mut clients: IndexMap<&str, Arc<dyn Provider>> = IndexMap::new();
        let mut missing = Missing::new();
        let mut models = Models { targets: spec.models.iter().map(|_| None).collect() };
        for index in asked.iter().copied() {
            let (name, model) = spec.model(index);
            let endpoint = &spec.endpoints[&model.endpoint].endpoint;
            if !clients.contains_key(model.endpoint.as_str()) {
                let client = match endpoint.connect(&ConnectContext { env, folder }) {
                    Ok(client) => client,
                    Err(error) => {
                        let client = endpoint.connect(&ConnectContext { env: &placeholders, folder });
                        missing.insert(model.endpoint.clone(), error.clone());
                        client.map_err(|_| ConnectError::environment(&model.endpoint, error))?
                    }
                };
                clients.insert(&model.endpoint, client);
            }
            models.targets[index] = Some(Target {
                index,
                name: name.to_string(),
                model: model.model.clone(),
                provider: clients[model.endpoint.as_str()].clone(),
                build: Build::default(),
                servers: Servers::default(),
                price: model.price,
                listed: model.listed,
                context_tokens: model.context_tokens,
                batch: endpoint.batch(),
                shorter: Vec::new(),
                fallback: model.fallback.iter().map(|other| (spec.model(*other).0.to_string(), *other)).collect(),
                was_down: false,
                unasked: None,
            });
        }
        Ok((models, missing))
    }

    /// Finds the servers of the models whose builds are unknown.
    fn find_servers(&mut self, access: Access<'_>) -> Result<(), LedgerError> {
        for target in self.targets.iter_mut().flatten() {
            let Some(server) = target.provider.server().filter(|_| target.build.digest.is_none()) else { continue };
            let kind = target.provider.kind();
            let asked = access.ledger.map(|ledger| ledger.servers_of(&target.model.id)).transpose()?;
            let asked = asked.unwrap_or_default().into_iter();
            let addresses: Vec<String> =
                asked.filter_map(|name| Some(name.strip_prefix(kind)?.trim().to_owned())).collect();
            let replayed = KnownBuild::fitting(access.known, target).filter_map(|known| known.server.clone());
            let hash = |address: &String| match address.strip_prefix(Servers::HASHED) {
                Some(hash) => Some(hash.to_owned()),
                None => server_of(address).map(|server| Servers::hash(&server)),
            };
            let known = addresses.iter().filter(|_| server.starts_with(UNSET)).filter_map(hash);
            let recorded = replayed.chain(known).collect();
            let is_other = |address: &String| server_of(address).is_some_and(|other| other != server);
            let others = addresses.iter().filter(|address| is_other(address)).cloned().collect();
            target.servers = Servers { own: Some(Servers::hash(&server)), recorded, others };
        }
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().flatten()
    }

    pub(crate) fn target(&self, model: usize) -> &Target {
        self.targets[model].as_ref().expect("every model that a stage asks is connected")
    }

    pub(crate) fn preparing(&self) -> impl Fn() -> Option<String> + Send + Sync + 'static {
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

    /// Lets replies count that earlier runs got with a smaller `max_tokens`, if they ended by themselves.
    /// The limits of the spec's own models count too: a run that continues may have used them.
    pub(crate) fn use_shorter(&mut self, limits: &[ReplyLimit]) {
        let own = self.targets.iter().flatten().filter_map(|target| {
            let (provider, id) = (target.provider.kind().to_owned(), target.model.id.clone());
            Some(ReplyLimit { provider, id, max_tokens: target.model.sampling.max_tokens? })
        });
        let limits: Vec<ReplyLimit> = own.chain(limits.iter().cloned()).collect();
        for target in self.targets.iter_mut().flatten() {
            let kind = target.provider.kind();
            let Some(own) = target.model.sampling.max_tokens else { continue };
            let fits = |limit: &&ReplyLimit| {
                limit.provider == kind
                    && shown(kind, &limit.id) == shown(kind, &target.model.id)
                    && limit.max_tokens < own
            };
            let mut shorter: Vec<u32> = limits.iter().filter(fits).map(|limit| limit.max_tokens).collect();
            shorter.sort_unstable_by(|a, b| b.cmp(a));
            shorter.dedup();
            shorter.truncate(MOST_LIMITS);
            target.shorter = shorter;
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
            server: target.servers.recorded.first().or(target.servers.own.as_ref()).cloned(),
            unchecked: None,
            max_tokens: target.model.sampling.max_tokens,
            shorter: target.shorter.clone(),
            listed_price: target
                .listed
                .map(|listed| PriceSource { read: listed.read.to_owned(), source: listed.source.to_owned() }),
        };
        self.iter().map(|target| (target.name.clone(), entry(target))).collect()
    }
}

impl Access<'_> {
    fn known(&self, target: &Target) -> Option<Build> {
        KnownBuild::of(self.known, target).map(|known| known.build.clone())
    }

    fn remembered(&self, target: &Target) -> Result<Option<Build>, LedgerError> {
        let json =
            self.ledger.map(|ledger| ledger.known_build(&server(target), &target.model.id)).transpose()?.flatten();
        Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
    }
}

/// The name under which the ledger stores a server's builds.
fn server(target: &Target) -> String {
    format!("{} {}", target.provider.kind(), target.provider.endpoint())
}

/// The environment with placeholders for API keys and for addresses that are not set.
fn without_keys<'a>(spec: &'a Spec, env: Env<'a>) -> impl Fn(&str) -> Option<String> + Sync + 'a {
    move |name| {
        let mut endpoints = spec.endpoints.values().map(|spec| &spec.endpoint);
        if endpoints
            .clone()
            .any(|endpoint| endpoint.secret_env() == Some(name) || endpoint.setting_envs().contains(&name))
        {
            return Some("unset".to_owned());
        }
        let is_address = endpoints.any(|endpoint| endpoint.address_env() == Some(name));
        let value = env(name).filter(|value| !value.trim().is_empty());
        value.or_else(|| is_address.then(|| format!("https://{UNSET}")))
    }
}
