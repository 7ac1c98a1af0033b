//! The creation of Unix sockets, and their files.

use std::io;
use std::sync::Arc;

use super::{Backend, DatagramBackend, ListenerBackend, StreamBackend};
use crate::address::UnixName;
use crate::simulated::{self, Network, network};
use crate::sys::{self, FileIdentity, FileKind};

impl StreamBackend {
    /// Connects at once; `WouldBlock` if the backlog of the listener is full.
    pub(crate) fn connect_unix(name: &UnixName) -> io::Result<StreamBackend> {
        match network() {
            Some(network) => network.connect_unix(name).map(Backend::InMemory),
            None => sys::Stream::connect_unix(name).map(Backend::System),
        }
    }

    pub(crate) fn unix_pair() -> io::Result<(StreamBackend, StreamBackend)> {
        if let Some(network) = network() {
            let (one, other) = network.unix_pair();
            return Ok((Backend::InMemory(one), Backend::InMemory(other)));
        }
        let (one, other) = sys::Stream::unix_pair()?;
        Ok((Backend::System(one), Backend::System(other)))
    }

    pub(crate) fn peer_credentials(&self) -> io::Result<sys::Credentials> {
        match self {
            Backend::System(socket) => socket.peer_credentials(),
            Backend::InMemory(_) => {
                let text = "a simulated run has no processes";
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
        }
    }
}

impl ListenerBackend {
    pub(crate) fn listen_unix(name: &UnixName, backlog: u32) -> io::Result<ListenerBackend> {
        if let Some(network) = network() {
            let listener = network.listen_unix(name, backlog)?;
            return Ok(Backend::InMemory(simulated::ListenerHandle::new(listener)));
        }
        sys::Listener::listen_unix(name, backlog).map(Backend::System)
    }
}

impl DatagramBackend {
    pub(crate) fn bind_unix(name: &UnixName) -> io::Result<DatagramBackend> {
        match network() {
            Some(network) => simulated::Datagram::bind_unix(&network, name).map(Backend::InMemory),
            None => sys::Datagram::bind_unix(name).map(Backend::System),
        }
    }

    pub(crate) fn unbound_unix() -> io::Result<DatagramBackend> {
        match network() {
            Some(network) => Ok(Backend::InMemory(simulated::Datagram::unbound_unix(&network))),
            None => sys::Datagram::unbound_unix().map(Backend::System),
        }
    }

    pub(crate) fn unix_datagram_pair() -> io::Result<(DatagramBackend, DatagramBackend)> {
        if let Some(network) = network() {
            let (one, other) = simulated::Datagram::unix_pair(&network);
            return Ok((Backend::InMemory(one), Backend::InMemory(other)));
        }
        let (one, other) = sys::Datagram::unix_pair()?;
        Ok((Backend::System(one), Backend::System(other)))
    }
}

fn is_stale(name: &UnixName, kind: FileKind) -> io::Result<bool> {
    match (network(), name) {
        (Some(network), name) => Ok(network.is_stale_name(name)),
        (None, UnixName::Path(path)) => sys::is_stale_file(path, kind),
        (None, _) => Ok(false),
    }
}

/// Removes the file of a socket if no process uses the socket any more.
pub(crate) fn remove_stale_file(name: &UnixName, kind: FileKind) -> io::Result<()> {
    // fault: living-socket-file-removed
    if !is_stale(name, kind)? {
        return Ok(());
    }
    match (network(), name) {
        (Some(network), name) => network.remove_name(name),
        (None, UnixName::Path(path)) => std::fs::remove_file(path)?,
        (None, _) => {}
    }
    Ok(())
}

/// Adds to the error that an address is in use whether its file is stale.
pub(crate) fn explain_stale(error: io::Error, name: &UnixName, kind: FileKind) -> io::Error {
    if error.kind() != io::ErrorKind::AddrInUse || !is_stale(name, kind).unwrap_or(false) {
        return error;
    }
    let text = "the address is in use by a stale socket file, which no process uses any more";
    io::Error::new(error.kind(), text)
}

/// The file of a listener that removes it when it is closed.
#[derive(Debug)]
pub(crate) struct SocketFile {
    name: UnixName,
    owner: FileOwner,
}

#[derive(Debug)]
enum FileOwner {
    System(Option<FileIdentity>),
    InMemory(Arc<Network>),
}

impl SocketFile {
    /// Returns the file of a listener that was bound just now.
    pub(crate) fn new(name: UnixName) -> io::Result<SocketFile> {
        let owner = match (network(), &name) {
            (Some(network), _) => FileOwner::InMemory(network),
            (None, UnixName::Path(path)) => FileOwner::System(Some(FileIdentity::of(path)?)),
            (None, _) => FileOwner::System(None),
        };
        Ok(SocketFile { name, owner })
    }

    /// Removes the file, unless another one has replaced it. An error is ignored: the listener is
    /// being closed, perhaps by a drop.
    pub(crate) fn remove(&self) {
        match (&self.owner, &self.name) {
            (FileOwner::InMemory(network), name) => network.remove_name(name),
            (FileOwner::System(Some(identity)), UnixName::Path(path)) => {
                // fault: file-of-another-listener-removed
                if FileIdentity::of(path).is_ok_and(|current| current == *identity) {
                    let _ = std::fs::remove_file(path);
                }
            }
            (FileOwner::System(_), _) => {}
        }
    }
}
