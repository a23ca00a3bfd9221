//! Clients: the interface to a server of models, or to a model in the process.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::batch::BatchClient;
use super::call::{Build, Call, Encoded, Model, Reply, Sampling};
use super::failure::{CallError, CallErrorKind};
use super::inventory::Inventory;
use super::timing::Timings;

pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(crate) trait Provider: Send + Sync + fmt::Debug {
    /// The name in [`super::PROVIDERS`], which is part of the call key.
    fn kind(&self) -> &'static str;

    fn endpoint(&self) -> String {
        "this process".to_owned()
    }

    /// The host and the port of the server, if there is one.
    fn server(&self) -> Option<String> {
        None
    }

    fn encode(&self, call: &Call<'_>) -> Encoded;

    /// Returns a simpler form for servers that reject [`Provider::encode`] (level 0); `None` if there is no such level.
    fn encode_relaxed(&self, _call: &Call<'_>, _level: usize) -> Option<(Encoded, &'static str)> {
        None
    }

    /// Whether [`Provider::encode_relaxed`] may avoid this rejection.
    fn may_relax(&self, _rejection: &CallError) -> bool {
        true
    }

    fn tells_tokens(&self) -> bool {
        false
    }

    fn takes_schemas(&self) -> bool {
        false
    }

    /// Makes one attempt, with deadlines and without retries.
    fn send(&self, call: Encoded) -> Boxed<'_, Result<Reply, CallError>>;

    fn send_timed(&self, call: Encoded) -> Boxed<'_, Result<(Reply, Timings), CallError>> {
        Box::pin(async move { Ok((self.send(call).await?, Timings::default())) })
    }

    /// Makes one request for the vectors of several texts. Returns a reply for each call, in their order.
    fn embed(&self, _calls: Vec<Encoded>) -> Boxed<'_, Result<Vec<Result<Reply, CallError>>, CallError>> {
        let message = "the provider has no embeddings";
        Box::pin(std::future::ready(Err(CallError::new(CallErrorKind::Rejected, message))))
    }

    /// The endpoint for jobs of many calls, if the server has one.
    fn batches(&self) -> Option<BatchClient<'_>> {
        None
    }

    fn inventory<'a>(&'a self, _ids: &'a [&'a str]) -> Boxed<'a, Result<Inventory, CallError>> {
        Box::pin(async { Ok(Inventory::default()) })
    }

    fn inspect<'a>(&'a self, model: &'a Model) -> Boxed<'a, Result<Build, CallError>>;

    /// Whether the server may get another build of a model while it runs.
    fn build_may_change(&self) -> bool {
        true
    }

    fn is_greedy(&self, sampling: &Sampling) -> bool {
        sampling.temperature == Some(0.0)
    }

    /// The most properties of a schema that the server enforces; 0 if it enforces none.
    fn enforced_properties(&self) -> usize {
        0
    }

    fn holds_one_model(&self) -> bool {
        false
    }

    fn context_tokens(&self, _model: &Model) -> Option<u64> {
        None
    }

    /// The `max_tokens` that is sent when the model sets none.
    fn default_max_tokens(&self) -> Option<u32> {
        None
    }

    fn preparing(&self) -> Option<String> {
        None
    }
}
