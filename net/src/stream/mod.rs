mod connect;
mod connect_any;
mod connect_host;
mod finish;
mod handle;
mod io_traits;
mod options;
mod peek;
mod shared;
mod split;
mod tcp;
#[cfg(feature = "tokio-io")]
mod tokio_io;
mod transfer;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll};

use matou_ownership::{Resource, ResourceHandle, Ticket};

pub use connect::{Connect, ConnectTimeout};
pub use connect_any::ConnectAny;
pub use connect_host::ConnectHost;
pub use finish::{Ending, Finish, FinishLimit};
pub use peek::Peek;
pub use shared::SocketStreamRef;
pub use split::{ReadHalf, ReuniteError, WriteHalf};
pub use transfer::{Read, Write, WriteAll};

use crate::access::AccessMode;
use crate::backend::{Backend, StreamBackend};
use crate::kind::{SocketKind, Tcp};
use handle::StreamHandle;

/// A TCP connection, owned by a task; see [`SocketStream`] for its methods.
pub type TcpStream = SocketStream<Tcp>;

/// A [`TcpStream`] used through a shared reference; created by [`shared`](TcpStream::shared).
pub type TcpStreamRef<'a> = SocketStreamRef<'a, Tcp>;

/// A connection, owned by a task: a [`TcpStream`] or a [`UnixStream`](crate::UnixStream).
///
/// The task that creates a stream owns it. If a stream is moved to another task, that task becomes
/// the owner with its first use: methods take `&mut self`, which only one task can have at a time.
/// A stream may outlive its owner, for example in a channel. Until its next use the owner's parent
/// owns it.
///
/// There are three ways to share a stream:
///
/// - Within one task, [`halves`](TcpStream::halves) returns two references, one to read and one to
///   write at the same time.
/// - [`into_split`](TcpStream::into_split) makes two halves for two tasks, each with an owner of
///   its own. (`futures::AsyncReadExt::split` works as well: each use of a half makes the current
///   task the owner of the whole stream.)
/// - A stream in an `Arc` or a `static` is used through [`shared`](TcpStream::shared), by the task
///   that it was given to.
///
/// In addition to its own methods, a stream implements the traits of `futures::io`, vectored reads
/// and writes included. So does a reference to it, which counts as a shared use.
///
/// # Examples
///
/// ```
/// use matou_net::{TcpListener, TcpStream};
/// use matou_runtime::{RunError, run, try_spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let client = try_spawn(async move {
///         TcpStream::connect(address).await?.write_all(b"purr").await
///     });
///     let (mut stream, _) = listener.accept().await?;
///     let mut buf = [0; 16];
///     let count = stream.read(&mut buf).await?;
///     assert_eq!(&buf[..count], b"purr");
///     client.await?;
///     Ok(())
/// })
/// # }
/// ```
pub struct SocketStream<K: SocketKind> {
    handle: StreamHandle,
    kind: PhantomData<fn() -> K>,
}

impl<K: SocketKind> SocketStream<K> {
    #[track_caller]
    pub(crate) fn new(ticket: Ticket, backend: StreamBackend) -> SocketStream<K> {
        SocketStream::from_handle(StreamHandle::new(ticket, backend))
    }

    fn from_handle(handle: StreamHandle) -> SocketStream<K> {
        SocketStream { handle, kind: PhantomData }
    }

    /// Takes a stream of the standard library, and puts it into non-blocking mode.
    ///
    /// # Errors
    ///
    /// If the system cannot change the mode; [`Unsupported`](io::ErrorKind::Unsupported) in a
    /// [simulated](matou_runtime::test) run.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let std_stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    ///     let mut stream = TcpStream::from_std(std_stream)?;
    ///     stream.write_all(b"purr").await?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(stream: K::StdStream) -> io::Result<SocketStream<K>> {
        let ticket = Ticket::new(K::STREAM);
        Ok(SocketStream::new(ticket, Backend::from_fd(stream.into())?))
    }

    /// Converts the socket into a stream of the standard library, which no task owns. It stays in
    /// non-blocking mode.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the stream is closed;
    /// [`Unsupported`](io::ErrorKind::Unsupported) in a [simulated](matou_runtime::test) run.
    #[track_caller]
    pub fn into_std(self) -> io::Result<K::StdStream> {
        AccessMode::Exclusive.check(&self)?;
        self.backend().take_fd().map(K::StdStream::from)
    }

    /// Reads available bytes into `buf`, or waits until there are some. Returns the number of bytes
    /// read. If `buf` is not empty, 0 means the end of the stream.
    ///
    /// # Errors
    ///
    /// If the system reports an error, for example
    /// [`ConnectionReset`](io::ErrorKind::ConnectionReset);
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the stream is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no bytes.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (mut server, _) = listener.accept().await?;
    ///     client.write_all(b"purr").await?;
    ///     client.close();
    ///
    ///     let (mut received, mut buf) = (Vec::new(), [0; 3]);
    ///     loop {
    ///         match server.read(&mut buf).await? {
    ///             0 => break,
    ///             count => received.extend_from_slice(&buf[..count]),
    ///         }
    ///     }
    ///     assert_eq!(received, b"purr");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn read<'a>(&'a mut self, buf: &'a mut [u8]) -> Read<'a> {
        Read::new(&self.handle, AccessMode::Exclusive, buf)
    }

    /// As [`read`](SocketStream::read), for futures that are written by hand, into memory that need
    /// not be initialized. On return, the first `count` bytes of `buf` are initialized, and the
    /// others are as they were.
    ///
    /// # Errors
    ///
    /// As [`read`](SocketStream::read).
    ///
    /// # Panics
    ///
    /// Outside a run.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use std::mem::MaybeUninit;
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (mut server, _) = listener.accept().await?;
    ///     client.write_all(b"purr").await?;
    ///     let mut buf = [MaybeUninit::uninit(); 16];
    ///     let count = poll_fn(|cx| server.poll_read_uninit(cx, &mut buf)).await?;
    ///     assert_eq!(count, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn poll_read_uninit(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        self.handle.poll_recv_uninit(AccessMode::Exclusive, Location::caller(), cx, buf)
    }

    /// Writes as many bytes of `buf` as the system accepts, or waits until it accepts some. Returns
    /// the number of bytes written.
    ///
    /// # Errors
    ///
    /// As [`read`](TcpStream::read); [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the peer has
    /// closed the connection. No `SIGPIPE` is raised.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, no byte was written.
    ///
    /// # Panics
    ///
    /// As [`read`](TcpStream::read).
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (_server, _) = listener.accept().await?;
    ///     let count = client.write(b"purr").await?;
    ///     assert!(0 < count && count <= 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn write<'a>(&'a mut self, buf: &'a [u8]) -> Write<'a> {
        Write::new(&self.handle, AccessMode::Exclusive, buf)
    }

    /// Writes all of `buf`.
    ///
    /// # Errors
    ///
    /// As [`write`](TcpStream::write). It is unknown how many bytes were written before the error.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: if the future is dropped, a part of `buf` may have been written.
    ///
    /// # Panics
    ///
    /// As [`read`](TcpStream::read).
    #[track_caller]
    pub fn write_all<'a>(&'a mut self, buf: &'a [u8]) -> WriteAll<'a> {
        WriteAll::new(&self.handle, AccessMode::Exclusive, buf)
    }

    /// Shuts down one or both directions of the connection. After [`Shutdown::Write`] the peer
    /// reads the end of the stream, and this side can still read.
    ///
    /// To shut down a direction again, or after the peer has closed or reset the connection, is a
    /// success: it has ended already.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if this stream is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::{Shutdown, TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (mut server, _) = listener.accept().await?;
    ///
    ///     client.shutdown(Shutdown::Write)?;
    ///     let mut buf = [0; 16];
    ///     assert_eq!(server.read(&mut buf).await?, 0); // the end of the stream
    ///     server.write_all(b"goodbye").await?;
    ///     assert_eq!(client.read(&mut buf).await?, 7);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        self.shutdown_as(AccessMode::Exclusive, how)
    }

    /// Closes the stream, as dropping it does.
    ///
    /// If there is input that was not read, or if some arrives later, the system resets the
    /// connection, and the peer may lose what was written and not read yet. A server that answers
    /// before it has read the whole request must use [`finish`](TcpStream::finish).
    pub fn close(self) {}

    /// Ends the connection in good order: ends the stream to the peer, discards input until the
    /// peer has ended its stream or `limit` is reached, and closes the stream.
    ///
    /// The peer reads everything that was written, also if it has sent more than was read. That
    /// the connection has ended already is a success.
    ///
    /// # Errors
    ///
    /// If the system reports an error other than the end of the connection.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the stream.
    ///
    /// # Panics
    ///
    /// Outside a run.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::{Ending, FinishLimit, TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run, try_spawn};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (mut server, _) = listener.accept().await?;
    ///     let server = try_spawn(async move {
    ///         server.read(&mut [0; 4]).await?; // most of the request stays unread
    ///         server.write_all(b"too large").await?;
    ///         server.finish(FinishLimit::new()).await
    ///     });
    ///     client.write_all(&[0; 5000]).await?;
    ///     let (mut answer, mut buf) = (Vec::new(), [0; 16]);
    ///     while let count @ 1.. = client.read(&mut buf).await? {
    ///         answer.extend_from_slice(&buf[..count]);
    ///     }
    ///     assert_eq!(answer, b"too large");
    ///     client.close();
    ///     assert_eq!(server.await?, Ending::Closed);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "lingering_close")]
    #[track_caller]
    pub fn finish(self, limit: FinishLimit) -> Finish {
        Finish::new(self.handle, limit)
    }

    /// Makes the current task the owner, and returns two references, with which that task can read
    /// and write at the same time.
    ///
    /// (It is not called `split`, because `AsyncReadExt::split` of `futures::io`, which takes the
    /// stream by value, would take its place wherever that trait is imported.)
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
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let address = listener.local_addr()?;
    ///     let server = spawn(async move {
    ///         let (mut stream, _) = listener.accept().await?;
    ///         let (reader, mut writer) = stream.halves();
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
    #[doc(alias = "split")]
    pub fn halves(&mut self) -> (&SocketStream<K>, &SocketStream<K>) {
        // If the stream is closed, the next operation returns the error.
        let _ = AccessMode::Exclusive.check(self);
        (self, self)
    }

    /// Returns a view whose methods take a shared reference, for a stream in an `Arc` or a
    /// `static`. Only the owner may use it; `Task::give` makes a child the owner.
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
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let stream = Arc::new(listener.accept().await?.0);
    ///     let clone = Arc::clone(&stream);
    ///     let child = Task::new().give(&stream).try_spawn(async move {
    ///         clone.shared().write_all(b"purr").await?;
    ///         drop(matou_ownership::release(&clone)); // close it, as its owner
    ///         Ok::<_, std::io::Error>(())
    ///     });
    ///     child.await?;
    ///     let mut buf = [0; 16];
    ///     assert_eq!(client.read(&mut buf).await?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn shared(&self) -> SocketStreamRef<'_, K> {
        SocketStreamRef::new(self)
    }

    pub(crate) fn backend(&self) -> &StreamBackend {
        self.handle.backend()
    }

    #[track_caller]
    fn shutdown_as(&self, mode: AccessMode, how: Shutdown) -> io::Result<()> {
        mode.check(self)?;
        self.backend().shutdown(how)
    }
}

impl<K: SocketKind> ResourceHandle for SocketStream<K> {
    fn ticket(&self) -> &Ticket {
        self.handle.ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.handle.resource()
    }
}

impl<K: SocketKind> fmt::Debug for SocketStream<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketStream")
            .field("kind", &K::STREAM)
            .field("handle", &self.handle)
            .finish()
    }
}
