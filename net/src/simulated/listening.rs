use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use matou_runtime::{BlockedOn, now};
use rustix::io::Errno;

use super::waiters::{Waiters, lock};
use super::{End, Network};
use crate::socket::Simulated;

/// What an attempt to accept may fail with: those that pass, and one that ends the connection.
const ACCEPT_ERRORS: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::CONNABORTED];

/// A listener in memory.
pub(crate) struct Listening {
    network: Arc<Network>,
    address: SocketAddr,
    /// Whether the streams that come out of it send small writes at once.
    nodelay: bool,
    state: Mutex<State>,
    waiters: Waiters,
}

struct State {
    queue: Vec<Knocked>,
    backlog: usize,
    shared: bool,
    closed: bool,
}

/// A connection that nobody has accepted yet.
struct Knocked {
    end: End,
    peer: SocketAddr,
    arrives: Instant,
}

impl Listening {
    pub(super) fn new(
        network: &Arc<Network>,
        address: SocketAddr,
        shared: bool,
        nodelay: bool,
        backlog: u32,
    ) -> Listening {
        // The smallest backlog of a system holds one.
        let backlog = backlog.max(1) as usize;
        let state = State { queue: Vec::new(), backlog, shared, closed: false };
        Listening {
            network: Arc::clone(network),
            address,
            nodelay,
            state: Mutex::new(state),
            waiters: Waiters::default(),
        }
    }

    pub(super) fn is_shared(&self) -> bool {
        lock(&self.state).shared
    }

    /// Lets others listen on the address, too.
    pub(crate) fn share(&self) {
        lock(&self.state).shared = true;
    }

    pub(super) fn is_full(&self) -> bool {
        let state = lock(&self.state);
        state.queue.len() >= state.backlog
    }

    /// Takes a connection into the queue.
    pub(super) fn enter(&self, end: End, peer: SocketAddr) {
        let dice = self.network.dice();
        self.network.count(|counters| counters.connections += 1);
        dice.simulation.record_event("connection", u64::from(peer.port()));
        // It is open: it was made just now.
        let _ = end.set_nodelay(self.nodelay);
        let arrives = now() + dice.delay();
        lock(&self.state).queue.push(Knocked { end, peer, arrives });
        self.waiters.wake();
    }

    pub(crate) fn poll_accept(
        &self,
        wait: BlockedOn,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(End, SocketAddr)>> {
        ready!(matou_runtime::poll_proceed(cx));
        let dice = self.network.dice();
        let mut state = lock(&self.state);
        if state.closed {
            let closed = io::Error::new(io::ErrorKind::NotConnected, "the listener is closed");
            return Poll::Ready(Err(closed));
        }
        let queue = state.queue.iter().enumerate();
        let first = queue.min_by_key(|(_, knocked)| knocked.arrives);
        let first = first.map(|(index, knocked)| (index, knocked.arrives));
        match first {
            Some((index, arrives)) if arrives <= now() => {
                if dice.hit(dice.faults.accept_errors) {
                    let errno = ACCEPT_ERRORS[dice.simulation.random_below(4) as usize];
                    let lost = (errno == Errno::CONNABORTED).then(|| state.queue.remove(index));
                    drop(state);
                    self.network.count(|counters| {
                        counters.accept_errors += 1;
                        counters.accepts_aborted += u64::from(lost.is_some());
                    });
                    dice.simulation
                        .record_event("accept failed", errno.raw_os_error().unsigned_abs().into());
                    if let Some(lost) = lost {
                        lost.end.abort();
                    }
                    return Poll::Ready(Err(errno.into()));
                }
                let Knocked { end, peer, .. } = state.queue.remove(index);
                Poll::Ready(Ok((end, peer)))
            }
            first => {
                drop(state);
                self.waiters.wait(cx, first.map(|(_, arrives)| arrives));
                wait.note();
                Poll::Pending
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }
}

impl Simulated for Arc<Listening> {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// And the connections that nobody has accepted.
    fn close(&self) {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        self.network.forget(self.address);
        for knocked in queue {
            knocked.end.abort();
        }
        self.waiters.wake();
    }
}
