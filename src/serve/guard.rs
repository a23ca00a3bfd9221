//! Guard: decides which requests are answered. The secret in the address opens one door; the browser's headers must name
//! this server.

use hyper::HeaderMap;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};

/// The secret in an address, as its text and its hash. Hashes are compared in constant time.
#[derive(Clone, Debug)]
pub(super) struct Secret {
    text: String,
    hash: blake3::Hash,
}

impl Secret {
    pub(super) fn new() -> Secret {
        Secret::of(format!("{:032x}", rand::random::<u128>()))
    }

    fn of(text: String) -> Secret {
        Secret { hash: blake3::hash(text.as_bytes()), text }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn opens(&self, word: &str) -> bool {
        self.hash == blake3::hash(word.as_bytes())
    }
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request came by another name of this machine, as in DNS rebinding.
    Host,
    /// A page of another origin sent it.
    Origin,
}

impl Refusal {
    pub(super) fn text(self) -> &'static str {
        match self {
            Refusal::Host => "this server answers only requests to 127.0.0.1 or localhost",
            Refusal::Origin => "this server answers no requests of other pages",
        }
    }
}

/// Checks the headers that a page of another origin can't change.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(HOST).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    // The port may differ: people forward a port of a distant machine.
    if !["127.0.0.1", "localhost"].contains(&name) {
        return Err(Refusal::Host);
    }
    if text(ORIGIN).is_some_and(|origin| origin != format!("http://{host}")) {
        return Err(Refusal::Origin);
    }
    // A link in another page may open this one, but no other page may read it.
    let site = text(HeaderName::from_static("sec-fetch-site")).unwrap_or("none");
    let is_link = text(HeaderName::from_static("sec-fetch-mode")) == Some("navigate")
        && text(HeaderName::from_static("sec-fetch-dest")) == Some("document");
    if !["none", "same-origin"].contains(&site) && !is_link {
        return Err(Refusal::Origin);
    }
    Ok(())
}

/// What a page may load.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// Adds the headers of every reply: nothing is cached, framed or sent elsewhere. `policy` is what the page may load.
pub(super) fn protect(headers: &mut HeaderMap, policy: Option<&str>) {
    let policy = HeaderValue::from_str(policy.unwrap_or(POLICY)).unwrap_or(HeaderValue::from_static(POLICY));
    let fixed = |name: &'static str, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    headers.extend([
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CONTENT_SECURITY_POLICY, policy),
        fixed("cross-origin-opener-policy", "same-origin"),
        fixed("cross-origin-resource-policy", "same-origin"),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        check(&headers.iter().map(header).collect())
    }

    #[test]
    fn only_the_secret_opens() {
        let (one, other) = (Secret::new(), Secret::new());
        assert!(one.opens(one.text()) && !one.opens(other.text()) && !one.opens("") && !one.opens(&one.text()[1..]));
        assert_eq!(one.text().len(), 32);
    }

    #[test]
    fn a_request_must_name_this_machine() {
        for host in ["127.0.0.1:80", "127.0.0.1", "localhost:8421"] {
            assert_eq!(checked(&[("host", host)]), Ok(()), "{host}");
        }
        for host in
            ["evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example:1", "0.0.0.0:1", "[::1]:1", ""]
        {
            assert_eq!(checked(&[("host", host)]), Err(Refusal::Host), "{host}");
        }
        assert_eq!(checked(&[]), Err(Refusal::Host));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let host = ("host", "127.0.0.1:8421");
        assert_eq!(checked(&[host, ("origin", "http://127.0.0.1:8421")]), Ok(()));
        assert_eq!(checked(&[host, ("sec-fetch-site", "same-origin")]), Ok(()));
        for origin in
            ["null", "https://127.0.0.1:8421", "http://127.0.0.1:3000", "http://localhost:8421", "http://evil.example"]
        {
            assert_eq!(checked(&[host, ("origin", origin)]), Err(Refusal::Origin), "{origin}");
        }
        for site in ["cross-site", "same-site", "?"] {
            assert_eq!(checked(&[host, ("sec-fetch-site", site)]), Err(Refusal::Origin), "{site}");
        }
        let link =
            [host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        assert_eq!(checked(&link), Ok(()));
        let frame =
            [host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        assert_eq!(checked(&frame), Err(Refusal::Origin));
    }
}
