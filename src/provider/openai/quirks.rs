//! Quirks: differences between servers of OpenAI's protocol. A server that needs another request body or header, has
//! other pages, or other fields for thinking, is a row of [`QUIRKS`].

use crate::provider::address::Address;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quirk {
    /// Newer models refuse `max_tokens`; it is sent as `max_completion_tokens`, which most other servers do not know.
    MaxCompletionTokens,
    /// The server has no pages and reads no fields beyond the protocol.
    OnlyProtocol,
    /// The key goes in the header `api-key`.
    ApiKeyHeader,
    /// The seed is called `random_seed`.
    RandomSeed,
    /// Whether a model thinks is a word: `enabled` or `disabled`.
    ThinksByWord,
}

/// The field of a request that holds a model's option.
type Field = (&'static str, &'static str);

#[derive(Debug)]
pub(super) struct Server {
    /// The end of the host's name.
    host: &'static str,
    /// A part of the path.
    path: &'static str,
    pub(super) quirks: &'static [Quirk],
    /// The fields for thinking.
    options: &'static [Field],
}

const EFFORT: Field = ("reasoning_effort", "reasoning_effort");

const fn server(host: &'static str, quirks: &'static [Quirk], options: &'static [Field]) -> Server {
    Server { host, path: "", quirks, options }
}

/// The sources are in the book, in the table of servers.
static QUIRKS: &[Server] = &[
    server("api.openai.com", &[Quirk::MaxCompletionTokens, Quirk::OnlyProtocol], &[EFFORT]),
    Server { path: "/openai/deployments/", ..server("", &[Quirk::ApiKeyHeader, Quirk::OnlyProtocol], &[EFFORT]) },
    server(
        "openrouter.ai",
        &[],
        &[
            ("reasoning_effort", "reasoning.effort"),
            ("think", "reasoning.enabled"),
            ("thinking_tokens", "reasoning.max_tokens"),
        ],
    ),
    server("api.mistral.ai", &[Quirk::RandomSeed], &[EFFORT]),
    server("api.deepseek.com", &[Quirk::ThinksByWord], &[EFFORT, ("think", "thinking.type")]),
    server("api.moonshot.ai", &[Quirk::ThinksByWord], &[("think", "thinking.type")]),
    server("api.z.ai", &[Quirk::ThinksByWord], &[("think", "thinking.type")]),
    server("aliyuncs.com", &[], &[("think", "enable_thinking"), ("thinking_tokens", "thinking_budget")]),
    server("api.together.xyz", &[], &[EFFORT, ("think", "reasoning.enabled")]),
    server("api.groq.com", &[], &[EFFORT]),
    server("api.x.ai", &[], &[EFFORT]),
    server("generativelanguage.googleapis.com", &[], &[EFFORT]),
];

/// vLLM, SGLang, llama.cpp and others hand `chat_template_kwargs` to the template of the model.
static OTHER: Server = server("", &[], &[EFFORT, ("think", "chat_template_kwargs.enable_thinking")]);

pub(super) fn of(address: &Address) -> &'static Server {
    let is_host = |host: &str| {
        let (own, https) = (address.host(), address.is_https());
        host.is_empty() || https && own.strip_suffix(host).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    QUIRKS.iter().find(|row| is_host(row.host) && address.path().contains(row.path)).unwrap_or(&OTHER)
}

impl Server {
    pub(super) fn has(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    pub(super) fn field(&self, option: &str) -> Option<&'static str> {
        self.options.iter().find(|(name, _)| *name == option).map(|(_, field)| *field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_host_or_its_path() {
        let quirks = |address: &str| of(&Address::parse(address).unwrap()).quirks;
        assert_eq!(quirks("https://api.openai.com/v1"), [Quirk::MaxCompletionTokens, Quirk::OnlyProtocol]);
        assert_eq!(quirks("https://x.openai.azure.com/openai/deployments/d?api-version=1")[0], Quirk::ApiKeyHeader);
        assert_eq!(quirks("http://127.0.0.1:8000/openai/deployments/d")[0], Quirk::ApiKeyHeader);
        assert_eq!(quirks("https://dashscope.aliyuncs.com/compatible-mode/v1"), []);
        for other in
            ["https://notapi.openai.com.example.org/v1", "https://myapi.mistral.ai/v1", "http://api.mistral.ai"]
        {
            assert_eq!(quirks(other), [], "{other}");
        }
    }

    #[test]
    fn thinking_is_set_in_the_words_of_each_server() {
        let field = |address: &str, option| of(&Address::parse(address).unwrap()).field(option);
        assert_eq!(field("https://openrouter.ai/api/v1", "reasoning_effort"), Some("reasoning.effort"));
        assert_eq!(field("http://127.0.0.1:8000/v1", "think"), Some("chat_template_kwargs.enable_thinking"));
        assert_eq!(field("https://api.deepseek.com", "think"), Some("thinking.type"));
        assert_eq!(field("https://api.openai.com/v1", "think"), None);
    }
}
