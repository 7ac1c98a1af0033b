use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_ownership::Ticket;
use matou_runtime::futures::Sleep;
use matou_runtime::{BlockedOn, Direction, WaitTarget, now, sleep_until};

use super::TcpListener;
use super::accept_backoff::Verdict;
use crate::access::Access;
use crate::error::failed_to;
use crate::simulated::End;
use crate::socket::Link;
use crate::stream::{self, TcpStream};
use crate::sys;

/// The future of [`TcpListener::accept`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Accept<'a> {
    listener: &'a TcpListener,
    access: Access,
    /// Becomes the stream's. None once it is ready.
    ticket: Option<Ticket>,
    pause: Option<Sleep>,
    at: &'static Location<'static>,
}

impl<'a> Accept<'a> {
    #[track_caller]
    pub(super) fn new(listener: &'a TcpListener, access: Access) -> Accept<'a> {
        access.begin(listener);
        Accept {
            listener,
            access,
            ticket: Some(Ticket::new(stream::KIND)),
            pause: None,
            at: Location::caller(),
        }
    }

    /// Waits for the end of a pause, if there is one.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.listener.patience.until() else {
            return Poll::Ready(());
        };
        let pause = match &mut self.pause {
            Some(pause) if pause.deadline() == Some(until) => pause,
            pause => pause.insert(sleep_until(until)),
        };
        if Pin::new(pause).poll(cx).is_pending() {
            BlockedOn::new("accept (paused)", self.at, WaitTarget::Deadline(until)).note();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Tries to accept, and waits while nobody has come.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Link<End>, SocketAddr)>> {
        match self.listener.socket.link() {
            Link::System(io) => io
                .poll(Direction::Read, "accept", self.at, cx, sys::accept)
                .map_ok(|(fd, peer)| (fd.into(), peer)),
            Link::Simulated(listening) => listening
                .poll_accept(BlockedOn::new("accept", self.at, WaitTarget::Unknown), cx)
                .map_ok(|(end, peer)| (Link::Simulated(end), peer)),
        }
    }

    fn give_up(&self, error: io::Error) -> io::Error {
        match self.listener.socket.local_addr() {
            Ok(address) => failed_to("accept on", address)(error),
            Err(_) => error,
        }
    }
}

impl Future for Accept<'_> {
    type Output = io::Result<(TcpStream, SocketAddr)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        ready!(this.access.poll(this.listener))?;
        let patience = &this.listener.patience;
        loop {
            ready!(this.poll_pause(cx));
            let error = match ready!(this.poll_accept(cx)) {
                Ok((link, peer)) => {
                    patience.succeeded();
                    let ticket = this.ticket.take();
                    let ticket = ticket.expect("`Accept` is polled after it was ready");
                    return Poll::Ready(Ok((TcpStream::new(ticket, link), peer)));
                }
                Err(error) => error,
            };
            match patience.failed(&error, now()) {
                Verdict::Again | Verdict::Wait => {}
                Verdict::Fatal => return Poll::Ready(Err(this.give_up(error))),
            }
        }
    }
}
