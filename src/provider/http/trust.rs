//! Trust: which certificates of servers are accepted.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` name the trusted certificates, as for OpenSSL, on every system. A certificate that
//! is one of these itself is accepted too, though it is that of an authority: `openssl req -x509` makes such ones.

use std::env::var_os;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

const FILE: &str = "SSL_CERT_FILE";
const DIR: &str = "SSL_CERT_DIR";

/// The configuration with the certificates that the environment names; `None` if it names none.
pub(super) fn named(provider: Arc<CryptoProvider>) -> Result<Option<ClientConfig>, String> {
    let value = |name: &str| var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(file) = value(FILE) else { return Ok(None) };
    let mut trusted = certificates(&file);
    if trusted.is_empty() {
        return Err(format!("the file in `{FILE}`, {}, holds no certificate in PEM form", file.display()));
    }
    let folder = value(DIR).and_then(|folder| std::fs::read_dir(folder).ok());
    trusted.extend(folder.into_iter().flatten().flatten().flat_map(|entry| certificates(&entry.path())));
    config(provider, trusted).map(Some).map_err(|error| format!("TLS can't start: {error}"))
}

fn certificates(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file).map(|found| found.flatten().collect()).unwrap_or_default()
}

fn config(provider: Arc<CryptoProvider>, trusted: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let chain = chain.map_err(|error| Error::General(error.to_string()))?;
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(Trusted { chain, pinned: trusted });
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

#[derive(Debug)]
struct Trusted {
    chain: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The dates are checked before the use.
            Err(error) if is_authority(&error) && self.pinned.contains(certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Whether a server uses the certificate of an authority as its own.
fn is_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    format!("{other:?}").contains("CaUsedAsEndEntity")
}

/// Why the TLS handshake with `host` failed, and what to do.
pub(super) fn problem(error: &Error, host: &str) -> String {
    let Error::InvalidCertificate(certificate) = error else {
        return format!("no TLS connection to https://{host}: {error}");
    };
    let trust = format!(
        "put its certificate, or that of the authority that signed it, into a file, and name the file in `{FILE}`"
    );
    let (why, help) = match certificate {
        CertificateError::UnknownIssuer => ("an unknown authority signed it".to_owned(), trust),
        CertificateError::Other(_) if is_authority(error) => ("it vouches for itself".to_owned(), trust),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("it has expired".to_owned(), "renew it on the server".to_owned())
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("it is not valid yet".to_owned(), "check the clock of this machine".to_owned())
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let help = "name the server in `base_url` as its certificate does, or give it a certificate for this name";
            ("it is for another name".to_owned(), format!("{help}; `{FILE}` doesn't help here"))
        }
        other => (other.to_string(), trust),
    };
    format!("the certificate of https://{host} is not trusted: {why}; {help}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_fits_the_fault_of_the_certificate() {
        let said = |fault| problem(&Error::InvalidCertificate(fault), "lab:8443");
        for fault in [CertificateError::UnknownIssuer, CertificateError::BadSignature, CertificateError::BadEncoding] {
            assert!(said(fault.clone()).ends_with("name the file in `SSL_CERT_FILE`"), "{}", said(fault));
        }
        assert!(said(CertificateError::Expired).ends_with("it has expired; renew it on the server"));
        assert!(said(CertificateError::NotValidForName).contains("it is for another name"));
        assert!(problem(&Error::DecryptError, "lab").starts_with("no TLS connection to https://lab: "));
    }
}
