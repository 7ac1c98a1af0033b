//! Host names.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_runtime::Task;

use crate::backend::Lookup;
use crate::connect_options::ConnectOptions;
use crate::error::polled_after_completion;
use crate::stream::{ConnectAny, TcpStream};

/// How many addresses of one name are tried.
const ADDRESSES_MAX: usize = 16;

/// Looks up the addresses of a host, in the order in which the system prefers them.
///
/// The lookup is a [blocking](matou_runtime::blocking()) job, that is, a child of the task that
/// polls the future first. A name that is an IP address needs no job.
///
/// In a [simulated](matou_runtime::test) run only the names of [`add_host`](crate::test::add_host)
/// and `localhost` exist, and a lookup takes a drawn time.
///
/// # Errors
///
/// If the system cannot look the name up. The error contains the name.
///
/// # Cancel safety
///
/// Dropping the future gives the job up. It cannot be cut off, so the end of the task waits for it,
/// at most for the grace period.
///
/// # Panics
///
/// If the future is polled outside a task.
///
/// # Examples
///
/// ```
/// use matou_net::lookup_host;
/// use matou_runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     for address in lookup_host("localhost", 80).await? {
///         assert!(address.ip().is_loopback());
///     }
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "getaddrinfo")]
#[doc(alias = "to_socket_addrs")]
#[doc(alias = "dns")]
#[track_caller]
pub fn lookup_host(host: &str, port: u16) -> LookupHost {
    let task = Task::new().name(format!("lookup of {host}"));
    let stage = Stage::New(Box::new(task), port);
    LookupHost { host: host.to_owned(), stage, at: Location::caller() }
}

/// The future of [`lookup_host`].
#[must_use = "futures do nothing unless polled"]
pub struct LookupHost {
    host: String,
    stage: Stage,
    at: &'static Location<'static>,
}

enum Stage {
    New(Box<Task>, u16),
    Running(Lookup),
    Done,
}

impl Future for LookupHost {
    type Output = io::Result<Vec<SocketAddr>>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Stage::New(..) = this.stage
            && let Stage::New(task, port) = std::mem::replace(&mut this.stage, Stage::Done)
        {
            this.stage = Stage::Running(Lookup::start(*task, &this.host, port));
        }
        let Stage::Running(lookup) = &mut this.stage else {
            polled_after_completion("`LookupHost`", this.at)
        };
        let addresses = ready!(lookup.poll(cx));
        this.stage = Stage::Done;
        Poll::Ready(addresses.map_err(|error| {
            let text = format!("failed to look up {}: {error}", this.host);
            io::Error::new(error.kind(), text)
        }))
    }
}

impl fmt::Debug for LookupHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupHost").field("host", &self.host).finish_non_exhaustive()
    }
}

impl TcpStream {
    /// Looks up a host, and connects to the first of its addresses that answers; see
    /// [`lookup_host`] and [`connect_any`](TcpStream::connect_any). At most 16 addresses are tried.
    ///
    /// # Errors
    ///
    /// As [`lookup_host`] and [`connect_any`](TcpStream::connect_any).
    ///
    /// # Cancel safety
    ///
    /// As [`lookup_host`] and [`connect_any`](TcpStream::connect_any).
    ///
    /// # Panics
    ///
    /// If the future is polled outside a task or in a finalizer.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    ///     let port = listener.local_addr()?.port();
    ///     let mut stream = TcpStream::connect_host("localhost", port).await?;
    ///     assert_eq!(stream.peer_addr()?.port(), port);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "happy_eyeballs")]
    #[track_caller]
    pub fn connect_host(host: &str, port: u16) -> ConnectHost {
        ConnectOptions::new().connect_host(host, port)
    }
}

impl ConnectOptions {
    /// Looks up a host, and connects to the first of its addresses that answers; see
    /// [`TcpStream::connect_host`].
    #[track_caller]
    pub fn connect_host(&self, host: &str, port: u16) -> ConnectHost {
        // The connection is recorded with the line of this call.
        ConnectHost { lookup: lookup_host(host, port), connect: self.connect_any([]) }
    }
}

/// The future of [`TcpStream::connect_host`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct ConnectHost {
    lookup: LookupHost,
    /// Without addresses until the lookup is ready.
    connect: ConnectAny,
}

impl Future for ConnectHost {
    type Output = io::Result<TcpStream>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ConnectHost { lookup, connect } = self.get_mut();
        if connect.is_complete {
            polled_after_completion("`ConnectHost`", connect.at);
        }
        if !matches!(lookup.stage, Stage::Done) {
            let addresses = ready!(Pin::new(lookup).poll(cx));
            connect.is_complete = addresses.is_err();
            let addresses = addresses?;
            // fault: only-one-address-of-a-host
            connect.add(addresses.into_iter().take(ADDRESSES_MAX));
        }
        Pin::new(connect).poll(cx)
    }
}
