//! What can be asked of a connection besides its bytes.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use socket2::TcpKeepalive;

use crate::simulated::End;
use crate::socket::{Link, Socket, ip, with};

impl Socket<End> {
    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self.link() {
            Link::System(io) => with(io, |socket| ip(socket.peer_addr()?)),
            Link::Simulated(end) => end.peer_addr(),
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self.link() {
            Link::System(io) => with(io, |socket| socket.shutdown(how)),
            Link::Simulated(end) => end.shutdown(how),
        }
    }

    pub(super) fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match self.link() {
            Link::System(io) => with(io, |socket| socket.set_tcp_nodelay(nodelay)),
            Link::Simulated(end) => end.set_nodelay(nodelay),
        }
    }

    pub(super) fn nodelay(&self) -> io::Result<bool> {
        match self.link() {
            Link::System(io) => with(io, socket2::Socket::tcp_nodelay),
            Link::Simulated(end) => end.nodelay(),
        }
    }

    pub(super) fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        match self.link() {
            Link::System(io) => with(io, |socket| socket.set_linger(linger)),
            Link::Simulated(end) => end.set_linger(linger),
        }
    }

    pub(super) fn linger(&self) -> io::Result<Option<Duration>> {
        match self.link() {
            Link::System(io) => with(io, socket2::Socket::linger),
            Link::Simulated(end) => end.linger(),
        }
    }

    /// Without effect in memory, where no peer vanishes without a word.
    pub(super) fn set_keepalive(&self, silence: Option<Duration>) -> io::Result<()> {
        match self.link() {
            Link::System(io) => with(io, |socket| match silence {
                Some(silence) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence)),
                None => socket.set_keepalive(false),
            }),
            Link::Simulated(_) => Ok(()),
        }
    }
}
