//! The traits of `futures-io`, for `TcpStream` and for `&TcpStream`.

use std::io;
use std::net::Shutdown;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use super::TcpStream;
use crate::access::AccessMode;

impl TcpStream {
    /// There is no user-space buffer to flush.
    #[track_caller]
    fn poll_flush_as(&self, mode: AccessMode) -> Poll<io::Result<()>> {
        mode.poll_check(self, Location::caller())
    }

    #[track_caller]
    fn poll_close_as(&self, mode: AccessMode) -> Poll<io::Result<()>> {
        ready!(mode.poll_check(self, Location::caller()))?;
        Poll::Ready(self.socket.backend().shutdown(Shutdown::Write))
    }
}

/// An exclusive use: the task that polls becomes the owner.
impl AsyncRead for TcpStream {
    #[track_caller]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_recv(AccessMode::Exclusive, Location::caller(), None, cx, buf)
    }
}

/// An exclusive use: the task that polls becomes the owner.
///
/// `poll_close` shuts the write direction down, as [`Shutdown::Write`] does. The socket stays open.
impl AsyncWrite for TcpStream {
    #[track_caller]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(AccessMode::Exclusive, Location::caller(), None, cx, buf)
    }

    #[track_caller]
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_as(AccessMode::Exclusive)
    }

    #[track_caller]
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close_as(AccessMode::Exclusive)
    }
}

/// A shared use: only the owner may poll.
impl AsyncRead for &TcpStream {
    #[track_caller]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_recv(AccessMode::Shared, Location::caller(), None, cx, buf)
    }
}

/// A shared use: only the owner may poll.
///
/// `poll_close` shuts the write direction down, as [`Shutdown::Write`] does. The socket stays open.
impl AsyncWrite for &TcpStream {
    #[track_caller]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(AccessMode::Shared, Location::caller(), None, cx, buf)
    }

    #[track_caller]
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_as(AccessMode::Shared)
    }

    #[track_caller]
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close_as(AccessMode::Shared)
    }
}
