use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use matou_runtime::test::simulation;
use matou_runtime::{Direction, IoWait, WaitSite, WakerKey, now, poll_proceed};

use super::InMemorySocket;
use super::connection::{Connection, Handshake};
use super::fault_rng::FaultRng;
use super::half::{Half, Incomplete};
use super::network::{Network, check_in_run};
use super::stream_buffer::WINDOW;
use super::waker_list::WakerList;
use crate::address::Address;
use crate::sys::StreamKind;

/// One of the two ends of a connection: the in-memory form of a stream. Clones refer to the same
/// end.
#[derive(Clone)]
pub(crate) struct Endpoint {
    connection: Arc<Connection>,
    /// 0 for the client, 1 for the server.
    index: usize,
}

impl Endpoint {
    /// Starts to connect, and returns the client's endpoint.
    pub(super) fn connect(network: &Arc<Network>, client: Address, server: Address) -> Endpoint {
        Endpoint { connection: Arc::new(Connection::new(network, client, server)), index: 0 }
    }

    /// Returns the two ends of a connection that is established.
    pub(super) fn pair(network: &Arc<Network>, addresses: [Address; 2]) -> (Endpoint, Endpoint) {
        let connection = Arc::new(Connection::established(network, addresses));
        (
            Endpoint { connection: Arc::clone(&connection), index: 0 },
            Endpoint { connection, index: 1 },
        )
    }

    /// Returns the source of random decisions.
    pub(super) fn rng(&self) -> FaultRng {
        self.connection.rng()
    }

    /// Waits until a listener has queued the connection.
    pub(crate) fn poll_connect(
        &self,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(poll_proceed(cx));
        let connection = &self.connection;
        let [client, server] = &connection.addresses;
        let handshake = connection.state().advance_handshake(&connection.network, server);
        match handshake? {
            Handshake::Established => {}
            Handshake::Accepted(listener) => {
                let peer = Endpoint { connection: Arc::clone(connection), index: 1 };
                listener.enqueue(peer, client.clone());
            }
            Handshake::InFlight(arrives) => {
                return self.block(&connection.writers, Some(arrives), site.into(), cx);
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_recv(
        &self,
        buf: &mut [u8],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        ready!(poll_proceed(cx));
        self.complete(self.recv_now(buf), &self.connection.readers, wait, cx)
    }

    /// As [`poll_recv`](Endpoint::poll_recv), into memory that need not be initialized.
    pub(crate) fn poll_recv_uninit(
        &self,
        buf: &mut [MaybeUninit<u8>],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut received = vec![0; buf.len().min(WINDOW)];
        let count = ready!(self.poll_recv(&mut received, wait, cx))?;
        for (slot, byte) in buf.iter_mut().zip(&received[..count]) {
            slot.write(*byte);
        }
        Poll::Ready(Ok(count))
    }

    pub(crate) fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        check_in_run()?;
        self.recv_now(buf).unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))
    }

    /// The error is the moment until which the operation waits.
    fn recv_now(&self, buf: &mut [u8]) -> Result<io::Result<usize>, Option<Instant>> {
        let connection = &self.connection;
        let rng = connection.rng();
        let result = connection.state().halves[self.index].read(buf, now(), &rng);
        let result = Incomplete::split(result)?;
        // The peer's window may have room again.
        connection.writers[1 - self.index].wake_all();
        Ok(result)
    }

    pub(crate) fn poll_send(
        &self,
        bytes: &[u8],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        ready!(poll_proceed(cx));
        self.complete(self.send_now(bytes), &self.connection.writers, wait, cx)
    }

    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        check_in_run()?;
        self.send_now(bytes).unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))
    }

    /// The error is the moment until which the operation waits.
    fn send_now(&self, bytes: &[u8]) -> Result<io::Result<usize>, Option<Instant>> {
        let connection = &self.connection;
        let rng = connection.rng();
        let mut state = connection.state();
        let result = state.write(self.index, bytes, connection, &rng);
        let reset = state.halves[self.index].reset_arrival().is_some();
        drop(state);
        let result = Incomplete::split(result)?;
        connection.wake(1 - self.index);
        if reset {
            // The waiting tasks of this endpoint must set their timers to the reset's arrival.
            connection.wake(self.index);
        }
        Ok(result)
    }

    pub(crate) fn poll_recv_vectored(
        &self,
        bufs: &mut [IoSliceMut<'_>],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        let mut received = vec![0; len.min(WINDOW)];
        let count = ready!(self.poll_recv(&mut received, wait, cx))?;
        let mut rest = &received[..count];
        for buf in bufs {
            let (part, others) = rest.split_at(rest.len().min(buf.len()));
            buf[..part.len()].copy_from_slice(part);
            rest = others;
        }
        Poll::Ready(Ok(count))
    }

    pub(crate) fn poll_send_vectored(
        &self,
        bufs: &[IoSlice<'_>],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(WINDOW).collect();
        self.poll_send(&bytes, wait, cx)
    }

    pub(crate) fn poll_peek(
        &self,
        buf: &mut [u8],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        ready!(poll_proceed(cx));
        let connection = &self.connection;
        let rng = connection.rng();
        let result = connection.state().halves[self.index].peek(buf, now(), &rng);
        self.complete(Incomplete::split(result), &connection.readers, wait, cx)
    }

    /// Returns the result of an operation, or waits.
    fn complete(
        &self,
        result: Result<io::Result<usize>, Option<Instant>>,
        lists: &[WakerList; 2],
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Ok(result) => Poll::Ready(result),
            Err(until) => self.block(lists, until, wait, cx),
        }
    }

    /// Suspends the current task until its list is woken, at `until` or earlier.
    fn block<T>(
        &self,
        lists: &[WakerList; 2],
        until: Option<Instant>,
        wait: IoWait<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<T> {
        lists[self.index].add(wait, cx, until);
        Poll::Pending
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        check_in_run()?;
        let rng = self.connection.rng();
        let mut state = self.connection.state();
        let half = &mut state.halves[self.index];
        half.check_open()?;
        if half.is_reset(now()) {
            // The connection has ended already.
            return Ok(());
        }
        if how != Shutdown::Write {
            half.shut_down_reads();
        }
        if how != Shutdown::Read && half.shut_down_writes() {
            state.halves[1 - self.index].receive_eof(now() + rng.latency());
        }
        drop(state);
        self.wake_both();
        Ok(())
    }

    /// Closes the endpoint and resets the connection.
    pub(super) fn abort(&self) {
        self.close_with(true);
    }

    /// Returns whether the endpoint was open.
    fn close_with(&self, reset: bool) -> bool {
        let mut state = self.connection.state();
        let half = &mut state.halves[self.index];
        if std::mem::replace(&mut half.closed, true) {
            return false;
        }
        let reset = reset || half.close_resets();
        let send_eof = half.shut_down_writes();
        half.incoming.clear();
        // After the run there is no task left to notify, and no random numbers.
        let Some(simulation) = simulation() else { return true };
        let rng = self.connection.rng_of(simulation);
        let peer = &mut state.halves[1 - self.index];
        let arrives = now() + rng.latency();
        if reset {
            peer.reset(arrives);
        } else if send_eof {
            peer.receive_eof(arrives);
        }
        drop(state);
        self.wake_both();
        true
    }

    fn wake_both(&self) {
        self.connection.wake(self.index);
        self.connection.wake(1 - self.index);
    }

    pub(crate) fn peer_addr(&self) -> io::Result<Option<Address>> {
        check_in_run()?;
        let state = self.connection.state();
        state.halves[self.index].check_open()?;
        // A Unix socket knows its peer for ever.
        if !self.connection.is_unix() && !state.is_connected(self.index, now()) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(Some(self.connection.addresses[1 - self.index].clone()))
    }

    pub(crate) fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.with_half(|half| half.nodelay = nodelay)
    }

    pub(crate) fn nodelay(&self) -> io::Result<bool> {
        self.with_half(|half| half.nodelay)
    }

    pub(crate) fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        // As in the system, the unit is a second, and a shorter time is none.
        let linger = linger.map(|linger| Duration::from_secs(linger.as_secs()));
        self.with_half(|half| half.linger = linger)
    }

    pub(crate) fn linger(&self) -> io::Result<Option<Duration>> {
        self.with_half(|half| half.linger)
    }

    /// Has no effect: no peer of the in-memory network disappears without a reset.
    pub(crate) fn set_keepalive(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn with_half<R>(&self, f: impl FnOnce(&mut Half) -> R) -> io::Result<R> {
        let mut state = self.connection.state();
        let half = &mut state.halves[self.index];
        half.check_open()?;
        Ok(f(half))
    }
}

impl InMemorySocket for Endpoint {
    type Kind = StreamKind;

    fn local_addr(&self) -> io::Result<Address> {
        self.connection.state().halves[self.index].check_open()?;
        Ok(self.connection.addresses[self.index].clone())
    }

    fn cancel_wait(&self, direction: Direction, key: &mut WakerKey) {
        let lists = match direction {
            Direction::Read => &self.connection.readers,
            Direction::Write => &self.connection.writers,
        };
        lists[self.index].remove(key);
    }

    /// Ends the stream, or resets the connection if there are unread bytes.
    fn close(&self) -> bool {
        self.close_with(false)
    }
}
