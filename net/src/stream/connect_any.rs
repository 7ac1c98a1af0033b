//! Connecting to the first of several addresses that answers.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use matou_ownership::Ticket;
use matou_runtime::futures::Sleep;
use matou_runtime::sleep;

use super::TcpStream;
use super::connect::ConnectAddress;
use crate::connect_options::ConnectOptions;
use crate::error::polled_after_completion;
use crate::kind::Tcp;
use crate::kind::sealed::Sealed;

/// The time between the starts of two attempts: the "Connection Attempt Delay" that RFC 8305
/// recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The future of [`TcpStream::connect_any`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct ConnectAny {
    options: ConnectOptions,
    /// The addresses that were not tried yet.
    untried: VecDeque<SocketAddr>,
    attempts: Vec<ConnectAddress>,
    /// Until the next attempt starts although the earlier ones are undecided.
    delay: Option<Sleep>,
    error: Option<io::Error>,
    pub(crate) is_complete: bool,
    pub(crate) at: &'static Location<'static>,
}

impl ConnectAny {
    #[track_caller]
    pub(super) fn new(
        options: ConnectOptions,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> ConnectAny {
        let (untried, attempts) = (VecDeque::new(), Vec::new());
        let at = Location::caller();
        let (delay, error, is_complete) = (None, None, false);
        let mut connect = ConnectAny { options, untried, attempts, delay, error, is_complete, at };
        connect.add(addresses);
        connect
    }

    /// Adds addresses to those that were not tried yet.
    pub(crate) fn add(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) {
        self.untried.extend(interleave(addresses.into_iter().collect()));
    }

    /// Polls the attempts, and removes those that have failed.
    fn poll_attempts(&mut self, cx: &mut Context<'_>) -> Poll<TcpStream> {
        let mut index = 0;
        while let Some(attempt) = self.attempts.get_mut(index) {
            match Pin::new(attempt).poll(cx) {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(stream)) => return Poll::Ready(stream),
                Poll::Ready(Err(error)) => {
                    drop(self.attempts.remove(index));
                    self.error = Some(error);
                    // The next attempt need not wait.
                    self.delay = None;
                }
            }
        }
        Poll::Pending
    }

    /// Returns whether it is time for the next attempt.
    fn is_delayed(&mut self, cx: &mut Context<'_>) -> bool {
        let delay = self.delay.as_mut();
        delay.is_some_and(|delay| Pin::new(delay).poll(cx).is_pending())
    }
}

impl Future for ConnectAny {
    type Output = io::Result<TcpStream>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.is_complete {
            polled_after_completion("`ConnectAny`", this.at);
        }
        loop {
            if let Poll::Ready(stream) = this.poll_attempts(cx) {
                this.is_complete = true;
                // The other sockets are closed now, and not when this future is dropped.
                this.attempts.clear();
                this.untried.clear();
                return Poll::Ready(Ok(stream));
            }
            if this.untried.is_empty() && this.attempts.is_empty() {
                this.is_complete = true;
                let none = || io::Error::new(io::ErrorKind::InvalidInput, "there is no address");
                return Poll::Ready(Err(this.error.take().unwrap_or_else(none)));
            }
            // fault: addresses-tried-one-by-one
            if this.untried.is_empty() || this.is_delayed(cx) {
                return Poll::Pending;
            }
            if let Some(address) = this.untried.pop_front() {
                let ticket = Ticket::new_at(Tcp::STREAM, this.at);
                this.attempts.push(ConnectAddress::new(address, this.options, ticket, this.at));
                this.delay = Some(sleep(ATTEMPT_DELAY));
            }
        }
    }
}

/// Alternates between the two versions of the Internet protocol, from that of the first address on,
/// and keeps the order within each: the order of section 4 of RFC 8305.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let (same, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut order = Vec::new();
    loop {
        let pair = [same.next(), other.next()];
        if pair == [None, None] {
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_alternate_between_the_versions() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let given = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let order = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(interleave(given), order);
        assert_eq!(interleave(Vec::new()), Vec::new());
    }
}
