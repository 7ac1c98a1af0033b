use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_ownership::Ticket;

use super::UnixStream;
use crate::address::UnixName;
use crate::backend::StreamBackend;
use crate::error::{polled_after_completion, with_context};
use crate::kind::Unix;
use crate::kind::sealed::Sealed;
use crate::retry::Retry;

/// The future of [`UnixStream::connect`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct ConnectUnix {
    name: UnixName,
    /// `None` once the future is ready.
    ticket: Option<Ticket>,
    /// While the backlog of the listener is full, which the system does not announce the end of.
    retry: Retry,
    at: &'static Location<'static>,
}

impl ConnectUnix {
    #[track_caller]
    pub(super) fn new(name: UnixName) -> ConnectUnix {
        let ticket = Some(Ticket::new(Unix::STREAM));
        ConnectUnix { name, ticket, retry: Retry::default(), at: Location::caller() }
    }

    fn poll_connect(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<StreamBackend>> {
        loop {
            ready!(self.retry.poll("connect", self.at, cx));
            match StreamBackend::connect_unix(&self.name) {
                // fault: full-backlog-refuses
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.retry.pause(),
                result => return Poll::Ready(result),
            }
        }
    }
}

impl Future for ConnectUnix {
    type Output = io::Result<UnixStream>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.ticket.is_none() {
            polled_after_completion("`ConnectUnix`", this.at);
        }
        let connected = ready!(this.poll_connect(cx));
        let ticket = this.ticket.take().expect("it is taken once");
        let backend = connected.map_err(with_context("connect to", this.name.clone()))?;
        Poll::Ready(Ok(UnixStream::new(ticket, backend)))
    }
}
