use std::io;
use std::net::SocketAddr;

use matou_net::TcpListener;

/// The listening sockets of a server: one per address for each of its worker domains.
///
/// # Examples
///
/// ```
/// use matou_echo::Listeners;
/// use matou_runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let listeners = Listeners::bind(&["127.0.0.1:0".parse()?, "127.0.0.1:0".parse()?], 3)?;
///     assert_eq!(listeners.servers(), 3);
///     assert_ne!(listeners.addresses()[0], listeners.addresses()[1]);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Listeners {
    addresses: Vec<SocketAddr>,
    /// For each server, one listener per address.
    per_server: Vec<Vec<TcpListener>>,
}

impl Listeners {
    /// Binds `servers` listeners to each address, so that every server has its own accept queue.
    /// With port 0 the system chooses a free port. No other process can bind the addresses.
    ///
    /// # Errors
    ///
    /// If a listener cannot be bound. The error names the address.
    #[track_caller]
    pub fn bind(addresses: &[SocketAddr], servers: usize) -> io::Result<Listeners> {
        let mut bound = Vec::with_capacity(addresses.len());
        let mut per_server: Vec<_> = (0..servers).map(|_| Vec::new()).collect();
        // `only_v6`: `[::]:3000` must not occupy `0.0.0.0:3000`.
        let options = TcpListener::options().only_v6(true).nodelay(true);
        for &address in addresses {
            let mut listeners = options.listen_many(address, servers)?;
            if let Some(first) = listeners.first_mut() {
                bound.push(first.local_addr()?);
            }
            for (list, listener) in per_server.iter_mut().zip(listeners) {
                list.push(listener);
            }
        }
        Ok(Listeners { addresses: bound, per_server })
    }

    /// Returns the bound addresses, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the number of servers that the listeners were bound for.
    pub fn servers(&self) -> usize {
        self.per_server.len()
    }

    pub(crate) fn into_per_server(self) -> Vec<Vec<TcpListener>> {
        self.per_server
    }
}
