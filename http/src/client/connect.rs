//! New connections.

use futures_io::{AsyncRead, AsyncWrite};
use hyper::client::conn::{http1, http2};
use matou_net::{TcpStream, UnixStream, lookup_host};
use matou_runtime::{Spawner, timeout};

use super::Settings;
use super::body::OutgoingBody;
use super::error::{ClientError, ClientErrorKind};
use super::origin::Origin;
use crate::executor::LocalExecutor;
use crate::io::HyperIo;
use crate::timer::Timer;

/// How many addresses of a host are tried.
const ADDRESSES_MAX: usize = 16;

/// Sends requests to the task of a connection.
pub(super) enum Sender {
    Http1(http1::SendRequest<OutgoingBody>),
    Http2(http2::SendRequest<OutgoingBody>),
}

/// Connects to a server. The connection's tasks are children of the group of `spawner`.
pub(super) async fn connect(
    settings: &Settings,
    origin: &Origin,
    spawner: Spawner<()>,
) -> Result<Sender, ClientError> {
    let establish = establish(settings, origin, spawner);
    match timeout(settings.connect_timeout, establish).await {
        Ok(result) => result,
        Err(_) => Err(ClientErrorKind::ConnectTimedOut.into()),
    }
}

async fn establish(
    settings: &Settings,
    origin: &Origin,
    spawner: Spawner<()>,
) -> Result<Sender, ClientError> {
    let failed = |error| ClientError::new(ClientErrorKind::Connect, error);
    if let Some(path) = &settings.unix_socket {
        let stream = UnixStream::connect(path).await.map_err(failed)?;
        return secure(stream, settings, origin, spawner).await;
    }
    let addresses = lookup_host(&origin.host, origin.port)
        .await
        .map_err(|error| ClientError::new(ClientErrorKind::Resolve, error))?;
    let addresses = addresses.into_iter().take(ADDRESSES_MAX);
    let mut stream = TcpStream::connect_any(addresses).await.map_err(failed)?;
    // The option fails only for a connection that has ended.
    drop(stream.set_nodelay(true));
    secure(stream, settings, origin, spawner).await
}

/// Performs the handshake of TLS if the origin asks for it.
async fn secure<S>(
    stream: S,
    settings: &Settings,
    origin: &Origin,
    spawner: Spawner<()>,
) -> Result<Sender, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    #[cfg(feature = "tls")]
    if origin.is_tls {
        let connector = settings.tls.as_ref().expect("checked before the lookup");
        let stream = connector
            .connect(&origin.host, stream)
            .await
            .map_err(|error| ClientError::new(ClientErrorKind::Tls, error))?;
        let is_http2 = stream.protocol() == Some(b"h2");
        return start(stream, is_http2 || settings.http2_only, spawner).await;
    }
    #[cfg(not(feature = "tls"))]
    let _ = origin;
    start(stream, settings.http2_only, spawner).await
}

async fn start<S>(stream: S, is_http2: bool, spawner: Spawner<()>) -> Result<Sender, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error| ClientError::new(ClientErrorKind::Connect, error);
    let io = HyperIo::new(stream);
    if is_http2 {
        let executor = LocalExecutor::new(spawner.clone());
        let (sender, connection) =
            http2::Builder::new(executor).timer(Timer).handshake(io).await.map_err(failed)?;
        let task = async move { drop(connection.await) };
        spawner.spawn(task).map_err(|_| ClientErrorKind::Closed)?;
        return Ok(Sender::Http2(sender));
    }
    let (sender, connection) = http1::Builder::new().handshake(io).await.map_err(failed)?;
    // The one who made the request receives the error.
    let task = async move { drop(connection.await) };
    spawner.spawn(task).map_err(|_| ClientErrorKind::Closed)?;
    Ok(Sender::Http1(sender))
}
