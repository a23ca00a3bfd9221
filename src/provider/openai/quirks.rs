//! Quirks: differences between servers of OpenAI's protocol. A server that needs another request body, or has other
//! pages, is a row of [`QUIRKS`].

use crate::provider::address::Address;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quirk {
    /// Newer models refuse `max_tokens`; it is sent as `max_completion_tokens`, which most other servers do not know.
    MaxCompletionTokens,
    /// The server has no pages and reads no fields beyond the protocol.
    OnlyProtocol,
}

static QUIRKS: &[(&str, &[Quirk])] = &[("api.openai.com", &[Quirk::MaxCompletionTokens, Quirk::OnlyProtocol])];

pub(super) fn of(address: &Address) -> &'static [Quirk] {
    let row = QUIRKS.iter().find(|(host, _)| address.is_https() && address.host() == *host);
    row.map_or(&[], |(_, quirks)| quirks)
}
