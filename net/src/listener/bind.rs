use std::io;
use std::net::SocketAddr;

use matou_ownership::Ticket;

use super::TcpListener;
use crate::backend::BoundSocket;
use crate::error::with_context;
use crate::kind::Tcp;
use crate::kind::sealed::Sealed;
use crate::listen_options::ListenOptions;
use crate::to_address::ToAddress;

impl ListenOptions {
    /// Listens on `address`. With port 0 the system chooses a free port.
    ///
    /// # Errors
    ///
    /// If the system cannot bind the address or listen on it, for example
    /// [`AddrInUse`](io::ErrorKind::AddrInUse). The error names the address.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    #[track_caller]
    pub fn listen(&self, address: impl ToAddress) -> io::Result<TcpListener> {
        let address = address.target()?.address()?;
        let ticket = Ticket::new(Tcp::LISTENER);
        let socket = BoundSocket::bind(address, self).map_err(with_context("bind", address))?;
        self.start(ticket, socket, address)
    }

    /// Creates `count` listeners that share `address`, usually one for each domain. No other
    /// process can listen on the address.
    ///
    /// With [`reuse_port`](ListenOptions::reuse_port) on all listeners, other processes of the same
    /// user could share the address: a server that is started twice would receive a part of the
    /// connections instead of the error that the address is in use. Therefore the first listener is
    /// bound exclusively, and the address is shared with the others afterwards.
    ///
    /// Each listener has its own accept queue, which is lost when the listener is closed, unless
    /// [`shared_queue`](ListenOptions::shared_queue) is set.
    ///
    /// # Errors
    ///
    /// As [`listen`](ListenOptions::listen).
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::TcpListener;
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listeners = TcpListener::options().listen_many("127.0.0.1:0", 4)?;
    ///     let address = listeners[0].local_addr()?;
    ///     assert_eq!(listeners[3].local_addr()?, address);
    ///     assert!(TcpListener::options().listen_many(address, 4).is_err());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn listen_many(
        &self,
        address: impl ToAddress,
        count: usize,
    ) -> io::Result<Vec<TcpListener>> {
        let address = address.target()?.address()?;
        let mut listeners = Vec::with_capacity(count);
        if count == 0 {
            return Ok(listeners);
        }
        let exclusive = (*self).reuse_port(false);
        let first =
            BoundSocket::bind(address, &exclusive).map_err(with_context("bind", address))?;
        if count > 1 && !self.shared_queue {
            first.allow_port_reuse().map_err(with_context("share", address))?;
        }
        listeners.push(self.start(Ticket::new(Tcp::LISTENER), first, address)?);
        if self.shared_queue {
            return self.share_queue(listeners, count);
        }
        // Port 0 was replaced by a free port.
        let address = listeners[0].local_addr()?;
        let shared = (*self).reuse_port(true);
        for _ in 1..count {
            listeners.push(shared.listen(address)?);
        }
        Ok(listeners)
    }

    /// Adds listeners that refer to the queue of the first one.
    #[track_caller]
    fn share_queue(
        &self,
        mut listeners: Vec<TcpListener>,
        count: usize,
    ) -> io::Result<Vec<TcpListener>> {
        for _ in 1..count {
            let ticket = Ticket::new(Tcp::LISTENER);
            let backend = listeners[0].handle.backend().share()?;
            listeners.push(TcpListener::new(ticket, backend));
        }
        Ok(listeners)
    }

    #[track_caller]
    fn start(
        &self,
        ticket: Ticket,
        socket: BoundSocket,
        address: SocketAddr,
    ) -> io::Result<TcpListener> {
        let backend = socket.listen(self.backlog).map_err(with_context("listen on", address))?;
        Ok(TcpListener::new(ticket, backend))
    }
}
