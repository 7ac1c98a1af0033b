//! The connections that a client keeps.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::Uri;
use hyper::client::conn::{http1, http2};
use matou_runtime::{Spawner, timeout};
use matou_sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::body::RequestContent;
use super::builder::ClientBuilder;
use super::connection::{InUse, Sender, Usage, connect};
use super::error::ClientError;
use super::error::ClientErrorKind::{InvalidRequest, TimedOut};

/// How many hosts without connections are remembered at least.
const HOSTS_KEPT: usize = 64;

pub(super) struct Pool {
    pub(super) settings: ClientBuilder,
    spawner: Spawner<()>,
    hosts: RefCell<HashMap<Key, Rc<Host>>>,
}

/// A server, as far as connections to it are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) is_tls: bool,
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

/// The connections to one server.
struct Host {
    /// One for each connection of HTTP/1 in use.
    permits: Arc<Semaphore>,
    /// Connections of HTTP/1 that serve no request, the one that was used last at the end.
    idle: RefCell<Vec<(http1::SendRequest<RequestContent>, Rc<Usage>)>>,
    /// The connection of HTTP/2, which all requests share.
    shared: RefCell<Option<(http2::SendRequest<RequestContent>, Rc<Usage>)>>,
    /// Held while a connection is made that may become the shared one.
    connecting: Mutex<()>,
    /// Whether the server is known to speak HTTP/1.
    speaks_http1: Cell<bool>,
}

/// The use of a connection for one request.
pub(super) struct Lease {
    pub(super) sender: Sender,
    /// Whether the connection has served a request before.
    pub(super) was_used: bool,
    in_use: InUse,
    host: Rc<Host>,
    /// `None` in HTTP/2.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Pool {
    pub(super) fn new(settings: ClientBuilder, spawner: Spawner<()>) -> Pool {
        Pool { settings, spawner, hosts: RefCell::default() }
    }

    /// Returns the server that a URI names.
    pub(super) fn key(&self, uri: &Uri) -> Result<Key, ClientError> {
        let invalid = |text: String| ClientError::new(InvalidRequest, text);
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(scheme) => return Err(invalid(format!("the scheme `{scheme}`"))),
            None => return Err(invalid(format!("`{uri}` is not absolute"))),
        };
        let host = uri.host().ok_or_else(|| invalid(format!("`{uri}` names no host")))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Key { is_tls, host: host.into(), port })
    }

    fn host(&self, key: &Key) -> Rc<Host> {
        let mut hosts = self.hosts.borrow_mut();
        if let Some(host) = hosts.get(key) {
            return Rc::clone(host);
        }
        if hosts.len() >= HOSTS_KEPT {
            hosts.retain(|_, host| Rc::strong_count(host) > 1 || host.has_connections());
        }
        let host = Rc::new(Host::new(self.settings.connections_max));
        hosts.insert(key.clone(), Rc::clone(&host));
        host
    }

    /// Returns a connection to a server, a new one if it must be `fresh` or none is free. Waits in
    /// line if there are too many.
    pub(super) async fn lease(&self, key: &Key, fresh: bool) -> Result<Lease, ClientError> {
        let host = self.host(key);
        if !fresh && let Some(lease) = host.lease_shared() {
            return Ok(lease);
        }
        let permit = host.permits.acquire_arc().await.expect("it is never closed");
        let connecting = match host.speaks_http1.get() {
            true => None,
            false => Some(host.connecting.lock().await),
        };
        if !fresh {
            if let Some(lease) = host.lease_shared() {
                return Ok(lease);
            }
            while let Some((sender, usage)) = host.pop_idle() {
                if !sender.is_closed() {
                    let (sender, was_used) = (Sender::Http1(sender), true);
                    let in_use = usage.begin();
                    drop(connecting);
                    return Ok(Lease { sender, was_used, in_use, host, _permit: Some(permit) });
                }
            }
        }
        let limit = self.settings.connect_timeout;
        let connected = timeout(limit, connect(key, &self.settings, &self.spawner)).await;
        let connected = connected.unwrap_or_else(|elapsed| {
            Err(ClientError::new(TimedOut, format!("connecting: {elapsed}")))
        });
        let (sender, usage) = connected?;
        let permit = match &sender {
            Sender::Http1(_) => {
                host.speaks_http1.set(true);
                Some(permit)
            }
            Sender::Http2(sender) => {
                let shared = (sender.clone(), Rc::clone(&usage));
                drop(host.shared.replace(Some(shared)));
                None
            }
        };
        drop(connecting);
        let in_use = usage.begin();
        Ok(Lease { sender, was_used: false, in_use, host, _permit: permit })
    }
}

impl Host {
    fn new(connections_max: usize) -> Host {
        Host {
            permits: Arc::new(Semaphore::new(connections_max)),
            idle: RefCell::default(),
            shared: RefCell::default(),
            connecting: Mutex::new(()),
            speaks_http1: Cell::new(false),
        }
    }

    fn has_connections(&self) -> bool {
        !self.idle.borrow().is_empty() || self.shared.borrow().is_some()
    }

    fn pop_idle(&self) -> Option<(http1::SendRequest<RequestContent>, Rc<Usage>)> {
        self.idle.borrow_mut().pop()
    }

    fn lease_shared(self: &Rc<Host>) -> Option<Lease> {
        let mut shared = self.shared.borrow_mut();
        let (sender, usage) = shared.as_ref()?;
        if sender.is_closed() {
            *shared = None;
            return None;
        }
        let (sender, in_use) = (Sender::Http2(sender.clone()), usage.begin());
        let host = Rc::clone(self);
        Some(Lease { sender, was_used: true, in_use, host, _permit: None })
    }
}

impl Lease {
    /// Ends the use of a connection whose response was received completely.
    pub(super) fn give_back(self) {
        let Lease { sender, in_use, host, .. } = self;
        if !sender.is_closed()
            && let Sender::Http1(sender) = sender
        {
            host.idle.borrow_mut().push((sender, Rc::clone(in_use.usage())));
        }
    }
}
