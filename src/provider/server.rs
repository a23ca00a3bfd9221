//! Servers: a [`Wire`] and an HTTP client make a [`Provider`].

use std::time::Duration;

use reqwest::Url;

use super::address::Address;
use super::http::Http;
use super::wire::Wire;
use super::{Boxed, Build, Call, CallError, CallErrorKind, Encoded, Model, Provider, Reply};

/// How long a server may take to tell about its models.
const INSPECTION: Duration = Duration::from_secs(8);

/// A server that speaks one dialect.
#[derive(Debug)]
pub(super) struct Server<W> {
    wire: W,
    http: Http,
    address: Address,
    /// Where calls go whose path holds nothing of the call.
    calls: Url,
}

impl<W: Wire> Server<W> {
    /// The server at `address`.
    pub fn new(wire: W, http: Http, address: Address) -> Self {
        let calls = address.join(&wire.path(""));
        Server { wire, http, address, calls }
    }

    async fn ask(&self, call: Encoded) -> Result<Reply, CallError> {
        let Encoded { mut body, unsent, .. } = call;
        let url = match unsent {
            0 => self.calls.clone(),
            _ => self.address.join(&self.wire.path(&String::from_utf8_lossy(&body[..unsent]))),
        };
        body.drain(..unsent);
        let received = self.http.post(url, body, || self.nobody()).await?;
        self.wire.decode(received.answer())
    }

    async fn look(&self, model: &Model) -> Result<Build, CallError> {
        let url = self.address.join(&self.wire.models_path(model));
        let received = self.http.get(url, INSPECTION, || self.nobody()).await?;
        let mut build = self.wire.find_model(model, &self.endpoint(), received.answer())?;
        if let Some((path, body)) = self.wire.more_path(model) {
            let asked = self.http.post(self.address.join(path), body.to_string().into_bytes(), || self.nobody());
            let late = || CallError::raw(CallErrorKind::Timeout, "no whole reply within the deadline");
            let received = tokio::time::timeout(INSPECTION, asked).await.map_err(|_| late())??;
            self.wire.add_more(&mut build, received.answer());
        }
        Ok(build)
    }

    fn nobody(&self) -> String {
        self.wire.nobody(&self.endpoint())
    }
}

impl<W: Wire> Provider for Server<W> {
    fn kind(&self) -> &'static str {
        self.wire.kind()
    }

    fn endpoint(&self) -> String {
        self.address.to_string()
    }

    fn encode(&self, call: &Call<'_>) -> Encoded {
        self.wire.encode(call)
    }

    fn looser(&self, call: &Call<'_>, steps: usize) -> Option<(Encoded, &'static str)> {
        self.wire.looser(call, steps)
    }

    fn tells_tokens(&self) -> bool {
        self.wire.tells_tokens()
    }

    fn send(&self, call: Encoded) -> Boxed<'_, Result<Reply, CallError>> {
        Box::pin(async move { self.ask(call).await.map_err(|error| self.http.clean(error)) })
    }

    fn inspect<'a>(&'a self, model: &'a Model) -> Boxed<'a, Result<Build, CallError>> {
        Box::pin(async move { self.look(model).await.map_err(|error| self.http.clean(error)) })
    }

    fn holds_one_model(&self) -> bool {
        self.wire.holds_one_model()
    }

    fn context_tokens(&self, model: &Model) -> Option<u64> {
        self.wire.context_tokens(model)
    }
}
