mod accept;
mod accept_backoff;
mod options;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use matou_ownership::{Resource, ResourceHandle, Ticket, release};
use matou_runtime::IoSource;

pub use accept::Accept;
pub use accept_backoff::AcceptPause;
use accept_backoff::Patience;
pub use options::ListenOptions;

use crate::access::Access;
use crate::simulated::Listening;
use crate::socket::{Link, Socket, check_descriptors};

/// What reports call a listener.
const KIND: &str = "tcp listener";

/// A socket that TCP connections arrive at, owned by a task.
///
/// It belongs to the task that makes it, or to the one that it is moved to, from the first use
/// there. Through an `Arc` it is used by [`shared`](TcpListener::shared), after a `give`.
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
    socket: Arc<Socket<Arc<Listening>>>,
    patience: Patience,
}

impl TcpListener {
    /// Listens on `address` with the default [options](ListenOptions); port 0 lets the system
    /// choose one.
    ///
    /// # Errors
    ///
    /// As [`ListenOptions::listen`].
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own anything.
    #[track_caller]
    pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
        ListenOptions::new().listen(address)
    }

    /// Says how to listen, before it is done.
    pub fn options() -> ListenOptions {
        ListenOptions::new()
    }

    #[track_caller]
    fn new(ticket: Ticket, link: Link<Arc<Listening>>) -> TcpListener {
        TcpListener { socket: Socket::new(ticket, link), patience: Patience::default() }
    }

    /// Takes a listener of the standard library, and puts it into non-blocking mode.
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
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        let ticket = Ticket::new(KIND);
        check_descriptors()?;
        listener.set_nonblocking(true)?;
        Ok(TcpListener::new(ticket, Link::System(IoSource::new(listener.into()))))
    }

    /// Hands the socket to the standard library; no task owns it any more. It stays in
    /// non-blocking mode.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if it is closed already;
    /// [`Unsupported`](io::ErrorKind::Unsupported) in a [simulated](matou_runtime::test) run.
    #[track_caller]
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        Access::Exclusive.verify(&self)?;
        Ok(self.socket.take_fd()?.into())
    }

    /// Waits for the next connection, and returns it with its peer's address. The current task
    /// owns it.
    ///
    /// What ends one connection (its peer has left already, a firewall forbids it) does not end
    /// the listener: the next one is waited for. When descriptors or memory run out, it pauses
    /// for 5 ms, then for twice as long each time up to 1 s, until a connection can be accepted;
    /// see [`pauses`](TcpListener::pauses). Connections wait in the backlog meanwhile.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the listener is closed; otherwise only
    /// when it cannot work at all, for example because the descriptor that it was made of does
    /// not listen.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    ///
    /// # Panics
    ///
    /// When it is polled outside a run, or in a finalizer.
    #[track_caller]
    pub fn accept(&mut self) -> Accept<'_> {
        Accept::new(self, Access::Exclusive)
    }

    /// Returns the address that it listens on.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the listener is closed.
    #[track_caller]
    pub fn local_addr(&mut self) -> io::Result<SocketAddr> {
        self.local_addr_by(Access::Exclusive)
    }

    /// Returns how often [`accept`](TcpListener::accept) has paused since the listener was made.
    pub fn pauses(&self) -> u64 {
        self.patience.pauses()
    }

    /// Has `watcher` told of every pause of [`accept`](TcpListener::accept) when it begins, for a
    /// log. It replaces the watcher before it.
    ///
    /// It is called at most 8 times within the first second of a shortage, and once a second then.
    pub fn on_pause(&mut self, watcher: impl Fn(&AcceptPause<'_>) + Send + Sync + 'static) {
        self.patience.watch(Arc::new(watcher));
    }

    /// Closes it. Dropping it does the same.
    pub fn close(self) {}

    /// Uses it through a shared reference, for a listener in an `Arc` or a `static`. Only its
    /// owner may: it is handed over by `Task::give`.
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
    ///     let lent = Arc::clone(&listener);
    ///     let child = Task::new().give(&listener).try_spawn(async move {
    ///         let address = lent.shared().local_addr()?;
    ///         matou_runtime::transfer(&lent).map_err(std::io::Error::other)?;
    ///         Ok::<_, std::io::Error>(address)
    ///     });
    ///     assert_eq!(child.await?, listener.shared().local_addr()?); // it is ours again
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn shared(&self) -> TcpListenerRef<'_> {
        TcpListenerRef { listener: self }
    }

    #[track_caller]
    fn local_addr_by(&self, access: Access) -> io::Result<SocketAddr> {
        access.verify(self)?;
        self.socket.local_addr()
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

/// A listener used through a shared reference; made by [`TcpListener::shared`].
///
/// Use by a task that does not own it is the violation
/// [`NotOwner`](matou_runtime::Violation::NotOwner); outside a run it is an error of kind
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied).
#[derive(Clone, Copy, Debug)]
pub struct TcpListenerRef<'a> {
    listener: &'a TcpListener,
}

impl<'a> TcpListenerRef<'a> {
    /// Waits for the next connection; see [`TcpListener::accept`].
    #[track_caller]
    pub fn accept(self) -> Accept<'a> {
        Accept::new(self.listener, Access::Shared)
    }

    /// Returns the address that it listens on.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::local_addr`].
    #[track_caller]
    pub fn local_addr(self) -> io::Result<SocketAddr> {
        self.listener.local_addr_by(Access::Shared)
    }
}
