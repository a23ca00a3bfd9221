//! Addresses of servers: read from a spec or the environment, checked, and shown without secrets. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use reqwest::Url;

/// An `http` or `https` URL with a host, without credentials; the path ends with `/`. The query is sent with every
/// request and never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address(Url);

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Address::parse_like(text, "http://127.0.0.1:8000/v1")
    }

    /// The message of a problem shows `example`.
    pub(crate) fn parse_like(text: &str, example: &str) -> Result<Self, String> {
        let example = format!("an address looks like `{example}`");
        let mut url = Url::parse(text.trim()).map_err(|e| format!("this is not an address ({e}); {example}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(format!("an address begins with `http://` or `https://` and a host; {example}"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an address must not hold a user name or a password; keys come from the environment".to_owned());
        }
        if url.fragment().is_some() {
            return Err("a base address has no `#`; paths are added to it".to_owned());
        }
        if let Some((name, _)) = url.query_pairs().find(|(name, _)| is_secret_name(name)) {
            return Err(format!(
                "keys come from the environment; write `query = {{ {name} = {{ env = \"LAB_KEY\" }} }}`"
            ));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Address(url))
    }

    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path()));
        url
    }

    /// For `http://host:8080/v1`, the path `props` becomes `http://host:8080/props`.
    pub(crate) fn beside(&self, path: &str) -> Url {
        let base = self.0.path().trim_end_matches('/');
        let parent = base.rfind('/').map_or("/", |end| &base[..=end]);
        let mut url = self.0.clone();
        url.set_path(&format!("{parent}{path}"));
        url
    }

    /// The address with more fields in its query, and the encoded values.
    pub(crate) fn with_query(&self, fields: &[(String, String)]) -> (Address, Vec<String>) {
        let mut url = self.0.clone();
        for (name, value) in fields {
            url.query_pairs_mut().append_pair(name, value);
        }
        let pairs = url.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or_default().1);
        let values: Vec<String> = pairs.map(str::to_owned).collect();
        let own = values.len().saturating_sub(fields.len());
        (Address(url), values[own..].to_vec())
    }

    pub(crate) fn path(&self) -> &str {
        self.0.path()
    }

    pub(crate) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The host and the port. All addresses of this machine have the same host.
    pub(crate) fn server(&self) -> String {
        let host = if self.is_loopback() { "localhost" } else { self.host() };
        format!("{host}:{}", self.0.port_or_known_default().unwrap_or_default())
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    pub(crate) fn is_loopback(&self) -> bool {
        match self.host().parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => self.host() == "localhost" || self.host().ends_with(".localhost"),
        }
    }

    /// Private, link-local and shared (RFC 6598) addresses, names without a dot, `.local` and `.internal` (RFC 6762).
    fn is_private(&self) -> bool {
        match self.host().parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(IpAddr::V4(ip)) => ip.is_private() || ip.is_link_local() || shared(ip),
            Ok(IpAddr::V6(ip)) => ip.is_unique_local() || ip.is_unicast_link_local(),
            Err(_) => {
                let host = self.host().trim_end_matches('.');
                !host.contains('.') || host.ends_with(".local") || host.ends_with(".internal")
            }
        }
    }

    pub(crate) fn exposes_a_key(&self) -> bool {
        !self.is_https() && !self.is_loopback() && !self.is_private()
    }
}

/// Whether a header or a field of a query by this name holds a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["key", "token", "secret", "auth", "password", "cookie", "signature", "credential"];
    words.iter().any(|word| name.contains(word)) || name == "sig"
}

/// The host and the port of an address; `None` for something else.
pub(crate) fn server_of(address: &str) -> Option<String> {
    Address::parse(address).ok().map(|address| address.server())
}

fn shared(ip: Ipv4Addr) -> bool {
    ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.as_str();
        f.write_str(whole.split('?').next().unwrap_or(whole).trim_end_matches('/'))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let good = Address::parse("http://10.0.0.5:8000/v1").unwrap();
        assert_eq!(good.join("chat/completions").as_str(), "http://10.0.0.5:8000/v1/chat/completions");
        assert_eq!(good.to_string(), "http://10.0.0.5:8000/v1");
        assert_eq!(good.beside("props").as_str(), "http://10.0.0.5:8000/props");
        assert_eq!(Address::parse("http://x").unwrap().beside("props").as_str(), "http://x/props");
        assert_eq!(Address::parse("http://x/a/v1/").unwrap().beside("props").as_str(), "http://x/a/props");
        assert_eq!(Address::parse("https://x.org/").unwrap(), Address::parse("https://x.org").unwrap());
        let azure = Address::parse("http://x/openai/deployments/d?api-version=2024-10-21").unwrap();
        let (azure, values) = azure.with_query(&[("code".to_owned(), "a b".to_owned())]);
        let whole = "http://x/openai/deployments/d/chat/completions?api-version=2024-10-21&code=a+b";
        assert_eq!((azure.join("chat/completions").as_str(), values), (whole, vec!["a+b".to_owned()]));
        assert_eq!(azure.to_string(), "http://x/openai/deployments/d");
        for bad in [
            "",
            "x",
            "localhost:8000",
            "ftp://x",
            "http://",
            "https://u:secret@x.org",
            "http://x/?api_key=secret",
            "http://x/#a",
        ] {
            let error = Address::parse(bad).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_server_is_a_host_and_a_port() {
        let server = |text| Address::parse(text).unwrap().server();
        assert_eq!(server("http://lab:8000/v1"), "lab:8000");
        assert_eq!(server("https://api.openai.com/v1"), server("https://API.openai.com:443/v2/"));
        assert_eq!(server("http://127.0.0.1:1234/v1"), server("http://localhost:1234"));
        assert_ne!(server("http://127.0.0.1:1234/v1"), server("http://127.0.0.1:8080/v1"));
    }

    #[test]
    fn keys_travel_in_clear_only_at_home() {
        let exposes = |text| Address::parse(text).unwrap().exposes_a_key();
        for home in [
            "http://127.0.0.1",
            "http://localhost:1",
            "http://[::1]:8",
            "http://192.168.1.2",
            "http://10.1.1.1",
            "http://100.64.0.1",
            "http://vllm:8000",
            "http://gpu.local",
            "http://[fd00::1]",
            "https://example.org",
        ] {
            assert!(!exposes(home), "{home}");
        }
        for abroad in ["http://example.org", "http://8.8.8.8", "http://[2001:db8::1]", "http://100.128.0.1"] {
            assert!(exposes(abroad), "{abroad}");
        }
    }
}
