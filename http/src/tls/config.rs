//! The usual configurations.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use futures_rustls::pki_types::pem::{self, PemObject};
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use futures_rustls::rustls::crypto::{CryptoProvider, ring};
use futures_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};

/// Why a configuration could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text contains no certificate.
    NoCertificate,
    /// The text contains no private key.
    NoKey,
    /// The text is not valid PEM.
    Pem(pem::Error),
    /// A certificate or key is not valid, or they do not belong together.
    Tls(rustls::Error),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::NoCertificate => f.write_str("no certificate: expected PEM"),
            ConfigError::NoKey => f.write_str("no private key: expected PEM"),
            ConfigError::Pem(error) => write!(f, "not valid PEM: {error}"),
            ConfigError::Tls(error) => write!(f, "unusable certificate or key: {error}"),
        }
    }
}

impl Error for ConfigError {}

impl From<rustls::Error> for ConfigError {
    fn from(error: rustls::Error) -> ConfigError {
        ConfigError::Tls(error)
    }
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let certificates = certificates.map_err(ConfigError::Pem)?;
    if certificates.is_empty() { Err(ConfigError::NoCertificate) } else { Ok(certificates) }
}

/// The provider of the process if there is one, otherwise `ring`.
fn provider() -> Arc<CryptoProvider> {
    let installed = CryptoProvider::get_default().cloned();
    installed.unwrap_or_else(|| Arc::new(ring::default_provider()))
}

/// Returns the configuration of a server for HTTP/2 and HTTP/1.1 that asks its clients for no
/// certificate. Both arguments are PEM: the chain of certificates, the server's own first, and its
/// private key.
///
/// # Errors
///
/// If the texts do not contain a chain and the key of its first certificate.
///
/// # Examples
///
/// ```
/// use matou_http::tls::{ConfigError, server_config};
///
/// assert!(matches!(server_config(b"", b""), Err(ConfigError::NoCertificate)));
/// ```
pub fn server_config(chain: &[u8], key: &[u8]) -> Result<ServerConfig, ConfigError> {
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        pem::Error::NoItemsFound => ConfigError::NoKey,
        error => ConfigError::Pem(error),
    })?;
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Returns the configuration of a client that trusts the certificates in `roots`, which is PEM, and
/// presents none of its own. It offers no protocol: set
/// [`alpn_protocols`](ClientConfig::alpn_protocols) for HTTP/2.
///
/// For the certificates that browsers trust, make a configuration of the crate `webpki-roots` or
/// `rustls-platform-verifier`.
///
/// # Errors
///
/// If the text contains no certificate, or one that is not valid.
pub fn client_config(roots: &[u8]) -> Result<ClientConfig, ConfigError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(roots)? {
        store.add(certificate)?;
    }
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}
