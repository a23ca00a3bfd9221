//! Admission: makes a request wait for its share of the budget and its turn at the endpoint.

use std::time::Duration;

use super::budget::{BudgetMeter, Cost, Reserved};
use super::context::USUAL_REPLY;
use super::endpoint::{EndpointState, Endpoints};
use super::limiter::Turn;
use crate::models::Target;
use crate::provider::{Call, CallError, CallErrorKind, Encoded, Reply};
use crate::run::stop::{Stop, StopReason};
use crate::spec::Price;

pub(crate) struct Admission {
    pub(crate) budget: BudgetMeter,
    pub(crate) endpoints: Endpoints,
    pub(crate) stop: Stop,
}

pub(crate) struct Admitted<'a> {
    turn: Turn<'a>,
    reserved: Reserved<'a>,
    endpoint: &'a EndpointState,
    price: Option<Price>,
    prompt: u64,
}

impl Admission {
    /// Waits until a request may be sent. Returns `None` if the run stops first, for example when the budget is spent.
    pub(crate) async fn admit(&self, target: &Target, call: &Call<'_>, encoded: &Encoded) -> Option<Admitted<'_>> {
        if target.is_offline {
            let error = CallError::new(CallErrorKind::Unauthorized, "no call is sent in a replay");
            self.stop.drain(StopReason::Environment { model: target.name.clone(), error });
            return None;
        }
        let (prompt, reply) = estimate(encoded, call);
        let (endpoint, price) = (&*self.endpoints.of(target).endpoint, target.price);
        let reserved = tokio::select! {
            biased;
            () = self.stop.draining() => return None,
            reserved = self.budget.reserve(Cost::of(prompt, reply, price)) => reserved,
        };
        let reserved = match reserved {
            Ok(reserved) => reserved,
            Err(what) => {
                self.stop.drain(StopReason::BudgetSpent { what });
                return None;
            }
        };
        tokio::select! {
            biased;
            () = self.stop.draining() => None,
            turn = endpoint.limiter.turn(prompt + reply) => Some(Admitted { turn, reserved, endpoint, price, prompt }),
        }
    }
}

impl Admitted<'_> {
    pub(crate) fn answered(self, reply: &Reply) -> Cost {
        let (prompt, completion) = (reply.prompt_tokens, reply.completion_tokens);
        let cost = Cost::of(prompt.unwrap_or(self.prompt), completion.unwrap_or(0), self.price);
        self.reserved.settle(cost);
        self.turn.answered(prompt.zip(completion).map(|(prompt, reply)| prompt + reply));
        self.endpoint.is_up();
        cost
    }

    /// Ends the turn without a reply. If the server is down, returns how long it has been down.
    pub(crate) fn failed(self, error: &CallError) -> Option<Duration> {
        match error.kind {
            CallErrorKind::Unavailable { .. } | CallErrorKind::Timeout => self.turn.failed(),
            CallErrorKind::RateLimited { .. } => {
                self.turn.refused();
                None
            }
            _ => None,
        }
    }
}

/// Estimates the tokens of prompt and reply: one token per 4 bytes, and the longest reply allowed.
fn estimate(encoded: &Encoded, call: &Call<'_>) -> (u64, u64) {
    let reply = call.model.sampling.max_tokens.map_or(USUAL_REPLY, u64::from);
    (encoded.body.len() as u64 / 4, reply)
}
