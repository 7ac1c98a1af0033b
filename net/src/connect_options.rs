use std::net::SocketAddr;
use std::time::Duration;

/// Options of a TCP connection, which are set before it is established; created by
/// [`TcpStream::options`](crate::TcpStream::options).
///
/// For an option that is missing here, create the socket with `socket2`, connect it, and pass it to
/// [`TcpStream::from_std`](crate::TcpStream::from_std).
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
///     let options = TcpStream::options().local_addr("127.0.0.2:0".parse()?).nodelay(true);
///     let mut stream = options.connect(listener.local_addr()?).await?;
///     assert_eq!(stream.local_addr()?.ip().to_string(), "127.0.0.2");
///     assert!(stream.nodelay()?);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing until `connect`"]
pub struct ConnectOptions {
    pub(crate) local: Option<SocketAddr>,
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) linger: Option<Duration>,
    pub(crate) recv_buffer: Option<usize>,
    pub(crate) send_buffer: Option<usize>,
}

impl ConnectOptions {
    /// Returns the default options.
    pub fn new() -> ConnectOptions {
        ConnectOptions::default()
    }

    /// Binds the socket to a local address first. With port 0 the system chooses a free port.
    /// Default: the system chooses the address.
    #[doc(alias = "bind")]
    pub fn local_addr(mut self, address: SocketAddr) -> ConnectOptions {
        self.local = Some(address);
        self
    }

    /// Sets `TCP_NODELAY`: whether small writes are sent immediately. Default: `false`.
    pub fn nodelay(mut self, nodelay: bool) -> ConnectOptions {
        self.nodelay = nodelay;
        self
    }

    /// Sets after which idle time the system checks that the peer is still reachable
    /// (`SO_KEEPALIVE`). Default: it never does.
    pub fn keepalive(mut self, idle: Duration) -> ConnectOptions {
        self.keepalive = Some(idle);
        self
    }

    /// Sets `SO_LINGER`: for how long a close keeps trying to send the remaining bytes. Default:
    /// the system continues in the background.
    pub fn linger(mut self, linger: Duration) -> ConnectOptions {
        self.linger = Some(linger);
        self
    }

    /// Sets the size of the system's receive buffer in bytes (`SO_RCVBUF`), which limits the TCP
    /// window and must be set before connecting for that reason. It has no effect in a simulated
    /// run.
    pub fn recv_buffer(mut self, bytes: usize) -> ConnectOptions {
        self.recv_buffer = Some(bytes);
        self
    }

    /// Sets the size of the system's send buffer in bytes (`SO_SNDBUF`). It has no effect in a
    /// simulated run.
    pub fn send_buffer(mut self, bytes: usize) -> ConnectOptions {
        self.send_buffer = Some(bytes);
        self
    }
}
