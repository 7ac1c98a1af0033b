//! The operations of TCP streams alone.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Connect, ConnectAny, ConnectTimeout, TcpStream};
use crate::connect_options::ConnectOptions;
use crate::to_address::ToAddress;

impl TcpStream {
    /// Connects to `address`.
    ///
    /// # Errors
    ///
    /// If the connection cannot be established, for example
    /// [`ConnectionRefused`](std::io::ErrorKind::ConnectionRefused). The error names the address.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future aborts the attempt and closes its socket.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run or in a finalizer.
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
    ///     let address = listener.local_addr()?;
    ///     let mut stream = TcpStream::connect(address).await?;
    ///     assert_eq!(stream.peer_addr()?, address);
    ///
    ///     listener.close();
    ///     let error = TcpStream::connect(address).await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn connect(address: impl ToAddress) -> Connect {
        Connect::new(address.target(), ConnectOptions::new())
    }

    /// Connects to the first of several addresses that answers ("happy eyeballs", RFC 8305).
    ///
    /// The addresses are tried in their order, alternating between IPv6 and IPv4. An attempt starts
    /// when the one before has failed, or has not succeeded within 250 ms; then both continue. The
    /// first connection is returned, and the other attempts are aborted.
    ///
    /// # Errors
    ///
    /// The error of the last attempt if all fail;
    /// [`InvalidInput`](std::io::ErrorKind::InvalidInput) if there is no address.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future aborts all attempts and closes their sockets.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run or in a finalizer.
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
    ///     let address = listener.local_addr()?;
    ///     let refused = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    ///     let mut stream = TcpStream::connect_any([refused, address]).await?;
    ///     assert_eq!(stream.peer_addr()?, address);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "happy_eyeballs")]
    #[doc(alias = "ToSocketAddrs")]
    #[track_caller]
    pub fn connect_any(addresses: impl IntoIterator<Item = SocketAddr>) -> ConnectAny {
        ConnectAny::new(ConnectOptions::new(), addresses)
    }

    /// Returns the default options of a connection, for one that needs other ones.
    #[doc(alias = "TcpSocket")]
    pub fn options() -> ConnectOptions {
        ConnectOptions::new()
    }

    /// Connects to `address`, and fails if that takes longer than `duration` from now.
    ///
    /// # Errors
    ///
    /// As [`connect`](TcpStream::connect); [`TimedOut`](std::io::ErrorKind::TimedOut) if the
    /// deadline has elapsed.
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](TcpStream::connect).
    ///
    /// # Panics
    ///
    /// Outside a run.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let address = listener.local_addr()?;
    ///     let stream = TcpStream::connect_timeout(address, Duration::from_secs(10)).await?;
    ///     stream.close();
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn connect_timeout(address: impl ToAddress, duration: Duration) -> ConnectTimeout {
        ConnectTimeout::new(address.target(), duration)
    }
}

impl ConnectOptions {
    /// Connects to `address`; see [`TcpStream::connect`].
    #[track_caller]
    pub fn connect(&self, address: impl ToAddress) -> Connect {
        Connect::new(address.target(), *self)
    }

    /// Connects to the first of several addresses that answers; see [`TcpStream::connect_any`].
    #[track_caller]
    pub fn connect_any(&self, addresses: impl IntoIterator<Item = SocketAddr>) -> ConnectAny {
        ConnectAny::new(*self, addresses)
    }
}
