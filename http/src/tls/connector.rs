use std::fmt;
use std::io;
use std::sync::Arc;

use futures_io::{AsyncRead, AsyncWrite};
use futures_rustls::pki_types::ServerName;
use futures_rustls::rustls::ClientConfig;

use super::TlsStream;

/// Makes TLS connections of a client over streams that are connected.
#[derive(Clone)]
pub struct TlsConnector {
    inner: futures_rustls::TlsConnector,
}

impl TlsConnector {
    /// Creates a connector.
    pub fn new(config: impl Into<Arc<ClientConfig>>) -> TlsConnector {
        TlsConnector { inner: config.into().into() }
    }

    /// Does the handshake with the server at the other end of `stream`. The certificate of the
    /// server must be valid for `name`: the name of a host, or an IP address.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if `name` is neither.
    /// - [`InvalidData`](io::ErrorKind::InvalidData) if the server does not speak TLS, or its
    ///   certificate is not valid.
    /// - An error of the stream.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the stream.
    pub async fn connect<T>(&self, name: &str, stream: T) -> io::Result<TlsStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            let text = format!("`{name}` is neither the name of a host nor an IP address");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        let stream = self.inner.connect(name, stream).await?;
        Ok(TlsStream::open(stream.into()))
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").finish_non_exhaustive()
    }
}
