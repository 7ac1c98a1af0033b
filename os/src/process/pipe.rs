use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use matou_runtime::{Direction, IoSource, WaitSite};

/// Our end of a pipe; closed when it is dropped.
#[derive(Debug)]
struct Pipe(IoSource);

impl Pipe {
    fn new(descriptor: OwnedFd) -> io::Result<Pipe> {
        // The mode belongs to our end only: the ends of a pipe do not share it.
        Ok(Pipe(IoSource::new(descriptor)?))
    }

    #[track_caller]
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let site = WaitSite::here("read of a pipe");
        // Not `poll_transfer`: a short read of a pipe says nothing about its end.
        self.0.poll(Direction::Read, site, cx, |pipe| Ok(rustix::io::read(pipe, &mut *buffer)?))
    }

    #[track_caller]
    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let site = WaitSite::here("write to a pipe");
        self.0.poll(Direction::Write, site, cx, |pipe| Ok(rustix::io::write(pipe, bytes)?))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The standard input of a child process. Dropping it closes the pipe, which is the end of the
/// input for the process.
#[derive(Debug)]
pub struct ChildStdin(Pipe);

/// The standard output of a child process.
#[derive(Debug)]
pub struct ChildStdout(Pipe);

/// The standard error of a child process.
#[derive(Debug)]
pub struct ChildStderr(Pipe);

impl ChildStdin {
    pub(super) fn new(descriptor: OwnedFd) -> io::Result<ChildStdin> {
        Pipe::new(descriptor).map(ChildStdin)
    }
}

impl ChildStdout {
    pub(super) fn new(descriptor: OwnedFd) -> io::Result<ChildStdout> {
        Pipe::new(descriptor).map(ChildStdout)
    }
}

impl ChildStderr {
    pub(super) fn new(descriptor: OwnedFd) -> io::Result<ChildStderr> {
        Pipe::new(descriptor).map(ChildStderr)
    }
}

impl AsyncWrite for ChildStdin {
    #[track_caller]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.0.close();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ChildStdout {
    #[track_caller]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, buffer)
    }
}

impl AsyncRead for ChildStderr {
    #[track_caller]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, buffer)
    }
}
