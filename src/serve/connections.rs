//! Connections: takes a limited number at a time, and ends those that are slow, so that no program of this machine can
//! use up what the run needs.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The most connections at a time. A browser has six.
const MOST: usize = 64;
/// The longest time for the head of a request, or for its body.
const SLOWEST: Duration = Duration::from_secs(10);
/// The pause when no connection can be taken, as when no file can be opened.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers all requests until this future is dropped.
pub(super) async fn serve<F>(listener: TcpListener, answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static)
where
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let free = Arc::new(Semaphore::new(MOST));
    while let Ok(place) = free.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let reply = answer(request);
            async move { Ok::<_, Infallible>(reply.await) }
        });
        let mut protocol = http1::Builder::new();
        let protocol = protocol.timer(TokioTimer::new()).header_read_timeout(SLOWEST).max_buf_size(64 << 10);
        let connection = protocol.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _ = connection.await;
            drop(place);
        });
    }
}

/// The body of a request with at most this many bytes. The error is a sentence.
pub(super) async fn body(request: Request<Incoming>, most: usize) -> Result<Bytes, String> {
    match tokio::time::timeout(SLOWEST, Limited::new(request.into_body(), most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(format!("the text is longer than {} MiB", most >> 20)),
        Ok(Err(_)) => Err("the request was cut".to_owned()),
        Err(_) => Err("the request was too slow".to_owned()),
    }
}
