//! The I/O traits of tokio, by those of `futures-io`. Nothing of tokio's runtime is used.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ReadHalf, SocketStream, WriteHalf};
use crate::kind::SocketKind;

macro_rules! async_read {
    ($stream:ident) => {
        impl<K: SocketKind> AsyncRead for $stream<K> {
            #[track_caller]
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                // Zeroes only what was not initialized before.
                let space = buf.initialize_unfilled();
                let count = ready!(futures_io::AsyncRead::poll_read(self, cx, space))?;
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    };
}

macro_rules! async_write {
    ($stream:ident) => {
        impl<K: SocketKind> AsyncWrite for $stream<K> {
            #[track_caller]
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                futures_io::AsyncWrite::poll_write(self, cx, buf)
            }

            #[track_caller]
            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                futures_io::AsyncWrite::poll_write_vectored(self, cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            #[track_caller]
            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                futures_io::AsyncWrite::poll_flush(self, cx)
            }

            /// Shuts the write direction down. The socket stays open.
            #[track_caller]
            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                futures_io::AsyncWrite::poll_close(self, cx)
            }
        }
    };
}

async_read!(SocketStream);
async_read!(ReadHalf);
async_write!(SocketStream);
async_write!(WriteHalf);
