//! A provider without its server: encodes calls and cannot send them.

use std::sync::Arc;

use crate::provider::{Boxed, Build, Call, CallError, CallErrorKind, Encoded, Model, Provider, Reply, Sampling};

#[derive(Debug)]
pub struct Offline(pub Arc<dyn Provider>);

impl Offline {
    fn refuse<T: Send + 'static>() -> Boxed<'static, Result<T, CallError>> {
        let message = "no call is sent in a replay".to_owned();
        Box::pin(std::future::ready(Err(CallError { kind: CallErrorKind::Unauthorized, message })))
    }
}

impl Provider for Offline {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    fn encode(&self, call: &Call<'_>) -> Encoded {
        self.0.encode(call)
    }

    fn send(&self, _: Encoded) -> Boxed<'_, Result<Reply, CallError>> {
        Offline::refuse()
    }

    fn inspect<'a>(&'a self, _: &'a Model) -> Boxed<'a, Result<Build, CallError>> {
        Offline::refuse()
    }

    fn tells_tokens(&self) -> bool {
        self.0.tells_tokens()
    }

    fn is_greedy(&self, sampling: &Sampling) -> bool {
        self.0.is_greedy(sampling)
    }

    fn holds_one_model(&self) -> bool {
        false
    }

    fn context_tokens(&self, model: &Model) -> Option<u64> {
        self.0.context_tokens(model)
    }
}
