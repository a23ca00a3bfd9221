//! Servers: a [`Provider`] that combines a [`Wire`] and an HTTP client.

use std::time::Duration;

use reqwest::Url;
use serde_json::Value;

use super::address::Address;
use super::batch::BatchClient;
use super::embedding;
use super::form::formed;
use super::http::{Http, Received};
use super::wire::Wire;
use super::{
    Answer, Boxed, Build, Call, CallError, CallErrorKind, Encoded, Inventory, Model, Page, Provider, Reply, Timings,
};

const INSPECTION: Duration = Duration::from_secs(8);

#[derive(Debug)]
pub(super) struct Server<W> {
    wire: W,
    http: Http,
    address: Address,
    calls: Url,
}

impl<W: Wire> Server<W> {
    pub(crate) fn new(wire: W, http: Http, address: Address) -> Self {
        let calls = address.join(&wire.path(""));
        Server { wire, http, address, calls }
    }

    async fn ask(&self, call: Encoded) -> Result<Received, CallError> {
        let Encoded { mut body, unsent, .. } = call;
        let url = match unsent {
            0 => self.calls.clone(),
            _ => self.address.join(&self.wire.path(&String::from_utf8_lossy(&body[..unsent]))),
        };
        body.drain(..unsent);
        self.http.post(url, body, || self.unreachable()).await
    }

    async fn vectors(&self, calls: Vec<Encoded>) -> Result<Vec<Result<Reply, CallError>>, CallError> {
        let none = || CallError::raw(CallErrorKind::Rejected, "the provider has no embeddings");
        let wire = self.wire.embeddings().ok_or_else(none)?;
        let (path, body) = embedding::request(wire, &calls);
        let received = self.http.post(self.address.join(&path), body, || self.unreachable()).await?;
        let embedded = wire.read(received.answer(), calls.len())?;
        let cleaned = |reply: Result<Reply, CallError>| match reply {
            Ok(reply) => Ok(Reply { quotas: received.quotas, ..reply }),
            Err(error) => Err(self.http.clean(error)),
        };
        Ok(embedding::replies(&calls, embedded).into_iter().map(cleaned).collect())
    }

    async fn look(&self, model: &Model) -> Result<Build, CallError> {
        let url = self.address.join(&self.wire.models_path(model));
        let received = self.http.get(url, INSPECTION, || self.unreachable()).await?;
        let mut build = self.wire.find_model(model, &self.endpoint(), received.answer())?;
        for page in self.wire.build_pages(model) {
            match self.page(&page).await {
                Ok(received) => self.wire.add_page(&mut build, &page, received.answer()),
                // The page about the server itself may be missing; the one about the model identifies it.
                Err(_) if page.body.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(build)
    }

    async fn post_soon(&self, url: Url, body: &Value) -> Result<Received, CallError> {
        let asked = self.http.post(url, body.to_string().into_bytes(), || self.unreachable());
        let late = || CallError::raw(CallErrorKind::Timeout, "no whole reply within the deadline");
        tokio::time::timeout(INSPECTION, asked).await.map_err(|_| late())?
    }

    async fn page(&self, page: &Page) -> Result<Received, CallError> {
        let mut url = if page.beside { self.address.beside(&page.path) } else { self.address.join(&page.path) };
        if let Some(query) = page.query {
            let own = url.query().map(|own| format!("&{own}")).unwrap_or_default();
            url.set_query(Some(&format!("{query}{own}")));
        }
        match &page.body {
            Some(body) => self.post_soon(url, body).await,
            None => self.http.get(url, INSPECTION, || self.unreachable()).await,
        }
    }

    async fn take_stock(&self, ids: &[&str]) -> Result<Inventory, CallError> {
        let mut received = Vec::new();
        for page in self.wire.pages(ids) {
            let found = self.page(&page).await;
            received.push(if received.is_empty() { Some(found?) } else { found.ok() });
        }
        let answers: Vec<Option<Answer<'_>>> = received.iter().map(|r| r.as_ref().map(Received::answer)).collect();
        let inventory = self.wire.inventory(ids, &answers)?;
        let inventory = inventory.asked(ids, |id, listed| self.wire.is_listed_as(id, listed));
        Ok(Inventory { local: self.address.is_loopback(), ..inventory }.cleaned())
    }

    fn unreachable(&self) -> String {
        self.wire.unreachable(&self.endpoint())
    }
}

impl<W: Wire> Provider for Server<W> {
    fn kind(&self) -> &'static str {
        W::KIND
    }

    fn endpoint(&self) -> String {
        self.address.to_string()
    }

    fn server(&self) -> Option<String> {
        Some(self.address.server())
    }

    fn encode(&self, call: &Call<'_>) -> Encoded {
        match self.wire.embeddings().zip(call.model.sampling.embedding) {
            Some((wire, embedding)) => embedding::encode(wire, call, embedding),
            None => formed(call, |call| self.wire.encode(call)),
        }
    }

    fn encode_relaxed(&self, call: &Call<'_>, level: usize) -> Option<(Encoded, &'static str)> {
        let (_, name) = self.wire.encode_relaxed(call, level)?;
        let relaxed = |call: &Call<'_>| self.wire.encode_relaxed(call, level).map(|(encoded, _)| encoded);
        Some((formed(call, |call| relaxed(call).unwrap_or_else(|| self.wire.encode(call))), name))
    }

    fn may_relax(&self, rejection: &CallError) -> bool {
        self.wire.may_relax(rejection)
    }

    fn takes_schemas(&self) -> bool {
        W::TAKES_SCHEMAS
    }

    fn tells_tokens(&self) -> bool {
        W::TELLS_TOKENS
    }

    fn send(&self, call: Encoded) -> Boxed<'_, Result<Reply, CallError>> {
        Box::pin(async move {
            let replied = async {
                let received = self.ask(call).await?;
                Ok(Reply { quotas: received.quotas, ..self.wire.decode(received.answer())? })
            };
            replied.await.map_err(|error: CallError| self.http.clean(error))
        })
    }

    fn send_timed(&self, call: Encoded) -> Boxed<'_, Result<(Reply, Timings), CallError>> {
        Box::pin(async move {
            let timed = async {
                let received = self.ask(call).await?;
                Ok((self.wire.decode(received.answer())?, self.wire.timings(received.answer())))
            };
            timed.await.map_err(|error| self.http.clean(error))
        })
    }

    fn embed(&self, calls: Vec<Encoded>) -> Boxed<'_, Result<Vec<Result<Reply, CallError>>, CallError>> {
        Box::pin(async move { self.vectors(calls).await.map_err(|error| self.http.clean(error)) })
    }

    fn batches(&self) -> Option<BatchClient<'_>> {
        let (http, address, unreachable) = (&self.http, &self.address, self.unreachable());
        self.wire.batches().map(|wire| BatchClient { wire, http, address, unreachable })
    }

    fn inventory<'a>(&'a self, ids: &'a [&'a str]) -> Boxed<'a, Result<Inventory, CallError>> {
        Box::pin(async move { self.take_stock(ids).await.map_err(|error| self.http.clean(error)) })
    }

    fn inspect<'a>(&'a self, model: &'a Model) -> Boxed<'a, Result<Build, CallError>> {
        Box::pin(async move { self.look(model).await.map_err(|error| self.http.clean(error)) })
    }

    fn enforced_properties(&self) -> usize {
        self.wire.enforced_properties()
    }

    fn holds_one_model(&self) -> bool {
        W::HOLDS_ONE_MODEL
    }

    fn default_max_tokens(&self) -> Option<u32> {
        W::DEFAULT_MAX_TOKENS
    }

    fn context_tokens(&self, model: &Model) -> Option<u64> {
        self.wire.context_tokens(model)
    }
}
