use std::io;
use std::net::Shutdown;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use matou_runtime::{BlockedOn, Direction, WaitTarget, poll_proceed};

use super::TcpStream;
use crate::access::Access;
use crate::socket::Link;
use crate::sys;

impl TcpStream {
    pub(super) fn poll_recv(
        &self,
        access: Access,
        at: &'static Location<'static>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(access.poll(self))?;
        if buf.is_empty() {
            ready!(poll_proceed(cx));
            return Poll::Ready(Ok(0));
        }
        let io = match self.socket.link() {
            Link::System(io) => io,
            Link::Simulated(end) => return end.poll_read(buf, wait("read", at), cx),
        };
        let wanted = buf.len();
        io.poll_transfer(Direction::Read, ("read", at), cx, wanted, |fd| sys::recv(fd, buf))
    }

    pub(super) fn poll_send(
        &self,
        access: Access,
        at: &'static Location<'static>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(access.poll(self))?;
        if buf.is_empty() {
            ready!(poll_proceed(cx));
            return Poll::Ready(Ok(0));
        }
        let io = match self.socket.link() {
            Link::System(io) => io,
            Link::Simulated(end) => return end.poll_write(buf, wait("write", at), cx),
        };
        let wanted = buf.len();
        io.poll_transfer(Direction::Write, ("write", at), cx, wanted, |fd| sys::send(fd, buf))
    }

    /// Waits for nothing: what was written lies with the system.
    fn poll_flush_by(&self, access: Access) -> Poll<io::Result<()>> {
        access.poll(self)
    }

    fn poll_close_by(&self, access: Access) -> Poll<io::Result<()>> {
        ready!(access.poll(self))?;
        Poll::Ready(self.socket.shutdown(Shutdown::Write))
    }
}

/// What a task waits for at a socket without a descriptor.
pub(super) fn wait(what: &'static str, at: &'static Location<'static>) -> BlockedOn {
    BlockedOn::new(what, at, WaitTarget::Unknown)
}

/// By `&mut`, hence the task that polls becomes the owner.
impl AsyncRead for TcpStream {
    #[track_caller]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_recv(Access::Exclusive, Location::caller(), cx, buf)
    }
}

/// By `&mut`, hence the task that polls becomes the owner. To close is to end the direction of
/// writing; the socket stays open.
impl AsyncWrite for TcpStream {
    #[track_caller]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(Access::Exclusive, Location::caller(), cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_by(Access::Exclusive)
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close_by(Access::Exclusive)
    }
}

/// A shared use: only the owner may.
impl AsyncRead for &TcpStream {
    #[track_caller]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Access::Shared.begin(*self);
        self.poll_recv(Access::Shared, Location::caller(), cx, buf)
    }
}

/// A shared use: only the owner may. To close is to end the direction of writing.
impl AsyncWrite for &TcpStream {
    #[track_caller]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Access::Shared.begin(*self);
        self.poll_send(Access::Shared, Location::caller(), cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_by(Access::Shared)
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close_by(Access::Shared)
    }
}
