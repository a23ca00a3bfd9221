//! The HTTP client of all dialects; no other code opens a connection.
//!
//! The client reuses connections, bounds every wait and body, follows no redirect, and keeps the key secret. One
//! request is one attempt.

pub(super) mod download;
mod trust;

use std::error::Error as _;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Method, Request, Response, StatusCode, Url, redirect, retry};
use rustls::{ClientConfig, RootCertStore};

use super::address::Address;
use super::answer::Answer;
use super::failure::{CallError, CallErrorKind, retry_after};
use super::fault::Fault;
use super::open_files::{exhausted, socket};
use super::quota::Quotas;

/// The limit in bytes.
pub(crate) const LONGEST_BODY: usize = 16 << 20;

/// Shorter than the 5 seconds after which uvicorn and llama.cpp close a connection.
const KEEP_IDLE: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// The deadline for connecting, TLS included.
    pub(crate) connect: Duration,
    /// The deadline from the start of a call to the last byte of its reply.
    pub(crate) total: Duration,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: &str) -> Self {
        Secret(text.trim().to_owned())
    }

    fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Headers {
    /// The header's name in lower case.
    pub(crate) key: &'static str,
    pub(crate) before_key: &'static str,
    /// The names are in lower case.
    pub(crate) fixed: &'static [(&'static str, &'static str)],
}

impl Headers {
    pub(crate) const BEARER: Headers = Headers { key: "authorization", before_key: "Bearer ", fixed: &[] };
}

/// What is sent with every request to a server.
#[derive(Debug, Default)]
pub(super) struct Access {
    pub(super) key: Option<Secret>,
    pub(super) headers: Vec<(String, String)>,
    /// The values that no message may show, beside the key.
    pub(super) secrets: Vec<Secret>,
}

#[derive(Clone)]
pub(super) struct Http {
    client: Client,
    headers: HeaderMap,
    secrets: Vec<Secret>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

/// A request with a large body, or for one. Without a body it is a GET.
pub(super) struct Transfer {
    pub(super) url: Url,
    /// The type of the body, and the body.
    pub(super) body: Option<(String, Vec<u8>)>,
    pub(super) deadline: Duration,
    /// The most bytes of the answer.
    pub(super) most: usize,
}

/// An answer whose body is read piece by piece.
pub(crate) struct Body(Response);

impl Body {
    /// The next bytes, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, CallError> {
        self.0.chunk().await.map_err(|error| cut_off(error).cleaned(None))
    }
}

pub(super) struct Received {
    status: u16,
    retry_after: Option<Duration>,
    pub(crate) quotas: Quotas,
    body: Vec<u8>,
}

impl Received {
    pub(crate) fn answer(&self) -> Answer<'_> {
        Answer { status: self.status, retry_after: self.retry_after, body: &self.body }
    }
}

impl Http {
    pub(crate) fn new(
        address: &Address,
        deadlines: Deadlines,
        access: Access,
        dialect: Headers,
    ) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in dialect.fixed {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        if let Some(key) = &access.key {
            headers.insert(dialect.key, key_header(dialect, key)?);
        }
        for (name, value) in &access.headers {
            let name = HeaderName::try_from(name).map_err(|_| format!("`{name}` is not the name of a header"))?;
            let value =
                HeaderValue::try_from(value).map_err(|_| format!("the header `{name}` can't hold its value"))?;
            headers.insert(name, value);
        }
        let secrets = access.key.into_iter().chain(access.secrets).collect();
        let builder = client(address)?
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(1024)
            .connect_timeout(deadlines.connect)
            .timeout(deadlines.total);
        let client = builder.build().map_err(|e| format!("the HTTP client can't start: {}", innermost(&e)))?;
        Ok(Http { client, headers, secrets })
    }

    pub(crate) async fn post(
        &self,
        url: Url,
        body: Vec<u8>,
        unreachable: impl Fn() -> String,
    ) -> Result<Received, CallError> {
        let mut request = Request::new(Method::POST, url);
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(body.into());
        self.exchange(request, LONGEST_BODY, unreachable).await
    }

    pub(crate) async fn get(
        &self,
        url: Url,
        deadline: Duration,
        unreachable: impl Fn() -> String,
    ) -> Result<Received, CallError> {
        let mut request = Request::new(Method::GET, url);
        *request.headers_mut() = self.headers.clone();
        *request.timeout_mut() = Some(deadline);
        self.exchange(request, LONGEST_BODY, unreachable).await
    }

    /// Sends a request with a large body, or for one.
    pub(crate) async fn transfer(
        &self,
        Transfer { url, body, deadline, most }: Transfer,
        unreachable: impl Fn() -> String,
    ) -> Result<Received, CallError> {
        let mut request = Request::new(if body.is_some() { Method::POST } else { Method::GET }, url);
        *request.headers_mut() = self.headers.clone();
        *request.timeout_mut() = Some(deadline);
        if let Some((content_type, body)) = body {
            let content_type = HeaderValue::try_from(content_type).unwrap_or(HeaderValue::from_static("text/plain"));
            request.headers_mut().insert(CONTENT_TYPE, content_type);
            *request.body_mut() = Some(body.into());
        }
        self.exchange(request, most, unreachable).await
    }

    /// The body of a page, which is read piece by piece.
    pub(crate) async fn body(
        &self,
        url: Url,
        deadline: Duration,
        unreachable: impl Fn() -> String,
    ) -> Result<Body, CallError> {
        let mut request = Request::new(Method::GET, url);
        *request.headers_mut() = self.headers.clone();
        *request.timeout_mut() = Some(deadline);
        let response = self.client.execute(request).await.map_err(|e| unsent(e, unreachable))?;
        let status = response.status();
        if status.is_success() {
            return Ok(Body(response));
        }
        if status.is_redirection() {
            return Err(redirected(&response));
        }
        let said = response.text().await.unwrap_or_default();
        Err(Fault::error_of(Answer { status: status.as_u16(), retry_after: None, body: said.as_bytes() }))
    }

    pub(crate) fn clean(&self, error: CallError) -> CallError {
        error.cleaned(self.secrets.iter().map(Secret::text))
    }

    async fn exchange(
        &self,
        request: Request,
        most: usize,
        unreachable: impl Fn() -> String,
    ) -> Result<Received, CallError> {
        let _socket = socket().await;
        let mut response = self.client.execute(request).await.map_err(|e| unsent(e, unreachable))?;
        let status = response.status();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let now = Utc::now();
        let quotas = Quotas::of(header, now);
        let retry_after = match status.is_success() {
            true => None,
            false => retry_after(header("retry-after-ms"), header(RETRY_AFTER.as_str()), now)
                .or_else(|| quotas.reset().filter(|_| status == StatusCode::TOO_MANY_REQUESTS)),
        };
        if status.is_redirection() {
            return Err(redirected(&response));
        }
        let announced = response.content_length().unwrap_or(0);
        if announced > most as u64 {
            return Err(too_long(most));
        }
        let mut body = Vec::with_capacity(announced as usize);
        while let Some(chunk) = response.chunk().await.map_err(cut_off)? {
            if body.len() + chunk.len() > most {
                return Err(too_long(most));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Received { status: status.as_u16(), retry_after, quotas, body })
    }
}

fn key_header(dialect: Headers, key: &Secret) -> Result<HeaderValue, String> {
    let value = format!("{}{}", dialect.before_key, key.text());
    let mut value = HeaderValue::try_from(value).map_err(|_| "a key can't hold line breaks".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// What all clients have in common; each sets its deadlines and its redirects.
fn client(address: &Address) -> Result<ClientBuilder, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("fanfold/", env!("CARGO_PKG_VERSION")))
        .referer(false)
        .retry(retry::never())
        .http1_only()
        .tcp_nodelay(true)
        .pool_idle_timeout(KEEP_IDLE);
    if address.is_loopback() {
        builder = builder.no_proxy();
    }
    // A server without TLS needs no trusted roots, which a small container may lack.
    Ok(match address.is_https() {
        true => {
            // This fails only if a provider is already installed.
            let _ = rustls::crypto::ring::default_provider().install_default();
            match trust::named(Arc::new(rustls::crypto::ring::default_provider()))? {
                Some(config) => builder.tls_backend_preconfigured(config),
                None => builder.tls_backend_rustls(),
            }
        }
        false => builder.tls_backend_preconfigured(rootless()?),
    })
}

fn rootless() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS can't start: {e}"))?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

fn unsent(error: reqwest::Error, unreachable: impl Fn() -> String) -> CallError {
    let host = error.url().map(|url| url.authority().to_owned()).unwrap_or_default();
    let is_https = error.url().is_some_and(|url| url.scheme() == "https");
    let error = error.without_url();
    let why = innermost(&error);
    if let Some(exhausted) = exhausted(&error) {
        exhausted
    } else if speaks_plain_http(&error) {
        let message =
            format!("can't connect to https://{host}: the server answers without TLS; write `http://` in its address");
        CallError::raw(CallErrorKind::Unavailable { retry_after: None }, message)
    } else if let Some(problem) = tls_problem(&error, &host) {
        CallError::raw(CallErrorKind::Tls, problem)
    } else if error.is_connect() && is_https && ended_early(&error) {
        let message = format!("{} ({why}; a server without TLS needs `http://` in its address)", unreachable());
        CallError::raw(CallErrorKind::Unavailable { retry_after: None }, message)
    } else if error.is_connect() {
        CallError::raw(CallErrorKind::Unavailable { retry_after: None }, format!("{} ({why})", unreachable()))
    } else if error.is_timeout() {
        CallError::raw(CallErrorKind::Timeout, "no whole reply within the deadline")
    } else if error.is_builder() {
        CallError::raw(CallErrorKind::Rejected, format!("the request can't be made: {why}"))
    } else {
        CallError::raw(CallErrorKind::Unavailable { retry_after: None }, format!("the connection was lost: {why}"))
    }
}

fn cut_off(error: reqwest::Error) -> CallError {
    let error = error.without_url();
    if error.is_timeout() {
        CallError::raw(CallErrorKind::Timeout, "no whole reply within the deadline")
    } else {
        CallError::raw(CallErrorKind::Lost, format!("the connection was lost within the reply: {}", innermost(&error)))
    }
}

fn too_long(most: usize) -> CallError {
    CallError::raw(CallErrorKind::Malformed, format!("the reply is larger than {} MiB", most >> 20))
}

/// A redirect could send the key and the row to another server. The message names only the target's host.
fn redirected(response: &Response) -> CallError {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| response.url().join(location).ok());
    let host = match target.as_ref().and_then(Url::host_str) {
        Some(host) => format!("the host `{host}`"),
        None => "nowhere".to_owned(),
    };
    let status = response.status().as_u16();
    CallError::raw(
        CallErrorKind::Rejected,
        format!("the server redirects to {host} (status {status}); redirects are not followed, name the final address"),
    )
}

/// Whether the answer to a TLS handshake was no TLS message.
fn speaks_plain_http(error: &reqwest::Error) -> bool {
    has_cause(error, |cause| matches!(cause.downcast_ref(), Some(rustls::Error::InvalidMessage(_))))
}

fn tls_problem(error: &reqwest::Error, host: &str) -> Option<String> {
    let mut problem = None;
    has_cause(error, |cause| {
        problem = cause.downcast_ref().map(|error| trust::problem(error, host));
        problem.is_some()
    });
    problem
}

/// Whether the server closed the connection during the TLS handshake.
fn ended_early(error: &reqwest::Error) -> bool {
    has_cause(error, |cause| {
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        matches!(kind, Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset))
    })
}

fn has_cause(error: &reqwest::Error, mut is: impl FnMut(&(dyn std::error::Error + 'static)) -> bool) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if is(error) {
            return true;
        }
        // The source of an I/O error is not the error that it wraps, but that error's source.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = wrapped.map(|wrapped| wrapped as _).or_else(|| error.source());
    }
    false
}

/// The innermost cause is the most exact one and contains no URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.source().is_none() { "no further reason".to_owned() } else { cause.to_string() }
}

#[cfg(test)]
mod tests;
