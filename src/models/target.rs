//! Targets: one model of a spec with its client, its build, and the settings for a prompt.

use std::borrow::Cow;
use std::sync::Arc;

use crate::ask::{Asked, ContextSize, Replicate, call_key};
use crate::prompt::{Expect, Prompt};
use crate::provider::{BatchRetries, Build, Call, CallError, Embedding, Model, Provider, Sampling};
use crate::spec::{ListedPrice, Price};
use crate::store::Key;

/// The number of tokens that the JSON around each item of a pack's reply needs.
const ITEM_TOKENS: u32 = 24;

/// The servers of a model whose build is unknown. A server is the hash of its host and port, so that files with keys
/// do not contain addresses. All empty if the build is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Servers {
    /// The server that is asked, which is part of the call keys.
    pub(crate) own: Option<String>,
    /// The servers of recorded answers that are used too: those of a replay file, or all if the address is not set.
    pub(crate) recorded: Vec<String>,
    /// The addresses of other servers that the ledger has asked for the model.
    pub(crate) others: Vec<String>,
}

impl Servers {
    /// Precedes the hash of a server whose address is not known, in the ledger.
    pub(super) const HASHED: &str = crate::store::HASHED_SERVER;

    /// Whether answers of `server` are used.
    pub(crate) fn has(&self, server: &String) -> bool {
        self.own.as_ref() == Some(server) || self.recorded.contains(server)
    }

    pub(super) fn hash(server: &str) -> String {
        blake3::hash(server.as_bytes()).to_hex()[..16].to_owned()
    }
}

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) model: Model,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) build: Build,
    /// The servers of the model, if its build is unknown.
    pub(crate) servers: Servers,
    pub(crate) price: Option<Price>,
    /// Where the price was found, if the spec has none.
    pub(crate) listed: Option<&'static ListedPrice>,
    pub(crate) context_tokens: Option<u64>,
    /// How further requests are sent if first ones go in batches; `None` if they don't.
    pub(crate) batch: Option<BatchRetries>,
    /// Smaller `max_tokens` with which earlier runs asked the model, the largest first.
    pub(crate) shorter: Vec<u32>,
    /// The models that are asked when this one fails, by name and index in the spec.
    pub(crate) fallback: Vec<(String, usize)>,
    /// Whether the server was down when the models were connected.
    pub(crate) was_down: bool,
    /// Why the server was not asked for the build, which is then the last known one. If the server was not down, no call
    /// may be sent either.
    pub(crate) unasked: Option<CallError>,
}

impl Target {
    /// The context size in tokens, prompt and reply together, if it is known.
    pub(crate) fn context(&self) -> Option<u64> {
        self.provider.context_tokens(&self.model).or(self.context_tokens)
    }

    pub(crate) fn context_size(&self) -> ContextSize {
        let is_num_ctx = self.provider.context_tokens(&self.model).is_some();
        let own = self.model.sampling.max_tokens;
        let max_tokens = own.or(self.provider.default_max_tokens());
        ContextSize { tokens: self.context(), is_num_ctx, max_tokens, sets_max_tokens: own.is_some() }
    }

    /// This model and those that are asked when it fails, as indices in the spec.
    pub(crate) fn with_fallback(&self) -> impl Iterator<Item = usize> {
        [self.index].into_iter().chain(self.fallback.iter().map(|(_, index)| *index))
    }

    /// Why no call may be sent.
    pub(crate) fn refusal(&self) -> Option<&CallError> {
        self.unasked.as_ref().filter(|_| !self.was_down)
    }

    /// Whether the server holds one model at a time, so that switching models is expensive.
    pub(crate) fn holds_one_model(&self) -> bool {
        self.refusal().is_none() && self.provider.holds_one_model()
    }

    pub(crate) fn key(&self, prompt: &Prompt, replicate: Replicate) -> Key {
        let keys = self.keys(prompt, replicate, [self.server()].into_iter());
        keys.into_iter().next().expect("a key for one server")
    }

    /// The keys under which the answer may be recorded, other than [`Target::key`], the likeliest first.
    pub(crate) fn older_keys(&self, prompt: &Prompt, replicate: Replicate) -> Vec<Key> {
        if self.server().is_none() {
            return Vec::new();
        }
        // Earlier versions recorded no server.
        let recorded = self.servers.recorded.iter().map(|server| Some(server.as_str()));
        self.keys(prompt, replicate, recorded.chain([None]))
    }

    /// The keys of the same call with a smaller `max_tokens`. A reply that ended by itself is the same with a larger one.
    pub(crate) fn shorter_keys(&self, prompt: &Prompt, replicate: Replicate) -> Vec<Key> {
        let key = |limit: &u32| {
            let mut model = self.model_for(prompt, replicate, 0).into_owned();
            model.sampling.max_tokens = Some(reply_tokens(*limit, prompt));
            self.keys_of(&model, prompt, replicate, [self.server()].into_iter())
        };
        self.shorter.iter().flat_map(key).collect()
    }

    /// The server, if the build is unknown.
    fn server(&self) -> Option<&str> {
        self.servers.own.as_deref().filter(|_| self.build.digest.is_none())
    }

    fn keys<'a>(
        &self,
        prompt: &Prompt,
        replicate: Replicate,
        servers: impl Iterator<Item = Option<&'a str>>,
    ) -> Vec<Key> {
        self.keys_of(&self.model_for(prompt, replicate, 0), prompt, replicate, servers)
    }

    fn keys_of<'a>(
        &self,
        model: &Model,
        prompt: &Prompt,
        replicate: Replicate,
        servers: impl Iterator<Item = Option<&'a str>>,
    ) -> Vec<Key> {
        let call = Call { model, messages: &prompt.messages, schema: prompt.schema.as_deref() };
        let (encoded, respondent) = (self.provider.encode(&call), self.respondent(prompt));
        let asked = |server| Asked { kind: self.provider.kind(), build: &self.build, server };
        servers.map(|server| call_key(asked(server), &encoded, replicate, respondent)).collect()
    }

    /// The respondent of `prompt`, if several respondents get the same prompt. A greedy model would repeat its answer.
    fn respondent(&self, prompt: &Prompt) -> Option<u64> {
        prompt.respondent.filter(|_| !self.provider.is_greedy(&self.model.sampling))
    }

    /// Respondents and replicates get different seeds; with equal seeds their answers would be equal. So does a try after
    /// `bad_replies`, if a seed is sent at all. A repeated call makes the same request.
    pub(crate) fn model_for(&self, prompt: &Prompt, replicate: Replicate, bad_replies: usize) -> Cow<'_, Model> {
        let model = self.model_of(prompt, replicate);
        match model.sampling.seed.filter(|_| bad_replies > 0) {
            Some(seed) => {
                let mut model = model.into_owned();
                model.sampling.seed = Some(derived(seed, bad_replies as u64));
                Cow::Owned(model)
            }
            None => model,
        }
    }

    fn model_of(&self, prompt: &Prompt, Replicate { number: replicate, .. }: Replicate) -> Cow<'_, Model> {
        if let Expect::Vector(dimensions) = *prompt.expect {
            let Sampling { num_ctx, extra, .. } = self.model.sampling.clone();
            let embedding = Some(Embedding { dimensions });
            let sampling = Sampling { num_ctx, extra, embedding, ..Sampling::default() };
            return Cow::Owned(Model { id: self.model.id.clone(), sampling });
        }
        let respondent = self.respondent(prompt);
        let logprobs = self.provider.tells_tokens() && prompt.expect.needs_probabilities();
        if replicate == 0 && respondent.is_none() && !logprobs && items_of(prompt) == 1 {
            return Cow::Borrowed(&self.model);
        }
        let mut model = self.model.clone();
        model.sampling.logprobs = logprobs;
        model.sampling.max_tokens = model.sampling.max_tokens.map(|tokens| reply_tokens(tokens, prompt));
        if replicate == 0 && respondent.is_none() {
            return Cow::Owned(model);
        }
        let seed = model.sampling.seed.unwrap_or(0);
        let own = respondent.map_or(seed, |respondent| derived(seed, respondent));
        model.sampling.seed = Some(own.wrapping_add(replicate));
        Cow::Owned(model)
    }
}

fn items_of(prompt: &Prompt) -> u32 {
    prompt.pack.as_ref().map_or(1, |pack| pack.size() as u32)
}

/// The tokens of a reply: each row of a pack gets the tokens of a single row.
fn reply_tokens(tokens: u32, prompt: &Prompt) -> u32 {
    match items_of(prompt) {
        1 => tokens,
        items => tokens.saturating_add(ITEM_TOKENS).saturating_mul(items),
    }
}

/// A seed of 31 bits: some servers accept no larger one.
fn derived(seed: u64, number: u64) -> u64 {
    let hash = blake3::hash(&[seed.to_le_bytes(), number.to_le_bytes()].concat());
    u64::from(u32::from_le_bytes(hash.as_bytes()[..4].try_into().expect("a hash has 32 bytes")) >> 1)
}
