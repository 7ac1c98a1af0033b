//! The stream of a connection of the server.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use matou_net::{FinishLimit, TcpStream, UnixStream};
use matou_runtime::futures::Sleep;
use matou_runtime::sleep;

use crate::io::HyperIo;

/// The first bytes of a connection of HTTP/2.
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long the end of a connection waits for the peer's end of it.
const FINISH_TIME: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// A stream that can give back the bytes by which the version was recognized, and that fails if the
/// peer receives nothing for too long.
pub(crate) struct ServerIo<T> {
    io: HyperIo<T>,
    prefix: Prefix,
    write_timeout: Duration,
    /// The timer of the current wait for the peer to receive something.
    stalled: Option<Sleep>,
    /// Whether the peer has ended its stream, or the connection has failed.
    is_over: bool,
    /// Set by each read. The stream must be `Send`, hence an atomic.
    has_read: Arc<AtomicBool>,
}

/// The bytes that were read before the version was known.
struct Prefix {
    bytes: [u8; H2_PREFACE.len()],
    start: usize,
    end: usize,
}

impl<T> ServerIo<T> {
    pub(crate) fn new(
        stream: T,
        write_timeout: Duration,
        has_read: Arc<AtomicBool>,
    ) -> ServerIo<T> {
        let prefix = Prefix { bytes: [0; H2_PREFACE.len()], start: 0, end: 0 };
        let io = HyperIo::new(stream);
        ServerIo { io, prefix, write_timeout, stalled: None, is_over: false, has_read }
    }
}

impl<T: AsyncRead + Unpin> ServerIo<T> {
    /// Reads until it is known which version of HTTP the client speaks. The bytes are read again.
    pub(crate) fn poll_version(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Version>> {
        let Prefix { bytes, end, .. } = &mut self.prefix;
        while *end < bytes.len() {
            let stream = Pin::new(self.io.get_mut());
            let count = ready!(stream.poll_read(cx, &mut bytes[*end..]))?;
            *end += count;
            if count == 0 || bytes[..*end] != H2_PREFACE[..*end] {
                return Poll::Ready(Ok(Version::Http1));
            }
        }
        Poll::Ready(Ok(Version::Http2))
    }
}

/// The answer to a head that takes too long. hyper has no way to send it.
const TIMED_OUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

impl<T: AsyncWrite + Unpin + 'static> ServerIo<T> {
    /// Answers a head that takes too long, unless a part of a response still waits for the client.
    /// The answer is small, so it either fits into the buffer of the socket or is given up.
    pub(crate) async fn answer_timeout(&mut self) {
        if self.stalled.is_some() {
            return;
        }
        poll_fn(|cx| {
            if let Poll::Ready(Ok(_)) = Pin::new(&mut self.io).poll_write(cx, TIMED_OUT) {
                let _ = Pin::new(&mut self.io).poll_flush(cx);
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl<T: 'static> ServerIo<T> {
    /// Ends a connection of HTTP/1 in good order: waits a short time for the peer's end of it. A
    /// mere close would reset a connection with unread input, and the peer could lose the answer.
    pub(crate) async fn finish(self) {
        // fault: answers-lost-at-close
        if self.is_over {
            return;
        }
        let limit = FinishLimit::new().time(FINISH_TIME);
        let stream: Box<dyn Any> = Box::new(self.io.into_inner());
        #[cfg(feature = "tls")]
        let stream = match below_tls(stream) {
            Ok(stream) => stream,
            Err(()) => return,
        };
        match stream.downcast::<TcpStream>() {
            Ok(stream) => drop(stream.finish(limit).await),
            Err(stream) => {
                if let Ok(stream) = stream.downcast::<UnixStream>() {
                    drop(stream.finish(limit).await);
                }
            }
        }
    }
}

/// Returns the socket below a stream of TLS whose end was sent, and any other stream as it is.
#[cfg(feature = "tls")]
fn below_tls(stream: Box<dyn Any>) -> Result<Box<dyn Any>, ()> {
    use crate::tls::TlsStream;

    let stream = match stream.downcast::<TlsStream<TcpStream>>() {
        Ok(stream) => return Ok(Box::new(stream.into_socket().ok_or(())?)),
        Err(stream) => stream,
    };
    match stream.downcast::<TlsStream<UnixStream>>() {
        Ok(stream) => Ok(Box::new(stream.into_socket().ok_or(())?)),
        Err(stream) => Ok(stream),
    }
}

impl<T> ServerIo<T> {
    /// Limits how long a write may be pending.
    fn limit<R>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut HyperIo<T>>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>>
    where
        T: Unpin,
    {
        let poll = write(Pin::new(&mut self.io), cx);
        if poll.is_ready() {
            self.stalled = None;
            self.is_over |= matches!(&poll, Poll::Ready(Err(_)));
            return poll;
        }
        let stalled = self.stalled.get_or_insert_with(|| sleep(self.write_timeout));
        // fault: slow-readers-not-limited
        ready!(Pin::new(stalled).poll(cx));
        self.is_over = true;
        let text = "the client receives nothing";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

impl<T: AsyncRead + Unpin + 'static> Read for ServerIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Prefix { bytes, start, end } = &mut this.prefix;
        if start < end {
            let count = buf.remaining().min(*end - *start);
            buf.put_slice(&bytes[*start..*start + count]);
            *start += count;
            return Poll::Ready(Ok(()));
        }
        let space = buf.remaining();
        let read = ready!(this.io.poll_fill(cx, &mut buf));
        match &read {
            Ok(0) if space > 0 => this.is_over = true,
            Ok(_) => this.has_read.store(true, Ordering::Relaxed),
            Err(_) => this.is_over = true,
        }
        Poll::Ready(read.map(drop))
    }
}

impl<T: AsyncWrite + Unpin + 'static> Write for ServerIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.limit(cx, |io, cx| io.poll_write(cx, buf))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.limit(cx, |io, cx| io.poll_write_vectored(cx, bufs))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.limit(cx, |io, cx| io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.limit(cx, |io, cx| io.poll_shutdown(cx))
    }
}
