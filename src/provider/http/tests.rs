//! The client against a server that misbehaves: every answer is written by hand, byte by byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use super::*;
use crate::document::{Path, Problems};
use crate::prompt::Message;
use crate::provider::endpoint::tests::context;
use crate::provider::{Call, Model, PROVIDERS, Provider, Reply, Sampling};

const KEY: &str = "sk-CANARY-0123456789";

/// A server that answers each connection by `answer`, with the request it read.
fn serve(answer: impl Fn(&mut TcpStream, &str) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 65536];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                request.extend_from_slice(&buffer[..n]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .map_or(0, |n| n.parse().unwrap());
                if body.len() >= length {
                    answer(&mut stream, &text);
                    break;
                }
            }
        }
    });
    address
}

/// A server that says this and closes the connection.
fn says(text: impl Into<String>) -> String {
    let text = text.into();
    serve(move |stream, _| stream.write_all(text.as_bytes()).unwrap_or_default())
}

/// A provider of a kind at `base_url`, with a key where the kind knows one.
fn provider(kind: &str, base_url: &str) -> Arc<dyn Provider> {
    let mut fields = serde_json::json!({"base_url": base_url, "timeout_secs": 1, "connect_timeout_secs": 1});
    if kind != "ollama" {
        fields["api_key_env"] = "LAB_KEY".into();
    }
    let mut problems = Problems::default();
    let node = crate::provider::endpoint::tests::node(&fields);
    let kind = PROVIDERS.iter().find(|row| row.name == kind).unwrap();
    let config = (kind.decode)(&node, &Path::root(), &mut problems).unwrap();
    config.connect(&context(&|_| Some(KEY.to_owned()))).unwrap()
}

fn model() -> Model {
    Model { id: "m".to_owned(), sampling: Sampling::default() }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn call(base_url: &str) -> Result<Reply, CallError> {
    call_of("openai", base_url)
}

fn call_of(kind: &str, base_url: &str) -> Result<Reply, CallError> {
    let provider = provider(kind, base_url);
    let messages = [Message::user("hi")];
    let result = block_on(provider.send(provider.encode(&Call { model: &model(), messages: &messages, schema: None })));
    assert!(!format!("{result:?}").contains("CANARY"), "{result:?}");
    result
}

fn fails(base_url: &str) -> CallError {
    call(base_url).unwrap_err()
}

const GOOD: &str = r#"{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}"#;

fn with_length(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn https_before_a_server_without_tls_is_named() {
    for kind in ["ollama", "openai", "anthropic"] {
        let plain = serve_raw(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request");
        let error = call_of(kind, &format!("https://{plain}")).unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Unavailable { retry_after: None }, "{error}");
        let wanted = format!("can't connect to https://{plain}: the server answers without TLS; write `http://`");
        assert!(error.message.starts_with(&wanted), "{error}");
    }
}

/// A server that says this after the first bytes of each connection.
fn serve_raw(says: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).is_ok() {
                let _ = stream.write_all(says);
            }
        }
    });
    address
}

#[test]
fn a_call_carries_the_key_and_nothing_odd() {
    let (sender, seen) = std::sync::mpsc::channel();
    let address = serve(move |stream, request| {
        sender.send(request.to_owned()).unwrap();
        stream.write_all(with_length("200 OK", "", GOOD).as_bytes()).unwrap();
    });
    assert_eq!(call(&address).unwrap().text, "yes");
    let request = seen.recv().unwrap();
    assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("authorization: Bearer {KEY}\r\n")), "{request}");
    assert!(!request.contains("referer") && request.contains("user-agent: fanfold/"), "{request}");
    assert!(request.ends_with(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#), "{request}");
}

#[test]
fn each_dialect_has_its_path_and_its_header_for_the_key() {
    for (kind, path, header) in [
        ("openai", "/v1/chat/completions", format!("authorization: Bearer {KEY}\r\n")),
        ("anthropic", "/v1/messages", format!("x-api-key: {KEY}\r\n")),
        ("gemini", "/v1beta/models/m:generateContent", format!("x-goog-api-key: {KEY}\r\n")),
    ] {
        let (sender, seen) = std::sync::mpsc::channel();
        let address = serve(move |stream, request| {
            sender.send(request.to_owned()).unwrap();
            let body = format!(r#"{{"error":{{"message":"no {KEY}"}}}}"#);
            stream.write_all(with_length("401 Unauthorized", "", &body).as_bytes()).unwrap();
        });
        let base = if kind == "openai" { address.as_str() } else { address.trim_end_matches("/v1") };
        assert_eq!(call_of(kind, base).unwrap_err().message, "no [key] (status 401)");
        let request = seen.recv().unwrap();
        assert!(request.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{request}");
        assert!(request.contains(&header) && request.matches(KEY).count() == 1, "{request}");
        assert_eq!(request.contains("anthropic-version: 2023-06-01\r\n"), kind == "anthropic", "{request}");
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(body.starts_with('{'), "nothing stands before the body: {body}");
    }
}

#[test]
fn bodies_that_end_early_are_lost_connections_or_truncated() {
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\":[".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"cho\r\n".to_owned(),
    ] {
        let failed = fails(&says(text.clone()));
        assert_eq!(failed.kind, CallErrorKind::Lost, "{text}");
        assert!(failed.message.starts_with("the connection was lost within the reply"), "{failed}");
    }
    // The server ended these itself.
    for text in [format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", &GOOD[..40]), with_length("200 OK", "", "")]
    {
        assert_eq!(fails(&says(text.clone())).kind, CallErrorKind::Truncated, "{text}");
    }
    let closed = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{GOOD}");
    assert_eq!(call(&says(closed)).unwrap().text, "yes");
}

#[test]
fn lost_connections_are_outages() {
    let refused = fails("http://127.0.0.1:9/v1");
    assert_eq!(refused.kind, CallErrorKind::Unavailable { retry_after: None });
    assert!(refused.message.starts_with("can't connect to http://127.0.0.1:9/v1; is it running"), "{refused}");
    assert_eq!(fails(&says("")).kind, CallErrorKind::Unavailable { retry_after: None });
    assert_eq!(fails(&says("not http at all\r\n\r\n")).kind, CallErrorKind::Unavailable { retry_after: None });
    let ollama = provider("ollama", "http://127.0.0.1:9");
    let error = block_on(ollama.inspect(&model())).unwrap_err();
    assert!(error.message.starts_with("no Ollama at http://127.0.0.1:9; is `ollama serve` running?"), "{error}");
}

#[test]
fn silence_and_dripping_meet_the_deadline() {
    let start = Instant::now();
    let silent = serve(|_, _| std::thread::sleep(Duration::from_secs(3)));
    assert_eq!(fails(&silent).kind, CallErrorKind::Timeout);
    let drips = serve(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(fails(&drips).kind, CallErrorKind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn endless_bodies_are_cut_off() {
    let announced = says("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
    assert_eq!(fails(&announced).kind, CallErrorKind::Malformed);
    let endless = serve(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b' '; 1 << 16]).is_ok() {}
    });
    let mut error = fails(&endless);
    if error.kind == CallErrorKind::Timeout {
        error = fails(&endless); // a machine too busy to send 16 MiB in a second
    }
    assert_eq!((error.kind, error.message.as_str()), (CallErrorKind::Malformed, "the reply is larger than 16 MiB"));
}

#[test]
fn compressed_bodies_are_not_asked_for_and_not_unpacked() {
    let (sender, seen) = std::sync::mpsc::channel();
    // The head of a gzip stream: what it would unpack to doesn't matter.
    let head =
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n";
    let body = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0";
    let address = serve(move |stream, request| {
        sender.send(request.to_ascii_lowercase()).unwrap();
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    });
    let error = fails(&address);
    assert_eq!(error.kind, CallErrorKind::Malformed);
    assert!(error.message.starts_with("the reply is not what the protocol says"), "{error}");
    let request = seen.recv().unwrap();
    assert!(!request.contains("accept-encoding"), "{request}");
}

#[test]
fn a_server_without_the_tls_it_should_have_is_an_outage() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = format!("https://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let error = fails(&plain);
    assert_eq!(error.kind, CallErrorKind::Unavailable { retry_after: None });
    assert!(error.message.starts_with("can't connect to https://127.0.0.1"), "{error}");
    // A name that does not exist; some networks let it wait for an answer.
    let unknown = fails("https://fanfold-test.invalid/v1").kind;
    assert!(matches!(unknown, CallErrorKind::Unavailable { .. } | CallErrorKind::Timeout), "{unknown:?}");
}

#[test]
fn redirects_are_refused_and_name_the_host_only() {
    let location = format!("location: https://evil.example.org/take?key={KEY}\r\n");
    let error = fails(&says(with_length("307 Temporary Redirect", &location, "")));
    assert_eq!(error.kind, CallErrorKind::Rejected);
    assert!(error.message.contains("the host `evil.example.org`") && !error.message.contains("take"), "{error}");
    assert!(fails(&says(with_length("302 Found", "location: /login\r\n", ""))).message.contains("`127.0.0.1`"));
    assert!(fails(&says(with_length("304 Not Modified", "", ""))).message.contains("nowhere"));
}

#[test]
fn waits_are_read_and_keys_are_taken_out() {
    let body = format!(r#"{{"error":{{"message":"key {KEY} is too fast\u001b[31m","code":"rate_limit_exceeded"}}}}"#);
    let error = fails(&says(with_length("429 Too Many Requests", "retry-after: 7\r\n", &body)));
    assert_eq!(error.kind, CallErrorKind::RateLimited { retry_after: Some(Duration::from_secs(7)) });
    assert_eq!(error.message, "key [key] is too fast[31m (status 429)");
    let long = format!("{}{KEY}", "x".repeat(290));
    assert!(!fails(&says(with_length("400 Bad Request", "", &long))).message.contains("sk-"));
    let garbled = fails(&says(with_length("200 OK", "", &format!("hello {KEY}"))));
    assert_eq!(garbled.kind, CallErrorKind::Malformed);
}

#[test]
fn connections_are_used_again() {
    let (sender, seen) = std::sync::mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            sender.send(()).unwrap();
            let mut stream = stream.unwrap();
            let mut buffer = [0; 4096];
            while let Ok(1..) = stream.read(&mut buffer) {
                stream.write_all(with_length("200 OK", "", GOOD).as_bytes()).unwrap();
            }
        }
    });
    let provider = provider("openai", &address);
    let messages = [Message::user("hi")];
    block_on(async {
        for _ in 0..20 {
            let call = provider.encode(&Call { model: &model(), messages: &messages, schema: None });
            assert_eq!(provider.send(call).await.unwrap().text, "yes");
        }
    });
    assert_eq!(seen.try_iter().count(), 1);
}
