use std::io;
use std::os::unix::net::SocketAddr;
use std::path::Path;

use matou_ownership::Ticket;

use super::{UnixDatagram, UnixDatagramRef};
use crate::access::AccessMode;
use crate::address::UnixName;
use crate::backend::{self, Backend};
use crate::datagram::SendDatagram;
use crate::error::with_context;
use crate::kind::Unix;
use crate::kind::sealed::SealedDatagram;
use crate::sys::{self, FileKind};

impl UnixDatagram {
    /// Binds a socket to `path`. The file is not removed when the socket is closed.
    ///
    /// # Errors
    ///
    /// If the system cannot bind the path, for example [`AddrInUse`](io::ErrorKind::AddrInUse) if
    /// there is a file already. The error names the path, and says whether the file is stale.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::UnixDatagram;
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// # let dir = std::env::temp_dir().join(format!("matou-doc-datagram-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("socket");
    /// run(async move {
    ///     let mut server = UnixDatagram::bind(&path)?;
    ///     let mut client = UnixDatagram::unbound()?;
    ///     client.send_to(b"purr", &path).await?;
    ///     let mut buf = [0; 16];
    ///     let (count, from) = server.recv_from(&mut buf).await?;
    ///     assert_eq!(&buf[..count], b"purr");
    ///     assert!(from.is_unnamed());
    /// #   std::fs::remove_dir_all(path.parent().unwrap())?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_to(Ticket::new(Unix::NAME), super::path(path))
    }

    /// Binds a socket to an address, which may be an abstract name of Linux.
    ///
    /// # Errors
    ///
    /// As [`bind`](UnixDatagram::bind); [`InvalidInput`](io::ErrorKind::InvalidInput) if the
    /// address is unnamed.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    #[track_caller]
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        UnixDatagram::bind_to(Ticket::new(Unix::NAME), sys::from_std_unix(address))
    }

    #[track_caller]
    fn bind_to(ticket: Ticket, name: UnixName) -> io::Result<UnixDatagram> {
        let backend = Backend::bind_unix(&name)
            .map_err(|error| backend::explain_stale(error, &name, FileKind::Datagram))
            .map_err(with_context("bind", name))?;
        Ok(UnixDatagram::new(ticket, backend))
    }

    /// Creates a socket without an address, which can send but not be answered.
    ///
    /// # Errors
    ///
    /// If the system cannot create it.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    #[track_caller]
    pub fn unbound() -> io::Result<UnixDatagram> {
        let ticket = Ticket::new(Unix::NAME);
        Ok(UnixDatagram::new(ticket, Backend::unbound_unix()?))
    }

    /// Returns two sockets that are connected to each other and have no address.
    ///
    /// # Errors
    ///
    /// If the system cannot create them.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    #[doc(alias = "socketpair")]
    #[track_caller]
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let tickets = (Ticket::new(Unix::NAME), Ticket::new(Unix::NAME));
        let (one, other) = Backend::unix_datagram_pair()?;
        Ok((UnixDatagram::new(tickets.0, one), UnixDatagram::new(tickets.1, other)))
    }

    /// Connects the socket to the one at `path`: [`send`](UnixDatagram::send) sends to it, and only
    /// its datagrams are received from now on.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) if there is no file at the path, and
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if no socket is bound to it. The
    /// error names the path.
    #[track_caller]
    pub fn connect(&mut self, path: impl AsRef<Path>) -> io::Result<()> {
        AccessMode::Exclusive.check(self)?;
        let name = super::path(path);
        let connected = self.backend().connect(&name.clone().into());
        connected.map_err(with_context("connect to", name))
    }

    /// Sends a datagram to the socket at `path`. Returns its length.
    ///
    /// While the queue of that socket is full, it tries again after pauses of up to 50 ms: the
    /// system announces room to connected sockets only, which [`send`](UnixDatagram::send) uses.
    ///
    /// # Errors
    ///
    /// As [`connect`](UnixDatagram::connect), without the path; or if the datagram is too long.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, nothing was sent.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run.
    #[track_caller]
    pub fn send_to<'a>(&'a mut self, buf: &'a [u8], path: impl AsRef<Path>) -> SendDatagram<'a> {
        self.send_to_name(AccessMode::Exclusive, buf, super::path(path))
    }

    /// Sends a datagram to an address, which may be an abstract name of Linux or that of a sender.
    ///
    /// # Errors
    ///
    /// As [`send_to`](UnixDatagram::send_to); [`InvalidInput`](io::ErrorKind::InvalidInput) if the
    /// address is unnamed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, nothing was sent.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run.
    #[track_caller]
    pub fn send_to_addr<'a>(&'a mut self, buf: &'a [u8], address: &SocketAddr) -> SendDatagram<'a> {
        self.send_to_name(AccessMode::Exclusive, buf, sys::from_std_unix(address))
    }
}

impl<'a> UnixDatagramRef<'a> {
    /// Sends a datagram to the socket at `path`; see [`UnixDatagram::send_to`].
    #[track_caller]
    pub fn send_to<'b>(self, buf: &'b [u8], path: impl AsRef<Path>) -> SendDatagram<'b>
    where
        'a: 'b,
    {
        self.socket().send_to_name(AccessMode::Shared, buf, super::path(path))
    }
}
