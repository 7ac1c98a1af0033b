//! The use of a connection by one request.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use matou_runtime::now;
use matou_sync::{Permit, Semaphore};

use super::ClientHandle;
use super::body::OutgoingBody;
use super::connect::Sender;
use super::error::ClientErrorKind;
use super::origin::Origin;

/// The connections to one server.
pub(super) struct Host {
    /// One for each connection of HTTP/1 that is in use.
    pub(super) permits: Arc<Semaphore>,
    /// Held while it is unknown which version the server speaks, and while the one connection of
    /// HTTP/2 is being made.
    pub(super) negotiation: Arc<Semaphore>,
    pub(super) is_http1: Cell<bool>,
    /// Connections of HTTP/1 between requests, the oldest first.
    pub(super) idle: RefCell<VecDeque<Idle>>,
    pub(super) http2: RefCell<Option<Rc<Multiplexed>>>,
}

pub(super) struct Idle {
    pub(super) sender: http1::SendRequest<OutgoingBody>,
    pub(super) since: Instant,
}

/// A connection of HTTP/2.
pub(super) struct Multiplexed {
    pub(super) sender: http2::SendRequest<OutgoingBody>,
    pub(super) in_flight: Cell<usize>,
    pub(super) idle_since: Cell<Instant>,
    /// Whether it has refused a request, which its end will follow.
    pub(super) has_failed: Cell<bool>,
}

impl Multiplexed {
    pub(super) fn new(sender: http2::SendRequest<OutgoingBody>) -> Multiplexed {
        Multiplexed {
            sender,
            in_flight: Cell::new(0),
            idle_since: Cell::new(now()),
            has_failed: Cell::new(false),
        }
    }
}

/// A request on a connection of HTTP/2, until its response is complete.
pub(super) struct InFlight {
    connection: Rc<Multiplexed>,
    client: Rc<ClientHandle>,
}

impl InFlight {
    pub(super) fn new(connection: Rc<Multiplexed>, client: &Rc<ClientHandle>) -> InFlight {
        connection.in_flight.set(connection.in_flight.get() + 1);
        InFlight { connection, client: Rc::clone(client) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.connection.in_flight.set(self.connection.in_flight.get() - 1);
        self.connection.idle_since.set(now());
        self.client.shared.wake_daemon();
    }
}

pub(super) enum Connection {
    Http1 { sender: http1::SendRequest<OutgoingBody>, permit: Permit<Arc<Semaphore>> },
    Http2(InFlight),
}

/// A connection that a request uses, exclusively if it is one of HTTP/1.
pub(super) struct Lease {
    pub(super) client: Rc<ClientHandle>,
    pub(super) host: Rc<Host>,
    pub(super) connection: Connection,
    /// Whether the connection has served another request before.
    pub(super) is_reused: bool,
    /// Whether the body of the request was sent.
    pub(super) is_sent: Rc<Cell<bool>>,
}

impl Lease {
    pub(super) async fn send(
        &mut self,
        mut request: Request<OutgoingBody>,
        origin: &Origin,
        uri: &Uri,
    ) -> Result<Response<Incoming>, TrySendError<Request<OutgoingBody>>> {
        self.is_sent = request.body().sent_flag();
        match &mut self.connection {
            Connection::Http1 { sender, .. } => {
                origin.make_http1(&mut request, uri);
                sender.try_send_request(request).await
            }
            Connection::Http2(in_flight) => {
                Origin::make_http2(&mut request, uri);
                let mut sender = in_flight.connection.sender.clone();
                sender.try_send_request(request).await
            }
        }
    }

    /// Returns the kind of an error of the connection.
    pub(super) fn error_kind(&self, kind: ClientErrorKind) -> ClientErrorKind {
        if self.client.shared.is_closed.get() { ClientErrorKind::Closed } else { kind }
    }

    /// Notes that the connection is of no use to further requests.
    pub(super) fn fail(&self) {
        if let Connection::Http2(in_flight) = &self.connection {
            in_flight.connection.has_failed.set(true);
        }
    }

    /// Makes the connection available to other requests. The response is complete.
    pub(super) fn finish(self) {
        let Connection::Http1 { sender, permit } = self.connection else { return };
        let shared = &self.client.shared;
        let mut idle = self.host.idle.borrow_mut();
        // A connection that still sends the body of a request could delay the next one for long.
        let is_usable = self.is_sent.get() && !sender.is_closed() && !shared.is_closed.get();
        if is_usable && idle.len() < shared.settings.idle_max {
            idle.push_back(Idle { sender, since: now() });
        }
        drop(idle);
        // The next request in the line finds the connection.
        drop(permit);
        shared.wake_daemon();
    }
}

impl From<(Sender, Permit<Arc<Semaphore>>)> for Connection {
    fn from((sender, permit): (Sender, Permit<Arc<Semaphore>>)) -> Connection {
        match sender {
            Sender::Http1(sender) => Connection::Http1 { sender, permit },
            Sender::Http2(_) => unreachable!("a server of HTTP/1 was asked for HTTP/1"),
        }
    }
}
