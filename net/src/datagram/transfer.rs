use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_runtime::{Direction, WakerKey};

use super::handle::DatagramHandle;
use crate::access::AccessMode;
use crate::address::Address;
use crate::kind::{DatagramKind, Udp};
use crate::retry::Retry;
use crate::sys::Taking;

/// The future of [`DatagramSocket::recv`](super::DatagramSocket::recv) and of
/// [`peek`](super::DatagramSocket::peek).
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Recv<'a> {
    socket: &'a DatagramHandle,
    mode: AccessMode,
    taking: Taking,
    buf: &'a mut [u8],
    at: &'static Location<'static>,
    key: WakerKey,
}

impl<'a> Recv<'a> {
    #[track_caller]
    pub(super) fn new(
        socket: &'a DatagramHandle,
        mode: AccessMode,
        taking: Taking,
        buf: &'a mut [u8],
    ) -> Recv<'a> {
        mode.check_caller(socket);
        Recv { socket, mode, taking, buf, at: Location::caller(), key: WakerKey::new() }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(usize, Option<Address>)>> {
        let wait = (self.at, &mut self.key);
        self.socket.poll_recv(self.mode, self.taking, wait, cx, self.buf)
    }
}

impl Future for Recv<'_> {
    type Output = io::Result<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.get_mut().poll_recv(cx).map_ok(|(count, _)| count)
    }
}

impl Drop for Recv<'_> {
    fn drop(&mut self) {
        self.socket.cancel_wait(Direction::Read, &mut self.key);
    }
}

/// The future of [`DatagramSocket::recv_from`](super::DatagramSocket::recv_from) and of
/// [`peek_from`](super::DatagramSocket::peek_from).
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct RecvFrom<'a, K: DatagramKind = Udp> {
    recv: Recv<'a>,
    kind: PhantomData<fn() -> K>,
}

impl<'a, K: DatagramKind> RecvFrom<'a, K> {
    pub(super) fn new(recv: Recv<'a>) -> RecvFrom<'a, K> {
        RecvFrom { recv, kind: PhantomData }
    }
}

impl<K: DatagramKind> Future for RecvFrom<'_, K> {
    type Output = io::Result<(usize, K::Address)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (count, from) = ready!(self.get_mut().recv.poll_recv(cx))?;
        Poll::Ready(Ok((count, K::address(from)?)))
    }
}

/// The future of [`DatagramSocket::send`](super::DatagramSocket::send) and of
/// [`send_to`](super::DatagramSocket::send_to).
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct SendDatagram<'a> {
    socket: &'a DatagramHandle,
    mode: AccessMode,
    buf: &'a [u8],
    to: Option<Address>,
    /// While the queue of the receiver is full and the system announces no room.
    retry: Retry,
    at: &'static Location<'static>,
    key: WakerKey,
}

impl<'a> SendDatagram<'a> {
    #[track_caller]
    pub(super) fn new(
        socket: &'a DatagramHandle,
        mode: AccessMode,
        buf: &'a [u8],
        to: Option<Address>,
    ) -> SendDatagram<'a> {
        mode.check_caller(socket);
        let (at, key) = (Location::caller(), WakerKey::new());
        SendDatagram { socket, mode, buf, to, retry: Retry::default(), at, key }
    }

    /// Sends to a Unix socket that this one is not connected to. The system announces room in the
    /// queue of a connected socket only, so this attempts it again and again.
    fn poll_repeatedly(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.mode.poll_check(self.socket, self.at))?;
        loop {
            ready!(self.retry.poll("send", self.at, cx));
            match self.socket.backend().try_send(self.buf, self.to.as_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.retry.pause(),
                result => return Poll::Ready(result),
            }
        }
    }
}

impl Future for SendDatagram<'_> {
    type Output = io::Result<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(Address::Unix(_)) = this.to {
            return this.poll_repeatedly(cx);
        }
        let message = (this.buf, this.to.as_ref());
        this.socket.poll_send(this.mode, this.at, &mut this.key, cx, message)
    }
}

impl Drop for SendDatagram<'_> {
    fn drop(&mut self) {
        self.socket.cancel_wait(Direction::Write, &mut self.key);
    }
}
