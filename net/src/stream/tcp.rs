//! The operations of TCP streams alone.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Connect, ConnectTimeout, TcpStream};

impl TcpStream {
    /// Connects to `address`.
    ///
    /// # Errors
    ///
    /// If the connection cannot be established, for example
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused). The error names the address.
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
    ///     let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
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
    pub fn connect(address: SocketAddr) -> Connect {
        Connect::new(address)
    }

    /// Connects to `address`, and fails if that takes longer than `duration` from now.
    ///
    /// # Errors
    ///
    /// As [`connect`](TcpStream::connect); [`TimedOut`](io::ErrorKind::TimedOut) if the deadline
    /// has elapsed.
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
    ///     let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    ///     let address = listener.local_addr()?;
    ///     let stream = TcpStream::connect_timeout(address, Duration::from_secs(10)).await?;
    ///     stream.close();
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn connect_timeout(address: SocketAddr, duration: Duration) -> ConnectTimeout {
        ConnectTimeout::new(address, duration)
    }
}
