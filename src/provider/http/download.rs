//! Downloads of large files: the headers of a file, and its bytes from an offset.
//!
//! A hub sends large files from a different host, so downloads follow redirects, unlike calls. The key goes to the
//! first host only, and no redirect leads from `https` to `http`.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Client, Method, Request, Response, Url, redirect};

pub(crate) use super::Body;
use super::{Headers, Secret, client, key_header, unsent};
use crate::provider::address::Address;
use crate::provider::failure::{CallError, CallErrorKind};

const CONNECT: Duration = Duration::from_secs(10);
/// The longest time without a byte.
const SILENCE: Duration = Duration::from_secs(60);
const REDIRECTS: usize = 5;

pub(crate) struct Downloads {
    still: Client,
    following: Client,
    headers: HeaderMap,
    host: String,
}

/// The start of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: HeaderMap,
}

impl Head {
    fn of(response: &Response) -> Head {
        Head { status: response.status().as_u16(), headers: response.headers().clone() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Downloads {
    pub(crate) fn new(address: &Address, key: Option<&Secret>) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        // A compressed body has another length than the file.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(key) = key {
            headers.insert(Headers::BEARER.key, key_header(Headers::BEARER, key)?);
        }
        let build = |policy| {
            let builder = client(address)?.connect_timeout(CONNECT).read_timeout(SILENCE).redirect(policy);
            builder.build().map_err(|error| format!("the HTTP client can't start: {error}"))
        };
        let is_https = address.is_https();
        let policy = redirect::Policy::custom(move |attempt| match attempt.previous().len() {
            0..REDIRECTS if !is_https || attempt.url().scheme() == "https" => attempt.follow(),
            _ => attempt.error("the server redirects too often, or to a server without TLS"),
        });
        let (still, following) = (build(redirect::Policy::none())?, build(policy)?);
        Ok(Downloads { still, following, headers, host: address.host().to_owned() })
    }

    /// The headers of the file's own host: it follows redirects within that host only.
    pub(crate) async fn head(&self, url: Url) -> Result<Head, CallError> {
        let mut url = url;
        for _ in 0..REDIRECTS {
            let response = self.send(&self.still, Method::HEAD, url.clone(), None).await?;
            let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
            let next = location.and_then(|location| url.join(location.to_str().ok()?).ok());
            match next {
                Some(next) if next.origin() == url.origin() => url = next,
                _ => return Ok(Head::of(&response)),
            }
        }
        Err(CallError::new(CallErrorKind::Malformed, format!("{} redirects without end", self.host)))
    }

    /// The body of a file from a byte on, if the server can begin there; else the whole body, with status 200.
    pub(crate) async fn get(&self, url: Url, from: u64) -> Result<(Head, Body), CallError> {
        let range = (from > 0).then(|| format!("bytes={from}-"));
        let response = self.send(&self.following, Method::GET, url, range).await?;
        Ok((Head::of(&response), Body(response)))
    }

    async fn send(
        &self,
        client: &Client,
        method: Method,
        url: Url,
        range: Option<String>,
    ) -> Result<Response, CallError> {
        let mut request = Request::new(method, url);
        *request.headers_mut() = self.headers.clone();
        if let Some(range) = range.and_then(|range| HeaderValue::try_from(range).ok()) {
            request.headers_mut().insert(RANGE, range);
        }
        let unreachable = || format!("{} can't be reached", self.host);
        let response = client.execute(request).await.map_err(|error| unsent(error, unreachable).cleaned(None))?;
        match response.status().as_u16() {
            status @ (429 | 500..600) => {
                let message = format!("{} is busy (status {status})", self.host);
                Err(CallError::new(CallErrorKind::Unavailable { retry_after: None }, message))
            }
            _ => Ok(response),
        }
    }
}
