//! The traits of `futures-io`, for streams, references to streams, and halves.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::Shutdown;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use super::handle::StreamHandle;
use super::{ReadHalf, SocketStream, WriteHalf};
use crate::access::AccessMode;
use crate::kind::SocketKind;

impl<K: SocketKind> SocketStream<K> {
    fn handle(&self) -> &StreamHandle {
        &self.handle
    }
}

macro_rules! async_read {
    ($(#[$doc:meta])* $mode:ident, $stream:ty) => {
        $(#[$doc])*
        impl<K: SocketKind> AsyncRead for $stream {
            #[track_caller]
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.handle().poll_recv(AccessMode::$mode, Location::caller(), None, cx, buf)
            }

            #[track_caller]
            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                self.handle().poll_recv_vectored(AccessMode::$mode, Location::caller(), cx, bufs)
            }
        }
    };
}

macro_rules! async_write {
    ($(#[$doc:meta])* $mode:ident, $stream:ty) => {
        $(#[$doc])*
        ///
        /// `poll_close` shuts the write direction down, as [`Shutdown::Write`] does. The socket
        /// stays open.
        impl<K: SocketKind> AsyncWrite for $stream {
            #[track_caller]
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.handle().poll_send(AccessMode::$mode, Location::caller(), None, cx, buf)
            }

            #[track_caller]
            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.handle().poll_send_vectored(AccessMode::$mode, Location::caller(), cx, bufs)
            }

            /// There is no user-space buffer to flush.
            #[track_caller]
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                AccessMode::$mode.poll_check(self.handle(), Location::caller())
            }

            #[track_caller]
            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                ready!(AccessMode::$mode.poll_check(self.handle(), Location::caller()))?;
                Poll::Ready(self.handle().backend().shutdown(Shutdown::Write))
            }
        }
    };
}

async_read! {
    /// An exclusive use: the task that polls becomes the owner.
    Exclusive, SocketStream<K>
}
async_write! {
    /// An exclusive use: the task that polls becomes the owner.
    Exclusive, SocketStream<K>
}
async_read! {
    /// A shared use: only the owner may poll.
    Shared, &SocketStream<K>
}
async_write! {
    /// A shared use: only the owner may poll.
    Shared, &SocketStream<K>
}
async_read! {
    /// An exclusive use: the task that polls becomes the owner.
    Exclusive, ReadHalf<K>
}
async_write! {
    /// An exclusive use: the task that polls becomes the owner.
    Exclusive, WriteHalf<K>
}
