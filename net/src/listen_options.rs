/// Options of a TCP listener; created by [`TcpListener::options`](crate::TcpListener::options).
///
/// # Examples
///
/// Two listeners share one address, and the system distributes the connections among them:
///
/// ```
/// use matou_net::TcpListener;
/// use matou_runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let options = TcpListener::options().reuse_port(true).backlog(64);
///     let mut first = options.listen("127.0.0.1:0")?;
///     let mut second = options.listen(first.local_addr()?)?;
///     assert_eq!(first.local_addr()?, second.local_addr()?);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until `listen`"]
pub struct ListenOptions {
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) shared_queue: bool,
    pub(crate) backlog: u32,
    pub(crate) only_v6: Option<bool>,
    pub(crate) nodelay: bool,
    pub(crate) recv_buffer: Option<usize>,
    pub(crate) send_buffer: Option<usize>,
}

impl ListenOptions {
    /// Returns the default options.
    pub fn new() -> ListenOptions {
        ListenOptions {
            reuse_address: true,
            reuse_port: false,
            shared_queue: false,
            backlog: 1024,
            only_v6: None,
            nodelay: false,
            recv_buffer: None,
            send_buffer: None,
        }
    }

    /// Sets whether the address can be bound while the system still remembers closed connections
    /// of an earlier process on it (`SO_REUSEADDR`). Default: `true`, so that a server can be
    /// restarted.
    pub fn reuse_address(mut self, reuse: bool) -> ListenOptions {
        self.reuse_address = reuse;
        self
    }

    /// Sets whether several listeners can share the address, each with its own accept queue
    /// (`SO_REUSEPORT`). All of them must set it. Default: `false`.
    ///
    /// When one of the listeners is closed, the system resets the connections in its queue,
    /// although the others go on; see [`shared_queue`](ListenOptions::shared_queue).
    pub fn reuse_port(mut self, reuse: bool) -> ListenOptions {
        self.reuse_port = reuse;
        self
    }

    /// Sets whether the listeners of [`listen_many`](ListenOptions::listen_many) share one accept
    /// queue, instead of one each. Default: `false`.
    ///
    /// | | queues of their own | a shared queue |
    /// | --- | --- | --- |
    /// | A listener is closed | The connections in its queue are reset. | None is lost. |
    /// | A connection arrives | One domain wakes. | All waiting domains wake. |
    /// | A domain is busy | The connections in its queue wait. | Another domain accepts them. |
    ///
    /// Clients are spread over queues of their own evenly: if one of two listeners is closed while
    /// clients wait, about half of them are reset. With a shared queue one of the domains that wake
    /// accepts the connection, and the others wait again.
    ///
    /// A shared queue suits servers that open and close listeners while they run, or whose domains
    /// are unequally busy; queues of their own suit high rates of short connections.
    pub fn shared_queue(mut self, shared: bool) -> ListenOptions {
        self.shared_queue = shared;
        self
    }

    /// Sets the maximum number of connections that wait to be accepted. The system may have a lower
    /// limit. Default: 1,024.
    pub fn backlog(mut self, connections: u32) -> ListenOptions {
        self.backlog = connections;
        self
    }

    /// Sets whether a listener on an IPv6 address refuses IPv4 connections (`IPV6_V6ONLY`).
    /// Default: the system's setting. It has no effect on IPv4 addresses.
    pub fn only_v6(mut self, only: bool) -> ListenOptions {
        self.only_v6 = Some(only);
        self
    }

    /// Sets `TCP_NODELAY` on the accepted streams, as
    /// [`set_nodelay`](crate::TcpStream::set_nodelay) does. Accepted streams inherit the option
    /// from the listener, so it costs no system call per stream. Default: `false`.
    pub fn nodelay(mut self, nodelay: bool) -> ListenOptions {
        self.nodelay = nodelay;
        self
    }

    /// Sets the size of the system's receive buffer of accepted streams in bytes (`SO_RCVBUF`). It
    /// has no effect in a simulated run. Default: the system's setting.
    pub fn recv_buffer(mut self, bytes: usize) -> ListenOptions {
        self.recv_buffer = Some(bytes);
        self
    }

    /// Sets the size of the system's send buffer of accepted streams in bytes (`SO_SNDBUF`). It has
    /// no effect in a simulated run. Default: the system's setting.
    pub fn send_buffer(mut self, bytes: usize) -> ListenOptions {
        self.send_buffer = Some(bytes);
        self
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions::new()
    }
}
