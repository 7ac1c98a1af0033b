//! Connecting to a host by its name.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{ConnectAny, TcpStream};
use crate::connect_options::ConnectOptions;
use crate::error::polled_after_completion;
use crate::resolve::{LookupHost, lookup_host};

/// How many addresses of one name are tried.
const ADDRESSES_MAX: usize = 16;

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
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
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
        if !lookup.is_done() {
            let addresses = ready!(Pin::new(lookup).poll(cx));
            connect.is_complete = addresses.is_err();
            let addresses = addresses?;
            // fault: only-one-address-of-a-host
            connect.add(addresses.into_iter().take(ADDRESSES_MAX));
        }
        Pin::new(connect).poll(cx)
    }
}
