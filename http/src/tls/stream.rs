use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use futures_rustls::rustls::CommonState;
use futures_rustls::{Accept, TlsStream as Rustls};
use matou_ownership::{Owned, in_finalizer, in_task};
use matou_runtime::sleep;

/// How long a dropped stream waits for space to send its end.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// A connection that speaks TLS, over a stream `T`.
///
/// To close it sends the peer a `close_notify`, without which the peer must regard the data as cut
/// off. To drop it does the same, also at the end of a cancelled task. If the stream below accepts
/// nothing at that moment, the task keeps the connection and sends the rest as a finalizer at its
/// end, within one second.
///
/// A connection that the peer ends without a `close_notify` is the error
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) of a read.
pub struct TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    state: State<T>,
}

enum State<T> {
    /// A server's handshake is not complete.
    Accepting(Box<Accept<T>>),
    Open(Box<Rustls<T>>),
    /// The handshake has failed, or the stream is closed or taken out.
    Over,
}

impl<T> TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    pub(super) fn accepting(handshake: Accept<T>) -> TlsStream<T> {
        TlsStream { state: State::Accepting(Box::new(handshake)) }
    }

    pub(super) fn open(stream: Rustls<T>) -> TlsStream<T> {
        TlsStream { state: State::Open(Box::new(stream)) }
    }

    /// Waits for the end of the handshake, which reading and writing does as well.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the peer does not speak TLS, and any error of
    /// the stream below.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the next call goes on.
    pub async fn handshake(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_open(cx).map_ok(drop)).await
    }

    /// Returns the state of the protocol, for example the certificates of the peer; `None` before
    /// the handshake is complete.
    pub fn session(&self) -> Option<&CommonState> {
        match &self.state {
            State::Open(stream) => Some(stream.get_ref().1),
            State::Accepting(_) | State::Over => None,
        }
    }

    /// Returns the protocol that both sides have agreed on (ALPN), such as `b"h2"`.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.session()?.alpn_protocol()
    }

    /// Returns the stream below, unless the handshake is not complete or has failed. No
    /// `close_notify` is sent.
    #[doc(alias = "into_inner")]
    pub fn into_socket(mut self) -> Option<T> {
        match mem::replace(&mut self.state, State::Over) {
            State::Open(stream) => Some(match *stream {
                Rustls::Client(stream) => stream.into_inner().0,
                Rustls::Server(stream) => stream.into_inner().0,
            }),
            State::Accepting(_) | State::Over => None,
        }
    }

    /// Completes the handshake.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut Rustls<T>>>> {
        if let State::Accepting(handshake) = &mut self.state {
            let accepted = ready!(Pin::new(&mut **handshake).poll(cx));
            self.state = State::Over;
            self.state = State::Open(Box::new(accepted?.into()));
        }
        Poll::Ready(match &mut self.state {
            State::Open(stream) => Ok(Pin::new(&mut **stream)),
            State::Accepting(_) | State::Over => {
                let text = "the TLS connection is over, or its handshake has failed";
                Err(io::Error::new(io::ErrorKind::NotConnected, text))
            }
        })
    }
}

impl<T> AsyncRead for TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_read(cx, buf)
    }
}

impl<T> AsyncWrite for TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?.poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Open(stream) => Pin::new(&mut **stream).poll_close(cx),
            // A handshake that was not completed has nothing to say goodbye to.
            State::Accepting(_) | State::Over => {
                self.state = State::Over;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<T> Drop for TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn drop(&mut self) {
        // Outside a task a socket of matou-net cannot be polled.
        if !in_task() {
            return;
        }
        let State::Open(mut stream) = mem::replace(&mut self.state, State::Over) else { return };
        // Mostly there is space, so that nothing has to wait.
        let closed = Pin::new(&mut *stream).poll_close(&mut Context::from_waker(Waker::noop()));
        if closed.is_pending() && !in_finalizer() {
            drop(Owned::with_async(stream, close));
        }
    }
}

/// Closes the stream of a task that has ended.
async fn close<T>(mut stream: Box<Rustls<T>>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut timer = sleep(CLOSE_TIME);
    poll_fn(|cx| match Pin::new(&mut *stream).poll_close(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => Pin::new(&mut timer).poll(cx),
    })
    .await;
}

impl<T> fmt::Debug for TlsStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Accepting(_) => "accepting",
            State::Open(_) => "open",
            State::Over => "over",
        };
        f.debug_struct("TlsStream").field("state", &state).finish_non_exhaustive()
    }
}
