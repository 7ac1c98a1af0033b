//! The addresses of sockets of every kind.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    Ip(SocketAddr),
    Unix(UnixName),
}

/// The address of a Unix socket. In contrast to that of the standard library it can be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnixName {
    Unnamed,
    Path(PathBuf),
    /// A name of Linux that is no file.
    Abstract(Vec<u8>),
}

impl Address {
    /// Returns a number for the trace of a simulated run.
    pub(crate) fn number(&self) -> u64 {
        match self {
            Address::Ip(address) => address.port().into(),
            Address::Unix(_) => 0,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl From<UnixName> for Address {
    fn from(name: UnixName) -> Address {
        Address::Unix(name)
    }
}

impl From<&Path> for UnixName {
    fn from(path: &Path) -> UnixName {
        UnixName::Path(path.to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnixName::Unnamed => f.write_str("(unnamed)"),
            UnixName::Path(path) => path.display().fmt(f),
            UnixName::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}
