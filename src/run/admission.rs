//! Admission: what a request waits for before it is sent: its share of the budget, and its turn at the endpoint.

use super::budget::{Cost, Purse, Reserved};
use super::connect::Target;
use super::context::USUAL_REPLY;
use super::limiter::Turn;
use super::stop::{Stop, StopReason};
use crate::provider::{Call, Encoded, Reply};

/// A request that may be sent.
pub struct Admitted<'a> {
    /// Its turn.
    pub turn: Turn<'a>,
    reserved: Reserved<'a>,
    target: &'a Target,
    /// Tokens of the prompt, as estimated.
    prompt: u64,
}

/// Waits until a request may be sent. `None`: the run stops before that, perhaps since the budget is spent.
pub async fn admit<'a>(
    purse: &'a Purse,
    stop: &Stop,
    target: &'a Target,
    call: &Call<'_>,
    encoded: &Encoded,
) -> Option<Admitted<'a>> {
    let (prompt, reply) = estimate(encoded, call);
    let reserved = tokio::select! {
        biased;
        () = stop.draining() => return None,
        reserved = purse.reserve(Cost::of(prompt, reply, target.price)) => reserved,
    };
    let reserved = match reserved {
        Ok(reserved) => reserved,
        Err(what) => {
            stop.drain(StopReason::BudgetSpent { what });
            return None;
        }
    };
    tokio::select! {
        biased;
        () = stop.draining() => None,
        turn = target.endpoint.limiter.turn(prompt + reply) => Some(Admitted { turn, reserved, target, prompt }),
    }
}

impl Admitted<'_> {
    /// There is a reply: settles what it cost, and ends the turn.
    pub fn answered(self, reply: &Reply) -> Cost {
        let (said, wrote) = (reply.prompt_tokens, reply.completion_tokens);
        let cost = Cost::of(said.unwrap_or(self.prompt), wrote.unwrap_or(0), self.target.price);
        self.reserved.settle(cost);
        self.turn.answered(said.zip(wrote).map(|(prompt, reply)| prompt + reply));
        cost
    }
}

/// About how many tokens of prompt and reply a call takes, before one knows: a token for 4 bytes, and the longest reply that
/// is allowed.
fn estimate(encoded: &Encoded, call: &Call<'_>) -> (u64, u64) {
    let reply = call.model.sampling.max_tokens.map_or(USUAL_REPLY, u64::from);
    (encoded.body.len() as u64 / 4, reply)
}
