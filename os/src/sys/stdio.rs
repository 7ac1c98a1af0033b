//! The descriptor of the standard input.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};

/// The standard input, by the way in which it can be waited for.
pub(crate) enum StandardInput {
    /// A file on a disk, which no poller can wait for. It has its own position only if no other
    /// process uses the same one.
    File(File),
    /// A pipe or a terminal that was opened again, in non-blocking mode.
    Own(OwnedFd),
    /// A duplicate of descriptor 0, in the mode of the other processes that use it.
    Shared(OwnedFd),
}

/// Duplicates or opens descriptor 0, of whose mode nothing changes.
pub(crate) fn standard_input() -> io::Result<StandardInput> {
    let shared = io::stdin().as_fd().try_clone_to_owned()?;
    match FileType::from_raw_mode(fstat(&shared)?.st_mode) {
        FileType::Fifo | FileType::CharacterDevice => {
            // fault: shared-mode-changed
            if let Some(own) = open_again(&shared) {
                return Ok(StandardInput::Own(own));
            }
            Ok(StandardInput::Shared(shared))
        }
        FileType::Socket => Ok(StandardInput::Shared(shared)),
        _ => Ok(StandardInput::File(shared.into())),
    }
}

/// Opens a pipe or a terminal again, so that it has a mode of its own. `None` if the system cannot,
/// or if it belongs to another user.
#[cfg(target_os = "linux")]
fn open_again(descriptor: &OwnedFd) -> Option<OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).ok()
}

/// On other systems such a path duplicates the descriptor.
#[cfg(not(target_os = "linux"))]
fn open_again(_: &OwnedFd) -> Option<OwnedFd> {
    None
}

/// Reads if there is something to read, or the end. If another process takes it in the same moment,
/// and the descriptor is in blocking mode, the call waits.
pub(crate) fn read_if_ready(descriptor: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    if poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(rustix::io::read(descriptor, buffer)?)
}
