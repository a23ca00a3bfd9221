//! Owners of well-known environment variables that hold keys.
//!
//! A spec may come from a stranger. If it names a well-known variable and another address, it would send that key to
//! the stranger. To protect another service, add a row to [`OWNERS`].

use super::address::Address;

/// Variables that the tools of services read, each with the end of the owner's host names.
const OWNERS: &[(&str, &str)] = &[
    ("ANTHROPIC_API_KEY", "anthropic.com"),
    ("AWS_SECRET_ACCESS_KEY", "amazonaws.com"),
    ("AWS_SESSION_TOKEN", "amazonaws.com"),
    ("AZURE_OPENAI_API_KEY", "azure.com"),
    ("COHERE_API_KEY", "cohere.com"),
    ("DEEPSEEK_API_KEY", "deepseek.com"),
    ("GEMINI_API_KEY", "googleapis.com"),
    ("GH_TOKEN", "github.com"),
    ("GITHUB_TOKEN", "github.com"),
    ("GITLAB_TOKEN", "gitlab.com"),
    ("GOOGLE_API_KEY", "googleapis.com"),
    ("GROQ_API_KEY", "groq.com"),
    ("HF_TOKEN", "huggingface.co"),
    ("MISTRAL_API_KEY", "mistral.ai"),
    ("NPM_TOKEN", "npmjs.org"),
    ("OPENAI_API_KEY", "openai.com"),
    ("OPENROUTER_API_KEY", "openrouter.ai"),
    ("TOGETHER_API_KEY", "together.xyz"),
    ("XAI_API_KEY", "x.ai"),
];

/// Returns the owner if `address` is neither the owner's nor on this machine.
pub(super) fn other_owner(name: &str, address: &Address) -> Option<&'static str> {
    let (_, owner) = OWNERS.iter().find(|(variable, _)| variable.eq_ignore_ascii_case(name))?;
    let host = address.host().trim_end_matches('.');
    let at_home = host.strip_suffix(owner).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    (!at_home && !address.is_loopback()).then_some(*owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_known_key_is_its_owners() {
        let other = |name, address| other_owner(name, &Address::parse(address).unwrap());
        for (name, address) in [
            ("OPENAI_API_KEY", "https://evil.example.org/v1"),
            ("OPENAI_API_KEY", "https://api.openai.com.example.org/v1"),
            ("OPENAI_API_KEY", "https://notopenai.com/v1"),
            ("openai_api_key", "http://10.0.0.5/v1"),
            ("GITHUB_TOKEN", "https://api.openai.com/v1"),
        ] {
            assert!(other(name, address).is_some(), "{name} {address}");
        }
        for (name, address) in [
            ("OPENAI_API_KEY", "https://eu.api.openai.com/v1"),
            ("OPENAI_API_KEY", "http://127.0.0.1:8000/v1"),
            ("LAB_KEY", "https://example.org/v1"),
            ("GROQ_API_KEY", "https://api.groq.com/openai/v1"),
        ] {
            assert_eq!(other(name, address), None, "{name} {address}");
        }
    }
}
