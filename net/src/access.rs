//! The ownership check in front of every socket operation.

use std::io;
use std::panic::Location;
use std::task::Poll;

use matou_ownership::{AccessError, ResourceHandle, adopt, check, check_at, in_task};

/// How an operation borrows its socket, which decides the ownership check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessMode {
    /// By value or by `&mut`. No other task can use the socket at the same time, so the current
    /// task becomes its owner.
    Exclusive,
    /// Through a shared reference. Only the owner may use the socket.
    Shared,
}

impl AccessMode {
    /// Checks an operation that completes immediately.
    #[inline]
    #[track_caller]
    pub(crate) fn check(self, handle: &impl ResourceHandle) -> io::Result<()> {
        self.adopt_or_check(handle, Location::caller()).map_err(to_io_error)
    }

    /// Checks an operation that may wait.
    ///
    /// Returns `Pending` forever in a task that is not the owner: the violation is recorded, and
    /// the runtime does not resume the task. `at` is the line that started the operation.
    #[inline]
    pub(crate) fn poll_check(
        self,
        handle: &impl ResourceHandle,
        at: &'static Location<'static>,
    ) -> Poll<io::Result<()>> {
        if handle.ticket().is_owned_by_current() {
            return Poll::Ready(Ok(()));
        }
        self.poll_check_slow(handle, at)
    }

    #[cold]
    fn poll_check_slow(
        self,
        handle: &impl ResourceHandle,
        at: &'static Location<'static>,
    ) -> Poll<io::Result<()>> {
        match self.adopt_or_check(handle, at) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(AccessError::NotOwner(_)) if in_task() => Poll::Pending,
            Err(error) => Poll::Ready(Err(to_io_error(error))),
        }
    }

    /// Records a violation when the future of an operation is created.
    ///
    /// The result is ignored, because [`poll_check`](AccessMode::poll_check) checks again.
    #[inline]
    #[track_caller]
    pub(crate) fn check_caller(self, handle: &impl ResourceHandle) {
        if self == AccessMode::Shared {
            let _ = check(handle);
        }
    }

    #[inline]
    fn adopt_or_check(
        self,
        handle: &impl ResourceHandle,
        at: &'static Location<'static>,
    ) -> Result<(), AccessError> {
        match self {
            AccessMode::Exclusive => adopt(handle),
            AccessMode::Shared => check_at(handle, at),
        }
    }
}

#[cold]
fn to_io_error(error: AccessError) -> io::Error {
    let kind = match error {
        AccessError::NotOwner(_) => io::ErrorKind::PermissionDenied,
        AccessError::Finalized(_) => io::ErrorKind::NotConnected,
    };
    io::Error::new(kind, error)
}
