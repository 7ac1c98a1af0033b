//! A process that was started and must be reaped.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::process::{self, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::signal::{self, Signals};
use matou_runtime::{Direction, IoSource, WaitSite, timeout};
use rustix::process::{Pid, Signal};

use crate::sys;

/// A process, shared by its task and the handle of its parent.
pub(super) struct Process {
    pid: Pid,
    /// It leads a process group of its own.
    is_group: bool,
    /// Locked while a signal is sent, so that the process is not reaped in the meantime and its
    /// number given to another one.
    child: Mutex<Handle>,
}

struct Handle {
    child: process::Child,
    is_reaped: bool,
}

impl Process {
    pub(super) fn new(child: process::Child, is_group: bool) -> Process {
        let pid = Pid::from_child(&child);
        Process { pid, is_group, child: Mutex::new(Handle { child, is_reaped: false }) }
    }

    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    fn lock(&self) -> MutexGuard<'_, Handle> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal to the process, or to its group.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let handle = self.lock();
        if handle.is_reaped {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended"));
        }
        sys::send_signal(self.pid, self.is_group, signal)
    }

    /// Kills and reaps the process at once.
    pub(super) fn kill_and_reap(&self) {
        let _ = self.signal(Signal::KILL);
        let _ = self.reap();
    }

    /// Reaps the process, which has ended or was killed.
    fn reap(&self) -> io::Result<ExitStatus> {
        let mut handle = self.lock();
        handle.is_reaped = true;
        handle.child.wait()
    }
}

/// How the end of a process is reported.
pub(super) enum ExitEvents {
    Pidfd(IoSource),
    Signals(Signals),
}

impl ExitEvents {
    /// Watches for the end of `process`.
    pub(super) fn new(process: &Process) -> io::Result<ExitEvents> {
        match sys::exit_source(process.pid) {
            Some(source) => Ok(ExitEvents::Pidfd(source)),
            None => ExitEvents::by_signals(),
        }
    }

    pub(super) fn by_signals() -> io::Result<ExitEvents> {
        Ok(ExitEvents::Signals(signal::stream(signal::Signal::Child)?))
    }
}

/// A process that was not reaped yet. It is killed and reaped when it is dropped.
pub(super) struct Running {
    process: Arc<Process>,
    events: ExitEvents,
    grace: Duration,
    /// The line that spawned the process.
    at: &'static Location<'static>,
    is_reaped: bool,
}

impl Running {
    pub(super) fn new(
        process: Arc<Process>,
        events: ExitEvents,
        grace: Duration,
        at: &'static Location<'static>,
    ) -> Running {
        Running { process, events, grace, at, is_reaped: false }
    }

    /// Waits until the process has ended; it is not reaped.
    fn poll_exited(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let site = WaitSite::new("the end of a process", self.at);
        let pid = self.process.pid;
        match &mut self.events {
            ExitEvents::Pidfd(source) => {
                source.poll(Direction::Read, site, cx, |_| match sys::has_exited(pid)? {
                    true => Ok(()),
                    false => Err(io::ErrorKind::WouldBlock.into()),
                })
            }
            ExitEvents::Signals(signals) => loop {
                if sys::has_exited(pid)? {
                    return Poll::Ready(Ok(()));
                }
                ready!(Pin::new(&mut signals.next()).poll(cx));
            },
        }
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.is_reaped = true;
        self.process.reap()
    }

    /// Asks the process to end, and kills it if it has not ended within the grace period.
    pub(super) async fn terminate(mut self) {
        if self.is_reaped {
            return;
        }
        // Something is left of the run's grace period for the end of a process that was killed.
        let limit = self.grace.min(matou_runtime::grace() * 4 / 5);
        // A signal that cannot be sent leaves the process to the next step.
        // fault: process-not-asked-to-end
        let _ = self.process.signal(Signal::TERM);
        let ended = timeout(limit, poll_fn(|cx| self.poll_exited(cx))).await;
        // The leader of a group may have ended before the others. It is not reaped yet, so the
        // number of the group belongs to it.
        if ended.is_err() || self.process.is_group {
            let _ = self.process.signal(Signal::KILL);
        }
        let _ = poll_fn(|cx| self.poll_exited(cx)).await;
        // If this fails, the process was reaped by other code of the program.
        let _ = self.reap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_reaped {
            // The run's grace period is over, or the task was dropped without its end: there is no
            // time to wait for.
            self.process.kill_and_reap();
        }
        if let ExitEvents::Pidfd(source) = &self.events {
            source.close();
        }
    }
}

/// The task of a process: waits for its end and reaps it.
pub(super) async fn wait_for(mut running: Owned<Running>) -> io::Result<ExitStatus> {
    poll_fn(|cx| match running.get_mut() {
        Ok(mut running) => running.poll_exited(cx),
        Err(error) => Poll::Ready(Err(io::Error::other(error))),
    })
    .await?;
    running.into_inner().map_err(io::Error::other)?.reap()
}

#[cfg(test)]
mod tests {
    use matou_runtime::{RunError, run, try_spawn};

    use super::*;

    /// Starts a process whose end is reported by SIGCHLD, as on systems without a pidfd.
    fn start(script: &str) -> io::Result<Owned<Running>> {
        let events = ExitEvents::by_signals()?;
        let child = process::Command::new("sh").args(["-c", script]).spawn()?;
        let process = Arc::new(Process::new(child, false));
        let running = Running::new(process, events, Duration::from_secs(1), Location::caller());
        Ok(Owned::with_async(running, Running::terminate))
    }

    #[test]
    fn the_end_of_a_process_is_seen_by_its_signal() {
        let result: Result<(), RunError> = run(async {
            let ended = try_spawn(wait_for(start("exit 5")?)).await?;
            assert_eq!(ended.code(), Some(5));
            let endless = try_spawn(wait_for(start("exec sleep 1000")?));
            matou_runtime::yield_now().await;
            assert!(endless.cancel().await.is_none());
            Ok(())
        });
        result.unwrap();
    }
}
