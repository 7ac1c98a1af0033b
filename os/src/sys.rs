//! Platform code: the descriptors that a child process inherits, the end of a process, and the
//! standard input.

mod stdio;

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use matou_runtime::IoSource;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

pub(crate) use stdio::{StandardInput, read_if_ready, standard_input};

/// Makes the child process inherit no descriptor but 0, 1 and 2, also those that another library
/// has opened without `O_CLOEXEC`.
pub(crate) fn close_other_descriptors(command: &mut Command) {
    // SAFETY: the closure calls async-signal-safe functions only, and accesses no memory.
    unsafe { command.pre_exec(mark_close_on_exec) };
}

/// Marks all descriptors from 3 on to be closed by `exec`. They stay open until then, because the
/// standard library reports a failure of `exec` through one of them.
fn mark_close_on_exec() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;
        // SAFETY: a system call that accesses no memory.
        let result = unsafe {
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC)
        };
        if result == 0 {
            return Ok(());
        }
        // Before Linux 5.11: one by one.
    }
    // SAFETY: a system call that accesses no memory.
    let max = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    for descriptor in 3..max.clamp(256, 65_536) as libc::c_int {
        // SAFETY: as above; it fails for numbers that are not open.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Returns a source that is readable once the process has ended; `None` if the system has no such
/// descriptors.
pub(crate) fn exit_source(pid: Pid) -> Option<IoSource> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{PidfdFlags, pidfd_open};
        let descriptor = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
        Some(IoSource::from_nonblocking(descriptor))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pid;
        None
    }
}

/// Returns whether a child process has ended, without reaping it.
pub(crate) fn has_exited(pid: Pid) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(rustix::process::waitid(WaitId::Pid(pid), options)?.is_some())
}

/// Sends a signal to a process, or to the process group that it leads.
pub(crate) fn send_signal(pid: Pid, is_group: bool, signal: Signal) -> io::Result<()> {
    match is_group {
        true => rustix::process::kill_process_group(pid, signal)?,
        false => rustix::process::kill_process(pid, signal)?,
    }
    Ok(())
}
