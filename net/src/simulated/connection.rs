use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use matou_runtime::now;
use matou_runtime::test::Simulation;

use super::Faults;
use super::fault_rng::FaultRng;
use super::half::{Half, Incomplete, broken_pipe};
use super::listener::Listener;
use super::locks::{Guard, lock};
use super::network::{Network, Route};
use super::waker_list::WakerList;
use crate::address::Address;

/// How often a client tries to connect while the listener's backlog is full.
const SYN_ATTEMPTS_MAX: u32 = 6;
/// The time between the first two attempts. It doubles with each further attempt.
const SYN_RETRY_DELAY: Duration = Duration::from_secs(1);

/// A connection, shared by its two endpoints.
pub(super) struct Connection {
    pub(super) network: Arc<Network>,
    /// The addresses of the client and of the server.
    pub(super) addresses: [Address; 2],
    state: Mutex<State>,
    pub(super) readers: [WakerList; 2],
    pub(super) writers: [WakerList; 2],
}

pub(super) struct State {
    /// The client and the server.
    pub(super) halves: [Half; 2],
    /// The client's attempt to connect; `None` once a listener has queued the connection.
    syn: Option<SynAttempt>,
    /// After how many more bytes a fault resets the connection, if one does.
    reset_after: Option<u64>,
}

struct SynAttempt {
    /// When it reaches the listener.
    arrives: Instant,
    count: u32,
}

/// The progress of a client's attempt to connect.
pub(super) enum Handshake {
    Established,
    /// The attempt has reached this listener, which has room for the connection.
    Accepted(Arc<Listener>),
    /// The attempt is in flight until this moment.
    InFlight(Instant),
}

impl Connection {
    pub(super) fn new(network: &Arc<Network>, client: Address, server: Address) -> Connection {
        let rng = network.rng();
        let state = State {
            halves: halves(&server),
            syn: Some(SynAttempt { arrives: now() + rng.latency(), count: 1 }),
            reset_after: rng.reset_after(),
        };
        Connection {
            network: Arc::clone(network),
            addresses: [client, server],
            state: Mutex::new(state),
            readers: Default::default(),
            writers: Default::default(),
        }
    }

    /// Creates a connection without a handshake.
    pub(super) fn established(network: &Arc<Network>, addresses: [Address; 2]) -> Connection {
        let halves = halves(&addresses[1]);
        Connection {
            network: Arc::clone(network),
            addresses,
            state: Mutex::new(State { halves, syn: None, reset_after: None }),
            readers: Default::default(),
            writers: Default::default(),
        }
    }

    pub(super) fn is_unix(&self) -> bool {
        is_unix(&self.addresses[1])
    }

    /// Returns the source of random decisions.
    ///
    /// # Panics
    ///
    /// Outside the run.
    pub(super) fn rng(&self) -> FaultRng {
        self.without_network_faults(self.network.rng())
    }

    pub(super) fn rng_of(&self, simulation: Simulation) -> FaultRng {
        self.without_network_faults(self.network.rng_of(simulation))
    }

    /// What passes between two Unix sockets does not travel over a network.
    fn without_network_faults(&self, mut rng: FaultRng) -> FaultRng {
        if self.is_unix() {
            rng.faults = Faults::none().segmentation(rng.faults.segmentation);
        }
        rng
    }

    pub(super) fn state(&self) -> Guard<'_, State> {
        lock(&self.state)
    }

    /// Wakes the readers and the writers of one endpoint.
    pub(super) fn wake(&self, index: usize) {
        self.readers[index].wake_all();
        self.writers[index].wake_all();
    }
}

fn is_unix(server: &Address) -> bool {
    matches!(server, Address::Unix(_))
}

fn halves(server: &Address) -> [Half; 2] {
    let is_unix = is_unix(server);
    [Half::new(is_unix), Half::new(is_unix)]
}

impl State {
    /// Lets the client's attempt to connect reach the listener, if it is time.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` without a listener, `TimedOut` after the last attempt.
    pub(super) fn advance_handshake(
        &mut self,
        network: &Network,
        server: &Address,
    ) -> io::Result<Handshake> {
        let Some(syn) = &mut self.syn else {
            return Ok(Handshake::Established);
        };
        if syn.arrives <= now() {
            match network.route(server) {
                Route::Refused => return Err(ErrorKind::ConnectionRefused.into()),
                Route::BacklogFull if syn.count == SYN_ATTEMPTS_MAX => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Route::BacklogFull => {
                    syn.arrives = now() + SYN_RETRY_DELAY * (1 << (syn.count - 1));
                    syn.count += 1;
                }
                Route::Listener(listener) => {
                    self.syn = None;
                    return Ok(Handshake::Accepted(listener));
                }
            }
        }
        Ok(Handshake::InFlight(syn.arrives))
    }

    /// Sends a prefix of `bytes` from one peer to the other, and returns its length.
    pub(super) fn write(
        &mut self,
        sender: usize,
        bytes: &[u8],
        connection: &Connection,
        rng: &FaultRng,
    ) -> Result<usize, Incomplete> {
        let (now, network) = (now(), &connection.network);
        let (from, to) = self.sender_and_receiver(sender);
        if connection.is_unix() && to.refuses_unix_bytes() {
            from.check_open()?;
            // The reset, if there is one, is reported to a reader.
            return Err(broken_pipe());
        }
        from.check_writable(now)?;
        if to.refuses_bytes() {
            // The segment travels to the closed peer, and the reset that answers it travels back.
            let arrives = now + rng.latency();
            to.reset(arrives);
            from.reset(arrives + rng.latency());
        }
        if to.closed || to.reset_arrival().is_some() {
            // The bytes are lost. None may follow them: the peer must not read past a gap.
            return Ok(bytes.len());
        }
        let room = to.incoming.room().min(bytes.len());
        if room == 0 {
            return Err(from.blocked_until(None));
        }
        let count = rng.split(room);
        to.incoming.send(&bytes[..count], now + rng.latency());
        network.count(|counters| {
            counters.segments += 1;
            counters.bytes += count as u64;
        });
        rng.simulation.record_event("segment", count as u64);
        if let Some(stall) = rng.stall() {
            from.stall(now + stall);
            network.count(|counters| counters.stalls += 1);
        }
        self.inject_reset(sender, count, network, rng);
        Ok(count)
    }

    /// Returns whether a peer is connected: neither was the connection reset, nor have both streams
    /// ended.
    pub(super) fn is_connected(&self, index: usize, now: Instant) -> bool {
        let (own, peer) = (&self.halves[index], &self.halves[1 - index]);
        let ended = own.has_both_ends(now) && peer.incoming.has_eof(now);
        !own.is_reset(now) && !ended
    }

    /// Resets the connection if the drawn number of bytes is reached.
    fn inject_reset(&mut self, sender: usize, sent: usize, network: &Network, rng: &FaultRng) {
        let Some(rest) = self.reset_after else { return };
        let rest = rest.saturating_sub(sent as u64);
        if rest > 0 {
            self.reset_after = Some(rest);
            return;
        }
        self.reset_after = None;
        let (from, to) = self.sender_and_receiver(sender);
        from.reset(now() + rng.latency());
        to.reset(now() + rng.latency());
        network.count(|counters| counters.resets += 1);
        rng.simulation.record_event("reset", sender as u64);
    }

    fn sender_and_receiver(&mut self, sender: usize) -> (&mut Half, &mut Half) {
        let [client, server] = &mut self.halves;
        if sender == 0 { (client, server) } else { (server, client) }
    }
}
