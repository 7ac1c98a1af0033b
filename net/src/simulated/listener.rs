use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use matou_runtime::{Direction, IoWait, WakerKey, now, poll_proceed};

use super::fault_rng::FaultRng;
use super::locks::{Guard, lock};
use super::network::Network;
use super::waker_list::WakerList;
use super::{Endpoint, InMemorySocket};
use crate::address::Address;
use crate::listen_options::ListenOptions;
use crate::sys::{AcceptFault, ListenerKind};

/// The injected errors of `accept`. Only the last one loses the connection.
const ACCEPT_FAULTS: [AcceptFault; 4] = [
    AcceptFault::ProcessDescriptors,
    AcceptFault::SystemDescriptors,
    AcceptFault::Buffers,
    AcceptFault::ConnectionAborted,
];

/// The in-memory form of a TCP listener: one of the handles that share an accept queue.
pub(crate) struct ListenerHandle {
    listener: Arc<Listener>,
    closed: AtomicBool,
}

/// An accept queue. It is closed with its last handle.
pub(crate) struct Listener {
    network: Arc<Network>,
    address: Address,
    /// Whether accepted streams have `TCP_NODELAY`.
    nodelay: bool,
    state: Mutex<State>,
    acceptors: WakerList,
}

struct State {
    queue: Vec<PendingConnection>,
    backlog: usize,
    reuse_port: bool,
    /// How many handles are open.
    handles: usize,
    closed: bool,
}

/// A connection that is not accepted yet.
struct PendingConnection {
    endpoint: Endpoint,
    peer: Address,
    arrives: Instant,
}

impl State {
    /// Returns the index and the arrival time of the connection to accept next.
    fn first(&self) -> Option<(usize, Instant)> {
        let arrivals = self.queue.iter().map(|pending| pending.arrives).enumerate();
        arrivals.min_by_key(|&(_, arrives)| arrives)
    }
}

impl Listener {
    pub(super) fn new(
        network: &Arc<Network>,
        address: Address,
        options: &ListenOptions,
    ) -> Listener {
        // As in Linux, the queue holds one connection more than the backlog says.
        let backlog = options.backlog as usize + 1;
        let reuse_port = options.reuse_port;
        let state = State { queue: Vec::new(), backlog, reuse_port, handles: 0, closed: false };
        Listener {
            network: Arc::clone(network),
            address,
            nodelay: options.nodelay,
            state: Mutex::new(state),
            acceptors: WakerList::default(),
        }
    }

    fn state(&self) -> Guard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn allows_port_reuse(&self) -> bool {
        self.state().reuse_port
    }

    /// Permits further listeners on the address.
    pub(crate) fn allow_port_reuse(&self) {
        self.state().reuse_port = true;
    }

    pub(super) fn is_full(&self) -> bool {
        let state = self.state();
        state.queue.len() >= state.backlog
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Adds a connection to the accept queue.
    pub(super) fn enqueue(&self, endpoint: Endpoint, peer: Address) {
        let rng = endpoint.rng();
        self.network.count(|counters| counters.connections += 1);
        rng.simulation.record_event("connection", peer.number());
        // The endpoint is new, hence open.
        let _ = endpoint.set_nodelay(self.nodelay);
        let arrives = now() + rng.latency();
        self.state().queue.push(PendingConnection { endpoint, peer, arrives });
        self.acceptors.wake_all();
    }

    fn poll_accept(
        &self,
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Endpoint, Option<Address>)>> {
        ready!(poll_proceed(cx));
        let rng = self.network.rng();
        let mut state = self.state();
        match state.first() {
            Some((index, arrives)) if arrives <= now() => {
                if rng.chance(rng.faults.accept_errors) {
                    return Poll::Ready(Err(self.inject_error(index, state, &rng)));
                }
                let PendingConnection { endpoint, peer, .. } = state.queue.remove(index);
                Poll::Ready(Ok((endpoint, Some(peer))))
            }
            first => {
                drop(state);
                self.acceptors.add(wait, cx, first.map(|(_, arrives)| arrives));
                Poll::Pending
            }
        }
    }

    /// Draws an error, which may lose the connection at `index`.
    fn inject_error(&self, index: usize, mut state: Guard<'_, State>, rng: &FaultRng) -> io::Error {
        let drawn = rng.simulation.random_below(ACCEPT_FAULTS.len() as u64);
        let fault = ACCEPT_FAULTS[drawn as usize];
        let lost = fault == AcceptFault::ConnectionAborted;
        let lost = lost.then(|| state.queue.remove(index));
        drop(state);
        self.network.count(|counters| {
            counters.accept_errors += 1;
            counters.accepts_aborted += u64::from(lost.is_some());
        });
        rng.simulation.record_event("accept failed", drawn);
        if let Some(lost) = lost {
            lost.endpoint.abort();
        }
        fault.into()
    }
}

impl Listener {
    /// Closes one handle, and with the last one the queue: the connections that are not accepted
    /// are reset.
    fn close_handle(&self) {
        let mut state = self.state();
        state.handles -= 1;
        let mut queue = Vec::new();
        if state.handles == 0 {
            state.closed = true;
            queue = std::mem::take(&mut state.queue);
        }
        let is_closed = state.closed;
        drop(state);
        if is_closed {
            self.network.unregister(&self.address);
        }
        for pending in queue {
            pending.endpoint.abort();
        }
        self.acceptors.wake_all();
    }
}

impl ListenerHandle {
    pub(crate) fn new(listener: Arc<Listener>) -> ListenerHandle {
        listener.state().handles += 1;
        ListenerHandle { listener, closed: AtomicBool::new(false) }
    }

    /// Returns a second handle of the same queue.
    pub(crate) fn share(&self) -> io::Result<ListenerHandle> {
        self.check_open()?;
        Ok(ListenerHandle::new(Arc::clone(&self.listener)))
    }

    pub(crate) fn poll_accept(
        &self,
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Endpoint, Option<Address>)>> {
        self.check_open()?;
        self.listener.poll_accept(wait, cx)
    }

    fn check_open(&self) -> io::Result<()> {
        // Relaxed: the domains of a simulated run share one thread.
        if self.closed.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the listener is closed"));
        }
        Ok(())
    }
}

impl InMemorySocket for ListenerHandle {
    type Kind = ListenerKind;

    fn local_addr(&self) -> io::Result<Address> {
        self.check_open()?;
        Ok(self.listener.address.clone())
    }

    fn close(&self) -> bool {
        let was_open = !self.closed.swap(true, Ordering::Relaxed);
        if was_open {
            self.listener.close_handle();
        }
        was_open
    }

    fn cancel_wait(&self, _: Direction, key: &mut WakerKey) {
        self.listener.acceptors.remove(key);
    }
}
