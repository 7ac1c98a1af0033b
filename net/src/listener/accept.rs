use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_ownership::Ticket;
use matou_runtime::futures::Sleep;
use matou_runtime::{
    BlockedOn, Direction, IoWait, WaitSite, WaitTarget, WakerKey, now, sleep_until,
};

use super::SocketListener;
use crate::access::AccessMode;
use crate::error::with_context;
use crate::kind::{SocketKind, Tcp};
use crate::stream::SocketStream;

/// The future of [`SocketListener::accept`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Accept<'a, K: SocketKind = Tcp> {
    listener: &'a SocketListener<K>,
    mode: AccessMode,
    /// The ticket of the stream to be accepted; `None` once the future is ready.
    ticket: Option<Ticket>,
    /// The timer of the current pause.
    pause: Option<Sleep>,
    key: WakerKey,
    at: &'static Location<'static>,
}

impl<'a, K: SocketKind> Accept<'a, K> {
    #[track_caller]
    pub(super) fn new(listener: &'a SocketListener<K>, mode: AccessMode) -> Accept<'a, K> {
        mode.check_caller(listener);
        Accept {
            listener,
            mode,
            ticket: Some(Ticket::new(K::STREAM)),
            pause: None,
            key: WakerKey::new(),
            at: Location::caller(),
        }
    }

    /// Waits for the end of the current pause, if there is one.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.listener.backoff.paused_until() else {
            return Poll::Ready(());
        };
        let pause = match &mut self.pause {
            Some(pause) if pause.deadline() == Some(until) => pause,
            // Another future of this listener may have started a new pause.
            pause => pause.insert(sleep_until(until)),
        };
        if Pin::new(pause).poll(cx).is_pending() {
            let site = WaitSite::new("accept (paused)", self.at);
            BlockedOn::new(site, WaitTarget::Deadline(until)).note();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn add_address(&self, error: io::Error) -> io::Error {
        match self.listener.socket.backend().local_addr() {
            Ok(address) => with_context("accept on", address)(error),
            Err(_) => error,
        }
    }
}

impl<K: SocketKind> Future for Accept<'_, K> {
    type Output = io::Result<(SocketStream<K>, K::Address)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        ready!(this.mode.poll_check(this.listener, this.at))?;
        let SocketListener { socket, backoff, .. } = this.listener;
        loop {
            ready!(this.poll_pause(cx));
            let wait = IoWait::new(WaitSite::new("accept", this.at), Some(&mut this.key));
            let accepted = ready!(socket.backend().poll_accept(wait, cx));
            match accepted.and_then(|(backend, peer)| Ok((backend, K::address(peer)?))) {
                Ok((backend, peer)) => {
                    backoff.record_success();
                    let ticket = this.ticket.take();
                    let ticket = ticket.expect("`Accept` is polled after it was ready");
                    return Poll::Ready(Ok((SocketStream::new(ticket, backend), peer)));
                }
                Err(error) if !backoff.record_error(&error, now()) => {
                    return Poll::Ready(Err(this.add_address(error)));
                }
                // The error concerns one connection, or started a pause.
                Err(_) => {}
            }
        }
    }
}

impl<K: SocketKind> Drop for Accept<'_, K> {
    fn drop(&mut self) {
        if self.key.is_set() {
            self.listener.socket.backend().cancel_wait(Direction::Read, &mut self.key);
        }
    }
}
