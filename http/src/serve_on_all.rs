use std::future::IntoFuture;
use std::io;

use matou_runtime::{TaskError, parallel, try_spawn};

use crate::handler::HttpService;
use crate::listener::Listener;
use crate::serve::Serve;
use crate::served::Served;

/// Runs one server per listener: the first on the current domain, each further one on another
/// domain. `make` creates the server on its own domain, so the service need not be `Send`.
///
/// To have a listener per domain, use [`listen_many`](matou_net::ListenOptions::listen_many) with
/// [`domain_count`](matou_runtime::domain_count). The sum of what the servers have done is returned
/// after the last one has ended.
///
/// # Errors
///
/// If a listener fails for good: then the first error is returned, after all servers have ended. If
/// there are several listeners and no other domain.
///
/// # Cancel safety
///
/// Dropping the future begins the graceful shutdown of all servers.
///
/// # Examples
///
/// ```
/// use std::convert::Infallible;
/// use http::Response;
/// use matou_http::{serve, serve_on_all, service_fn};
/// use matou_http::runtime::{Builder, RunError, domain_count};
/// use matou_net::TcpListener;
///
/// # fn main() -> Result<(), RunError> {
/// Builder::new().domains(2).run(async {
///     let options = TcpListener::options();
///     let listeners = options.listen_many("127.0.0.1:0", domain_count())?;
///     let served = serve_on_all(listeners, |listener| {
///         let hello = |_| async { Ok::<_, Infallible>(Response::new("purr".to_owned())) };
///         serve(listener, service_fn(hello)).shutdown(async {}) // at once
///     });
///     assert_eq!(served.await?.requests, 0);
///     Ok(())
/// })
/// # }
/// ```
pub async fn serve_on_all<L, M, S>(listeners: Vec<L>, make: M) -> io::Result<Served>
where
    L: Listener + Send + 'static,
    M: Fn(L) -> Serve<L, S> + Clone + Send + 'static,
    S: HttpService,
{
    let mut listeners = listeners.into_iter();
    let Some(first) = listeners.next() else { return Ok(Served::default()) };
    let local = try_spawn(make(first).into_future());
    let rest: Vec<L> = listeners.collect();
    let remote = match rest.is_empty() {
        true => Vec::new(),
        false => {
            let serve = move |listener| make(listener).into_future();
            match parallel(rest, serve) {
                Ok(servers) => servers.await,
                Err(error) => {
                    local.cancel().await;
                    return Err(io::Error::other(error));
                }
            }
        }
    };
    let mut sum = local.await.map_err(into_io_error)?;
    for outcome in remote {
        sum += outcome.map_err(io::Error::other)??;
    }
    Ok(sum)
}

fn into_io_error(error: TaskError<io::Error>) -> io::Error {
    match error {
        TaskError::Failed { error, .. } => error,
        error => io::Error::other(error),
    }
}
