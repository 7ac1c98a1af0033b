mod connect;
mod options;
mod poll;
mod shared;
mod transfer;

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use matou_ownership::{Resource, ResourceHandle, Ticket, release};
use matou_runtime::IoSource;

pub use connect::{Connect, ConnectTimeout};
pub use shared::TcpStreamRef;
pub use transfer::{Read, Write, WriteAll};

use crate::access::Access;
use crate::simulated::End;
use crate::socket::{Link, Socket, check_descriptors};

/// What reports call a stream.
pub(crate) const KIND: &str = "tcp stream";

/// A TCP connection, owned by a task.
///
/// It belongs to the task that makes it, or to the one that it is moved to, from the first use
/// there: so every method takes `&mut self`, which nobody else can have at the same time. Through
/// an `Arc` it is used by [`shared`](TcpStream::shared), after a `give`. To read and write at the
/// same time, [`split`](TcpStream::split) it. Besides its own methods it has those of
/// `futures::io`, as has `&TcpStream`, which is a shared use.
///
/// # Examples
///
/// ```
/// use matou_net::{TcpListener, TcpStream};
/// use matou_runtime::{RunError, run, try_spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
///     let address = listener.local_addr()?;
///     let client = try_spawn(async move {
///         TcpStream::connect(address).await?.write_all(b"purr").await
///     });
///     let (mut stream, _) = listener.accept().await?;
///     let mut sound = [0; 16];
///     let count = stream.read(&mut sound).await?;
///     assert_eq!(&sound[..count], b"purr");
///     client.await?;
///     Ok(())
/// })
/// # }
/// ```
pub struct TcpStream {
    socket: Arc<Socket<End>>,
}

impl TcpStream {
    /// Connects to `address`.
    ///
    /// # Errors
    ///
    /// Says which address it was, and why it failed; the kind is that of the system's error, such
    /// as [`ConnectionRefused`](io::ErrorKind::ConnectionRefused).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the attempt up, and closes its socket.
    ///
    /// # Panics
    ///
    /// When it is polled outside a run, or in a finalizer.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Connect {
        Connect::new(address)
    }

    /// Connects to `address`, which has to answer within `duration` from the call on.
    ///
    /// # Errors
    ///
    /// As [`connect`](TcpStream::connect), and of the kind
    /// [`TimedOut`](io::ErrorKind::TimedOut) if there was no answer.
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](TcpStream::connect).
    ///
    /// # Panics
    ///
    /// Outside a run.
    #[track_caller]
    pub fn connect_timeout(address: SocketAddr, duration: Duration) -> ConnectTimeout {
        ConnectTimeout::new(address, duration)
    }

    #[track_caller]
    pub(crate) fn new(ticket: Ticket, link: Link<End>) -> TcpStream {
        TcpStream { socket: Socket::new(ticket, link) }
    }

    /// Takes a stream of the standard library, and puts it into non-blocking mode.
    ///
    /// # Errors
    ///
    /// If the system refuses that mode; [`Unsupported`](io::ErrorKind::Unsupported) in a
    /// [simulated](matou_runtime::test) run.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own anything.
    #[track_caller]
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<TcpStream> {
        let ticket = Ticket::new(KIND);
        check_descriptors()?;
        stream.set_nonblocking(true)?;
        Ok(TcpStream::new(ticket, Link::System(IoSource::new(stream.into()))))
    }

    /// Hands the socket to the standard library; no task owns it any more. It stays in
    /// non-blocking mode.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if it is closed already;
    /// [`Unsupported`](io::ErrorKind::Unsupported) in a [simulated](matou_runtime::test) run.
    #[track_caller]
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        Access::Exclusive.verify(&self)?;
        Ok(self.socket.take_fd()?.into())
    }

    /// Reads what is there into `buf`, or waits until something is, and returns how many bytes
    /// that were. Zero is the end of the stream, unless `buf` is empty.
    ///
    /// # Errors
    ///
    /// What the system says; [`NotConnected`](io::ErrorKind::NotConnected) if it is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no bytes.
    ///
    /// # Panics
    ///
    /// When it is polled outside a run.
    #[track_caller]
    pub fn read<'a>(&'a mut self, buf: &'a mut [u8]) -> Read<'a> {
        Read::new(self, Access::Exclusive, buf)
    }

    /// Writes as much of `buf` as there is room for, or waits until there is some, and returns how
    /// many bytes that were.
    ///
    /// # Errors
    ///
    /// As [`read`](TcpStream::read); [`BrokenPipe`](io::ErrorKind::BrokenPipe), without a signal,
    /// if the peer has closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has written nothing.
    ///
    /// # Panics
    ///
    /// As [`read`](TcpStream::read).
    #[track_caller]
    pub fn write<'a>(&'a mut self, buf: &'a [u8]) -> Write<'a> {
        Write::new(self, Access::Exclusive, buf)
    }

    /// Writes all of `buf`.
    ///
    /// # Errors
    ///
    /// As [`write`](TcpStream::write). How much was written before is not known.
    ///
    /// # Cancel safety
    ///
    /// Not safe: if the future is dropped, a part of `buf` may have been written.
    ///
    /// # Panics
    ///
    /// As [`read`](TcpStream::read).
    #[track_caller]
    pub fn write_all<'a>(&'a mut self, buf: &'a [u8]) -> WriteAll<'a> {
        WriteAll::new(self, Access::Exclusive, buf)
    }

    /// Ends one direction or both. After [`Shutdown::Write`] the peer reads to the end of the
    /// stream, while this side can still read.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if it is closed, by this side or the other.
    #[track_caller]
    pub fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        self.shutdown_by(Access::Exclusive, how)
    }

    /// Sets whether small writes are sent at once instead of being collected.
    ///
    /// # Errors
    ///
    /// What the system says; [`NotConnected`](io::ErrorKind::NotConnected) if it is closed.
    #[track_caller]
    pub fn set_nodelay(&mut self, nodelay: bool) -> io::Result<()> {
        Access::Exclusive.verify(self)?;
        self.socket.set_nodelay(nodelay)
    }

    /// Returns whether small writes are sent at once.
    ///
    /// # Errors
    ///
    /// As [`set_nodelay`](TcpStream::set_nodelay).
    #[track_caller]
    pub fn nodelay(&mut self) -> io::Result<bool> {
        Access::Exclusive.verify(self)?;
        self.socket.nodelay()
    }

    /// Sets how long the system keeps trying to send what is left after the close. Zero throws it
    /// away and resets the connection.
    ///
    /// # Errors
    ///
    /// As [`set_nodelay`](TcpStream::set_nodelay).
    #[track_caller]
    pub fn set_linger(&mut self, linger: Option<Duration>) -> io::Result<()> {
        Access::Exclusive.verify(self)?;
        self.socket.set_linger(linger)
    }

    /// Returns how long the system keeps trying to send what is left after the close.
    ///
    /// # Errors
    ///
    /// As [`set_nodelay`](TcpStream::set_nodelay).
    #[track_caller]
    pub fn linger(&mut self) -> io::Result<Option<Duration>> {
        Access::Exclusive.verify(self)?;
        self.socket.linger()
    }

    /// Sets after how long a silence the system asks whether the peer is still there; `None` never.
    ///
    /// # Errors
    ///
    /// As [`set_nodelay`](TcpStream::set_nodelay).
    #[track_caller]
    pub fn set_keepalive(&mut self, silence: Option<Duration>) -> io::Result<()> {
        Access::Exclusive.verify(self)?;
        self.socket.set_keepalive(silence)
    }

    /// Returns the peer's address.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if it is closed, by this side or the other.
    #[track_caller]
    pub fn peer_addr(&mut self) -> io::Result<SocketAddr> {
        Access::Exclusive.verify(self)?;
        self.socket.peer_addr()
    }

    /// Returns this side's address.
    ///
    /// # Errors
    ///
    /// As [`set_nodelay`](TcpStream::set_nodelay).
    #[track_caller]
    pub fn local_addr(&mut self) -> io::Result<SocketAddr> {
        Access::Exclusive.verify(self)?;
        self.socket.local_addr()
    }

    /// Closes it. Dropping it does the same.
    pub fn close(self) {}

    /// Makes the current task its owner, and two references of it, with which that task can read
    /// and write at the same time.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::io;
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run, spawn};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    ///     let address = listener.local_addr()?;
    ///     let server = spawn(async move {
    ///         let (mut stream, _) = listener.accept().await?;
    ///         let (reader, mut writer) = stream.split();
    ///         io::copy(reader, &mut writer).await // an echo
    ///     });
    ///     let mut client = TcpStream::connect(address).await?;
    ///     client.write_all(b"purr").await?;
    ///     client.shutdown(std::net::Shutdown::Write)?;
    ///     assert_eq!(server.await??, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn split(&mut self) -> (&TcpStream, &TcpStream) {
        // That it is closed is for the next operation to say.
        let _ = Access::Exclusive.verify(self);
        (self, self)
    }

    /// Uses it through a shared reference, for a stream in an `Arc` or a `static`. Only its owner
    /// may: it is handed over by `Task::give`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, Task, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let stream = Arc::new(listener.accept().await?.0);
    ///     let lent = Arc::clone(&stream);
    ///     let child = Task::new().give(&stream).try_spawn(async move {
    ///         lent.shared().write_all(b"purr").await?;
    ///         drop(matou_ownership::release(&lent)); // it was given for good
    ///         Ok::<_, std::io::Error>(())
    ///     });
    ///     child.await?;
    ///     let mut sound = [0; 16];
    ///     assert_eq!(client.read(&mut sound).await?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn shared(&self) -> TcpStreamRef<'_> {
        TcpStreamRef::new(self)
    }

    #[track_caller]
    fn shutdown_by(&self, access: Access, how: Shutdown) -> io::Result<()> {
        access.verify(self)?;
        self.socket.shutdown(how)
    }
}

impl ResourceHandle for TcpStream {
    fn ticket(&self) -> &Ticket {
        self.socket.ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.socket.clone()
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        release(self);
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream").field("socket", &self.socket).finish()
    }
}
