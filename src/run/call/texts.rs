//! Vectors: sends the texts of several calls in one request, for calls that ask for an embedding.
//!
//! A text waits until there are enough for a request, or until no other has come for a moment. Which texts share a
//! request changes no vector: each text is a call with its own key, and is retried by itself.

use std::time::Duration;

use tokio::sync::oneshot;

use super::admission::{Admission, Ended};
use super::endpoint::ModelState;
use super::outcome::SendError;
use super::waiting::{Text, Unanswered};
use crate::models::Target;
use crate::provider::{Call, CallError, CallErrorKind, Encoded, Finish, Reply};
use crate::run::progress::StageProgress;

/// How long a text waits for others.
const MOMENT: Duration = Duration::from_millis(10);

/// Requests about texts of one model.
pub(super) struct Texts<'a> {
    pub(super) admission: &'a Admission,
    pub(super) target: &'a Target,
    pub(super) progress: &'a StageProgress,
    /// The most texts of a request.
    pub(super) most: usize,
}

impl Texts<'_> {
    /// Asks for the vector of the text of `call`. Returns `None` if the run stops.
    pub(super) async fn ask(&self, call: &Call<'_>, age: u64) -> Option<Result<Reply, SendError>> {
        let (done, mut answer) = oneshot::channel();
        let dimensions = call.model.sampling.embedding.and_then(|embedding| embedding.dimensions);
        let (waiting, of) = (&self.admission.texts, (self.target.index, dimensions));
        let mut texts = waiting.push(of, Text { call: self.target.provider.encode(call), done }, self.most);
        if texts.is_empty() {
            let waited = async {
                tokio::select! {
                    biased;
                    answer = &mut answer => Some(answer),
                    () = tokio::time::sleep(MOMENT) => None,
                }
            };
            match waited.await {
                Some(answer) => return Some(answer.ok()?.map_err(SendError::from)),
                // Empty if another text has taken this one along.
                None => texts = waiting.take(of),
            }
        }
        self.send(call, texts, age).await?;
        // A request in flight ends, also if the run stops.
        Some(answer.await.ok()?.map_err(SendError::from))
    }

    /// Sends one request. If the server rejects it, its halves are sent, until the text at fault is alone.
    async fn send(&self, call: &Call<'_>, texts: Vec<Text>, age: u64) -> Option<()> {
        let mut open = vec![texts];
        while let Some(mut texts) = open.pop() {
            if texts.is_empty() {
                continue;
            }
            let calls: Vec<Encoded> = texts.iter().map(|text| text.call.clone()).collect();
            let body: Vec<u8> = calls.iter().flat_map(|call| call.body.iter().copied()).collect();
            let whole = Encoded { unsent: 0, keyed: body.len(), body };
            let admitted = match self.admission.admit(self.target, call, &whole, (age, None)).await? {
                Ok(admitted) => admitted,
                Err(error) => {
                    fail(texts, &Unanswered { error, verdict: None, outage: Some(Duration::ZERO) });
                    continue;
                }
            };
            let ModelState { sent, refusals, .. } = self.admission.endpoints.of(self.target);
            let (flight, asked) = (self.progress.flight(), sent.begin());
            let result = self.target.provider.embed(calls).await;
            flight.land();
            drop(asked);
            match result {
                Ok(replies) => {
                    self.progress.spent(admitted.answered(&sum(&replies)).usd);
                    for (text, reply) in texts.into_iter().zip(replies) {
                        // A text whose call has ended needs no reply.
                        let _ =
                            text.done.send(reply.map_err(|error| Unanswered { error, verdict: None, outage: None }));
                    }
                }
                Err(error) => {
                    refusals.count(&error);
                    let Ended { verdict, outage } = admitted.failed(&error);
                    if texts.len() > 1 && may_be_of_one(&error.kind) {
                        let rest = texts.split_off(texts.len() / 2);
                        open.extend([rest, texts]);
                    } else {
                        fail(texts, &Unanswered { error, verdict, outage });
                    }
                }
            }
            self.admission.stop_if_closed(self.target);
        }
        Some(())
    }
}

/// Whether one text may be why the server did not answer the request.
fn may_be_of_one(kind: &CallErrorKind) -> bool {
    matches!(
        kind,
        CallErrorKind::Rejected | CallErrorKind::ContextTooLong | CallErrorKind::Malformed | CallErrorKind::Truncated
    )
}

fn fail(texts: Vec<Text>, why: &Unanswered) {
    for text in texts {
        let _ = text.done.send(Err(why.clone()));
    }
}

impl From<Unanswered> for SendError {
    fn from(Unanswered { error, verdict, outage }: Unanswered) -> Self {
        SendError { error, ended: Ended { verdict, outage } }
    }
}

/// The tokens of all replies, and what is left of the server's limits.
fn sum(replies: &[Result<Reply, CallError>]) -> Reply {
    let answered = || replies.iter().flatten();
    let tokens = |of: fn(&Reply) -> Option<u64>| answered().map(of).sum::<Option<u64>>();
    Reply {
        prompt_tokens: tokens(|reply| reply.prompt_tokens).filter(|_| answered().next().is_some()),
        completion_tokens: Some(0),
        quotas: answered().next().map(|reply| reply.quotas).unwrap_or_default(),
        ..Reply::new("", Finish::Stop)
    }
}
