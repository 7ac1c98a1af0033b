//! The names of Unix sockets of a simulated run, which are no files, and their connections.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, Weak};

use super::datagram::DatagramSocket;
use super::locks::lock;
use super::network::Network;
use super::{Endpoint, Listener};
use crate::address::{Address, UnixName};
use crate::listen_options::ListenOptions;

/// The names that are in use. As in the system, a path stays in use when its socket is closed,
/// until it is removed.
#[derive(Default)]
pub(super) struct UnixNames(Mutex<BTreeMap<UnixName, Entry>>);

#[derive(Clone)]
pub(super) enum Entry {
    Listener(Weak<Listener>),
    Datagram(Weak<DatagramSocket>),
}

impl Entry {
    fn is_open(&self) -> bool {
        match self {
            Entry::Listener(listener) => listener.upgrade().is_some_and(|it| !it.is_closed()),
            Entry::Datagram(socket) => socket.upgrade().is_some_and(|it| it.is_open()),
        }
    }
}

impl UnixNames {
    pub(super) fn add(&self, name: UnixName, entry: Entry) -> io::Result<()> {
        let mut names = lock(&self.0);
        if names.contains_key(&name) {
            return Err(ErrorKind::AddrInUse.into());
        }
        names.insert(name, entry);
        Ok(())
    }

    /// The socket of this name is closed.
    pub(super) fn close(&self, name: &UnixName) {
        if let UnixName::Abstract(_) = name {
            self.remove(name);
        }
    }

    pub(super) fn remove(&self, name: &UnixName) {
        lock(&self.0).remove(name);
    }

    pub(super) fn is_stale(&self, name: &UnixName) -> bool {
        lock(&self.0).get(name).is_some_and(|entry| !entry.is_open())
    }

    fn find(&self, name: &UnixName) -> io::Result<Entry> {
        let missing = match name {
            UnixName::Path(_) => ErrorKind::NotFound,
            UnixName::Abstract(_) | UnixName::Unnamed => ErrorKind::ConnectionRefused,
        };
        lock(&self.0).get(name).cloned().ok_or_else(|| missing.into())
    }

    /// Returns the listener of this name.
    fn listener(&self, name: &UnixName) -> io::Result<Arc<Listener>> {
        let Entry::Listener(listener) = self.find(name)? else {
            return Err(ErrorKind::ConnectionRefused.into());
        };
        let open = listener.upgrade().filter(|listener| !listener.is_closed());
        open.ok_or_else(|| ErrorKind::ConnectionRefused.into())
    }

    /// Returns the datagram socket of this name.
    pub(super) fn datagram(&self, name: &UnixName) -> io::Result<Arc<DatagramSocket>> {
        let Entry::Datagram(socket) = self.find(name)? else {
            return Err(ErrorKind::ConnectionRefused.into());
        };
        let open = socket.upgrade().filter(|socket| socket.is_open());
        open.ok_or_else(|| ErrorKind::ConnectionRefused.into())
    }
}

impl Network {
    pub(crate) fn listen_unix(
        self: &Arc<Self>,
        name: &UnixName,
        backlog: u32,
    ) -> io::Result<Arc<Listener>> {
        let options = ListenOptions::new().backlog(backlog);
        let listener = Arc::new(Listener::new(self, name.clone().into(), &options));
        self.unix.add(name.clone(), Entry::Listener(Arc::downgrade(&listener)))?;
        Ok(listener)
    }

    /// Connects to a listener at once; `WouldBlock` if its backlog is full.
    pub(crate) fn connect_unix(self: &Arc<Self>, name: &UnixName) -> io::Result<Endpoint> {
        let listener = self.unix.listener(name)?;
        if listener.is_full() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let client = Address::Unix(UnixName::Unnamed);
        let (one, other) = Endpoint::pair(self, [client.clone(), name.clone().into()]);
        listener.enqueue(other, client);
        Ok(one)
    }

    pub(crate) fn unix_pair(self: &Arc<Self>) -> (Endpoint, Endpoint) {
        let unnamed = || Address::Unix(UnixName::Unnamed);
        Endpoint::pair(self, [unnamed(), unnamed()])
    }

    pub(crate) fn is_stale_name(&self, name: &UnixName) -> bool {
        self.unix.is_stale(name)
    }

    pub(crate) fn remove_name(&self, name: &UnixName) {
        self.unix.remove(name);
    }
}
