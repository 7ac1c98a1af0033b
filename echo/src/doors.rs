use std::io;
use std::net::SocketAddr;

use matou_net::TcpListener;

/// Where clients come in: for each server, listeners on all the addresses.
///
/// # Examples
///
/// ```
/// use matou_echo::Doors;
/// use matou_runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let doors = Doors::open(&["127.0.0.1:0".parse()?, "127.0.0.1:0".parse()?], 3)?;
///     assert_eq!(doors.servers(), 3);
///     assert_ne!(doors.addresses()[0], doors.addresses()[1]);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Doors {
    addresses: Vec<SocketAddr>,
    /// One list for each server.
    listeners: Vec<Vec<TcpListener>>,
}

impl Doors {
    /// Listens on each of the addresses, so many times, that each of so many servers has a queue of
    /// its own. Port 0 lets the system choose one. Nobody else can listen there.
    ///
    /// # Errors
    ///
    /// Names the address that it failed on.
    #[track_caller]
    pub fn open(addresses: &[SocketAddr], servers: usize) -> io::Result<Doors> {
        let mut doors =
            Doors { addresses: Vec::new(), listeners: (0..servers).map(|_| Vec::new()).collect() };
        for &address in addresses {
            // The address of one family must not take that of the other one away.
            let options = TcpListener::options().only_v6(true).nodelay(true);
            let mut listeners = options.listen_each(address, servers)?;
            if let Some(first) = listeners.first_mut() {
                doors.addresses.push(first.local_addr()?);
            }
            for (list, listener) in doors.listeners.iter_mut().zip(listeners) {
                list.push(listener);
            }
        }
        Ok(doors)
    }

    /// Returns the addresses, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns how many servers they are for.
    pub fn servers(&self) -> usize {
        self.listeners.len()
    }

    pub(crate) fn into_listeners(self) -> Vec<Vec<TcpListener>> {
        self.listeners
    }
}
