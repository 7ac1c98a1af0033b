mod accept;
mod accept_backoff;
mod bind;
mod shared;
mod tcp;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use matou_ownership::{Resource, ResourceHandle, Ticket};
use matou_runtime::futures::Sleep;

pub use accept::Accept;
use accept::Attempt;
use accept_backoff::AcceptBackoff;
pub use accept_backoff::AcceptPause;
pub use shared::SocketListenerRef;

use crate::access::AccessMode;
use crate::backend::{Backend, ListenerBackend, SocketFile};
use crate::kind::{SocketKind, Tcp};
use crate::simulated;
use crate::socket::Handle;
use crate::stream::SocketStream;

/// A TCP socket that accepts connections, owned by a task; see [`SocketListener`] for its methods.
pub type TcpListener = SocketListener<Tcp>;

/// A [`TcpListener`] used through a shared reference; created by [`shared`](TcpListener::shared).
pub type TcpListenerRef<'a> = SocketListenerRef<'a, Tcp>;

/// A socket that accepts connections, owned by a task: a [`TcpListener`] or a
/// [`UnixListener`](crate::UnixListener).
///
/// The task that creates a listener owns it. If a listener is moved to another task, that task
/// becomes the owner with its first use. A listener in an `Arc` is used through
/// [`shared`](TcpListener::shared), after `Task::give`.
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
///         let mut stream = TcpStream::connect(address).await?;
///         stream.local_addr()
///     });
///     let (_stream, peer) = listener.accept().await?;
///     assert_eq!(peer, client.await?);
///     Ok(())
/// })
/// # }
/// ```
pub struct SocketListener<K: SocketKind> {
    handle: Handle<simulated::ListenerHandle>,
    backoff: AcceptBackoff,
    /// The timer of a pause in `poll_accept`.
    pause: Option<Sleep>,
    kind: PhantomData<fn() -> K>,
}

impl<K: SocketKind> SocketListener<K> {
    #[track_caller]
    pub(crate) fn new(ticket: Ticket, backend: ListenerBackend) -> SocketListener<K> {
        SocketListener::from_handle(Handle::new(ticket, backend))
    }

    /// Creates a listener that removes its file when it is closed.
    #[track_caller]
    pub(crate) fn with_file(
        ticket: Ticket,
        backend: ListenerBackend,
        file: SocketFile,
    ) -> SocketListener<K> {
        let finalizer = move |backend: &ListenerBackend| {
            // It is not open if its descriptor was taken out.
            if backend.close() {
                file.remove();
            }
        };
        SocketListener::from_handle(Handle::with_finalizer(ticket, backend, Box::new(finalizer)))
    }

    fn from_handle(handle: Handle<simulated::ListenerHandle>) -> SocketListener<K> {
        SocketListener { handle, backoff: AcceptBackoff::default(), pause: None, kind: PhantomData }
    }

    /// Takes a listener of the standard library, and puts it into non-blocking mode.
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
    /// use matou_net::TcpListener;
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let std_listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    ///     let address = std_listener.local_addr()?;
    ///     let mut listener = TcpListener::from_std(std_listener)?;
    ///     assert_eq!(listener.local_addr()?, address);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn from_std(listener: K::StdListener) -> io::Result<SocketListener<K>> {
        let ticket = Ticket::new(K::LISTENER);
        Ok(SocketListener::new(ticket, Backend::from_fd(listener.into())?))
    }

    /// Converts the socket into a listener of the standard library, which no task owns. It stays in
    /// non-blocking mode.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the listener is closed;
    /// [`Unsupported`](io::ErrorKind::Unsupported) in a [simulated](matou_runtime::test) run.
    #[track_caller]
    pub fn into_std(self) -> io::Result<K::StdListener> {
        AccessMode::Exclusive.check(&self)?;
        self.handle.backend().take_fd().map(K::StdListener::from)
    }

    /// Waits for the next connection, and returns it with the address of its peer. The current task
    /// owns the new stream.
    ///
    /// An error of one connection (the peer has closed it already, a firewall forbids it) does not
    /// end the listener: `accept` waits for the next one. When the system is out of descriptors or
    /// memory, the listener pauses for 5 ms, then for twice as long each time up to 1 s, until a
    /// connection can be accepted; see [`pauses`](TcpListener::pauses). In the meantime connections
    /// wait in the backlog.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the listener is closed. Otherwise only if
    /// the listener can never work, for example because it was created
    /// [from](TcpListener::from_std) a socket that does not listen.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run or in a finalizer.
    ///
    /// # Examples
    ///
    /// A server that serves each connection in a child task:
    ///
    /// ```
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{Orphans, RunError, Task, run, try_spawn};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let address = listener.local_addr()?;
    ///     let client = try_spawn(async move {
    ///         let mut buf = [0; 16];
    ///         TcpStream::connect(address).await?.read(&mut buf).await
    ///     });
    ///
    ///     let connections = Orphans::new();
    ///     let (mut stream, peer) = listener.accept().await?;
    ///     let task = Task::new().name(peer.to_string()).orphans(&connections);
    ///     task.try_spawn(async move { stream.write_all(b"welcome").await })?;
    ///
    ///     assert_eq!(client.await?, 7);
    ///     while let Some(outcome) = connections.next().await {
    ///         outcome?;
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn accept(&mut self) -> Accept<'_, K> {
        Accept::new(self, AccessMode::Exclusive)
    }

    /// As [`accept`](SocketListener::accept), for futures and streams that are written by hand.
    ///
    /// # Errors
    ///
    /// As [`accept`](SocketListener::accept).
    ///
    /// # Panics
    ///
    /// Outside a run or in a finalizer.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (_stream, peer) = poll_fn(|cx| listener.poll_accept(cx)).await?;
    ///     assert_eq!(peer, client.local_addr()?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(SocketStream<K>, K::Address)>> {
        let mut pause = self.pause.take();
        let attempt = Attempt { pause: &mut pause, key: None, at: Location::caller() };
        let accepted = self.poll_accept_as(AccessMode::Exclusive, attempt, cx);
        self.pause = pause;
        let (backend, peer) = ready!(accepted)?;
        Poll::Ready(Ok((SocketStream::new(Ticket::new(K::STREAM), backend), peer)))
    }

    /// Returns the address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the listener is closed.
    #[track_caller]
    pub fn local_addr(&mut self) -> io::Result<K::Address> {
        self.local_addr_as(AccessMode::Exclusive)
    }

    /// Returns how often [`accept`](TcpListener::accept) has paused since the listener was created.
    pub fn pauses(&self) -> u64 {
        self.backoff.pauses()
    }

    /// Calls `callback` at the beginning of every pause of [`accept`](TcpListener::accept), for
    /// example to log it. It replaces the previous callback.
    ///
    /// While the system stays out of descriptors or memory, the callback is called at most 8 times
    /// in the first second and once per second after that.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::TcpListener;
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     listener.on_pause(|pause| {
    ///         eprintln!("accepting no connections for {:?}: {}", pause.duration, pause.error);
    ///     });
    ///     assert_eq!(listener.pauses(), 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn on_pause(&mut self, callback: impl Fn(&AcceptPause<'_>) + Send + Sync + 'static) {
        self.backoff.set_callback(Arc::new(callback));
    }

    /// Closes the listener, as dropping it does.
    pub fn close(self) {}

    /// Returns a view whose methods take a shared reference, for a listener in an `Arc` or a
    /// `static`. Only the owner may use it; `Task::give` makes a child the owner.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use matou_net::TcpListener;
    /// use matou_runtime::{RunError, Task, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let listener = Arc::new(TcpListener::bind("127.0.0.1:0")?);
    ///     let clone = Arc::clone(&listener);
    ///     let child = Task::new().give(&listener).try_spawn(async move {
    ///         let address = clone.shared().local_addr()?;
    ///         matou_runtime::transfer(&clone).map_err(std::io::Error::other)?;
    ///         Ok::<_, std::io::Error>(address)
    ///     });
    ///     assert_eq!(child.await?, listener.shared().local_addr()?); // the parent owns it again
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn shared(&self) -> SocketListenerRef<'_, K> {
        SocketListenerRef::new(self)
    }

    #[track_caller]
    fn local_addr_as(&self, mode: AccessMode) -> io::Result<K::Address> {
        mode.check(self)?;
        K::address(Some(self.handle.backend().local_addr()?))
    }
}

impl<K: SocketKind> ResourceHandle for SocketListener<K> {
    fn ticket(&self) -> &Ticket {
        self.handle.ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.handle.resource()
    }
}

impl<K: SocketKind> fmt::Debug for SocketListener<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketListener")
            .field("kind", &K::LISTENER)
            .field("handle", &self.handle)
            .field("pauses", &self.pauses())
            .finish()
    }
}
