use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_runtime::{Direction, WakerKey};

use super::handle::StreamHandle;
use crate::access::AccessMode;

/// The future of [`TcpStream::read`](crate::TcpStream::read).
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Read<'a> {
    stream: &'a StreamHandle,
    mode: AccessMode,
    buf: &'a mut [u8],
    at: &'static Location<'static>,
    key: WakerKey,
}

impl<'a> Read<'a> {
    #[track_caller]
    pub(super) fn new(stream: &'a StreamHandle, mode: AccessMode, buf: &'a mut [u8]) -> Read<'a> {
        mode.check_caller(stream);
        Read { stream, mode, buf, at: Location::caller(), key: WakerKey::new() }
    }
}

impl Future for Read<'_> {
    type Output = io::Result<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.stream.poll_recv(this.mode, this.at, Some(&mut this.key), cx, this.buf)
    }
}

impl Drop for Read<'_> {
    fn drop(&mut self) {
        // fault: dropped-read-leaves-its-waker
        self.stream.cancel_wait(Direction::Read, &mut self.key);
    }
}

/// The future of [`TcpStream::write`](crate::TcpStream::write).
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Write<'a> {
    stream: &'a StreamHandle,
    mode: AccessMode,
    buf: &'a [u8],
    at: &'static Location<'static>,
    key: WakerKey,
}

impl<'a> Write<'a> {
    #[track_caller]
    pub(super) fn new(stream: &'a StreamHandle, mode: AccessMode, buf: &'a [u8]) -> Write<'a> {
        mode.check_caller(stream);
        Write { stream, mode, buf, at: Location::caller(), key: WakerKey::new() }
    }

    fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.stream.poll_send(self.mode, self.at, Some(&mut self.key), cx, self.buf)
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        self.stream.cancel_wait(Direction::Write, &mut self.key);
    }
}

impl Future for Write<'_> {
    type Output = io::Result<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.get_mut().poll_once(cx)
    }
}

/// The future of [`TcpStream::write_all`](crate::TcpStream::write_all).
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct WriteAll<'a> {
    /// Its buffer is the part that is not written yet.
    rest: Write<'a>,
}

impl<'a> WriteAll<'a> {
    #[track_caller]
    pub(super) fn new(stream: &'a StreamHandle, mode: AccessMode, buf: &'a [u8]) -> WriteAll<'a> {
        WriteAll { rest: Write::new(stream, mode, buf) }
    }
}

impl Future for WriteAll<'_> {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let rest = &mut self.get_mut().rest;
        loop {
            let count = ready!(rest.poll_once(cx))?;
            if count == 0 && !rest.buf.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            rest.buf = &rest.buf[count..];
            if rest.buf.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
