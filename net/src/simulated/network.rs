use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};

use matou_runtime::test::{Simulation, simulation};

use super::datagram::DatagramSocket;
use super::fault_rng::FaultRng;
use super::hosts::Hosts;
use super::locks::lock;
use super::unix::{Entry, UnixNames};
use super::{Counters, Endpoint, Faults, Listener};
use crate::address::Address;
use crate::connect_options::ConnectOptions;
use crate::listen_options::ListenOptions;

/// The first port that the network assigns to sockets without a port.
const EPHEMERAL_PORT_MIN: u16 = 32_768;

/// Sets the faults of the current simulated run's network, from now on.
///
/// It is for bodies of [`matou_runtime::test`]. On real threads it has no effect, so that the same
/// body runs there as well.
///
/// # Examples
///
/// An echo over a network that may reset the connection, with a hundred seeds:
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
///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let client = try_spawn(async move {
///         let mut stream = TcpStream::connect(address).await?;
///         stream.write_all(b"purr").await?;
///         stream.shutdown(std::net::Shutdown::Write)?;
///         let mut buf = [0; 16];
///         let mut len = 0;
///         loop {
///             let count = stream.read(&mut buf[len..]).await?;
///             if count == 0 {
///                 return Ok::<_, io::Error>(buf[..len].to_vec());
///             }
///             len += count;
///         }
///     });
///     let (mut stream, _) = listener.accept().await?;
///     let (reader, mut writer) = stream.halves();
///     let _ = futures::io::copy(reader, &mut writer).await; // the connection may be reset
///     drop(stream);
///     match client.await {
///         Ok(echoed) => assert_eq!(echoed, b"purr"),
///         Err(_) => assert_eq!(counters().resets, 1),
///     }
///     Ok::<_, MainError>(())
/// });
/// ```
pub fn set_faults(faults: Faults) {
    if let Some(network) = network() {
        lock(&network.state).faults = faults;
    }
}

/// Returns the event counts of the current simulated run's network; on real threads all counters
/// are 0.
///
/// # Examples
///
/// ```
/// use matou_net::test::{Faults, counters, set_faults};
/// use matou_net::{TcpListener, TcpStream};
/// use matou_runtime::MainError;
/// use matou_runtime::test::check;
///
/// check(0..10, || async {
///     set_faults(Faults::none());
///     let mut listener = TcpListener::bind("10.0.0.1:80")?;
///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
///     let (_server, _) = listener.accept().await?;
///     client.write_all(b"purr").await?;
///     assert_eq!((counters().connections, counters().bytes), (1, 4));
///     Ok::<_, MainError>(())
/// });
/// ```
pub fn counters() -> Counters {
    network().map(|network| lock(&network.state).counters).unwrap_or_default()
}

/// Returns the network of the current run if it is simulated.
#[inline]
pub(crate) fn network() -> Option<Arc<Network>> {
    simulation().map(|simulation| simulation.state::<Network>())
}

/// Fails outside the simulated run of a socket.
pub(super) fn check_in_run() -> io::Result<()> {
    let ended = || io::Error::new(io::ErrorKind::NotConnected, "the run of the socket has ended");
    simulation().map(drop).ok_or_else(ended)
}

/// The network of one simulated run. TCP and UDP have tables and ports of their own: both may use
/// the same port at the same time.
#[derive(Default)]
pub(crate) struct Network {
    state: Mutex<State>,
    pub(super) unix: UnixNames,
    pub(super) hosts: Hosts,
}

#[derive(Default)]
struct State {
    faults: Faults,
    counters: Counters,
    listeners: BTreeMap<SocketAddr, Vec<Weak<Listener>>>,
    /// The offset of the next port to assign.
    next_port: u16,
    datagrams: BTreeMap<SocketAddr, Weak<DatagramSocket>>,
    /// The offset of the next port to assign to a datagram socket.
    next_datagram_port: u16,
}

/// Where the network routes an attempt to connect.
pub(super) enum Route {
    /// No listener, or an injected fault.
    Refused,
    BacklogFull,
    Listener(Arc<Listener>),
}

impl Network {
    /// Returns the source of random decisions.
    ///
    /// # Panics
    ///
    /// Outside the run.
    pub(super) fn rng(&self) -> FaultRng {
        self.rng_of(simulation().expect("a socket of a simulated run is used in that run only"))
    }

    pub(super) fn rng_of(&self, simulation: Simulation) -> FaultRng {
        FaultRng { simulation, faults: lock(&self.state).faults }
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut Counters)) {
        add(&mut lock(&self.state).counters);
    }

    /// Creates a listener. It shares its address with others only if all of them allow it.
    pub(crate) fn bind(
        self: &Arc<Self>,
        mut address: SocketAddr,
        options: &ListenOptions,
    ) -> io::Result<Arc<Listener>> {
        let mut state = lock(&self.state);
        if address.port() == 0 {
            address.set_port(state.assign_port()?);
        }
        let may_share = |other: &Listener| options.reuse_port && other.allows_port_reuse();
        if state.overlapping(address).any(|other| !other.is_closed() && !may_share(&other)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let listener = Arc::new(Listener::new(self, address.into(), options));
        state.listeners.entry(address).or_default().push(Arc::downgrade(&listener));
        Ok(listener)
    }

    /// Removes the closed listeners of an address.
    pub(super) fn unregister(&self, address: &Address) {
        let address = match address {
            Address::Ip(address) => address,
            Address::Unix(name) => return self.unix.close(name),
        };
        let mut state = lock(&self.state);
        if let Some(list) = state.listeners.get_mut(address) {
            list.retain(|listener| listener.upgrade().is_some_and(|it| !it.is_closed()));
            if list.is_empty() {
                state.listeners.remove(address);
            }
        }
    }

    /// Starts to connect to `server`, from a port of its own.
    pub(crate) fn connect(
        self: &Arc<Self>,
        server: SocketAddr,
        options: &ConnectOptions,
    ) -> io::Result<Endpoint> {
        let server = Network::reachable(server);
        let client = self.local_address(server, options.local)?;
        let endpoint = Endpoint::connect(self, client.into(), server.into());
        endpoint.set_nodelay(options.nodelay)?;
        endpoint.set_linger(options.linger)?;
        Ok(endpoint)
    }

    /// Completes the address of a client.
    fn local_address(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
    ) -> io::Result<SocketAddr> {
        let mut local = local.unwrap_or_else(|| SocketAddr::new(server.ip(), 0));
        if local.is_ipv4() != server.is_ipv4() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if local.ip().is_unspecified() {
            local.set_ip(server.ip());
        }
        if local.port() == 0 {
            local.set_port(lock(&self.state).assign_port()?);
        }
        Ok(local)
    }

    /// Replaces an unspecified destination by this host, as the system does.
    pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
        address.set_ip(match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        });
        address
    }

    /// Returns a UDP address that no other socket has. Port 0 is replaced by a free port.
    pub(super) fn free_udp_address(&self, mut address: SocketAddr) -> io::Result<SocketAddr> {
        let mut state = lock(&self.state);
        if address.port() == 0 {
            address.set_port(state.assign_datagram_port()?);
        }
        match state.datagrams.keys().any(|known| overlap(*known, address)) {
            true => Err(io::ErrorKind::AddrInUse.into()),
            false => Ok(address),
        }
    }

    pub(super) fn register_datagram(
        &self,
        address: Address,
        socket: &Arc<DatagramSocket>,
    ) -> io::Result<()> {
        let socket = Arc::downgrade(socket);
        match address {
            Address::Ip(address) => {
                lock(&self.state).datagrams.insert(address, socket);
                Ok(())
            }
            Address::Unix(name) => self.unix.add(name, Entry::Datagram(socket)),
        }
    }

    pub(super) fn unregister_datagram(&self, address: &Address) {
        match address {
            Address::Ip(address) => drop(lock(&self.state).datagrams.remove(address)),
            Address::Unix(name) => self.unix.close(name),
        }
    }

    /// Returns the socket that receives UDP datagrams to `address`.
    pub(super) fn udp_receiver(&self, address: SocketAddr) -> Option<Arc<DatagramSocket>> {
        let state = lock(&self.state);
        let mut known = [address, unspecified(address)].into_iter();
        let found = known.find_map(|known| state.datagrams.get(&known));
        found.and_then(Weak::upgrade).filter(|socket| socket.is_open())
    }

    /// Draws which listener receives an attempt to connect to `address`.
    pub(super) fn route(&self, address: &Address) -> Route {
        let rng = self.rng();
        let listeners = match address {
            Address::Ip(address) => lock(&self.state).listeners_on(*address),
            Address::Unix(_) => Vec::new(),
        };
        if listeners.is_empty() || rng.chance(rng.faults.refusals) {
            self.count(|counters| counters.refusals += 1);
            rng.simulation.record_event("refusal", address.number());
            return Route::Refused;
        }
        // As the system does, choose a listener first, even if its backlog is full.
        let drawn = rng.simulation.random_below(listeners.len() as u64) as usize;
        let listener = &listeners[drawn];
        if listener.is_full() {
            return Route::BacklogFull;
        }
        Route::Listener(Arc::clone(listener))
    }
}

impl State {
    /// Returns the listeners whose addresses overlap `address`.
    fn overlapping(&self, address: SocketAddr) -> impl Iterator<Item = Arc<Listener>> {
        let lists = self.listeners.iter().filter(move |(known, _)| overlap(**known, address));
        lists.flat_map(|(_, list)| list).filter_map(Weak::upgrade)
    }

    /// Returns the open listeners that accept connections to `address`.
    fn listeners_on(&self, address: SocketAddr) -> Vec<Arc<Listener>> {
        let lists = [address, unspecified(address)]
            .into_iter()
            .filter_map(|known| self.listeners.get(&known));
        let open = lists.flatten().filter_map(Weak::upgrade).filter(|it| !it.is_closed());
        open.collect()
    }

    /// Returns the next port without a listener. Several connections may have the same port: they
    /// are distinguished by their endpoints.
    fn assign_port(&mut self) -> io::Result<u16> {
        let count = u16::MAX - EPHEMERAL_PORT_MIN;
        for _ in 0..count {
            let port = EPHEMERAL_PORT_MIN + self.next_port % count;
            self.next_port = (self.next_port + 1) % count;
            if self.listeners.keys().all(|known| known.port() != port) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }
}

impl State {
    fn assign_datagram_port(&mut self) -> io::Result<u16> {
        let count = u16::MAX - EPHEMERAL_PORT_MIN;
        for _ in 0..count {
            let port = EPHEMERAL_PORT_MIN + self.next_datagram_port % count;
            self.next_datagram_port = (self.next_datagram_port + 1) % count;
            if self.datagrams.keys().all(|known| known.port() != port) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }
}

/// Returns whether two sockets cannot be bound to these addresses at the same time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Returns the address of a socket that is bound to all addresses of this host.
fn unspecified(mut address: SocketAddr) -> SocketAddr {
    address.set_ip(match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    });
    address
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}
