use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use matou_ownership::Ticket;
use matou_runtime::IoSource;
use socket2::{Domain, Protocol, Socket, Type};

use super::TcpListener;
use crate::error::failed_to;
use crate::simulated::{Listening, network};
use crate::socket::Link;

/// How to listen; made by [`TcpListener::options`].
///
/// # Examples
///
/// Two listeners on one address, among which the system spreads the connections:
///
/// ```
/// use matou_net::TcpListener;
/// use matou_runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let options = TcpListener::options().reuse_port(true).backlog(64);
///     let mut first = options.listen("127.0.0.1:0".parse()?)?;
///     let mut second = options.listen(first.local_addr()?)?;
///     assert_eq!(first.local_addr()?, second.local_addr()?);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until `listen`"]
pub struct ListenOptions {
    reuse_address: bool,
    reuse_port: bool,
    backlog: u32,
    only_v6: Option<bool>,
    nodelay: bool,
}

impl ListenOptions {
    /// Begins with the defaults.
    pub fn new() -> ListenOptions {
        ListenOptions {
            reuse_address: true,
            reuse_port: false,
            backlog: 1024,
            only_v6: None,
            nodelay: false,
        }
    }

    /// Sets whether an address may be bound although connections of an earlier program on it are
    /// not forgotten yet. Default: yes, so that a server can be restarted.
    pub fn reuse_address(mut self, reuse: bool) -> ListenOptions {
        self.reuse_address = reuse;
        self
    }

    /// Sets whether several listeners may share the address, each with a queue of its own. All of
    /// them have to say so. Default: no.
    pub fn reuse_port(mut self, reuse: bool) -> ListenOptions {
        self.reuse_port = reuse;
        self
    }

    /// Sets how many connections may wait to be accepted; the system may have a lower limit.
    /// Default: 1,024.
    pub fn backlog(mut self, connections: u32) -> ListenOptions {
        self.backlog = connections;
        self
    }

    /// Sets whether a listener on an IPv6 address leaves IPv4 alone. Default: as the system likes.
    /// Without effect on IPv4 addresses.
    pub fn only_v6(mut self, only: bool) -> ListenOptions {
        self.only_v6 = Some(only);
        self
    }

    /// Sets whether the streams that are accepted send small writes at once, as by
    /// [`set_nodelay`](crate::TcpStream::set_nodelay), but without a system call for each: they
    /// inherit it from the listener. Default: no.
    pub fn nodelay(mut self, nodelay: bool) -> ListenOptions {
        self.nodelay = nodelay;
        self
    }

    /// Listens on `address`; port 0 lets the system choose one.
    ///
    /// # Errors
    ///
    /// Says which address it was, and what the system said; the kind is that of the system's
    /// error, such as [`AddrInUse`](io::ErrorKind::AddrInUse).
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own anything.
    #[track_caller]
    pub fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let ticket = Ticket::new(super::KIND);
        let bound = self.bind(address).map_err(failed_to("bind", address))?;
        self.start(ticket, bound, address)
    }

    /// Makes several listeners that share `address` among them and with nobody else, for one server
    /// on each domain.
    ///
    /// Why not [`reuse_port`](ListenOptions::reuse_port) on all of them? It would share the address
    /// with other programs of the same user as well: a server that is started twice would split its
    /// connections instead of being told that the address is in use. So the first listener is bound
    /// alone, and opened to the others afterwards.
    ///
    /// # Errors
    ///
    /// As [`listen`](ListenOptions::listen).
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own anything.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::TcpListener;
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listeners = TcpListener::options().listen_many("127.0.0.1:0".parse()?, 4)?;
    ///     let address = listeners[0].local_addr()?;
    ///     assert_eq!(listeners[3].local_addr()?, address);
    ///     assert!(TcpListener::options().listen_many(address, 4).is_err());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn listen_many(&self, address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
        let mut listeners = Vec::with_capacity(count);
        if count == 0 {
            return Ok(listeners);
        }
        let alone = (*self).reuse_port(false);
        let first = alone.bind(address).map_err(failed_to("bind", address))?;
        if count > 1 {
            first.share().map_err(failed_to("share", address))?;
        }
        listeners.push(self.start(Ticket::new(super::KIND), first, address)?);
        let address = listeners[0].local_addr()?;
        let shared = (*self).reuse_port(true);
        for _ in 1..count {
            listeners.push(shared.listen(address)?);
        }
        Ok(listeners)
    }

    #[track_caller]
    fn start(&self, ticket: Ticket, bound: Bound, address: SocketAddr) -> io::Result<TcpListener> {
        let link = bound.listen(self.backlog).map_err(failed_to("listen on", address))?;
        Ok(TcpListener::new(ticket, link))
    }

    fn bind(&self, address: SocketAddr) -> io::Result<Bound> {
        if let Some(network) = network() {
            let (shared, nodelay) = (self.reuse_port, self.nodelay);
            let listening = network.listen(address, shared, nodelay, self.backlog)?;
            return Ok(Bound::Simulated(listening));
        }
        // `socket2` adds the flag that keeps programs started by this one from inheriting it.
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(self.reuse_address)?;
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let (true, Some(only)) = (address.is_ipv6(), self.only_v6) {
            socket.set_only_v6(only)?;
        }
        if self.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        socket.bind(&address.into())?;
        Ok(Bound::System(socket))
    }
}

/// A socket that has its address.
enum Bound {
    System(Socket),
    Simulated(Arc<Listening>),
}

impl Bound {
    /// Lets others have the address, too.
    fn share(&self) -> io::Result<()> {
        match self {
            Bound::System(socket) => socket.set_reuse_port(true),
            Bound::Simulated(listening) => {
                listening.share();
                Ok(())
            }
        }
    }

    fn listen(self, backlog: u32) -> io::Result<Link<Arc<Listening>>> {
        match self {
            Bound::System(socket) => {
                socket.listen(backlog.min(i32::MAX as u32) as i32)?;
                Ok(Link::System(IoSource::new(socket.into())))
            }
            Bound::Simulated(listening) => Ok(Link::Simulated(listening)),
        }
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions::new()
    }
}
