use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use matou_runtime::{Direction, IoWait, WakerKey, now, poll_proceed};

use super::InMemorySocket;
use super::locks::{Guard, lock};
use super::network::{Network, check_in_run};
use super::waker_list::WakerList;
use crate::address::{Address, UnixName};
use crate::sys::{DatagramFault, DatagramKind, Multicast, Taking};

/// The longest UDP datagram: 65,535 bytes without the headers.
const DATAGRAM_MAX: usize = 65_507;
/// How many bytes wait in a socket at most. Further UDP datagrams are lost.
const BUFFER: usize = 208 << 10;
/// How many datagrams wait in a Unix socket at most. Senders wait then.
const UNIX_QUEUE: usize = 10;

/// The in-memory form of a datagram socket.
pub(crate) struct Datagram {
    socket: Arc<DatagramSocket>,
}

pub(super) struct DatagramSocket {
    network: Arc<Network>,
    state: Mutex<State>,
    readers: WakerList,
    /// The senders that wait for room in the queue of this socket.
    senders: WakerList,
}

struct State {
    /// The address in the network's table; `None` for an unnamed socket.
    bound: Option<Address>,
    local: Address,
    peer: Option<Address>,
    /// The peer of an unnamed socket that was created in a pair.
    pair: Option<Weak<DatagramSocket>>,
    queue: Vec<Arrival>,
    /// The arrival of the last datagram that was not overtaken by others.
    last_arrival: Option<Instant>,
    /// When the answer arrives that no socket receives the datagrams of this one.
    refused: Option<Instant>,
    broadcast: bool,
    ttl: u32,
    closed: bool,
}

struct Arrival {
    arrives: Instant,
    from: Address,
    bytes: Vec<u8>,
}

impl DatagramSocket {
    fn state(&self) -> Guard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn is_open(&self) -> bool {
        !self.state().closed
    }
}

impl State {
    fn new(local: Address) -> State {
        State {
            bound: None,
            local,
            peer: None,
            pair: None,
            queue: Vec::new(),
            last_arrival: None,
            refused: None,
            broadcast: false,
            ttl: 64,
            closed: false,
        }
    }

    fn check_open(&self) -> io::Result<()> {
        if self.closed {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the socket is closed"));
        }
        Ok(())
    }

    /// Fails once if an earlier datagram was refused.
    fn check_refused(&mut self) -> io::Result<()> {
        self.check_open()?;
        if self.refused.is_some_and(|arrives| arrives <= now()) {
            self.refused = None;
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(())
    }

    /// Returns the index and the arrival time of the datagram to receive next.
    fn first(&self) -> Option<(usize, Instant)> {
        let arrivals = self.queue.iter().map(|arrival| arrival.arrives).enumerate();
        arrivals.min_by_key(|&(_, arrives)| arrives)
    }

    fn bytes(&self) -> usize {
        self.queue.iter().map(|arrival| arrival.bytes.len()).sum()
    }

    /// Receives the next datagram; `Ok(None)` if none has arrived.
    fn receive(
        &mut self,
        taking: Taking,
        buf: &mut [u8],
    ) -> io::Result<Option<(usize, Option<Address>)>> {
        self.check_refused()?;
        let Some((index, _)) = self.first().filter(|&(_, arrives)| arrives <= now()) else {
            return Ok(None);
        };
        let arrival = &self.queue[index];
        let count = arrival.bytes.len().min(buf.len());
        buf[..count].copy_from_slice(&arrival.bytes[..count]);
        let from = arrival.from.clone();
        if taking == Taking::Take {
            self.queue.remove(index);
        }
        Ok(Some((count, Some(from))))
    }

    /// Returns when the next event arrives that a receiver waits for.
    fn next_event(&self) -> Option<Instant> {
        let first = self.first().map(|(_, arrives)| arrives);
        first.into_iter().chain(self.refused).min()
    }
}

impl Datagram {
    pub(crate) fn bind(network: &Arc<Network>, address: SocketAddr) -> io::Result<Datagram> {
        let address = network.free_udp_address(address)?;
        Datagram::named(network, address.into())
    }

    pub(crate) fn bind_unix(network: &Arc<Network>, name: &UnixName) -> io::Result<Datagram> {
        Datagram::named(network, name.clone().into())
    }

    pub(crate) fn unbound_unix(network: &Arc<Network>) -> Datagram {
        Datagram::new(network, State::new(UnixName::Unnamed.into()))
    }

    /// Returns two unnamed sockets that are connected to each other.
    pub(crate) fn unix_pair(network: &Arc<Network>) -> (Datagram, Datagram) {
        let (one, other) = (Datagram::unbound_unix(network), Datagram::unbound_unix(network));
        for (from, to) in [(&one, &other), (&other, &one)] {
            let mut state = from.socket.state();
            state.peer = Some(UnixName::Unnamed.into());
            state.pair = Some(Arc::downgrade(&to.socket));
        }
        (one, other)
    }

    /// Creates a socket with an address of its own.
    fn named(network: &Arc<Network>, address: Address) -> io::Result<Datagram> {
        let mut state = State::new(address.clone());
        state.bound = Some(address.clone());
        let datagram = Datagram::new(network, state);
        network.register_datagram(address, &datagram.socket)?;
        Ok(datagram)
    }

    fn new(network: &Arc<Network>, state: State) -> Datagram {
        let network = Arc::clone(network);
        let (readers, senders) = Default::default();
        let socket = DatagramSocket { network, state: Mutex::new(state), readers, senders };
        Datagram { socket: Arc::new(socket) }
    }

    pub(crate) fn connect(&self, address: &Address) -> io::Result<()> {
        check_in_run()?;
        let mut state = self.socket.state();
        state.check_open()?;
        let peer = destination(&state, address)?;
        if let Address::Unix(name) = &peer {
            self.socket.network.unix.datagram(name)?;
        }
        if let (Address::Ip(local), Address::Ip(peer)) = (&mut state.local, &peer)
            && local.ip().is_unspecified()
        {
            local.set_ip(peer.ip());
        }
        state.peer = Some(peer);
        state.pair = None;
        Ok(())
    }

    pub(crate) fn poll_recv(
        &self,
        taking: Taking,
        buf: &mut [u8],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(usize, Option<Address>)>> {
        ready!(poll_proceed(cx));
        let mut state = self.socket.state();
        if let Some(received) = state.receive(taking, buf)? {
            drop(state);
            self.socket.senders.wake_all();
            return Poll::Ready(Ok(received));
        }
        let until = state.next_event();
        drop(state);
        self.socket.readers.add(wait, cx, until);
        Poll::Pending
    }

    pub(crate) fn try_recv(&self, buf: &mut [u8]) -> io::Result<(usize, Option<Address>)> {
        check_in_run()?;
        let received = self.socket.state().receive(Taking::Take, buf)?;
        let received = received.ok_or(io::ErrorKind::WouldBlock)?;
        self.socket.senders.wake_all();
        Ok(received)
    }

    pub(crate) fn poll_send(
        &self,
        bytes: &[u8],
        to: Option<&Address>,
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        ready!(poll_proceed(cx));
        match self.send(bytes, to)? {
            None => Poll::Ready(Ok(bytes.len())),
            Some(full) => {
                full.senders.add(wait, cx, None);
                Poll::Pending
            }
        }
    }

    pub(crate) fn try_send(&self, bytes: &[u8], to: Option<&Address>) -> io::Result<usize> {
        check_in_run()?;
        match self.send(bytes, to)? {
            None => Ok(bytes.len()),
            Some(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Sends a datagram. Returns the receiver if its queue is full and the protocol loses nothing.
    fn send(&self, bytes: &[u8], to: Option<&Address>) -> io::Result<Option<Arc<DatagramSocket>>> {
        let mut state = self.socket.state();
        state.check_refused()?;
        let is_pair = to.is_none();
        let to = match (to, &state.peer) {
            (Some(address), _) => destination(&state, address)?,
            (None, Some(peer)) => peer.clone(),
            (None, None) => return Err(DatagramFault::NoDestination.into()),
        };
        if matches!(to, Address::Ip(_)) && bytes.len() > DATAGRAM_MAX {
            return Err(DatagramFault::TooLong.into());
        }
        let is_connected = state.peer.is_some();
        let pair = state.pair.clone().filter(|_| is_pair);
        let mut from = state.local.clone();
        drop(state);
        let network = &self.socket.network;
        match (&mut from, &to) {
            (Address::Ip(from_ip), Address::Ip(to)) => {
                if from_ip.ip().is_unspecified() {
                    from_ip.set_ip(to.ip());
                }
                match network.udp_receiver(*to) {
                    Some(receiver) => self.transmit(&receiver, from, bytes),
                    None if is_connected => self.refuse(),
                    None => {}
                }
                Ok(None)
            }
            (_, Address::Unix(name)) => {
                let receiver = match pair {
                    Some(pair) => pair.upgrade().filter(|peer| peer.is_open()),
                    None => Some(network.unix.datagram(name)?),
                };
                receiver.ok_or(io::ErrorKind::ConnectionRefused)?.enqueue(from, bytes)
            }
            (Address::Unix(_), Address::Ip(_)) => Err(unsupported("not an IP socket")),
        }
    }

    /// The answer that there is no receiver travels back, to a connected socket only.
    fn refuse(&self) {
        let rng = self.socket.network.rng();
        let arrives = now() + rng.latency() + rng.latency();
        self.socket.state().refused.get_or_insert(arrives);
        self.socket.readers.wake_all();
    }

    /// Sends a datagram over the network, which may lose, duplicate or delay it.
    fn transmit(&self, receiver: &DatagramSocket, from: Address, bytes: &[u8]) {
        let network = &self.socket.network;
        let rng = network.rng();
        network.count(|counters| counters.datagrams += 1);
        rng.simulation.record_event("datagram", bytes.len() as u64);
        if rng.chance(rng.faults.loss) {
            network.count(|counters| counters.datagrams_lost += 1);
            return;
        }
        receiver.arrive(from.clone(), bytes, network);
        if rng.chance(rng.faults.duplication) {
            network.count(|counters| counters.datagrams_duplicated += 1);
            receiver.arrive(from, bytes, network);
        }
    }

    pub(crate) fn peer_addr(&self) -> io::Result<Option<Address>> {
        let state = self.socket.state();
        state.check_open()?;
        match &state.peer {
            Some(peer) => Ok(Some(peer.clone())),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(crate) fn set_broadcast(&self, broadcast: bool) -> io::Result<()> {
        self.with_state(|state| state.broadcast = broadcast)
    }

    pub(crate) fn broadcast(&self) -> io::Result<bool> {
        self.with_state(|state| state.broadcast)
    }

    /// Has no effect, because the network has no routers.
    pub(crate) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        if !(1..=255).contains(&ttl) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.with_state(|state| state.ttl = ttl)
    }

    pub(crate) fn ttl(&self) -> io::Result<u32> {
        self.with_state(|state| state.ttl)
    }

    pub(crate) fn set_multicast(&self, _: Multicast) -> io::Result<()> {
        Err(unsupported("the network of a simulated run has no multicast"))
    }

    /// Returns the Unix socket that this one is connected to.
    fn unix_peer(&self) -> Option<Arc<DatagramSocket>> {
        let state = self.socket.state();
        if let Some(pair) = &state.pair {
            return pair.upgrade();
        }
        let Some(Address::Unix(name)) = state.peer.clone() else { return None };
        drop(state);
        self.socket.network.unix.datagram(&name).ok()
    }

    fn with_state<R>(&self, f: impl FnOnce(&mut State) -> R) -> io::Result<R> {
        let mut state = self.socket.state();
        state.check_open()?;
        Ok(f(&mut state))
    }
}

impl DatagramSocket {
    /// Adds a datagram that arrives after the earlier ones, unless it is drawn to be reordered.
    fn arrive(&self, from: Address, bytes: &[u8], network: &Network) {
        let rng = network.rng();
        let mut state = self.state();
        // fault: connected-socket-receives-from-others
        if state.peer.as_ref().is_some_and(|peer| *peer != from) {
            return;
        }
        if state.bytes() + bytes.len() > BUFFER {
            network.count(|counters| counters.datagrams_lost += 1);
            return;
        }
        let mut arrives = now() + rng.latency();
        // fault: datagrams-overtake
        if let Some(last) = state.last_arrival {
            arrives = arrives.max(last);
        }
        if rng.chance(rng.faults.reordering) {
            // Later datagrams do not wait for this one.
            arrives += rng.reordering_delay();
            network.count(|counters| counters.datagrams_reordered += 1);
        } else {
            state.last_arrival = Some(arrives);
        }
        state.queue.push(Arrival { arrives, from, bytes: bytes.to_vec() });
        drop(state);
        self.readers.wake_all();
    }

    /// Adds a datagram of a Unix socket at once, or returns the socket if its queue is full.
    fn enqueue(
        self: Arc<Self>,
        from: Address,
        bytes: &[u8],
    ) -> io::Result<Option<Arc<DatagramSocket>>> {
        let mut state = self.state();
        if state.peer.as_ref().is_some_and(|peer| *peer != from) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if state.queue.len() >= UNIX_QUEUE {
            drop(state);
            return Ok(Some(self));
        }
        state.queue.push(Arrival { arrives: now(), from, bytes: bytes.to_vec() });
        drop(state);
        // fault: unix-datagram-wakes-no-reader
        self.readers.wake_all();
        Ok(None)
    }
}

/// Checks the destination of a datagram. The unspecified address is this host.
fn destination(state: &State, address: &Address) -> io::Result<Address> {
    let (Address::Ip(local), Address::Ip(to)) = (&state.local, address) else {
        return Ok(address.clone());
    };
    if local.is_ipv4() != to.is_ipv4() {
        return Err(unsupported("the addresses are of two versions of the Internet protocol"));
    }
    let is_broadcast = matches!(to, SocketAddr::V4(to) if to.ip().is_broadcast());
    match is_broadcast || to.ip().is_multicast() {
        true if is_broadcast && !state.broadcast => Err(io::ErrorKind::PermissionDenied.into()),
        true => Err(unsupported("the network of a simulated run has no broadcast or multicast")),
        false => Ok(Network::reachable(*to).into()),
    }
}

fn unsupported(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, reason)
}

impl InMemorySocket for Datagram {
    type Kind = DatagramKind;

    fn local_addr(&self) -> io::Result<Address> {
        self.with_state(|state| state.local.clone())
    }

    fn close(&self) -> bool {
        let mut state = self.socket.state();
        let was_open = !std::mem::replace(&mut state.closed, true);
        state.queue.clear();
        let bound = state.bound.take();
        drop(state);
        if let Some(bound) = bound {
            self.socket.network.unregister_datagram(&bound);
        }
        self.socket.readers.wake_all();
        self.socket.senders.wake_all();
        was_open
    }

    fn cancel_wait(&self, direction: Direction, key: &mut WakerKey) {
        match direction {
            Direction::Read => self.socket.readers.remove(key),
            Direction::Write => {
                // A sender waits for room in the queue of its peer.
                let receiver = self.unix_peer();
                if let Some(receiver) = receiver {
                    receiver.senders.remove(key);
                }
            }
        }
    }
}
