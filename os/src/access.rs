//! The ownership check in front of the operations of this crate.

use std::io;

use matou_ownership::{AccessError, ResourceHandle, adopt};

/// Makes the current task the owner of a resource that it uses by `&mut`.
#[inline]
pub(crate) fn take_ownership(handle: &impl ResourceHandle) -> io::Result<()> {
    adopt(handle).map_err(to_io_error)
}

#[cold]
fn to_io_error(error: AccessError) -> io::Error {
    let kind = match error {
        AccessError::NotOwner(_) => io::ErrorKind::PermissionDenied,
        AccessError::Finalized(_) => io::ErrorKind::NotConnected,
    };
    io::Error::new(kind, error)
}
