use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::TcpStream;
use crate::access::Access;

/// The future of [`TcpStream::read`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Read<'a> {
    stream: &'a TcpStream,
    access: Access,
    buf: &'a mut [u8],
    at: &'static Location<'static>,
}

impl<'a> Read<'a> {
    #[track_caller]
    pub(super) fn new(stream: &'a TcpStream, access: Access, buf: &'a mut [u8]) -> Read<'a> {
        access.begin(stream);
        Read { stream, access, buf, at: Location::caller() }
    }
}

impl Future for Read<'_> {
    type Output = io::Result<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.stream.poll_recv(this.access, this.at, cx, this.buf)
    }
}

/// The future of [`TcpStream::write`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Write<'a> {
    stream: &'a TcpStream,
    access: Access,
    buf: &'a [u8],
    at: &'static Location<'static>,
}

impl<'a> Write<'a> {
    #[track_caller]
    pub(super) fn new(stream: &'a TcpStream, access: Access, buf: &'a [u8]) -> Write<'a> {
        access.begin(stream);
        Write { stream, access, buf, at: Location::caller() }
    }

    fn poll_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.stream.poll_send(self.access, self.at, cx, self.buf)
    }
}

impl Future for Write<'_> {
    type Output = io::Result<usize>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.get_mut().poll_some(cx)
    }
}

/// The future of [`TcpStream::write_all`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct WriteAll<'a> {
    /// What is still to be written.
    rest: Write<'a>,
}

impl<'a> WriteAll<'a> {
    #[track_caller]
    pub(super) fn new(stream: &'a TcpStream, access: Access, buf: &'a [u8]) -> WriteAll<'a> {
        WriteAll { rest: Write::new(stream, access, buf) }
    }
}

impl Future for WriteAll<'_> {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let rest = &mut self.get_mut().rest;
        loop {
            let count = ready!(rest.poll_some(cx))?;
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
