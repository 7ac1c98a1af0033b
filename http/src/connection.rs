//! The task of a connection.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use hyper::server::conn::{http1, http2};
use matou_runtime::futures::Sleep;
use matou_runtime::{Orphans, WakerKey, now, sleep, sleep_until};

use crate::connection_state::{ConnectionState, ServerState};
use crate::events::Event;
use crate::executor::LocalExecutor;
use crate::handler::{ConnectionService, HttpService};
use crate::io::is_gone;
use crate::listener::PeerAddr;
use crate::sending::Sending;
use crate::server_io::{ServerIo, Version};
use crate::timer::Timer;

/// How long a client of HTTP/2 may take to end a connection that was idle for too long.
const GOAWAY_TIME: Duration = Duration::from_secs(5);

/// The least size of hyper's buffers.
const BUFFER_MIN: usize = 8 << 10;

/// Serves one connection. Its streams and upgraded protocols are children of the current task.
pub(crate) async fn serve_connection<T, S>(
    stream: T,
    peer: PeerAddr,
    service: S,
    server: Rc<ServerState>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let children = Orphans::new().discarding();
    let state = Rc::new(ConnectionState::new(server, peer, children.spawner()));
    let has_read = Arc::clone(&state.has_read);
    let mut io = ServerIo::new(stream, state.server.limits.write_timeout, has_read);
    let mut driver = Driver::new(&state, &children);
    let Some(version) = driver.read_version(&mut io).await else { return };
    let service = ConnectionService { service, connection: Rc::clone(&state) };
    let end = match version {
        Version::Http1 => driver.serve_http1(io, service).await,
        Version::Http2 => driver.serve_http2(io, service).await,
    };
    drop(driver);
    // hyper's part of the connection is dropped by now: its children may wait for that.
    if end != End::Completed {
        children.cancel_all();
    }
    children.next().await;
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In good order, or upgraded to another protocol.
    Completed,
    /// The client has left, or did not speak HTTP.
    Failed,
    /// There was no request for too long, or a head took too long.
    TimedOut,
    /// There were too many requests that the client had reset.
    Flooded,
}

/// A connection of hyper.
trait HyperConnection: Future<Output = hyper::Result<()>> + Unpin {
    /// Ends the connection after the requests that are in progress.
    fn shut_down(&mut self);
}

impl<T, S> HyperConnection for http1::UpgradeableConnection<ServerIo<T>, ConnectionService<S>>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    fn shut_down(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}

impl<T, S> HyperConnection for http2::Connection<ServerIo<T>, ConnectionService<S>, LocalExecutor>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    fn shut_down(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}

/// Polls a connection of hyper, and ends it when the server shuts down or a limit is exceeded.
struct Driver<'a> {
    state: &'a Rc<ConnectionState>,
    children: &'a Orphans<()>,
    /// The registration for the shutdown of the server, and its waker.
    key: WakerKey,
    registered: Option<Waker>,
    /// Fires when the connection may have been idle for too long, or earlier.
    timer: Option<Sleep>,
    /// Fires when a response of HTTP/2 may have waited for the client for too long, or earlier.
    stalled: Option<Sleep>,
    /// The rest of the time of a connection that was idle for too long.
    last_call: Option<Sleep>,
    is_shut_down: bool,
}

impl<'a> Driver<'a> {
    fn new(state: &'a Rc<ConnectionState>, children: &'a Orphans<()>) -> Driver<'a> {
        Driver {
            state,
            children,
            key: WakerKey::new(),
            registered: None,
            timer: None,
            stalled: None,
            last_call: None,
            is_shut_down: false,
        }
    }

    /// Has the task woken when the shutdown of the server begins, which it does once.
    fn register(&mut self, cx: &Context<'_>) {
        if self.registered.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            return;
        }
        self.state.server.register(&mut self.key, cx);
        let replaced = self.registered.replace(cx.waker().clone());
        drop(replaced);
    }

    /// Returns `None` if the server shuts down, the client sends nothing in time, or has left.
    async fn read_version<T>(&mut self, io: &mut ServerIo<T>) -> Option<Version>
    where
        T: AsyncRead + Unpin,
    {
        poll_fn(|cx| {
            self.register(cx);
            if let Poll::Ready(version) = io.poll_version(cx) {
                return Poll::Ready(self.accept_version(version));
            }
            if self.state.server.is_draining() || self.poll_due(true, cx).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    fn accept_version(&self, version: io::Result<Version>) -> Option<Version> {
        let error = match version {
            Ok(version) => return Some(version),
            Err(error) => error,
        };
        // A client that leaves in the middle of a handshake has ended its stream too early.
        if !is_gone(&error) && error.kind() != io::ErrorKind::UnexpectedEof {
            let peer = &self.state.peer;
            self.state.server.reporter.report(&Event::Unreadable { peer, error: &error });
        }
        None
    }

    async fn serve_http1<T, S>(&mut self, io: ServerIo<T>, service: ConnectionService<S>) -> End
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: HttpService,
    {
        let limits = &self.state.server.limits;
        let mut builder = http1::Builder::new();
        builder
            .timer(Timer)
            // The driver limits the time, with one timer for all requests of the connection.
            .header_read_timeout(None)
            .max_header_size(limits.header_bytes_max)
            .max_buf_size(limits.buffered_bytes_max.max(BUFFER_MIN))
            .half_close(self.state.server.half_close);
        // A limit that is set, even to the default, costs an allocation per request.
        if limits.headers_max != 100 {
            builder.max_headers(limits.headers_max);
        }
        let mut connection = builder.serve_connection(io, service).with_upgrades();
        let end = self.drive(&mut connection, true).await;
        // Nothing is left if the connection was upgraded.
        let Some(http1::Parts { mut io, .. }) = connection.into_parts() else {
            return end;
        };
        // fault: slow-heads-not-answered
        if end == End::TimedOut && self.state.is_receiving_head() {
            io.answer_timeout().await;
            io.finish().await;
        } else if matches!(end, End::Completed | End::Failed) {
            io.finish().await;
        }
        end
    }

    async fn serve_http2<T, S>(&mut self, io: ServerIo<T>, service: ConnectionService<S>) -> End
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: HttpService,
    {
        let limits = &self.state.server.limits;
        let header_bytes = u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX);
        let mut builder = http2::Builder::new(LocalExecutor::new(self.state.spawner.clone()));
        builder
            .timer(Timer)
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(header_bytes);
        self.state.sending.get_or_init(Sending::default);
        let mut connection = builder.serve_connection(io, service);
        self.state.forget_reads();
        self.drive(&mut connection, false).await
    }

    /// Polls the connection until it ends. With `has_heads`, bytes between requests are the
    /// beginning of the next one.
    async fn drive(&mut self, connection: &mut dyn HyperConnection, has_heads: bool) -> End {
        poll_fn(|cx| self.poll(connection, has_heads, cx)).await
    }

    fn poll(
        &mut self,
        connection: &mut dyn HyperConnection,
        has_heads: bool,
        cx: &mut Context<'_>,
    ) -> Poll<End> {
        self.register(cx);
        if self.state.server.is_draining() {
            self.shut_down(connection);
        }
        loop {
            if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(if result.is_ok() { End::Completed } else { End::Failed });
            }
            if self.is_flooded() {
                return Poll::Ready(End::Flooded);
            }
            if !has_heads {
                self.state.forget_reads();
            }
            if self.poll_stalled(cx).is_ready() {
                return Poll::Ready(End::TimedOut);
            }
            ready!(self.poll_due(has_heads, cx));
            if has_heads || self.last_call.is_some() {
                return Poll::Ready(End::TimedOut);
            }
            self.last_call = Some(sleep(GOAWAY_TIME));
            self.shut_down(connection);
        }
    }

    fn shut_down(&mut self, connection: &mut dyn HyperConnection) {
        if !self.is_shut_down {
            self.is_shut_down = true;
            connection.shut_down();
        }
    }

    /// A request that its client resets makes room for the next one at once, but its task must end
    /// first. Returns whether there are too many such tasks.
    fn is_flooded(&self) -> bool {
        let streams_max = self.state.server.limits.streams_max as usize;
        // fault: reset-flood-not-limited
        if self.children.len() <= 2 * streams_max {
            return false;
        }
        self.state.server.reporter.report(&Event::ResetFlood { peer: &self.state.peer });
        true
    }

    /// Waits until the client has received nothing of a response of HTTP/2 for too long. The other
    /// streams may work: only this one holds memory.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sending) = self.state.sending.get() else { return Poll::Pending };
        let limit = self.state.server.limits.write_timeout;
        // As for `timer`: set once per time limit rather than once per response.
        while let Some(oldest) = sending.oldest() {
            let Some(due) = oldest.checked_add(limit) else { break };
            let timer = self.stalled.get_or_insert_with(|| sleep_until(due));
            ready!(Pin::new(timer).poll(cx));
            self.stalled = None;
            // fault: shut-streams-not-limited
            if due <= now() {
                self.state.server.reporter.report(&Event::StreamStalled { peer: &self.state.peer });
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Waits until the connection has had no request, or has received a head, for too long.
    ///
    /// The timer is set once per idle time rather than once per request: when it fires early, it is
    /// set again.
    fn poll_due(&mut self, has_heads: bool, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(last_call) = &mut self.last_call {
            return Pin::new(last_call).poll(cx);
        }
        loop {
            let due = self.state.due();
            // A request of HTTP/1 ends while this task is polled, so it may ignore the timer until
            // then. In HTTP/2 the request ends in a task of its own.
            if has_heads && due.is_none() && self.timer.is_some() {
                return Poll::Pending;
            }
            let is_late = |timer: &Sleep| {
                due.is_some_and(|due| timer.deadline().is_none_or(|deadline| due < deadline))
            };
            if self.timer.as_ref().is_none_or(is_late) {
                let idle_timeout = self.state.server.limits.idle_timeout;
                self.timer = Some(due.map_or_else(|| sleep(idle_timeout), sleep_until));
            }
            let timer = self.timer.as_mut().expect("it is set");
            ready!(Pin::new(timer).poll(cx));
            if due.is_some_and(|due| due <= now()) {
                return Poll::Ready(());
            }
            self.timer = None;
        }
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        self.state.server.unregister(&mut self.key);
    }
}
