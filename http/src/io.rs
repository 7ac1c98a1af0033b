//! Streams for hyper.

use std::any::Any;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use matou_net::{TcpStream, UnixStream};

/// A stream with the I/O traits of hyper: a `TcpStream` or `UnixStream` of
/// [matou-net](matou_net), or any stream with the traits of `futures-io`, such as one of TLS.
///
/// The streams of matou-net are read into uninitialized memory, and write several buffers with one
/// system call. For other streams the buffer is zeroed first, and hyper copies the parts of a
/// message into one buffer.
///
/// To shut a connection down that the peer has ended is a success. After that, flushing and
/// shutting down again have no effect.
///
/// # Examples
///
/// A connection served by hyper itself:
///
/// ```
/// use std::convert::Infallible;
/// use hyper::server::conn::http1;
/// use matou_http::{HyperIo, Timer};
/// use matou_http::runtime::{RunError, run, try_spawn};
/// use matou_net::{TcpListener, TcpStream};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let client = try_spawn(async move {
///         let mut stream = TcpStream::connect(address).await?;
///         stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
///         let mut buf = [0; 15];
///         let count = stream.read(&mut buf).await?;
///         Ok::<_, std::io::Error>(buf[..count].to_vec())
///     });
///     let (stream, _) = listener.accept().await?;
///     let hello = |_| async { Ok::<_, Infallible>(http::Response::new("purr".to_owned())) };
///     let service = hyper::service::service_fn(hello);
///     let mut builder = http1::Builder::new();
///     builder.timer(Timer).serve_connection(HyperIo::new(stream), service).await?;
///     assert_eq!(client.await?, b"HTTP/1.0 200 OK");
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "TokioIo")]
#[doc(alias = "FuturesIo")]
#[derive(Debug)]
pub struct HyperIo<T> {
    stream: T,
    is_shut_down: bool,
}

impl<T> HyperIo<T> {
    /// Wraps a stream.
    pub fn new(stream: T) -> HyperIo<T> {
        HyperIo { stream, is_shut_down: false }
    }

    /// Returns the stream.
    pub fn into_inner(self) -> T {
        self.stream
    }

    /// Returns a reference to the stream.
    pub fn get_ref(&self) -> &T {
        &self.stream
    }

    /// Returns a mutable reference to the stream.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.stream
    }
}

impl<T: AsyncRead + Unpin + 'static> HyperIo<T> {
    /// Reads into the unfilled part of `buf`, and returns how many bytes there were.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<usize>> {
        let space = buf.remaining();
        // SAFETY: `as_mut` is passed to `poll_read_uninit` only, which leaves no byte uninitialized
        // that was initialized before. Both readers have initialized the bytes that they count.
        let count = unsafe {
            let count = match poll_socket(&mut self.stream, cx, buf.as_mut()) {
                Some(read) => ready!(read)?,
                None => {
                    ready!(Pin::new(&mut self.stream).poll_read(cx, buf.initialize_unfilled()))?
                }
            };
            assert!(count <= space, "a stream has read more bytes than there was space for");
            buf.advance(count);
            count
        };
        Poll::Ready(Ok(count))
    }
}

/// Reads from a socket of matou-net; `None` if the stream is another one. The types are known when
/// this is compiled for a stream, so the choice costs nothing.
fn poll_socket(
    stream: &mut dyn Any,
    cx: &mut Context<'_>,
    space: &mut [MaybeUninit<u8>],
) -> Option<Poll<io::Result<usize>>> {
    if let Some(stream) = stream.downcast_mut::<TcpStream>() {
        return Some(stream.poll_read_uninit(cx, space));
    }
    let stream = stream.downcast_mut::<UnixStream>()?;
    Some(stream.poll_read_uninit(cx, space))
}

fn is_socket(stream: &dyn Any) -> bool {
    stream.is::<TcpStream>() || stream.is::<UnixStream>()
}

impl<T: AsyncRead + Unpin + 'static> Read for HyperIo<T> {
    #[track_caller]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_fill(cx, &mut buf).map_ok(drop)
    }
}

impl<T: AsyncWrite + Unpin + 'static> Write for HyperIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn is_write_vectored(&self) -> bool {
        is_socket(&self.stream)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        // A single buffer needs the plain system call only, which is cheaper.
        match bufs {
            [buf] => stream.poll_write(cx, buf),
            bufs => stream.poll_write_vectored(cx, bufs),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_shut_down {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_shut_down {
            return Poll::Ready(Ok(()));
        }
        let closed = ready!(Pin::new(&mut self.stream).poll_close(cx));
        self.is_shut_down = true;
        match closed {
            Err(error) if is_gone(&error) => Poll::Ready(Ok(())),
            closed => Poll::Ready(closed),
        }
    }
}

/// Returns whether an error says that the peer has ended the connection: what was to end has ended.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), NotConnected | ConnectionReset | BrokenPipe)
}
