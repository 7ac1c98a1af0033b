//! The connections of a client, and the task that owns them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use hyper::client::conn::http1;
use matou_runtime::futures::Sleep;
use matou_runtime::{Orphans, Spawner, Task, cancelled, now, sleep_until};
use matou_sync::{Permit, Semaphore};

use super::body::OutgoingBody;
use super::connect::{Sender, connect};
use super::error::{ClientError, ClientErrorKind};
use super::lease::{Connection, Host, InFlight, Lease, Multiplexed};
use super::origin::Origin;
use super::{ClientHandle, Settings};

/// What the handles of a client share with its task.
pub(super) struct Shared {
    pub(super) settings: Settings,
    /// Set once the task of the client runs.
    spawner: RefCell<Option<Spawner<()>>>,
    pub(super) is_closed: Cell<bool>,
    /// Requests that wait for the task of the client.
    waiting: RefCell<Vec<Waker>>,
    daemon: RefCell<Option<Waker>>,
    hosts: RefCell<BTreeMap<Origin, Rc<Host>>>,
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Shared {
        Shared {
            settings,
            spawner: RefCell::default(),
            is_closed: Cell::new(false),
            waiting: RefCell::default(),
            daemon: RefCell::default(),
            hosts: RefCell::default(),
        }
    }

    /// Wakes the task of the client, which may have to end a connection or itself.
    pub(super) fn wake_daemon(&self) {
        let waker = self.daemon.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Refuses further requests, and drops the connections that are idle.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        drop(self.spawner.take());
        let hosts = self.hosts.take();
        for host in hosts.values() {
            host.permits.close();
            host.negotiation.close();
        }
        drop(hosts);
        self.waiting.take().into_iter().for_each(Waker::wake);
        self.wake_daemon();
    }

    fn poll_spawner(&self, cx: &mut Context<'_>) -> Poll<Result<Spawner<()>, ClientError>> {
        if self.is_closed.get() {
            return Poll::Ready(Err(ClientErrorKind::Closed.into()));
        }
        if let Some(spawner) = &*self.spawner.borrow() {
            return Poll::Ready(Ok(spawner.clone()));
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    fn host(&self, origin: &Origin) -> Rc<Host> {
        let mut hosts = self.hosts.borrow_mut();
        if let Some(host) = hosts.get(origin) {
            return Rc::clone(host);
        }
        let host = Rc::new(Host {
            permits: Arc::new(Semaphore::new(self.settings.connections_max)),
            negotiation: Arc::new(Semaphore::new(1)),
            is_http1: Cell::new(!self.settings.http2_only && !origin.is_tls),
            idle: RefCell::default(),
            http2: RefCell::default(),
        });
        hosts.insert(origin.clone(), Rc::clone(&host));
        host
    }

    /// Drops the connections that were idle for too long, and returns when the next one will be.
    fn expire(&self) -> Option<Instant> {
        let (time, limit) = (now(), self.settings.idle_timeout);
        let mut next: Option<Instant> = None;
        let mut dropped = Vec::new();
        let mut is_due = |since: Instant| {
            let due = since.checked_add(limit);
            let is_due = due.is_some_and(|due| due <= time);
            if !is_due {
                next = next.into_iter().chain(due).min();
            }
            is_due
        };
        self.hosts.borrow_mut().retain(|_, host| {
            let mut idle = host.idle.borrow_mut();
            while idle.front().is_some_and(|idle| is_due(idle.since)) {
                dropped.extend(idle.pop_front());
            }
            host.http2.borrow_mut().take_if(|connection| {
                connection.sender.is_closed()
                    || connection.in_flight.get() == 0 && is_due(connection.idle_since.get())
            });
            Rc::strong_count(host) > 1 || !idle.is_empty() || host.http2.borrow().is_some()
        });
        drop(dropped);
        next
    }
}

/// Closes the client when its task ends, however it ends.
struct CloseAtEnd(Rc<Shared>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The task of a client. The connections are children of a shield below it: it is asked to end
/// before they are, and so requests fail because the client is closed.
pub(super) fn run(shared: Rc<Shared>) -> impl Future<Output = ()> {
    let close = CloseAtEnd(shared);
    async move {
        // A failure is a panic, and its report is that of the daemon.
        drop(Task::new().name("http connections").shield(own_connections(close)).await);
    }
}

async fn own_connections(close: CloseAtEnd) {
    let shared = &close.0;
    let connections = Orphans::new().discarding();
    let mut ending = pin!(cancelled());
    *shared.spawner.borrow_mut() = Some(connections.spawner());
    shared.waiting.take().into_iter().for_each(Waker::wake);
    let mut timer: Option<Sleep> = None;
    poll_fn(|cx| {
        if shared.is_closed.get() || ending.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        shared.daemon.replace(Some(cx.waker().clone()));
        loop {
            let next = shared.expire();
            if timer.as_ref().and_then(Sleep::deadline) != next {
                timer = next.map(sleep_until);
            }
            let Some(timer) = &mut timer else { return Poll::Pending };
            ready!(Pin::new(timer).poll(cx));
        }
    })
    .await;
    shared.close();
    connections.cancel_all();
    connections.next().await;
}

/// Finds or makes a connection for a request. With `is_fresh` no connection is used that is between
/// requests.
pub(super) async fn lease(
    client: &Rc<ClientHandle>,
    origin: &Origin,
    is_fresh: bool,
) -> Result<Lease, ClientError> {
    let shared = &client.shared;
    let spawner = poll_fn(|cx| shared.poll_spawner(cx)).await?;
    let host = shared.host(origin);
    let lease = |connection, is_reused| Lease {
        client: Rc::clone(client),
        host: Rc::clone(&host),
        connection,
        is_reused,
        is_sent: Rc::default(),
    };
    if !host.is_http1.get() {
        let turn = acquire(&host.negotiation).await?;
        if let Some(connection) = multiplexed(&host, client) {
            return Ok(lease(connection, true));
        }
        if !host.is_http1.get() {
            match connect(&shared.settings, origin, spawner.clone()).await? {
                Sender::Http2(sender) => {
                    let connection = Rc::new(Multiplexed::new(sender));
                    *host.http2.borrow_mut() = Some(Rc::clone(&connection));
                    let in_flight = InFlight::new(connection, client);
                    return Ok(lease(Connection::Http2(in_flight), false));
                }
                sender @ Sender::Http1(_) => {
                    host.is_http1.set(true);
                    let permit = acquire(&host.permits).await?;
                    drop(turn);
                    return Ok(lease((sender, permit).into(), false));
                }
            }
        }
    }
    let permit = acquire(&host.permits).await?;
    if !is_fresh && let Some(sender) = reuse(&host).await {
        return Ok(lease(Connection::Http1 { sender, permit }, true));
    }
    match connect(&shared.settings, origin, spawner).await? {
        sender @ Sender::Http1(_) => Ok(lease((sender, permit).into(), false)),
        // The server speaks another version than before: the next attempt finds out.
        Sender::Http2(_) => {
            host.is_http1.set(false);
            Err(ClientError::new(ClientErrorKind::Connect, "the server has changed its version"))
        }
    }
}

/// Takes a connection of HTTP/1 that is idle and not closed.
async fn reuse(host: &Host) -> Option<http1::SendRequest<OutgoingBody>> {
    loop {
        // The newest is the most likely to be alive.
        let mut sender = host.idle.borrow_mut().pop_back()?.sender;
        if sender.ready().await.is_ok() {
            return Some(sender);
        }
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> Result<Permit<Arc<Semaphore>>, ClientError> {
    semaphore.acquire_arc().await.map_err(|_| ClientErrorKind::Closed.into())
}

/// Uses the connection of HTTP/2, if there is one.
fn multiplexed(host: &Host, client: &Rc<ClientHandle>) -> Option<Connection> {
    let connection = host.http2.borrow().clone()?;
    if connection.sender.is_closed() || connection.has_failed.get() {
        drop(host.http2.take());
        return None;
    }
    Some(Connection::Http2(InFlight::new(connection, client)))
}
