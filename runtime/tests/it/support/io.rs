//! Readable descriptors.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Context, Poll};

use matou_runtime::{Direction, IoSource, WaitSite};

/// A pair of connected sockets, one of them as an `IoSource`.
pub(crate) fn io_pair() -> (IoSource, UnixStream) {
    let (local, peer) = UnixStream::pair().expect("a pair of sockets");
    local.set_nonblocking(true).expect("non-blocking mode");
    (IoSource::new(OwnedFd::from(local)).unwrap(), peer)
}

/// Polls for a byte.
#[track_caller]
pub(crate) fn poll_read_byte(io: &IoSource, cx: &mut Context<'_>) -> Poll<io::Result<u8>> {
    io.poll(Direction::Read, WaitSite::here("read"), cx, |fd| {
        let mut byte = [0];
        rustix::io::read(fd, &mut byte)?;
        Ok(byte[0])
    })
}

/// Waits for a byte.
pub(crate) async fn read_byte(io: IoSource) -> io::Result<u8> {
    poll_fn(|cx| poll_read_byte(&io, cx)).await
}
