//! The handler of a request, as a task.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use matou_runtime::futures::Abandon;
use matou_runtime::{Promise, Task, TaskError, abandon, deadline, now};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::body::{RequestBody, ResponseBody};
use crate::connection_state::{ConnectionState, InProgress};
use crate::current::InConnection;
use crate::error::BoxError;
use crate::events::Event;

/// A service of [tower](tower_service) that answers requests, such as `axum::Router`.
///
/// Every suitable [`Service`] implements this trait. Nothing need be `Send`. The service is cloned
/// for each connection and each request.
pub trait HttpService: Clone + 'static {
    /// The body of the responses.
    type Body: Body<Data: 'static, Error: Into<BoxError>> + 'static;

    /// Answers a request.
    fn handle(
        self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Self::Body>, BoxError>> + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>>,
    S: Clone + 'static,
    B: Body<Data: 'static, Error: Into<BoxError>> + 'static,
{
    type Body = B;

    fn handle(
        self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<B>, BoxError>> + 'static {
        Call::Waiting { service: self, request: Some(request) }
    }
}

pin_project! {
    /// Waits until a service is ready, then calls it.
    ///
    /// An `async` block would have room for the request twice, and for the future of the service
    /// besides. Every request moves all of that, in a larger allocation.
    #[project = CallProjected]
    enum Call<S, F> {
        Waiting { service: S, request: Option<Request<RequestBody>> },
        Running { #[pin] future: F },
    }
}

impl<S, B> Future for Call<S, S::Future>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>>,
{
    type Output = Result<Response<B>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let future = match self.as_mut().project() {
                CallProjected::Running { future } => return future.poll(cx).map_err(Into::into),
                CallProjected::Waiting { service, request } => {
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    service.call(request.take().expect("the service is called once"))
                }
            };
            self.set(Call::Running { future });
        }
    }
}

/// The service of one connection, as hyper calls it.
pub(crate) struct ConnectionService<S> {
    pub(crate) service: S,
    pub(crate) connection: Rc<ConnectionState>,
}

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for ConnectionService<S> {
    type Response = Response<ResponseBody<S::Body>>;
    type Error = Infallible;
    type Future = Handling<S>;

    fn call(&self, request: Request<Incoming>) -> Handling<S> {
        let limit = self.connection.server.limits.body_timeout;
        Handling {
            name: name(&request),
            stage: Stage::Start(self.service.clone(), request.map(|b| RequestBody::new(b, limit))),
            in_progress: Some(self.connection.begin()),
        }
    }
}

/// The most characters of a path in a name.
const PATH_MAX: usize = 80;

/// Returns the name of a request in reports: its method and path.
fn name<B>(request: &Request<B>) -> Arc<str> {
    thread_local! {
        // Without it each name would be allocated twice.
        static NAME: RefCell<String> = const { RefCell::new(String::new()) };
    }
    let (method, path) = (request.method().as_str(), request.uri().path());
    NAME.with_borrow_mut(|name| {
        name.clear();
        name.push_str(method);
        name.push(' ');
        match path.len() <= PATH_MAX {
            true => name.push_str(path),
            false => name.extend(path.chars().take(PATH_MAX)),
        }
        Arc::from(name.as_str())
    })
}

/// The response to a request, for hyper: waits for the handler, which is a child of the task that
/// polls this. That is the task of the connection in HTTP/1, and the task of the stream in HTTP/2.
///
/// hyper drops this when the client has left. The handler is cancelled then: its children end
/// first, then its future is dropped.
pub(crate) struct Handling<S: HttpService> {
    name: Arc<str>,
    stage: Stage<S>,
    /// `None` once the response has it.
    in_progress: Option<InProgress>,
}

#[expect(clippy::large_enum_variant, reason = "a box would be an allocation per request")]
enum Stage<S: HttpService> {
    Start(S, Request<RequestBody>),
    Running(Abandon<Promise<Response<S::Body>, BoxError>>),
    Done,
}

// No field is pinned.
impl<S: HttpService> Unpin for Handling<S> {}

impl<S: HttpService> Handling<S> {
    /// Starts the handler, with the time limit, which its children inherit.
    fn start(
        &self,
        service: S,
        request: Request<RequestBody>,
        cx: &mut Context<'_>,
    ) -> Promise<Response<S::Body>, BoxError> {
        let in_progress = self.in_progress.as_ref().expect("the request has no response yet");
        let connection = in_progress.connection();
        let limit = connection.server.limits.request_timeout;
        let handler = InConnection::new(Rc::clone(connection), service.handle(request));
        // It is large, so it moves through as few futures as possible.
        let mut handler = Some(handler);
        let mut spawn = || {
            let handler = handler.take().expect("the handler is spawned once");
            Task::new().name(Arc::clone(&self.name)).try_spawn(handler)
        };
        let Some(end) = now().checked_add(limit) else { return spawn() };
        // The task itself inherits the deadline, so it is cancelled in the order of every
        // cancellation. If the deadline were inside, the handler's future would be dropped first.
        // fault: handler-without-deadline
        #[expect(
            clippy::async_yields_async,
            reason = "the promise is awaited after the deadline is set"
        )]
        let spawned = pin!(deadline(end, async { spawn() }));
        match spawned.poll(cx) {
            Poll::Ready(Ok(promise)) => promise,
            _ => unreachable!("a future that is ready at once wins against any deadline"),
        }
    }

    /// Reports a handler that has returned no response, and returns the status for the client.
    fn failed(&self, error: &TaskError<BoxError>) -> StatusCode {
        let in_progress = self.in_progress.as_ref().expect("the request has no response yet");
        let server = &in_progress.connection().server;
        let request = &*self.name;
        if error.is_cancelled() {
            server.count(|served| served.timed_out += 1);
            server.reporter.report(&Event::HandlerTimedOut { request });
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        server.count(|served| served.failed += 1);
        server.reporter.report(&Event::HandlerFailed { request, error });
        StatusCode::INTERNAL_SERVER_ERROR
    }
}

impl<S: HttpService> Future for Handling<S> {
    type Output = Result<Response<ResponseBody<S::Body>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Stage::Start(..) = &this.stage {
            let Stage::Start(service, request) = std::mem::replace(&mut this.stage, Stage::Done)
            else {
                unreachable!("the stage was looked at");
            };
            // In strict runs, too, a client that leaves is no mistake of this task.
            this.stage = Stage::Running(abandon(this.start(service, request, cx)));
        }
        let Stage::Running(promise) = &mut this.stage else {
            unreachable!("hyper polls a response until it is ready");
        };
        let outcome = ready!(Pin::new(promise).poll(cx));
        this.stage = Stage::Done;
        let response = match outcome {
            Ok(response) => response.map(Some),
            Err(error) => {
                let mut response = Response::new(None);
                *response.status_mut() = this.failed(&error);
                response
            }
        };
        let in_progress = this.in_progress.take();
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, in_progress))))
    }
}

impl<S: HttpService> Drop for Handling<S> {
    fn drop(&mut self) {
        if let (Stage::Running(_), Some(in_progress)) = (&self.stage, &self.in_progress) {
            in_progress.connection().server.count(|served| served.cancelled += 1);
        }
    }
}
