//! Token probabilities in the replies of OpenAI and Ollama.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/chat/object> (`logprobs`), <https://docs.ollama.com/api>.

use serde::Deserialize;

use crate::prompt::Token;

/// The most alternatives per token that OpenAI, vLLM, Ollama and Gemini report.
pub(super) const LIKELIEST: u8 = 20;

#[derive(Deserialize)]
pub(super) struct Scored {
    token: String,
    logprob: f64,
    /// Needed if the token is not a whole text.
    bytes: Option<Vec<u8>>,
    top_logprobs: Option<Vec<Scored>>,
}

impl Scored {
    fn bytes(self) -> (Vec<u8>, f64) {
        (self.bytes.unwrap_or_else(|| self.token.into_bytes()), self.logprob.exp())
    }
}

pub(super) fn tokens(scored: Option<Vec<Scored>>) -> Vec<Token> {
    let token = |mut scored: Scored| {
        let likeliest = scored.top_logprobs.take().unwrap_or_default();
        let (bytes, probability) = scored.bytes();
        Token { bytes, probability, likeliest: likeliest.into_iter().map(Scored::bytes).collect() }
    };
    scored.into_iter().flatten().map(token).collect()
}
