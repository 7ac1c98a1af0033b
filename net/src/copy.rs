//! Copying from readers to writers.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use matou_runtime::futures::Sleep;
use matou_runtime::sleep;

/// How many bytes one direction holds at most.
const BUFFER: usize = 16 << 10;

/// Copies from `reader` to `writer` until the end of the stream. Returns how many bytes were
/// copied.
///
/// At the end the writer is flushed, but not closed. While the reader has nothing, the writer is
/// flushed as well, so that no byte waits for further ones.
///
/// # Errors
///
/// The first error of the reader or the writer; [`TimedOut`](io::ErrorKind::TimedOut) after the
/// [idle limit](CopyAll::idle_limit). It is unknown how many bytes were written before an error.
///
/// # Cancel safety
///
/// Not cancel safe: if the future is dropped, bytes that were read and not written are lost.
///
/// # Examples
///
/// ```
/// use matou_net::{TcpListener, TcpStream, copy};
/// use matou_runtime::{RunError, run, try_spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
///     let (stream, _) = listener.accept().await?;
///     let echo = try_spawn(async move {
///         let (mut reader, mut writer) = stream.into_split();
///         copy(&mut reader, &mut writer).await
///     });
///     client.write_all(b"purr").await?;
///     client.shutdown(std::net::Shutdown::Write)?;
///     assert_eq!(echo.await?, 4);
///     Ok(())
/// })
/// # }
/// ```
pub fn copy<'a, R, W>(reader: &'a mut R, writer: &'a mut W) -> CopyAll<'a, R, W>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    CopyAll { reader, writer, transfer: Transfer::new(), idle: IdleTimer::default() }
}

/// Copies in both directions between two streams until both have ended. Returns how many bytes went
/// from `one` to `other`, and from `other` to `one`.
///
/// When one stream ends, the other one is closed for writing, as [`Shutdown::Write`] does, and
/// copying goes on in the other direction: a proxy preserves half-closed connections.
///
/// [`Shutdown::Write`]: std::net::Shutdown::Write
///
/// # Errors
///
/// The first error of a stream; [`TimedOut`](io::ErrorKind::TimedOut) after the
/// [idle limit](CopyBidirectional::idle_limit). Drop the streams then: the other direction may be
/// incomplete.
///
/// # Cancel safety
///
/// Not cancel safe: if the future is dropped, bytes that were read and not written are lost.
///
/// # Examples
///
/// A proxy that gives up a connection over which no byte has passed for a minute:
///
/// ```
/// use std::time::Duration;
/// use matou_net::{Shutdown, TcpListener, TcpStream, copy_bidirectional};
/// use matou_runtime::{RunError, run, try_spawn};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let mut backend = TcpListener::bind("127.0.0.1:0")?;
///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
///     let (address, target) = (listener.local_addr()?, backend.local_addr()?);
///     let proxy = try_spawn(async move {
///         let (mut client, _) = listener.accept().await?;
///         let mut server = TcpStream::connect(target).await?;
///         copy_bidirectional(&mut client, &mut server).idle_limit(Duration::from_secs(60)).await
///     });
///     let mut client = TcpStream::connect(address).await?;
///     let (mut server, _) = backend.accept().await?;
///     client.write_all(b"miaow?").await?;
///     client.shutdown(Shutdown::Write)?;
///     assert_eq!(server.read(&mut [0; 16]).await?, 6);
///     server.write_all(b"purr").await?; // although the client has ended its stream
///     server.close();
///     assert_eq!(client.read(&mut [0; 16]).await?, 4);
///     assert_eq!(proxy.await?, (6, 4));
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "proxy")]
pub fn copy_bidirectional<'a, A, B>(one: &'a mut A, other: &'a mut B) -> CopyBidirectional<'a, A, B>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let (forth, back) = (Transfer::new(), Transfer::new());
    CopyBidirectional { one, other, forth, back, idle: IdleTimer::default() }
}

/// The future of [`copy`].
#[must_use = "futures do nothing unless polled"]
pub struct CopyAll<'a, R: ?Sized, W: ?Sized> {
    reader: &'a mut R,
    writer: &'a mut W,
    transfer: Transfer,
    idle: IdleTimer,
}

/// The future of [`copy_bidirectional`].
#[must_use = "futures do nothing unless polled"]
pub struct CopyBidirectional<'a, A: ?Sized, B: ?Sized> {
    one: &'a mut A,
    other: &'a mut B,
    forth: Transfer,
    back: Transfer,
    idle: IdleTimer,
}

impl<R: ?Sized, W: ?Sized> CopyAll<'_, R, W> {
    /// Fails with [`TimedOut`](io::ErrorKind::TimedOut) when no byte was read or written for this
    /// long. Default: no limit.
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.idle.limit = Some(limit);
        self
    }
}

impl<A: ?Sized, B: ?Sized> CopyBidirectional<'_, A, B> {
    /// Fails with [`TimedOut`](io::ErrorKind::TimedOut) when no byte was read or written for this
    /// long, in neither direction. Default: no limit.
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.idle.limit = Some(limit);
        self
    }
}

impl<R, W> Future for CopyAll<'_, R, W>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    type Output = io::Result<u64>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let CopyAll { reader, writer, transfer, idle } = self.get_mut();
        if let Poll::Ready(copied) = transfer.poll(cx, *reader, *writer, End::Flush)? {
            return Poll::Ready(Ok(copied));
        }
        idle.poll(transfer.take_moved(), cx).map(Err)
    }
}

impl<A, B> Future for CopyBidirectional<'_, A, B>
where
    A: AsyncRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    type Output = io::Result<(u64, u64)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let CopyBidirectional { one, other, forth, back, idle } = self.get_mut();
        let there = forth.poll(cx, *one, *other, End::Close)?;
        let back_again = back.poll(cx, *other, *one, End::Close)?;
        if let (Poll::Ready(there), Poll::Ready(back)) = (there, back_again) {
            return Poll::Ready(Ok((there, back)));
        }
        // Both must be asked: neither may stop the other.
        let moved = [forth.take_moved(), back.take_moved()];
        idle.poll(moved.contains(&true), cx).map(Err)
    }
}

/// The last operation on the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Flush,
    Close,
}

/// One direction.
struct Transfer {
    buffer: Box<[u8]>,
    /// The part of the buffer that is not written yet.
    start: usize,
    end: usize,
    copied: u64,
    unflushed: bool,
    eof: bool,
    complete: bool,
    /// Whether bytes were read or written since the last call of `take_moved`.
    moved: bool,
}

impl Transfer {
    fn new() -> Transfer {
        Transfer {
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            copied: 0,
            unflushed: false,
            eof: false,
            complete: false,
            moved: false,
        }
    }

    fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Copies as much as possible. Ready with the number of copied bytes, also in later calls.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        end: End,
    ) -> Poll<io::Result<u64>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        while !self.complete {
            ready!(self.poll_write(cx, writer))?;
            if self.eof {
                // fault: copied-end-of-stream-not-passed-on
                match end {
                    End::Flush => ready!(Pin::new(&mut *writer).poll_flush(cx))?,
                    End::Close => ready!(Pin::new(&mut *writer).poll_close(cx))?,
                }
                self.complete = true;
                break;
            }
            let Poll::Ready(read) = Pin::new(&mut *reader).poll_read(cx, &mut self.buffer) else {
                if self.unflushed && Pin::new(&mut *writer).poll_flush(cx)?.is_ready() {
                    self.unflushed = false;
                }
                return Poll::Pending;
            };
            (self.start, self.end) = (0, read?);
            self.eof = self.end == 0;
            self.moved = true;
        }
        Poll::Ready(Ok(self.copied))
    }

    /// Writes the bytes in the buffer.
    fn poll_write<W>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin + ?Sized,
    {
        while self.start < self.end {
            let rest = &self.buffer[self.start..self.end];
            let count = ready!(Pin::new(&mut *writer).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += count;
            self.copied += count as u64;
            (self.unflushed, self.moved) = (true, true);
        }
        Poll::Ready(Ok(()))
    }
}

/// Measures how long nothing was copied.
#[derive(Debug, Default)]
struct IdleTimer {
    limit: Option<Duration>,
    timer: Option<Sleep>,
}

impl IdleTimer {
    /// Waits for the limit, from the last call with `moved` on.
    fn poll(&mut self, moved: bool, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(limit) = self.limit else { return Poll::Pending };
        if moved || self.timer.is_none() {
            self.timer = Some(sleep(limit));
        }
        if let Some(timer) = &mut self.timer {
            ready!(Pin::new(timer).poll(cx));
        }
        let text = format!("no byte was copied for {limit:?}");
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, text))
    }
}

impl<R: ?Sized, W: ?Sized> fmt::Debug for CopyAll<'_, R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyAll").field("copied", &self.transfer.copied).finish_non_exhaustive()
    }
}

impl<A: ?Sized, B: ?Sized> fmt::Debug for CopyBidirectional<'_, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyBidirectional")
            .field("copied", &[self.forth.copied, self.back.copied])
            .finish_non_exhaustive()
    }
}
