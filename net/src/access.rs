use std::io;
use std::task::Poll;

use matou_ownership::{AccessError, ResourceHandle, adopt, check, in_task};

/// How a socket is used, which decides what its ownership has to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// By value or by `&mut`: whoever does that becomes the owner, since nobody else can.
    Exclusive,
    /// Through a shared reference: only the owner may.
    Shared,
}

impl Access {
    /// Checks an operation that cannot wait.
    #[inline]
    #[track_caller]
    pub(crate) fn verify(self, handle: &impl ResourceHandle) -> io::Result<()> {
        self.ask(handle).map_err(refusal)
    }

    /// Checks an operation that can wait. One that is refused to a task never becomes ready: the
    /// misuse is recorded, and its task is not resumed.
    #[inline]
    pub(crate) fn poll(self, handle: &impl ResourceHandle) -> Poll<io::Result<()>> {
        if handle.ticket().is_owned_by_current() {
            return Poll::Ready(Ok(()));
        }
        self.poll_slow(handle)
    }

    #[cold]
    fn poll_slow(self, handle: &impl ResourceHandle) -> Poll<io::Result<()>> {
        match self.ask(handle) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(AccessError::NotOwner(_)) if in_task() => Poll::Pending,
            Err(misuse) => Poll::Ready(Err(refusal(misuse))),
        }
    }

    /// Records a misuse at the line that begins an operation. The polls of its future, which see
    /// no line of the program, check again and answer.
    #[inline]
    #[track_caller]
    pub(crate) fn begin(self, handle: &impl ResourceHandle) {
        if self == Access::Shared {
            let _ = check(handle);
        }
    }

    #[inline]
    #[track_caller]
    fn ask(self, handle: &impl ResourceHandle) -> Result<(), AccessError> {
        match self {
            Access::Exclusive => adopt(handle),
            Access::Shared => check(handle),
        }
    }
}

#[cold]
fn refusal(misuse: AccessError) -> io::Error {
    let kind = match misuse {
        AccessError::NotOwner(_) => io::ErrorKind::PermissionDenied,
        AccessError::Finalized(_) => io::ErrorKind::NotConnected,
    };
    io::Error::new(kind, misuse)
}
