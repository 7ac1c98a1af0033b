use std::io;
use std::os::unix::net::SocketAddr;
use std::path::Path;

use matou_ownership::Ticket;

use super::UnixListener;
use crate::address::UnixName;
use crate::backend::{self, Backend};
use crate::error::with_context;
use crate::kind::Unix;
use crate::kind::sealed::Sealed;
use crate::sys::{self, FileKind};

/// Options of a Unix listener; created by [`UnixListener::options`].
///
/// By default a listener follows the system: its file stays when it is closed, and is stale from
/// then on. A later [`listen`](UnixListenOptions::listen) on the path fails, and the error says
/// that the file is stale.
///
/// # Examples
///
/// ```
/// use matou_net::UnixListener;
/// use matou_runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// # let dir = std::env::temp_dir().join(format!("matou-doc-options-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("socket");
/// run(async move {
///     UnixListener::bind(&path)?.close(); // the file stays
///     let error = UnixListener::bind(&path).unwrap_err();
///     assert!(error.to_string().contains("stale"));
///
///     let options = UnixListener::options().remove_stale_file(true).remove_on_close(true);
///     options.listen(&path)?.close();
///     assert!(!path.exists());
/// #   std::fs::remove_dir(path.parent().unwrap())?;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until `listen`"]
pub struct UnixListenOptions {
    backlog: u32,
    remove_stale_file: bool,
    remove_on_close: bool,
}

impl UnixListenOptions {
    /// Returns the default options.
    pub fn new() -> UnixListenOptions {
        UnixListenOptions { backlog: 1024, remove_stale_file: false, remove_on_close: false }
    }

    /// Sets the maximum number of connections that wait to be accepted. The system may have a lower
    /// limit. Default: 1,024.
    pub fn backlog(mut self, connections: u32) -> UnixListenOptions {
        self.backlog = connections;
        self
    }

    /// Sets whether a socket file at the path that no process listens on is removed first. To find
    /// that out, [`listen`](UnixListenOptions::listen) tries to connect to it. Another file is
    /// never removed. Default: `false`.
    ///
    /// Two processes that do this at the same moment may both succeed, and the first one loses its
    /// file: use a lock file if that can happen.
    pub fn remove_stale_file(mut self, remove: bool) -> UnixListenOptions {
        self.remove_stale_file = remove;
        self
    }

    /// Sets whether the socket file is removed when the listener is closed, however its owner ends.
    /// A file that has replaced it is not removed. Default: `false`.
    pub fn remove_on_close(mut self, remove: bool) -> UnixListenOptions {
        self.remove_on_close = remove;
        self
    }

    /// Listens on `path`.
    ///
    /// # Errors
    ///
    /// If the system cannot bind the path, for example [`AddrInUse`](io::ErrorKind::AddrInUse) if
    /// there is a file already. The error names the path, and says whether the file is stale.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    #[track_caller]
    pub fn listen(&self, path: impl AsRef<Path>) -> io::Result<UnixListener> {
        self.listen_on(Ticket::new(Unix::LISTENER), super::path(path))
    }

    /// Listens on an address, which may be an abstract name of Linux. Such a name is no file, and
    /// is free again when the listener is closed.
    ///
    /// # Errors
    ///
    /// As [`listen`](UnixListenOptions::listen); [`InvalidInput`](io::ErrorKind::InvalidInput) if
    /// the address is unnamed.
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// # fn main() -> Result<(), matou_runtime::RunError> {
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    /// use matou_net::{UnixListener, UnixStream};
    /// use matou_runtime::run;
    ///
    /// run(async {
    ///     let name = format!("matou-doc-{}", std::process::id());
    ///     let address = SocketAddr::from_abstract_name(name)?;
    ///     let mut listener = UnixListener::options().listen_addr(&address)?;
    ///     let client = UnixStream::connect_addr(&address).await?;
    ///     listener.accept().await?;
    ///     client.close();
    ///     Ok(())
    /// })
    /// # }
    /// # #[cfg(not(target_os = "linux"))]
    /// # fn main() {}
    /// ```
    #[doc(alias = "abstract")]
    #[track_caller]
    pub fn listen_addr(&self, address: &SocketAddr) -> io::Result<UnixListener> {
        self.listen_on(Ticket::new(Unix::LISTENER), sys::from_std_unix(address))
    }

    #[track_caller]
    fn listen_on(&self, ticket: Ticket, name: UnixName) -> io::Result<UnixListener> {
        if self.remove_stale_file {
            let removed = backend::remove_stale_file(&name, FileKind::Stream);
            removed.map_err(with_context("remove", name.clone()))?;
        }
        let listened = Backend::listen_unix(&name, self.backlog);
        let listener = listened
            .map_err(|error| backend::explain_stale(error, &name, FileKind::Stream))
            .map_err(with_context("bind", name.clone()))?;
        if self.remove_on_close {
            return Ok(UnixListener::with_file(ticket, listener, backend::SocketFile::new(name)?));
        }
        Ok(UnixListener::new(ticket, listener))
    }
}

impl Default for UnixListenOptions {
    fn default() -> Self {
        UnixListenOptions::new()
    }
}

impl UnixListener {
    /// Listens on `path` with the default [options](UnixListenOptions): the file is not removed
    /// when the listener is closed.
    ///
    /// # Errors
    ///
    /// As [`UnixListenOptions::listen`].
    ///
    /// # Panics
    ///
    /// In a finalizer, which cannot own resources.
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        UnixListenOptions::new().listen(path)
    }

    /// Returns the default options, for a listener that needs other ones.
    pub fn options() -> UnixListenOptions {
        UnixListenOptions::new()
    }
}
