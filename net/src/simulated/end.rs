use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use matou_runtime::test::simulation;
use matou_runtime::{BlockedOn, now};
use rustix::io::Errno;

use super::Network;
use super::dice::Dice;
use super::network::{Found, alive};
use super::side::{Side, Step};
use super::waiters::{Waiters, lock};
use crate::socket::Simulated;

/// How often a client knocks at a full backlog, each time after twice as long.
const KNOCKS_MAX: u32 = 6;
/// After how long it knocks for the second time.
const KNOCK_AGAIN: Duration = Duration::from_secs(1);

/// One end of a connection in memory.
pub(crate) struct End {
    wire: Arc<Wire>,
    /// Which of the two sides.
    index: usize,
}

struct Wire {
    network: Arc<Network>,
    /// The client's address, and the server's.
    addresses: [SocketAddr; 2],
    state: Mutex<State>,
    readers: [Waiters; 2],
    writers: [Waiters; 2],
}

struct State {
    sides: [Side; 2],
    /// The client's knock, while nobody has opened.
    knock: Option<Knock>,
    /// How many more bytes the connection carries before it breaks, if it is to.
    breaks_after: Option<u64>,
}

struct Knock {
    arrives: Instant,
    count: u32,
}

impl End {
    /// Begins to connect.
    pub(super) fn connect(network: &Arc<Network>, local: SocketAddr, peer: SocketAddr) -> End {
        let dice = network.dice();
        let state = State {
            sides: Default::default(),
            knock: Some(Knock { arrives: now() + dice.delay(), count: 1 }),
            breaks_after: dice.reset_after(),
        };
        let wire = Wire {
            network: Arc::clone(network),
            addresses: [local, peer],
            state: Mutex::new(state),
            readers: Default::default(),
            writers: Default::default(),
        };
        End { wire: Arc::new(wire), index: 0 }
    }

    /// Waits until the connection is made.
    pub(crate) fn poll_connect(
        &self,
        wait: BlockedOn,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(matou_runtime::poll_proceed(cx));
        let mut state = lock(&self.wire.state);
        let Some(knock) = &mut state.knock else {
            return Poll::Ready(Ok(()));
        };
        if knock.arrives <= now() {
            match self.wire.network.find(self.wire.addresses[1]) {
                Found::Nobody => return Poll::Ready(Err(Errno::CONNREFUSED.into())),
                Found::Full if knock.count == KNOCKS_MAX => {
                    return Poll::Ready(Err(Errno::TIMEDOUT.into()));
                }
                Found::Full => {
                    knock.arrives = now() + KNOCK_AGAIN * (1 << (knock.count - 1));
                    knock.count += 1;
                }
                Found::Open(listening) => {
                    state.knock = None;
                    drop(state);
                    let server = End { wire: Arc::clone(&self.wire), index: 1 };
                    listening.enter(server, self.wire.addresses[0]);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let until = knock.arrives;
        drop(state);
        self.wire.writers[self.index].wait(cx, Some(until));
        wait.note();
        Poll::Pending
    }

    pub(crate) fn poll_read(
        &self,
        buf: &mut [u8],
        wait: BlockedOn,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        ready!(matou_runtime::poll_proceed(cx));
        let dice = self.wire.network.dice();
        let step = lock(&self.wire.state).sides[self.index].read(buf, now(), &dice);
        match step {
            Step::Done(done) => {
                // There may be room again.
                self.wire.writers[1 - self.index].wake();
                Poll::Ready(done)
            }
            Step::Later(until) => {
                self.wire.readers[self.index].wait(cx, until);
                wait.note();
                Poll::Pending
            }
        }
    }

    pub(crate) fn poll_write(
        &self,
        bytes: &[u8],
        wait: BlockedOn,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        ready!(matou_runtime::poll_proceed(cx));
        let dice = self.wire.network.dice();
        let mut state = lock(&self.wire.state);
        let step = state.write(self.index, bytes, &self.wire.network, &dice);
        let breaks = state.sides[self.index].reset_arrival().is_some();
        drop(state);
        match step {
            Step::Done(done) => {
                self.wire.wake(1 - self.index);
                if breaks {
                    self.wire.wake(self.index);
                }
                Poll::Ready(done)
            }
            Step::Later(until) => {
                self.wire.writers[self.index].wait(cx, until);
                wait.note();
                Poll::Pending
            }
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        alive()?;
        let dice = self.wire.network.dice();
        let mut state = lock(&self.wire.state);
        let side = &mut state.sides[self.index];
        side.check_connected(now())?;
        if how != Shutdown::Write {
            side.end_reads();
        }
        if how != Shutdown::Read && side.end_writes() {
            state.sides[1 - self.index].incoming.finish(now() + dice.delay());
        }
        drop(state);
        self.wire.wake(self.index);
        self.wire.wake(1 - self.index);
        Ok(())
    }

    /// Throws the connection away.
    pub(super) fn abort(&self) {
        self.leave(true);
    }

    fn leave(&self, abort: bool) {
        let mut state = lock(&self.wire.state);
        let side = &mut state.sides[self.index];
        if std::mem::replace(&mut side.closed, true) {
            return;
        }
        let (abort, finish) = (abort || side.aborts(), side.end_writes());
        side.incoming.clear();
        // After the run nobody is left who could be told.
        let Some(simulation) = simulation() else { return };
        let dice = self.wire.network.dice_of(simulation);
        let other = &mut state.sides[1 - self.index];
        let arrives = now() + dice.delay();
        if abort {
            other.reset(arrives);
        } else if finish {
            other.incoming.finish(arrives);
        }
        drop(state);
        self.wire.wake(self.index);
        self.wire.wake(1 - self.index);
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        alive()?;
        lock(&self.wire.state).sides[self.index].check_connected(now())?;
        Ok(self.wire.addresses[1 - self.index])
    }

    pub(crate) fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.with_side(|side| side.nodelay = nodelay)
    }

    pub(crate) fn nodelay(&self) -> io::Result<bool> {
        self.with_side(|side| side.nodelay)
    }

    pub(crate) fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.with_side(|side| side.linger = linger)
    }

    pub(crate) fn linger(&self) -> io::Result<Option<Duration>> {
        self.with_side(|side| side.linger)
    }

    fn with_side<R>(&self, f: impl FnOnce(&mut Side) -> R) -> io::Result<R> {
        let mut state = lock(&self.wire.state);
        let side = &mut state.sides[self.index];
        side.check_open()?;
        Ok(f(side))
    }
}

impl Simulated for End {
    fn local_addr(&self) -> SocketAddr {
        self.wire.addresses[self.index]
    }

    /// In good order, or with a reset if bytes are unread.
    fn close(&self) {
        self.leave(false);
    }
}

impl Wire {
    fn wake(&self, index: usize) {
        self.readers[index].wake();
        self.writers[index].wake();
    }
}

impl State {
    fn write(&mut self, index: usize, bytes: &[u8], network: &Network, dice: &Dice) -> Step<usize> {
        let now = now();
        let [client, server] = &mut self.sides;
        let (side, other) = if index == 0 { (client, server) } else { (server, client) };
        match side.may_write(now) {
            Step::Done(Ok(())) => {}
            Step::Done(Err(error)) => return Step::Done(Err(error)),
            Step::Later(until) => return Step::Later(until),
        }
        if other.closed {
            // There and back.
            side.reset(now + dice.delay() + dice.delay());
        }
        if other.closed || other.reset_arrival().is_some() {
            // Nobody reads it: after a gap no byte may follow.
            return Step::Done(Ok(bytes.len()));
        }
        let room = other.incoming.room().min(bytes.len());
        if room == 0 {
            return Step::Later(side.reset_arrival());
        }
        let count = dice.cut(room);
        other.incoming.send(&bytes[..count], now + dice.delay());
        network.count(|counters| {
            counters.segments += 1;
            counters.bytes += count as u64;
        });
        dice.simulation.record_event("segment", count as u64);
        if let Some(stall) = dice.stall() {
            side.stall(now + stall);
            network.count(|counters| counters.stalls += 1);
        }
        if let Some(left) = &mut self.breaks_after {
            *left = left.saturating_sub(count as u64);
            if *left == 0 {
                self.breaks_after = None;
                side.reset(now + dice.delay());
                other.reset(now + dice.delay());
                network.count(|counters| counters.resets += 1);
                dice.simulation.record_event("reset", index as u64);
            }
        }
        Step::Done(Ok(count))
    }
}
