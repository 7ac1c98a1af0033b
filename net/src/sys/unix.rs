//! Unix sockets.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

use super::address::to_unix;
use super::{Datagram, Listener, Socket, Stream};
use crate::address::UnixName;

/// The user and group ids of the process that has connected a Unix socket, and its own id.
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) pid: Option<i32>,
}

impl Stream {
    /// Connects to a listener. A connection is established at once, or not at all: `WouldBlock`
    /// says that the listener's backlog is full.
    pub(crate) fn connect_unix(name: &UnixName) -> io::Result<Stream> {
        let socket = unix_socket(SocketType::STREAM)?;
        rustix::net::connect(&socket, &to_unix(name)?)?;
        Ok(Socket::new(socket))
    }

    pub(crate) fn unix_pair() -> io::Result<(Stream, Stream)> {
        let (one, other) = unix_pair(SocketType::STREAM)?;
        Ok((Socket::new(one), Socket::new(other)))
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn peer_credentials(&self) -> io::Result<Credentials> {
        let peer = self.source.with(|fd| Ok(rustix::net::sockopt::socket_peercred(fd)?))?;
        Ok(Credentials {
            uid: peer.uid.as_raw(),
            gid: peer.gid.as_raw(),
            pid: Some(peer.pid.as_raw_nonzero().get()),
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn peer_credentials(&self) -> io::Result<Credentials> {
        let text = "the credentials of a peer are available on Linux only";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }
}

impl Listener {
    pub(crate) fn listen_unix(name: &UnixName, backlog: u32) -> io::Result<Listener> {
        let socket = unix_socket(SocketType::STREAM)?;
        rustix::net::bind(&socket, &to_unix(name)?)?;
        rustix::net::listen(&socket, backlog.min(i32::MAX as u32) as i32)?;
        Ok(Socket::new(socket))
    }
}

impl Datagram {
    pub(crate) fn bind_unix(name: &UnixName) -> io::Result<Datagram> {
        let socket = unix_socket(SocketType::DGRAM)?;
        rustix::net::bind(&socket, &to_unix(name)?)?;
        Ok(Socket::new(socket))
    }

    pub(crate) fn unbound_unix() -> io::Result<Datagram> {
        Ok(Socket::new(unix_socket(SocketType::DGRAM)?))
    }

    pub(crate) fn unix_pair() -> io::Result<(Datagram, Datagram)> {
        let (one, other) = unix_pair(SocketType::DGRAM)?;
        Ok((Socket::new(one), Socket::new(other)))
    }
}

/// Returns whether the file at `path` is a socket that no process uses any more.
pub(crate) fn is_stale_file(path: &Path, kind: FileKind) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let kind = match kind {
        FileKind::Stream => SocketType::STREAM,
        FileKind::Datagram => SocketType::DGRAM,
    };
    let attempt = rustix::net::connect(unix_socket(kind)?, &to_unix(&path.into())?);
    Ok(attempt == Err(Errno::CONNREFUSED))
}

/// Identifies a file, whatever its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    pub(crate) fn of(path: &Path) -> io::Result<FileIdentity> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(FileIdentity { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// The kind of socket that a file is checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Stream,
    Datagram,
}

/// Creates a non-blocking socket, which child processes do not inherit.
#[cfg(not(target_vendor = "apple"))]
fn unix_socket(kind: SocketType) -> io::Result<OwnedFd> {
    use rustix::net::SocketFlags;

    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?)
}

#[cfg(target_vendor = "apple")]
fn unix_socket(kind: SocketType) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::UNIX, kind, None)?;
    set_flags(&socket)?;
    Ok(socket)
}

#[cfg(not(target_vendor = "apple"))]
fn unix_pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::SocketFlags;

    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?)
}

#[cfg(target_vendor = "apple")]
fn unix_pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = rustix::net::SocketFlags::empty();
    let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?;
    set_flags(&one)?;
    set_flags(&other)?;
    Ok((one, other))
}

/// Apple's systems cannot create a socket with these flags.
#[cfg(target_vendor = "apple")]
fn set_flags(socket: &OwnedFd) -> io::Result<()> {
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(socket, true)?;
    Ok(())
}
