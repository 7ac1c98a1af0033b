//! Servers of HTTP/1.1: hyper by hand, with a task per connection, and a router of axum.

use std::convert::Infallible;
use std::net::TcpListener as Listener;

use anyhow::{Result, anyhow, bail};
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::{Protocol, Setting};

const TEXT: &str = "Hello, world!";

pub(super) fn serve(runtime: &str, mut listeners: Vec<Listener>, setting: Setting) -> Result<()> {
    let listener = listeners.remove(0);
    listener.set_nonblocking(true)?;
    match (runtime, setting.protocol) {
        ("matou", Protocol::Hyper) => matou(hyper_on_matou(listener)),
        ("matou", Protocol::Axum) => matou(axum_on_matou(listener)),
        #[cfg(feature = "peers")]
        ("tokio-ct", Protocol::Hyper) => tokio(hyper_on_tokio(listener)),
        #[cfg(feature = "peers")]
        ("tokio-ct", Protocol::Axum) => tokio(axum_on_tokio(listener)),
        (other, _) => bail!("there is no server of HTTP of {other}"),
    }
}

async fn answer<B>(_request: B) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Body(Some(Bytes::from_static(TEXT.as_bytes())))))
}

fn router() -> Router {
    Router::new().route("/", get(|| async { TEXT }))
}

/// A body of known length.
struct Body(Option<Bytes>);

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.0.as_ref().map_or(0, Bytes::len) as u64)
    }
}

fn matou(server: impl Future<Output = Result<()>> + 'static) -> Result<()> {
    let run = matou_runtime::Builder::new().domains(1).run(async move {
        server.await?;
        Ok::<_, matou_runtime::MainError>(())
    });
    run.map_err(|error| anyhow!("{error}"))
}

async fn hyper_on_matou(listener: Listener) -> Result<()> {
    let mut listener = matou_net::TcpListener::from_std(listener)?;
    let connections = matou_runtime::Orphans::new().discarding();
    let spawner = connections.spawner();
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let served = spawner.spawn(async move {
            let io = matou_http::HyperIo::new(stream);
            let mut builder = http1::Builder::new();
            // An error says that the client has left.
            let connection = builder.timer(matou_http::Timer);
            drop(connection.serve_connection(io, service_fn(answer)).await);
        });
        served.map_err(|_| anyhow!("there is no limit"))?;
    }
}

async fn axum_on_matou(listener: Listener) -> Result<()> {
    let listener = matou_net::TcpListener::from_std(listener)?;
    let limits = matou_http::Limits { connections_max: 65_536, ..Default::default() };
    matou_http::serve(listener, router()).limits(limits).await?;
    Ok(())
}

#[cfg(feature = "peers")]
fn tokio(server: impl Future<Output = Result<()>> + 'static) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(server)
}

#[cfg(feature = "peers")]
async fn hyper_on_tokio(listener: Listener) -> Result<()> {
    use hyper_util::rt::{TokioIo, TokioTimer};

    let listener = tokio::net::TcpListener::from_std(listener)?;
    let accept = async move {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut builder = http1::Builder::new();
                let connection = builder.timer(TokioTimer::new());
                drop(connection.serve_connection(TokioIo::new(stream), service_fn(answer)).await);
            });
        }
    };
    tokio::spawn(accept).await?
}

#[cfg(feature = "peers")]
async fn axum_on_tokio(listener: Listener) -> Result<()> {
    use axum::serve::ListenerExt;

    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(async move { axum::serve(listener, router()).await }).await??;
    Ok(())
}
