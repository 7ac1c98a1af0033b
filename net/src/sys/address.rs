//! Addresses as the system returns and takes them.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};

use crate::address::{Address, UnixName};

pub(super) fn from_any(address: SocketAddrAny) -> io::Result<Address> {
    match address.address_family() {
        AddressFamily::INET | AddressFamily::INET6 => {
            Ok(Address::Ip(SocketAddr::try_from(address)?))
        }
        AddressFamily::UNIX => Ok(Address::Unix(from_unix(address)?)),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither an IP nor a Unix socket")),
    }
}

/// The length of an address without its path: that of an unnamed socket.
const UNNAMED_LEN: usize = 2;
/// The longest path in an address.
const PATH_MAX: usize = if cfg!(target_os = "linux") { 108 } else { 104 };

fn from_unix(address: SocketAddrAny) -> io::Result<UnixName> {
    let len = (address.addr_len() as usize).saturating_sub(UNNAMED_LEN);
    // `rustix` 1.1 takes an unnamed address for an abstract one, and panics at a path so long that
    // the system reports it with a further byte. A peer chooses its address.
    // fault: longest-path-of-a-peer-converted
    if len == 0 || len > PATH_MAX {
        return Ok(UnixName::Unnamed);
    }
    let address = SocketAddrUnix::try_from(address)?;
    #[cfg(target_os = "linux")]
    if let Some(name) = address.abstract_name() {
        return Ok(UnixName::Abstract(name.to_owned()));
    }
    Ok(match address.path_bytes() {
        Some(path) => UnixName::Path(PathBuf::from(OsStr::from_bytes(path))),
        None => UnixName::Unnamed,
    })
}

pub(super) fn to_unix(name: &UnixName) -> io::Result<SocketAddrUnix> {
    match name {
        UnixName::Path(path) => Ok(SocketAddrUnix::new(path)?),
        #[cfg(target_os = "linux")]
        UnixName::Abstract(name) => Ok(SocketAddrUnix::new_abstract_name(name)?),
        #[cfg(not(target_os = "linux"))]
        UnixName::Abstract(_) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has abstract names"))
        }
        UnixName::Unnamed => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "the address is unnamed"))
        }
    }
}

/// Converts an address of the standard library.
pub(crate) fn from_std_unix(address: &std::os::unix::net::SocketAddr) -> UnixName {
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;

        if let Some(name) = address.as_abstract_name() {
            return UnixName::Abstract(name.to_owned());
        }
    }
    address.as_pathname().map_or(UnixName::Unnamed, UnixName::from)
}

/// Converts an address into that of the standard library.
pub(crate) fn to_std_unix(name: &UnixName) -> io::Result<std::os::unix::net::SocketAddr> {
    use std::os::unix::net::SocketAddr;

    match name {
        UnixName::Path(path) => SocketAddr::from_pathname(path),
        #[cfg(target_os = "linux")]
        UnixName::Abstract(name) => {
            <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
        }
        #[cfg(not(target_os = "linux"))]
        UnixName::Abstract(_) => Err(io::ErrorKind::Unsupported.into()),
        // The standard library constructs the unnamed address from an empty path.
        UnixName::Unnamed => SocketAddr::from_pathname(""),
    }
}
