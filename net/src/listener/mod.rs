mod accept;
mod accept_backoff;
mod bind;
mod shared;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use matou_ownership::{Resource, ResourceHandle, Ticket, release};

pub use accept::Accept;
use accept_backoff::AcceptBackoff;
pub use accept_backoff::AcceptPause;
pub use shared::TcpListenerRef;

use crate::access::AccessMode;
use crate::backend::{Backend, ListenerBackend};
use crate::listen_options::ListenOptions;
use crate::simulated;
use crate::socket::Socket;

/// The kind of the resource in reports.
const KIND: &str = "tcp listener";

/// A TCP socket that accepts connections, owned by a task.
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
///     let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
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
pub struct TcpListener {
    socket: Arc<Socket<simulated::ListenerHandle>>,
    backoff: AcceptBackoff,
}

impl TcpListener {
    /// Listens on `address` with the default [options](ListenOptions). With port 0 the system
    /// chooses a free port.
    ///
    /// # Errors
    ///
    /// As [`ListenOptions::listen`].
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use matou_net::TcpListener;
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    ///     let address = listener.local_addr()?;
    ///     let error = TcpListener::bind(address).unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::AddrInUse);
    ///     assert!(error.to_string().contains(&address.to_string()));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
        ListenOptions::new().listen(address)
    }

    /// Returns the default options, for a listener that needs other ones.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::TcpListener;
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let options = TcpListener::options().backlog(16).nodelay(true);
    ///     let mut listener = options.listen("127.0.0.1:0".parse()?)?;
    ///     assert_ne!(listener.local_addr()?.port(), 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn options() -> ListenOptions {
        ListenOptions::new()
    }

    #[track_caller]
    fn new(ticket: Ticket, backend: ListenerBackend) -> TcpListener {
        TcpListener { socket: Socket::new(ticket, backend), backoff: AcceptBackoff::default() }
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
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        let ticket = Ticket::new(KIND);
        Ok(TcpListener::new(ticket, Backend::from_std(listener)?))
    }

    /// Converts the socket into a listener of the standard library, which no task owns. It stays in
    /// non-blocking mode.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the listener is closed;
    /// [`Unsupported`](io::ErrorKind::Unsupported) in a [simulated](matou_runtime::test) run.
    #[track_caller]
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        AccessMode::Exclusive.check(&self)?;
        self.socket.backend().take_std()
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
    ///     let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
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
    pub fn accept(&mut self) -> Accept<'_> {
        Accept::new(self, AccessMode::Exclusive)
    }

    /// Returns the address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the listener is closed.
    #[track_caller]
    pub fn local_addr(&mut self) -> io::Result<SocketAddr> {
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
    ///     let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
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
    ///     let listener = Arc::new(TcpListener::bind("127.0.0.1:0".parse()?)?);
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
    pub fn shared(&self) -> TcpListenerRef<'_> {
        TcpListenerRef::new(self)
    }

    #[track_caller]
    fn local_addr_as(&self, mode: AccessMode) -> io::Result<SocketAddr> {
        mode.check(self)?;
        self.socket.backend().local_addr()
    }
}

impl ResourceHandle for TcpListener {
    fn ticket(&self) -> &Ticket {
        self.socket.ticket()
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.socket.clone()
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        release(self);
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener")
            .field("socket", &self.socket)
            .field("pauses", &self.pauses())
            .finish()
    }
}
