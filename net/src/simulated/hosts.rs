//! The host names of a simulated run.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;
use std::time::Duration;

use super::locks::lock;
use super::network::{Network, network};

/// Adds a host name to the current simulated run, with its addresses in the order of preference. A
/// second call replaces them.
///
/// On real threads it has no effect, so that the same body runs there as well, with the names of
/// the system.
///
/// # Examples
///
/// A client of a name with two addresses, of which only the second one answers:
///
/// ```
/// use matou_net::test::add_host;
/// use matou_net::{TcpListener, TcpStream};
/// use matou_runtime::MainError;
/// use matou_runtime::test::check;
///
/// check(0..10, || async {
///     add_host("cat.example", ["2001:db8::1".parse()?, "192.0.2.1".parse()?]);
///     let mut listener = TcpListener::bind("192.0.2.1:80")?;
///     let mut stream = TcpStream::connect_host("cat.example", 80).await?;
///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
///     Ok::<_, MainError>(())
/// });
/// ```
pub fn add_host(name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
    if let Some(network) = network() {
        let addresses = addresses.into_iter().collect();
        lock(&network.hosts.0).insert(name.to_ascii_lowercase(), addresses);
    }
}

/// The names that were added, in lower case.
#[derive(Default)]
pub(super) struct Hosts(Mutex<BTreeMap<String, Vec<IpAddr>>>);

impl Network {
    /// Looks a name up. Also returns how long that takes.
    pub(crate) fn resolve(&self, name: &str) -> (Duration, io::Result<Vec<IpAddr>>) {
        let name = name.to_ascii_lowercase();
        let known = lock(&self.hosts.0).get(&name).cloned();
        let found = known.or_else(|| {
            let localhost = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            (name == "localhost").then(|| localhost.to_vec())
        });
        let text = "the simulated run has no host of this name; `test::add_host` adds one";
        let found = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, text));
        (self.rng().latency(), found)
    }
}
