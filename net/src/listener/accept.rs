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
use crate::backend::StreamBackend;
use crate::error::{polled_after_completion, with_context};
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
}

/// An attempt to accept: the parts of its future.
pub(super) struct Attempt<'a> {
    /// The timer of the current pause.
    pub(super) pause: &'a mut Option<Sleep>,
    pub(super) key: Option<&'a mut WakerKey>,
    pub(super) at: &'static Location<'static>,
}

impl<K: SocketKind> SocketListener<K> {
    pub(super) fn poll_accept_as(
        &self,
        mode: AccessMode,
        mut attempt: Attempt<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(StreamBackend, K::Address)>> {
        ready!(mode.poll_check(self, attempt.at))?;
        loop {
            ready!(self.poll_pause(attempt.pause, attempt.at, cx));
            let key = attempt.key.as_deref_mut();
            let wait = IoWait::new(WaitSite::new("accept", attempt.at), key);
            let accepted = ready!(self.handle.backend().poll_accept(wait, cx));
            match accepted.and_then(|(backend, peer)| Ok((backend, K::address(peer)?))) {
                Ok(accepted) => {
                    self.backoff.record_success();
                    return Poll::Ready(Ok(accepted));
                }
                Err(error) if !self.backoff.record_error(&error, now()) => {
                    return Poll::Ready(Err(self.add_address(error)));
                }
                // The error concerns one connection, or started a pause.
                Err(_) => {}
            }
        }
    }

    /// Waits for the end of the current pause, if there is one.
    fn poll_pause(
        &self,
        pause: &mut Option<Sleep>,
        at: &'static Location<'static>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(until) = self.backoff.paused_until() else {
            return Poll::Ready(());
        };
        let pause = match pause {
            Some(pause) if pause.deadline() == Some(until) => pause,
            // Another future of this listener may have started a new pause.
            pause => pause.insert(sleep_until(until)),
        };
        if Pin::new(pause).poll(cx).is_pending() {
            let site = WaitSite::new("accept (paused)", at);
            BlockedOn::new(site, WaitTarget::Deadline(until)).note();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn add_address(&self, error: io::Error) -> io::Error {
        match self.handle.backend().local_addr() {
            Ok(address) => with_context("accept on", address)(error),
            Err(_) => error,
        }
    }
}

impl<K: SocketKind> Future for Accept<'_, K> {
    type Output = io::Result<(SocketStream<K>, K::Address)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Accept { listener, mode, ticket, pause, key, at } = self.get_mut();
        if ticket.is_none() {
            polled_after_completion("`Accept`", at);
        }
        let attempt = Attempt { pause, key: Some(key), at };
        let (backend, peer) = ready!(listener.poll_accept_as(*mode, attempt, cx))?;
        let ticket = ticket.take().expect("it is taken once");
        Poll::Ready(Ok((SocketStream::new(ticket, backend), peer)))
    }
}

impl<K: SocketKind> Drop for Accept<'_, K> {
    fn drop(&mut self) {
        if self.key.is_set() {
            self.listener.handle.backend().cancel_wait(Direction::Read, &mut self.key);
        }
    }
}
