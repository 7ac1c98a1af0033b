//! A time limit for some of the routes.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use matou_runtime::futures::Abandon;
use matou_runtime::{Promise, Task, TaskError, abandon, deadline, now};
use tower_layer::Layer;
use tower_service::Service;

use crate::current::{InConnection, current};

/// A layer of [tower](tower_layer) that limits how long the services below may take to answer. It
/// needs no timer of tokio, and nothing below need be `Send`.
///
/// A service that takes longer is cancelled, and the response has the status 503, or another one.
/// The service runs as a child of the handler, which inherits the limit, as its own children do: at
/// the limit first they end, and then its future is dropped with its guards. The limit of the
/// server, [`request_timeout`](crate::Limits::request_timeout), still applies if it is shorter.
///
/// The body of the response is not limited.
///
/// # Panics
///
/// The service must be called in a task, as handlers of [`serve`](crate::serve) are. A panic of the
/// service below continues in the handler.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use axum::{Router, routing::get};
/// use matou_http::TimeoutLayer;
///
/// let slow = Router::new().route("/report", get(|| async { "a report" }));
/// let router: Router = Router::new()
///     .merge(slow.route_layer(TimeoutLayer::new(Duration::from_secs(20))))
///     .route("/", get(|| async { "purr" }));
/// # let _ = router;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer {
    limit: Duration,
    status: StatusCode,
}

impl TimeoutLayer {
    /// Creates a layer with a time limit.
    pub fn new(limit: Duration) -> TimeoutLayer {
        TimeoutLayer { limit, status: StatusCode::SERVICE_UNAVAILABLE }
    }

    /// Sets the status of the response at the limit, for example 504. Default: 503.
    pub fn status(self, status: StatusCode) -> TimeoutLayer {
        TimeoutLayer { status, ..self }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = TimeoutService<S>;

    fn layer(&self, service: S) -> TimeoutService<S> {
        TimeoutService { service, layer: *self }
    }
}

/// The service of a [`TimeoutLayer`].
#[derive(Clone, Copy, Debug)]
pub struct TimeoutService<S> {
    service: S,
    layer: TimeoutLayer,
}

impl<S, B, R> Service<Request<B>> for TimeoutService<S>
where
    S: Service<Request<B>, Response = Response<R>, Error: 'static, Future: 'static>,
    R: Default + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = TimeoutFuture<R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    #[track_caller]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let name: Arc<str> = "request with a time limit".into();
        let answer = self.service.call(request);
        let connection = current();
        let answer = async move {
            match connection {
                Some(connection) => InConnection::new(connection, answer).await,
                None => answer.await,
            }
        };
        let answer = spawn_within(self.layer.limit, name, answer);
        TimeoutFuture { answer: abandon(answer), status: self.layer.status }
    }
}

/// Spawns a child with a time limit, which its children inherit.
///
/// At the limit it is cancelled in the order of every cancellation. With the limit inside of it,
/// its future would be dropped before its children have ended.
#[track_caller]
pub(crate) fn spawn_within<T, E>(
    limit: Duration,
    name: Arc<str>,
    future: impl Future<Output = Result<T, E>> + 'static,
) -> Promise<T, E>
where
    T: 'static,
    E: 'static,
{
    let spawn = || Task::new().name(name).try_spawn(future);
    let Some(end) = now().checked_add(limit) else { return spawn() };
    // fault: handler-without-deadline
    #[expect(
        clippy::async_yields_async,
        reason = "the promise is awaited after the deadline is set"
    )]
    let spawned = pin!(deadline(end, async { spawn() }));
    match spawned.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(promise)) => promise,
        _ => unreachable!("a future that is ready at once wins against any deadline"),
    }
}

/// The future of a [`TimeoutService`].
#[must_use = "futures do nothing unless polled"]
pub struct TimeoutFuture<R, E> {
    answer: Abandon<Promise<Response<R>, E>>,
    status: StatusCode,
}

impl<R: Default, E> Future for TimeoutFuture<R, E> {
    type Output = Result<Response<R>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.answer).poll(cx)) {
            Ok(response) => Ok(response),
            Err(TaskError::Failed { error, .. }) => Err(error),
            // If the client leaves, the handler is cancelled too and not polled any more.
            Err(error) if error.is_cancelled() => {
                let mut response = Response::new(R::default());
                *response.status_mut() = self.status;
                Ok(response)
            }
            Err(error) => panic!("the service has ended without a response: {}", reason(&error)),
        })
    }
}

/// Returns why a task has ended that has not failed by an error of its own.
fn reason<E>(error: &TaskError<E>) -> String {
    match error {
        TaskError::Panicked(panic) => panic.to_string(),
        _ => "it violated a rule".to_owned(),
    }
}

impl<R, E> fmt::Debug for TimeoutFuture<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutFuture").field("status", &self.status).finish_non_exhaustive()
    }
}
