use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_runtime::{Direction, IoWait, WaitSite, WakerKey};

use super::SocketStream;
use super::handle::StreamHandle;
use crate::access::AccessMode;
use crate::kind::SocketKind;

impl<K: SocketKind> SocketStream<K> {
    /// Copies available bytes into `buf`, or waits until there are some. A later
    /// [`read`](SocketStream::read) returns them as well. Returns the number of bytes copied; if
    /// `buf` is not empty, 0 means the end of the stream.
    ///
    /// A second `peek` returns the same bytes, and does not wait for further ones: a loop that
    /// waits for more bytes by `peek` alone does not rest.
    ///
    /// # Errors
    ///
    /// As [`read`](SocketStream::read).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no bytes.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a run.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (mut server, _) = listener.accept().await?;
    ///     client.write_all(b"purr").await?;
    ///     let mut buf = [0; 1];
    ///     assert_eq!(server.peek(&mut buf).await?, 1);
    ///     assert_eq!(server.read(&mut buf).await?, 1);
    ///     assert_eq!(&buf, b"p");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "MSG_PEEK")]
    #[track_caller]
    pub fn peek<'a>(&'a mut self, buf: &'a mut [u8]) -> Peek<'a> {
        let (at, key) = (Location::caller(), WakerKey::new());
        Peek { stream: &self.handle, buf, at, key }
    }

    /// Reads bytes that are available now; see [`read`](SocketStream::read).
    ///
    /// It spends no budget: a loop of such reads must yield by itself.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there are none; otherwise as
    /// [`read`](SocketStream::read).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use matou_net::{TcpListener, TcpStream};
    /// use matou_runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?).await?;
    ///     let error = client.try_read(&mut [0; 16]).unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::WouldBlock);
    ///     assert_eq!(client.try_write(b"purr")?, 4);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        AccessMode::Exclusive.check(self)?;
        if buf.is_empty() {
            return Ok(0);
        }
        self.handle.backend().try_recv(buf)
    }

    /// Writes the bytes that the system accepts now; see [`write`](SocketStream::write).
    ///
    /// It spends no budget: a loop of such writes must yield by itself.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the system accepts none; otherwise as
    /// [`write`](SocketStream::write).
    #[track_caller]
    pub fn try_write(&mut self, buf: &[u8]) -> io::Result<usize> {
        AccessMode::Exclusive.check(self)?;
        if buf.is_empty() {
            return Ok(0);
        }
        self.handle.backend().try_send(buf)
    }
}

/// The future of [`SocketStream::peek`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Peek<'a> {
    stream: &'a StreamHandle,
    buf: &'a mut [u8],
    at: &'static Location<'static>,
    key: WakerKey,
}

impl Future for Peek<'_> {
    type Output = io::Result<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Peek { stream, buf, at, key } = self.get_mut();
        ready!(AccessMode::Exclusive.poll_check(*stream, at))?;
        let wait = IoWait::new(WaitSite::new("peek", at), Some(key));
        stream.backend().poll_peek(buf, wait, cx)
    }
}

impl Drop for Peek<'_> {
    fn drop(&mut self) {
        self.stream.cancel_wait(Direction::Read, &mut self.key);
    }
}
