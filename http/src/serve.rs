//! The server.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, IntoFuture, pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use matou_runtime::futures::Cancel;
use matou_runtime::{Orphans, Outcome, Promise, Task, TaskError, cancelled, grace, timeout};

use crate::connection::serve_connection;
use crate::connection_state::ServerState;
use crate::events::{Callback, Event, Reporter};
use crate::handler::HttpService;
use crate::limits::Limits;
use crate::listener::{Listener, PeerAddr};
use crate::served::Served;

/// Serves HTTP/1.1 and HTTP/2 on `listener` with a tower service: an `axum::Router`, a
/// [`service_fn`](crate::service_fn), or any other [`HttpService`]. Awaiting the returned value
/// runs the server.
///
/// The server is a child of the current task, its connections are children of the server, and each
/// handler is a task of its connection, named by method and path. A handler is cancelled when its
/// client leaves, or when it exceeds its [time limit](Limits::request_timeout), which its children
/// inherit: first its children end, then its future is dropped. If it panics, fails or violates a
/// rule, its client receives the status 500, and an [event](Serve::on_event) is reported.
///
/// **Graceful shutdown** is the cancellation of the task that awaits the server, or dropping
/// the future: the server accepts no further connection, completes the requests that are in
/// progress, and cancels those that are left after the [drain timeout](Limits::drain_timeout). The
/// task waits for all of this at its end. With [`shutdown`](Serve::shutdown) a future begins it.
///
/// # Errors
///
/// Only if the listener can never work again. Errors of connections end neither the server nor
/// other connections.
///
/// # Cancel safety
///
/// Dropping the future begins the graceful shutdown.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use matou_http::serve;
/// use matou_http::runtime::{RunError, run, try_spawn};
/// use matou_net::{TcpListener, TcpStream};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let router = Router::new().route("/", get(|| async { "purr" }));
///     let server = try_spawn(serve(listener, router).into_future());
///
///     let mut client = TcpStream::connect(address).await?;
///     client.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
///     let mut buf = [0; 15];
///     let count = client.read(&mut buf).await?;
///     assert_eq!(&buf[..count], b"HTTP/1.0 200 OK");
///     server.cancel().await; // waits for the shutdown
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "Server")]
pub fn serve<L, S>(listener: L, service: S) -> Serve<L, S>
where
    L: Listener + 'static,
    S: HttpService,
{
    Serve {
        listener,
        service,
        limits: Limits::default(),
        half_close: false,
        callback: None,
        signal: None,
    }
}

/// A server that was not started; see [`serve`].
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<L, S> {
    listener: L,
    service: S,
    limits: Limits,
    half_close: bool,
    callback: Option<Callback>,
    signal: Option<Signal>,
}

type Signal = Pin<Box<dyn Future<Output = ()>>>;

impl<L, S> Serve<L, S> {
    /// Sets the limits on what clients can cost.
    pub fn limits(self, limits: Limits) -> Serve<L, S> {
        Serve { limits, ..self }
    }

    /// Sets whether a client of HTTP/1 may end its stream and still receive responses. Default:
    /// `false`, which means that a client that ends its stream has left: its handler is cancelled.
    pub fn half_close(self, permitted: bool) -> Serve<L, S> {
        Serve { half_close: permitted, ..self }
    }

    /// Calls `callback` with the events of the server. Default: they are printed to standard error,
    /// at most ten lines per second.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use http::Response;
    /// use matou_http::{serve, service_fn};
    /// use matou_http::runtime::{RunError, run};
    /// use matou_net::TcpListener;
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let hello = |_| async { Ok::<_, Infallible>(Response::new("purr".to_owned())) };
    ///     let server = serve(listener, service_fn(hello))
    ///         .on_event(|event| eprintln!("{event}"))
    ///         .shutdown(async {}); // at once
    ///     assert_eq!(server.await?.connections, 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn on_event(self, callback: impl Fn(&Event<'_>) + 'static) -> Serve<L, S> {
        Serve { callback: Some(Box::new(callback)), ..self }
    }

    /// Begins the graceful shutdown when `signal` is ready. The server returns after the shutdown.
    #[doc(alias = "with_graceful_shutdown")]
    pub fn shutdown(self, signal: impl Future<Output = ()> + 'static) -> Serve<L, S> {
        Serve { signal: Some(Box::pin(signal)), ..self }
    }
}

impl<L, S> IntoFuture for Serve<L, S>
where
    L: Listener + 'static,
    S: HttpService,
{
    type Output = io::Result<Served>;
    type IntoFuture = Serving;

    fn into_future(self) -> Serving {
        let Serve { listener, service, limits, half_close, callback, signal } = self;
        let state = ServerState::new(limits, half_close, Reporter::new(callback));
        // A server that is cancelled before its first poll has done nothing.
        let result = Rc::new(RefCell::new(Some(Ok(Served::default()))));
        let run_result = Rc::clone(&result);
        let run = async move {
            *run_result.borrow_mut() = None;
            let state = Rc::new(state);
            let end = run(listener, service, &state).await;
            *run_result.borrow_mut() = Some(end.map(|()| *state.served.borrow()));
        };
        // A cancelled task is not polled, so the shutdown runs in a shield.
        let start = move || {
            let limit = limits.drain_timeout.saturating_add(grace());
            Task::new().name("http server").try_spawn(async move {
                let shield = Task::new().name("http shutdown").shield(run).limit(limit);
                shield.await.map_err(io::Error::other)
            })
        };
        let signal = signal.unwrap_or_else(|| Box::pin(pending()));
        Serving { stage: Stage::Start(Box::new(start)), signal, result }
    }
}

impl<L: fmt::Debug, S> fmt::Debug for Serve<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .field("limits", &self.limits)
            .field("half_close", &self.half_close)
            .finish_non_exhaustive()
    }
}

/// The future of a [`Serve`].
#[must_use = "futures do nothing unless polled"]
pub struct Serving {
    stage: Stage,
    signal: Signal,
    /// The result of the server; `None` while it runs.
    result: Rc<RefCell<Option<io::Result<Served>>>>,
}

enum Stage {
    Start(Box<dyn FnOnce() -> Promise<(), io::Error>>),
    Running(Promise<(), io::Error>),
    ShuttingDown(Cancel<(), io::Error>),
    Done,
}

impl Serving {
    fn poll_stage(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<(), io::Error>> {
        loop {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Start(start) => Stage::Running(start()),
                Stage::Running(promise) if self.signal.as_mut().poll(cx).is_ready() => {
                    Stage::ShuttingDown(promise.cancel_because("the server shuts down"))
                }
                Stage::Running(mut promise) => {
                    let poll = Pin::new(&mut promise).poll(cx);
                    if poll.is_pending() {
                        self.stage = Stage::Running(promise);
                    }
                    return poll;
                }
                Stage::ShuttingDown(mut cancel) => match Pin::new(&mut cancel).poll(cx) {
                    Poll::Ready(outcome) => return Poll::Ready(outcome.unwrap_or(Ok(()))),
                    Poll::Pending => {
                        self.stage = Stage::ShuttingDown(cancel);
                        return Poll::Pending;
                    }
                },
                Stage::Done => panic!("`Serving` polled after completion"),
            }
        }
    }
}

impl Future for Serving {
    type Output = io::Result<Served>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.poll_stage(cx));
        Poll::Ready(match (self.result.take(), outcome) {
            (Some(result), _) => result,
            (None, Err(TaskError::Failed { error, .. })) => Err(error),
            (None, Err(error)) => Err(io::Error::other(error)),
            (None, Ok(())) => Err(io::Error::other("the server was cut off in its shutdown")),
        })
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

enum ServerEvent<T> {
    Accepted(io::Result<(T, PeerAddr)>),
    Ended(Outcome<()>),
    Shutdown,
}

/// Accepts and serves connections until the current task is asked to stop.
async fn run<L, S>(mut listener: L, service: S, server: &Rc<ServerState>) -> io::Result<()>
where
    L: Listener,
    S: HttpService,
{
    let connections = Orphans::with_limit(server.limits.connections_max);
    let name: Arc<str> = "http connection".into();
    let mut shutdown = pin!(cancelled());
    let result = loop {
        match next_event(&mut listener, &connections, shutdown.as_mut()).await {
            ServerEvent::Accepted(Ok((stream, peer))) => {
                server.count(|served| served.connections += 1);
                let task = Task::new().name(Arc::clone(&name)).orphans(&connections);
                let serve = serve_connection(stream, peer, service.clone(), Rc::clone(server));
                task.spawn(serve).expect("a full server does not accept");
            }
            ServerEvent::Accepted(Err(error)) => {
                server.reporter.report(&Event::AcceptFailed { error: &error });
                break Err(error);
            }
            ServerEvent::Ended(outcome) => report_end(&outcome, server),
            ServerEvent::Shutdown => break Ok(()),
        }
    };
    drop(listener);
    server.drain();
    drain(&connections, server).await;
    result
}

async fn next_event<L: Listener>(
    listener: &mut L,
    connections: &Orphans<()>,
    mut shutdown: Pin<&mut impl Future>,
) -> ServerEvent<L::Stream> {
    let mut ended = pin!(connections.next_or_pending());
    poll_fn(|cx| {
        if shutdown.as_mut().poll(cx).is_ready() {
            return Poll::Ready(ServerEvent::Shutdown);
        }
        if let Poll::Ready(outcome) = ended.as_mut().poll(cx) {
            return Poll::Ready(ServerEvent::Ended(outcome));
        }
        if connections.is_full() {
            return Poll::Pending;
        }
        listener.poll_accept(cx).map(ServerEvent::Accepted)
    })
    .await
}

fn report_end(outcome: &Outcome<()>, server: &ServerState) {
    if let Err(error) = outcome
        && !error.is_cancelled()
    {
        server.reporter.report(&Event::ConnectionFailed { error });
    }
}

/// Waits until the connections have ended, and cancels those that exceed the drain timeout.
async fn drain(connections: &Orphans<()>, server: &ServerState) {
    let drained = async {
        while let Some(outcome) = connections.next().await {
            report_end(&outcome, server);
        }
    };
    if timeout(server.limits.drain_timeout, drained).await.is_ok() {
        return;
    }
    let cut = connections.cancel_all();
    server.count(|served| served.cut += cut as u64);
    server.reporter.report(&Event::DrainTimedOut { connections: cut });
    while let Some(outcome) = connections.next().await {
        report_end(&outcome, server);
    }
}
