//! A time limit for the handlers of some routes.

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use matou_runtime::futures::Abandon;
use matou_runtime::{Promise, Task, TaskError, abandon, deadline, now};
use tower_layer::Layer;
use tower_service::Service;

use crate::current::InConnection;

/// A layer of tower that limits the time until the service returns a response, for some routes of a
/// server; [`Limits::request_timeout`](crate::Limits::request_timeout) applies to all.
///
/// The service runs in a child task, whose own children inherit the time limit. When it has
/// elapsed, they are cancelled: first the children end, then the service's future is dropped, and
/// then the client receives the status 503 with the default body. As for the server's limit, the
/// body of a response may take longer.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use axum::{Router, routing::get};
/// use http::StatusCode;
/// use matou_http::TimeoutLayer;
/// use matou_http::runtime::sleep;
///
/// let limit = TimeoutLayer::new(Duration::from_secs(2)).status(StatusCode::GATEWAY_TIMEOUT);
/// let router: Router = Router::new()
///     .route("/slow", get(|| async { sleep(Duration::from_secs(60)).await }).layer(limit))
///     .route("/fast", get(|| async { "purr" }));
/// # let _ = router;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer {
    limit: Duration,
    status: StatusCode,
}

impl TimeoutLayer {
    /// Creates a layer with the given time limit and the status 503.
    pub const fn new(limit: Duration) -> TimeoutLayer {
        TimeoutLayer { limit, status: StatusCode::SERVICE_UNAVAILABLE }
    }

    /// Sets the status of the response after the time limit, such as 504 if the handler waits for
    /// another server.
    pub const fn status(self, status: StatusCode) -> TimeoutLayer {
        TimeoutLayer { status, ..self }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout { inner, layer: *self }
    }
}

/// The service of a [`TimeoutLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Timeout<S> {
    inner: S,
    layer: TimeoutLayer,
}

impl<S, B, R> Service<Request<B>> for Timeout<S>
where
    S: Service<Request<B>, Response = Response<R>, Error: 'static, Future: 'static>,
    R: Default + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = TimeoutResponse<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        TimeoutResponse { layer: self.layer, stage: Stage::Start(self.inner.call(request)) }
    }
}

/// The response of a [`Timeout`].
#[must_use = "futures do nothing unless polled"]
pub struct TimeoutResponse<F, R, E> {
    layer: TimeoutLayer,
    stage: Stage<F, Result<Response<R>, E>>,
}

enum Stage<F, T> {
    Start(F),
    Running(Abandon<Promise<T>>),
    Done,
}

// The future is moved into its task before it is polled.
impl<F, R, E> Unpin for TimeoutResponse<F, R, E> {}

impl<F, R, E> Future for TimeoutResponse<F, R, E>
where
    F: Future<Output = Result<Response<R>, E>> + 'static,
    R: Default + 'static,
    E: 'static,
{
    type Output = Result<Response<R>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Stage::Start(_) = this.stage {
            let Stage::Start(future) = std::mem::replace(&mut this.stage, Stage::Done) else {
                unreachable!("the stage was looked at");
            };
            this.stage = Stage::Running(abandon(start(this.layer.limit, future, cx)));
        }
        let Stage::Running(promise) = &mut this.stage else {
            panic!("`TimeoutResponse` polled after completion");
        };
        let outcome = ready!(Pin::new(promise).poll(cx));
        this.stage = Stage::Done;
        match outcome {
            Ok(result) => Poll::Ready(result),
            // As if the service had run in this task.
            Err(TaskError::Panicked(panic)) => resume_unwind(panic.into_payload()),
            Err(error) if error.is_cancelled() => {
                let mut response = Response::new(R::default());
                *response.status_mut() = this.layer.status;
                Poll::Ready(Ok(response))
            }
            // The violation is reported already; the server answers with the status 500.
            Err(error) => panic!("the handler failed: {error}"),
        }
    }
}

/// Starts the task of a service, which inherits the time limit.
fn start<F: Future + 'static>(
    limit: Duration,
    future: F,
    cx: &mut Context<'_>,
) -> Promise<F::Output> {
    let task = InConnection::inherit(future);
    let spawn = || Task::new().name("handler with a time limit").spawn(task);
    let Some(end) = now().checked_add(limit) else { return spawn() };
    // The deadline is the task's own: inside it, the future would be dropped before the children
    // of the task end.
    // fault: layer-without-deadline
    #[expect(clippy::async_yields_async, reason = "the promise is awaited by the caller")]
    let spawned = pin!(deadline(end, async { spawn() }));
    match spawned.poll(cx) {
        Poll::Ready(Ok(promise)) => promise,
        _ => unreachable!("a future that is ready at once wins against any deadline"),
    }
}

impl<F, R, E> fmt::Debug for TimeoutResponse<F, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutResponse").field("layer", &self.layer).finish_non_exhaustive()
    }
}
