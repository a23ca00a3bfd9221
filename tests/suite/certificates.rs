//! Servers with own certificates, made by `openssl`, which these tests need.

use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::project::{Project, Ran};
use crate::recipe::{TYPED, openai_spec, rows};

/// Makes `NAME.pem` and `NAME.key` in the folder; with `by`, signed by that authority.
fn make(folder: &Path, name: &str, subject: &str, by: Option<&str>) {
    let openssl = |args: &[&str]| {
        let ran = Command::new("openssl").args(args).current_dir(folder).output().expect("openssl runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    };
    let (pem, key, names) = (format!("{name}.pem"), format!("{name}.key"), format!("subjectAltName={subject}"));
    let new = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab", "-keyout", &key];
    match by {
        None => openssl(&[&new[..], &["-x509", "-days", "2", "-out", &pem, "-addext", &names]].concat()),
        Some(by) => {
            openssl(&[&new[..], &["-out", "request"]].concat());
            std::fs::write(folder.join("ext"), format!("{names}\nbasicConstraints=CA:FALSE\n")).expect("a file");
            let (ca, ca_key) = (format!("{by}.pem"), format!("{by}.key"));
            let sign = ["x509", "-req", "-in", "request", "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
            openssl(&[&sign[..], &["-days", "2", "-extfile", "ext", "-out", &pem]].concat());
        }
    }
}

/// A server with the certificate `name` in the folder. Returns its address.
fn serve(folder: &Path, name: &str) -> String {
    let chain = vec![CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).expect("a key that fits"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a port").port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Ok(connection) = ServerConnection::new(config.clone()) else { continue };
            thread::spawn(move || answer(StreamOwned::new(connection, stream)));
        }
    });
    format!("https://127.0.0.1:{port}/v1")
}

fn answer(mut stream: impl std::io::Read + Write) {
    let text = json!({ "label": "positive", "score": 1 }).to_string();
    let choice = json!({ "message": { "content": text }, "finish_reason": "stop" });
    let body = json!({ "data": [{ "id": "llama3.2" }], "choices": [choice] }).to_string();
    while let Ok(Some(_)) = crate::server::read_request(&mut BufReader::new(&mut stream)) {
        let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(reply.as_bytes()).and_then(|()| stream.flush()).is_err() {
            break;
        }
    }
}

fn run(project: &Project, args: &[&str]) -> Ran {
    project.run(&[&["run", "pipeline.toml"], args].concat())
}

#[test]
fn a_certificate_is_trusted_if_a_file_names_it_or_its_authority() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path(), "ca", "DNS:ca", None);
    make(folder.path(), "leaf", "IP:127.0.0.1", Some("ca"));
    make(folder.path(), "self", "IP:127.0.0.1", None);
    make(folder.path(), "other", "DNS:other.example.org", None);
    let spec = openai_spec("", &format!("models = [\"llama\"]\n{TYPED}"));
    for (name, trusted, works) in
        [("leaf", "ca", true), ("self", "self", true), ("other", "other", false), ("self", "ca", false)]
    {
        let address = serve(folder.path(), name);
        let project = Project::new().env("LAB_URL", &address).spec(&spec).csv("data.csv", &rows(3));
        let untrusted = run(&project, &[]).exits(3);
        assert!(
            untrusted.stderr.contains("certificate") && untrusted.stderr.contains("SSL_CERT_FILE"),
            "{}",
            untrusted.stderr
        );
        assert!(!untrusted.stderr.contains("server is down"), "{}", untrusted.stderr);
        let file = folder.path().join(format!("{trusted}.pem"));
        let project = project.env("SSL_CERT_FILE", file.to_str().expect("a path in UTF-8"));
        let ran = run(&project, &["--fresh"]);
        assert_eq!(ran.exits(if works { 0 } else { 3 }).stderr.contains("3 answered"), works, "{name}");
    }
}

#[test]
fn a_file_without_certificates_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("empty.pem");
    std::fs::write(&file, "nothing").expect("a file");
    let spec = openai_spec("", &format!("models = [\"llama\"]\n{TYPED}"));
    let project = Project::new().env("LAB_URL", "https://127.0.0.1:9/v1").spec(&spec).csv("data.csv", &rows(1));
    let project = project.env("SSL_CERT_FILE", file.to_str().expect("a path in UTF-8"));
    run(&project, &[]).exits(3).says("holds no certificate");
}
