use std::io;
use std::os::unix::net::SocketAddr;
use std::path::Path;

use matou_ownership::Ticket;

use super::{ConnectUnix, UnixStream};
use crate::access::AccessMode;
use crate::backend::StreamBackend;
use crate::kind::Unix;
use crate::kind::sealed::Sealed;
use crate::sys;

/// The user and the process at the other end of a connection; returned by
/// [`UnixStream::peer_credentials`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct UnixCredentials {
    /// The user's id, at the moment when the connection was established.
    pub uid: u32,
    /// The group's id at that moment.
    pub gid: u32,
    /// The id of the process, which may have ended, so that another process may have it by now.
    pub pid: Option<i32>,
}

impl UnixStream {
    /// Connects to the listener at `path`.
    ///
    /// While the backlog of the listener is full, it tries again after pauses of up to 50 ms,
    /// because the system does not announce when there is room. Use
    /// [`timeout`](matou_runtime::timeout) to limit that.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) if there is no file at the path, and
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if no process listens on it. The
    /// error names the path.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future aborts the attempt.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run or in a finalizer.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::{UnixListener, UnixStream};
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// # let dir = std::env::temp_dir().join(format!("matou-doc-connect-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("socket");
    /// run(async move {
    ///     let options = UnixListener::options().remove_stale_file(true).remove_on_close(true);
    ///     let mut listener = options.listen(&path)?;
    ///     let mut client = UnixStream::connect(&path).await?;
    ///     let (mut server, _) = listener.accept().await?;
    ///     client.write_all(b"purr").await?;
    ///     assert_eq!(server.read(&mut [0; 16]).await?, 4);
    ///
    ///     listener.close();
    ///     let error = UnixStream::connect(&path).await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// #   std::fs::remove_dir(path.parent().unwrap())?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn connect(path: impl AsRef<Path>) -> ConnectUnix {
        ConnectUnix::new(super::path(path))
    }

    /// Connects to a listener by its address, which may be an abstract name of Linux.
    ///
    /// # Errors
    ///
    /// As [`connect`](UnixStream::connect); [`InvalidInput`](io::ErrorKind::InvalidInput) if the
    /// address is unnamed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future aborts the attempt.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run or in a finalizer.
    #[track_caller]
    pub fn connect_addr(address: &SocketAddr) -> ConnectUnix {
        ConnectUnix::new(sys::from_std_unix(address))
    }

    /// Returns two streams that are connected to each other and have no address.
    ///
    /// # Errors
    ///
    /// If the system cannot create them.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::UnixStream;
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let (mut one, mut other) = UnixStream::pair()?;
    ///     one.write_all(b"purr").await?;
    ///     assert_eq!(other.read(&mut [0; 16]).await?, 4);
    ///     if let Ok(peer) = one.peer_credentials() {
    ///         assert_eq!(peer.pid, Some(std::process::id() as i32));
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "socketpair")]
    #[track_caller]
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let tickets = (Ticket::new(Unix::STREAM), Ticket::new(Unix::STREAM));
        let (one, other) = StreamBackend::unix_pair()?;
        Ok((UnixStream::new(tickets.0, one), UnixStream::new(tickets.1, other)))
    }

    /// Returns the user and the process at the other end, as they were when the connection was
    /// established.
    ///
    /// # Errors
    ///
    /// If the system reports an error; [`Unsupported`](io::ErrorKind::Unsupported) on systems other
    /// than Linux, and in a [simulated](matou_runtime::test) run, which has no processes.
    #[doc(alias = "SO_PEERCRED")]
    #[doc(alias = "peer_cred")]
    #[track_caller]
    pub fn peer_credentials(&mut self) -> io::Result<UnixCredentials> {
        AccessMode::Exclusive.check(self)?;
        let sys::Credentials { uid, gid, pid } = self.backend().peer_credentials()?;
        Ok(UnixCredentials { uid, gid, pid })
    }
}
