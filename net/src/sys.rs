//! The system calls of the hot paths: one for each operation.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};

/// Takes a connection off a listener's queue. The new descriptor does not block, and programs that
/// this one starts do not inherit it.
#[cfg(target_os = "linux")]
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    use rustix::net::{SocketFlags, acceptfrom_with};

    let (stream, peer) = acceptfrom_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    Ok((stream, address_of(peer)?))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, SocketAddr)> {
    let (stream, peer) = rustix::net::acceptfrom(fd)?;
    rustix::io::fcntl_setfd(&stream, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&stream, true)?;
    Ok((stream, address_of(peer)?))
}

fn address_of(peer: Option<SocketAddrAny>) -> io::Result<SocketAddr> {
    // Some systems hand out a connection that its peer has left already, without an address.
    peer.and_then(|peer| SocketAddr::try_from(peer).ok())
        .ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
}

pub(crate) fn recv(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(fd, buf, RecvFlags::empty())?;
    Ok(count)
}

/// Sends without a signal: a peer that has closed makes an error, and no SIGPIPE.
pub(crate) fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    // Where this flag does not exist, Rust's own start-up has the signal ignored.
    #[cfg(not(target_vendor = "apple"))]
    let flags = SendFlags::NOSIGNAL;
    #[cfg(target_vendor = "apple")]
    let flags = SendFlags::empty();
    Ok(rustix::net::send(fd, buf, flags)?)
}

/// Looks whether a connection that is being made has come to an end, good or bad.
///
/// # Errors
///
/// `WouldBlock` while it has not, and why it failed if it did.
pub(crate) fn finish_connect(fd: BorrowedFd<'_>) -> io::Result<()> {
    rustix::net::sockopt::socket_error(fd)??;
    // A socket may be announced as writable too early. One without a peer is not connected yet.
    match rustix::net::getpeername(fd) {
        Ok(_) => Ok(()),
        Err(rustix::io::Errno::NOTCONN) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}
