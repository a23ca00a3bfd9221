//! Connecting: from the plan's endpoints to clients, each asked once whether it is there and which build of a model it has.
//!
//! The build is part of a call's key. A server that is down is no obstacle while the ledger knows the build it had and
//! holds every answer; the first call that has to be sent then stops the run.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use indexmap::IndexMap;
use parking_lot::Mutex;
use serde_json::Value;

use super::forms::Forms;
use super::limiter::Limiter;
use super::replay::{Replay, Silent};
use crate::ask::call_key;
use crate::lock::{Lock, ModelFacts};
use crate::plan::Plan;
use crate::prompt::Prompt;
use crate::provider::{Build, Call, CallError, CallErrorKind, Env, Here, Model, Provider};
use crate::spec::{EndpointSpec, OnOutage, Price, Spec};
use crate::store::{Key, Ledger, LedgerError, ModelEntry, Project};

/// A model that can be asked.
#[derive(Debug)]
pub struct Target {
    /// Its name in the spec.
    pub name: String,
    /// The model as its provider knows it.
    pub model: Model,
    /// Its provider's client.
    pub provider: Arc<dyn Provider>,
    /// What its endpoint's models share.
    pub endpoint: Arc<EndpointState>,
    /// Which build the server has.
    pub build: Build,
    /// What it costs.
    pub price: Option<Price>,
    /// Tokens that its context holds, where the spec says so.
    pub context_tokens: Option<u64>,
    /// Whether the form of its answers can be asked for in several ways.
    pub has_forms: bool,
    /// The forms that it knows.
    pub forms: Forms,
    /// Who is asked in its place: name and index in the spec.
    pub fallback: Vec<(String, usize)>,
}

/// Tokens that the form of a pack's reply takes for each item.
const ITEM_TOKENS: u32 = 24;

impl Target {
    /// Tokens that its context holds, prompt and reply together, where that is known.
    pub fn context(&self) -> Option<u64> {
        self.provider.context_tokens(&self.model).or(self.context_tokens)
    }

    /// The key of the call that asks `prompt` for the replicate of this number, from 0.
    pub fn key(&self, prompt: &Prompt, replicate: u64) -> Key {
        let model = self.model_for(prompt, replicate);
        let call = Call { model: &model, messages: &prompt.messages, schema: prompt.schema.as_deref() };
        let encoded = self.provider.encode(&call);
        call_key(self.provider.kind(), &self.build, &encoded, replicate, self.respondent(prompt))
    }

    /// Who answers `prompt`, if others are to answer the same anew. A model that doesn't draw its words would say the same.
    pub fn respondent(&self, prompt: &Prompt) -> Option<u64> {
        prompt.respondent.filter(|_| !self.provider.is_greedy(&self.model.sampling))
    }

    /// The model as `prompt` is asked of it for the replicate of this number, from 0: respondents and replicates have seeds
    /// of their own, or else they would say the same.
    pub fn model_for(&self, prompt: &Prompt, replicate: u64) -> Cow<'_, Model> {
        let respondent = self.respondent(prompt);
        let logprobs = self.provider.tells_tokens() && prompt.expect.needs_probabilities();
        let items = prompt.pack.as_ref().map_or(1, |pack| pack.size() as u32);
        if replicate == 0 && respondent.is_none() && !logprobs && items == 1 {
            return Cow::Borrowed(&self.model);
        }
        let mut model = self.model.clone();
        model.sampling.logprobs = logprobs;
        // What is allowed for a row is allowed for each of several.
        let tokens = model.sampling.max_tokens.filter(|_| items > 1);
        if let Some(tokens) = tokens {
            model.sampling.max_tokens = Some(tokens.saturating_add(ITEM_TOKENS).saturating_mul(items));
        }
        if replicate == 0 && respondent.is_none() {
            return Cow::Owned(model);
        }
        let seed = model.sampling.seed.unwrap_or(0);
        let own = respondent.map_or(seed, |respondent| {
            let hash = blake3::hash(&[seed.to_le_bytes(), respondent.to_le_bytes()].concat());
            // Some servers take no seed of more than 31 bits.
            u64::from(u32::from_le_bytes(hash.as_bytes()[..4].try_into().expect("a hash has 32 bytes")) >> 1)
        });
        model.sampling.seed = Some(own.wrapping_add(replicate));
        Cow::Owned(model)
    }
}

/// Rejections for one reason, before anything was answered, that no other row would escape.
const SAME: u32 = 20;

/// What all calls to an endpoint share.
#[derive(Debug)]
pub struct EndpointState {
    /// Whose turn it is.
    pub limiter: Limiter,
    /// What to do when it is down.
    pub on_outage: OnOutage,
    down: AtomicBool,
    /// How often the same was rejected before anything was answered, and why; none once something was answered.
    rejected: Mutex<Option<(String, u32)>>,
}

impl EndpointState {
    /// Whether it was down when the run began and has not answered since.
    pub fn was_down(&self) -> bool {
        self.down.load(Relaxed)
    }

    /// It has answered.
    pub fn is_up(&self) {
        self.down.store(false, Relaxed);
        *self.rejected.lock() = None;
    }

    /// A call was rejected for this reason: whether all were, for the same one (numbers in it aside), from the first on.
    pub fn rejects_all(&self, message: &str) -> bool {
        let mut rejected = self.rejected.lock();
        let Some((reason, times)) = rejected.as_mut() else { return false };
        let plain: String = message.chars().filter(|c| !c.is_ascii_digit()).collect();
        if *times > 0 && *reason != plain {
            *rejected = None;
            return false;
        }
        *reason = plain;
        *times += 1;
        *times >= SAME
    }
}

/// The models that the plan's stages ask.
#[derive(Debug, Default)]
pub struct Models {
    /// By index in the spec; none for a model that nobody asks.
    targets: Vec<Option<Target>>,
}

/// Why a model can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The environment lacks something.
    #[error("provider `{provider}`: {message}")]
    Environment {
        /// The provider's name in the spec.
        provider: String,
        /// What is lacking.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// The server said no.
    #[error("model `{model}`: {error}")]
    Server {
        /// The model's name in the spec.
        model: String,
        /// What it said.
        error: CallError,
    },
    /// The ledger can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Models {
    /// The model of index `model` in the spec, which a stage of the plan asks.
    pub fn target(&self, model: usize) -> &Target {
        self.targets[model].as_ref().expect("every model that a stage asks is connected")
    }

    /// Tells, whenever it is asked, what a provider has to do before it can answer.
    pub fn preparing(&self) -> impl Fn() -> Option<String> + Send + 'static {
        let mut providers: Vec<Arc<dyn Provider>> = Vec::new();
        for target in self.targets.iter().flatten() {
            if !providers.iter().any(|known| Arc::ptr_eq(known, &target.provider)) {
                providers.push(target.provider.clone());
            }
        }
        move || providers.iter().find_map(|provider| provider.preparing())
    }

    /// Lets no reply have more tokens than this, if there is a most.
    pub fn shorten_replies(&mut self, most: Option<u32>) {
        for target in self.targets.iter_mut().flatten() {
            target.model.sampling.max_tokens = most.or(target.model.sampling.max_tokens);
        }
    }

    /// Takes the builds that a lock names for the models, since its answers are theirs.
    pub fn take_builds(&mut self, lock: &Lock) {
        for target in self.targets.iter_mut().flatten() {
            target.build = lock.build(&target.name);
        }
    }

    /// What the manifest says of them.
    pub fn entries(&self) -> IndexMap<String, ModelEntry> {
        let entries = self.targets.iter().flatten().map(|t| {
            let entry = ModelEntry {
                provider: t.provider.kind().to_owned(),
                endpoint: t.provider.endpoint(),
                model: t.model.id.clone(),
                build: t.build.clone(),
            };
            (t.name.clone(), entry)
        });
        entries.collect()
    }

    /// What a lock says of them, by index in the spec.
    pub fn facts(&self) -> HashMap<usize, ModelFacts> {
        let facts = |t: &Target| ModelFacts::of(t.provider.as_ref(), &t.model, &t.build);
        self.targets.iter().enumerate().filter_map(|(i, target)| Some((i, facts(target.as_ref()?)))).collect()
    }
}

/// The name under which the ledger remembers a provider's builds.
fn place(provider: &dyn Provider) -> String {
    format!("{} {}", provider.kind(), provider.endpoint())
}

fn known(ledger: &Ledger, provider: &dyn Provider, model: &Model) -> Result<Option<Build>, LedgerError> {
    let known = ledger.known_build(&place(provider), &model.id)?;
    Ok(known.and_then(|json| serde_json::from_str(&json).ok()))
}

/// A client for every model that the plan's stages ask.
fn clients(plan: &Plan, env: Env<'_>) -> Result<Models, ConnectError> {
    let spec = &plan.spec;
    let asked = plan.stages().flat_map(|stage| &spec.stage(stage).models).copied();
    clients_of(
        spec,
        asked.flat_map(|model| [model].into_iter().chain(spec.model(model).1.fallback.iter().copied())),
        env,
    )
}

/// A client for each of these models; nothing is sent, and no build is known yet.
pub fn clients_of(spec: &Spec, asked: impl Iterator<Item = usize>, env: Env<'_>) -> Result<Models, ConnectError> {
    let here = Here { env, folder: &spec.folder };
    let mut clients: IndexMap<&str, (Arc<dyn Provider>, Arc<EndpointState>)> = IndexMap::new();
    let mut models = Models { targets: spec.models.iter().map(|_| None).collect() };
    for index in asked {
        let (name, model) = spec.model(index);
        let EndpointSpec { endpoint, limits } = &spec.endpoints[&model.endpoint];
        if !clients.contains_key(model.endpoint.as_str()) {
            let provider = endpoint.connect(&here).map_err(|e| ConnectError::Environment {
                provider: model.endpoint.clone(),
                message: e.message,
                help: e.help,
            })?;
            let state = Arc::new(EndpointState {
                limiter: Limiter::new(limits),
                on_outage: limits.on_outage,
                down: AtomicBool::new(false),
                rejected: Mutex::new(Some((String::new(), 0))),
            });
            clients.insert(&model.endpoint, (provider, state));
        }
        let (provider, endpoint) = clients[model.endpoint.as_str()].clone();
        let named = |other: &usize| (spec.model(*other).0.to_string(), *other);
        let probe = Call { model: &model.model, messages: &[], schema: Some(&Value::Bool(true)) };
        models.targets[index] = Some(Target {
            name: name.to_string(),
            model: model.model.clone(),
            has_forms: provider.looser(&probe, 1).is_some(),
            provider,
            endpoint,
            build: Build::default(),
            price: model.price,
            context_tokens: model.context_tokens,
            forms: Forms::default(),
            fallback: model.fallback.iter().map(named).collect(),
        });
    }
    Ok(models)
}

/// Connects every model that the plan's stages ask; `env` reads environment variables. For a replay of nothing but
/// recorded calls nobody is asked anything.
pub async fn connect(
    plan: &Plan,
    env: Variables<'_>,
    project: &Project,
    replay: Option<&Replay>,
) -> Result<Models, ConnectError> {
    if let Some(replay) = replay.filter(|replay| replay.is_only()) {
        return recorded(plan, env, replay);
    }
    let ledger = &mut Ledger::open(&project.ledger())?;
    let mut models = clients(plan, env)?;
    for target in models.targets.iter_mut().flatten() {
        match target.provider.inspect(&target.model).await {
            Ok(build) => {
                let json = serde_json::to_string(&build).unwrap_or_default();
                ledger.remember_build(&place(target.provider.as_ref()), &target.model.id, &json)?;
                target.build = build;
            }
            Err(error) => {
                let down = matches!(
                    error.kind,
                    CallErrorKind::Unavailable { .. } | CallErrorKind::ServerError { .. } | CallErrorKind::Timeout
                );
                let of_replay = || replay?.build(&target.name, target.provider.kind(), &target.model.id);
                let known = known(ledger, target.provider.as_ref(), &target.model)?.or_else(of_replay);
                if !down || known.is_none() && target.fallback.is_empty() {
                    return Err(ConnectError::Server { model: target.name.clone(), error });
                }
                target.build = known.unwrap_or_default();
                target.endpoint.down.store(true, Relaxed);
            }
        }
    }
    Ok(models)
}

/// The models as they were when the calls of `replay` were recorded. They can't be asked, so they need no key and no
/// address.
fn recorded(plan: &Plan, env: Env<'_>, replay: &Replay) -> Result<Models, ConnectError> {
    let mut models = clients(plan, &keyless(plan, env))?;
    for target in models.targets.iter_mut().flatten() {
        // Of a model that is not in the file no call is either, and that is told.
        let build = replay.build(&target.name, target.provider.kind(), &target.model.id);
        target.build = build.unwrap_or_default();
        target.provider = Arc::new(Silent(target.provider.clone()));
    }
    Ok(models)
}

/// The environment with something in place of keys, and of addresses that are not set.
fn keyless<'a>(plan: &'a Plan, env: Env<'a>) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| {
        let endpoints = || plan.spec.endpoints.values().map(|spec| &spec.endpoint);
        if endpoints().any(|endpoint| endpoint.secret_env() == Some(name)) {
            return Some("unset".to_owned());
        }
        let address = endpoints().any(|endpoint| endpoint.address_env() == Some(name));
        env(name).or_else(|| address.then(|| "https://unset.invalid".to_owned()))
    }
}

/// Reads environment variables, from any thread.
pub type Variables<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// The models with the builds that their servers have now; fails where a server is not there. The ledger is left alone.
pub async fn inspect(plan: &Plan, env: Variables<'_>) -> Result<Models, ConnectError> {
    inspected(clients(plan, env)?).await
}

/// The same models with the builds that their servers have now.
pub async fn inspected(mut models: Models) -> Result<Models, ConnectError> {
    for target in models.targets.iter_mut().flatten() {
        let build = target.provider.inspect(&target.model).await;
        target.build = build.map_err(|error| ConnectError::Server { model: target.name.clone(), error })?;
    }
    Ok(models)
}

/// The models as far as they are known without network and without keys, with the builds that the ledger remembers: for
/// counting what it holds.
pub fn offline(plan: &Plan, ledger: Option<&Ledger>) -> Result<Models, ConnectError> {
    let mut models = clients(plan, &keyless(plan, &|name| std::env::var(name).ok()))?;
    for target in models.targets.iter_mut().flatten() {
        if let Some(ledger) = ledger {
            target.build = known(ledger, target.provider.as_ref(), &target.model)?.unwrap_or_default();
        }
    }
    Ok(models)
}
