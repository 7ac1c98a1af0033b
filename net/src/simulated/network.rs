use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};

use matou_runtime::test::{Simulation, simulation};
use rustix::io::Errno;

use super::dice::Dice;
use super::waiters::lock;
use super::{Counters, End, Faults, Listening};

/// The first of the ports that the network gives out by itself.
const FIRST_PORT: u16 = 32_768;

/// Sets what the network of the present simulated run does to its connections from now on.
///
/// It is for bodies of [`matou_runtime::test`]. On real threads nothing happens, so that the same
/// body runs there: the system's network has the faults that it has.
///
/// # Examples
///
/// An echo over a network that may break the connection, under a hundred seeds:
///
/// ```
/// use std::io;
/// use matou_net::test::{Faults, counters, set_faults};
/// use matou_net::{TcpListener, TcpStream};
/// use matou_runtime::test::check;
/// use matou_runtime::{MainError, try_spawn};
///
/// check(0..100, || async {
///     set_faults(Faults::default().resets(100));
///     let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
///     let address = listener.local_addr()?;
///     let client = try_spawn(async move {
///         let mut stream = TcpStream::connect(address).await?;
///         stream.write_all(b"purr").await?;
///         stream.shutdown(std::net::Shutdown::Write)?;
///         let mut sound = [0; 16];
///         let mut length = 0;
///         loop {
///             let count = stream.read(&mut sound[length..]).await?;
///             if count == 0 {
///                 return Ok::<_, io::Error>(sound[..length].to_vec());
///             }
///             length += count;
///         }
///     });
///     let (mut stream, _) = listener.accept().await?;
///     let (reader, mut writer) = stream.split();
///     let _ = futures::io::copy(reader, &mut writer).await; // it may have been reset
///     drop(stream);
///     match client.await {
///         Ok(sound) => assert_eq!(sound, b"purr"),
///         Err(_) => assert_eq!(counters().resets, 1),
///     }
///     Ok::<_, MainError>(())
/// });
/// ```
pub fn set_faults(faults: Faults) {
    if let Some(network) = network() {
        lock(&network.inner).faults = faults;
    }
}

/// Returns what the network of the present simulated run did so far; on real threads nothing.
pub fn counters() -> Counters {
    network().map(|network| lock(&network.inner).counters).unwrap_or_default()
}

/// Returns the network of the present run, if that is a simulated one.
#[inline]
pub(crate) fn network() -> Option<Arc<Network>> {
    simulation().map(|simulation| simulation.state::<Network>())
}

/// Fails outside the simulated run that a socket belongs to.
pub(super) fn alive() -> io::Result<()> {
    let gone = || io::Error::new(io::ErrorKind::NotConnected, "the socket's run is over");
    simulation().map(drop).ok_or_else(gone)
}

/// The network of a simulated run.
#[derive(Default)]
pub(crate) struct Network {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    faults: Faults,
    counters: Counters,
    listeners: BTreeMap<SocketAddr, Vec<Weak<Listening>>>,
    /// How many ports were given out.
    ports: u16,
}

/// Who listens on an address.
pub(super) enum Found {
    Nobody,
    Full,
    Open(Arc<Listening>),
}

impl Network {
    /// What decides. Only in the run.
    pub(super) fn dice(&self) -> Dice {
        self.dice_of(simulation().expect("a socket of a simulated run is used in that run only"))
    }

    pub(super) fn dice_of(&self, simulation: Simulation) -> Dice {
        Dice { simulation, faults: lock(&self.inner).faults }
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut Counters)) {
        add(&mut lock(&self.inner).counters);
    }

    /// Listens on an address, alone unless everybody there says `shared`.
    pub(crate) fn listen(
        self: &Arc<Self>,
        mut address: SocketAddr,
        shared: bool,
        nodelay: bool,
        backlog: u32,
    ) -> io::Result<Arc<Listening>> {
        let mut inner = lock(&self.inner);
        if address.port() == 0 {
            address.set_port(inner.free_port()?);
        }
        let overlapping = |known: &SocketAddr| {
            known.port() == address.port()
                && known.is_ipv4() == address.is_ipv4()
                && (known.ip() == address.ip()
                    || known.ip().is_unspecified()
                    || address.ip().is_unspecified())
        };
        let others = inner.listeners.iter().filter(|(known, _)| overlapping(known));
        let mut others = others.flat_map(|(_, list)| list).filter_map(Weak::upgrade);
        if others.any(|other| !other.is_closed() && (!shared || !other.is_shared())) {
            return Err(Errno::ADDRINUSE.into());
        }
        let listening = Arc::new(Listening::new(self, address, shared, nodelay, backlog));
        inner.listeners.entry(address).or_default().push(Arc::downgrade(&listening));
        Ok(listening)
    }

    /// Forgets the listeners of an address that are closed.
    pub(super) fn forget(&self, address: SocketAddr) {
        let mut inner = lock(&self.inner);
        if let Some(list) = inner.listeners.get_mut(&address) {
            list.retain(|listening| listening.upgrade().is_some_and(|it| !it.is_closed()));
            if list.is_empty() {
                inner.listeners.remove(&address);
            }
        }
    }

    /// Begins to connect to an address, from a port of its own.
    pub(crate) fn connect(self: &Arc<Self>, peer: SocketAddr) -> io::Result<End> {
        let port = lock(&self.inner).free_port()?;
        let ip = match peer.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let (local, peer) = (SocketAddr::new(ip, port), SocketAddr::new(ip, peer.port()));
        Ok(End::connect(self, local, peer))
    }

    /// Draws who gets a connection to an address.
    pub(super) fn find(&self, address: SocketAddr) -> Found {
        let dice = self.dice();
        let listeners = lock(&self.inner).listeners_on(address);
        if listeners.is_empty() || dice.hit(dice.faults.refusals) {
            self.count(|counters| counters.refusals += 1);
            dice.simulation.record_event("refusal", address.port().into());
            return Found::Nobody;
        }
        // As the system does: chosen first, and then perhaps full.
        let drawn = dice.simulation.random_below(listeners.len() as u64) as usize;
        let listening = &listeners[drawn];
        if listening.is_full() { Found::Full } else { Found::Open(Arc::clone(listening)) }
    }
}

impl Inner {
    fn listeners_on(&self, address: SocketAddr) -> Vec<Arc<Listening>> {
        let everywhere: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let mut wide = address;
        wide.set_ip(everywhere);
        let lists = [address, wide].into_iter().filter_map(|known| self.listeners.get(&known));
        let open = lists.flatten().filter_map(Weak::upgrade).filter(|it| !it.is_closed());
        open.collect()
    }

    /// The next port that nobody listens on. Ports of connections come round again; they are told
    /// apart by their ends.
    fn free_port(&mut self) -> io::Result<u16> {
        let count = u16::MAX - FIRST_PORT;
        for _ in 0..count {
            let port = FIRST_PORT + self.ports % count;
            self.ports = (self.ports + 1) % count;
            if self.listeners.keys().all(|known| known.port() != port) {
                return Ok(port);
            }
        }
        Err(Errno::ADDRNOTAVAIL.into())
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}
