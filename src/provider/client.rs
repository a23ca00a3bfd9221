//! Clients: the interface of a server of models, or of a model in the process.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::call::{Build, Call, Encoded, Model, Reply, Sampling};
use super::failure::CallError;
use super::inventory::Inventory;
use super::timing::Timings;

pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub trait Provider: Send + Sync + fmt::Debug {
    /// The kind's name in [`super::PROVIDERS`]; part of the call key.
    fn kind(&self) -> &'static str;

    fn endpoint(&self) -> String;

    fn encode(&self, call: &Call<'_>) -> Encoded;

    /// Writes a call with more relaxed structured output, for servers that do not know the form of [`Provider::encode`]
    /// (level 0): a schema, then any JSON, then the prompt alone. Also returns the form's name in a spec; `None` if the
    /// level does not exist.
    fn encode_relaxed(&self, _call: &Call<'_>, _level: usize) -> Option<(Encoded, &'static str)> {
        None
    }

    /// Whether replies report the probabilities of their tokens when [`Sampling::logprobs`] asks for them.
    fn tells_tokens(&self) -> bool {
        false
    }

    /// Sends a call and reads its reply: one attempt, with deadlines, without retries.
    fn send(&self, call: Encoded) -> Boxed<'_, Result<Reply, CallError>>;

    fn send_timed(&self, call: Encoded) -> Boxed<'_, Result<(Reply, Timings), CallError>> {
        Box::pin(async move { Ok((self.send(call).await?, Timings::default())) })
    }

    /// Reads what the server has, with details of the models `ids`. Empty if it cannot report it.
    fn inventory<'a>(&'a self, _ids: &'a [&'a str]) -> Boxed<'a, Result<Inventory, CallError>> {
        Box::pin(async { Ok(Inventory::default()) })
    }

    /// Checks that the server answers and has the model, and returns the build.
    fn inspect<'a>(&'a self, model: &'a Model) -> Boxed<'a, Result<Build, CallError>>;

    /// Whether a model with this sampling always takes the likeliest word, so that its seed changes nothing.
    fn is_greedy(&self, sampling: &Sampling) -> bool {
        sampling.temperature == Some(0.0)
    }

    /// Whether it holds one model at a time, so that switching models is slow.
    fn holds_one_model(&self) -> bool;

    /// Tokens of the context, prompt and reply together, where the request sets it.
    fn context_tokens(&self, model: &Model) -> Option<u64>;

    /// What the provider does before it can answer (it fetches or loads a model), in a few words.
    fn preparing(&self) -> Option<String> {
        None
    }
}
