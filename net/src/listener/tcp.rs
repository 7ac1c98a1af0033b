//! The operations of TCP listeners alone.

use std::io;

use super::TcpListener;
use crate::listen_options::ListenOptions;
use crate::to_address::ToAddress;

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
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let address = listener.local_addr()?;
    ///     let error = TcpListener::bind(address).unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::AddrInUse);
    ///     assert!(error.to_string().contains(&address.to_string()));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn bind(address: impl ToAddress) -> io::Result<TcpListener> {
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
    ///     let mut listener = options.listen("127.0.0.1:0")?;
    ///     assert_ne!(listener.local_addr()?.port(), 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn options() -> ListenOptions {
        ListenOptions::new()
    }
}
