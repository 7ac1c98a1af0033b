//! Starting a process.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::process;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::{Task, test};

use super::child::Child;
use super::pipe::{ChildStderr, ChildStdin, ChildStdout};
use super::running::{ExitEvents, Process, Running, wait_for};
use crate::fs::FsFuture;

/// The future of [`Command::spawn`](super::Command::spawn).
#[must_use = "futures do nothing unless polled"]
pub struct Spawn {
    /// The job that starts the process.
    started: FsFuture<Started>,
    /// The task that waits for the process; `None` after the end.
    task: Option<Task>,
    grace: Duration,
    at: &'static Location<'static>,
}

impl Spawn {
    #[track_caller]
    pub(super) fn new(command: super::SharedCommand, is_group: bool, grace: Duration) -> Spawn {
        let name = command.program();
        let job = Task::new().name(format!("start of {name}"));
        let task = Some(Task::new().name(format!("process {name}")));
        let started = FsFuture::of(job, move || {
            let child = command.lock().spawn()?;
            Ok(Started::new(child, is_group))
        });
        Spawn { started, task, grace, at: Location::caller() }
    }
}

impl Future for Spawn {
    type Output = io::Result<Child>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if test::simulation().is_some() {
            let text = "there are no child processes in a simulated run";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::Unsupported, text)));
        }
        let started = ready!(Pin::new(&mut self.started).poll(cx))?;
        let task = self.task.take().expect("the job is ready once");
        Poll::Ready(started.watch(task, self.grace, self.at))
    }
}

/// A process that no task waits for yet. It is killed and reaped when it is dropped.
struct Started {
    /// `None` once a task waits for it.
    process: Option<Arc<Process>>,
    stdin: Option<process::ChildStdin>,
    stdout: Option<process::ChildStdout>,
    stderr: Option<process::ChildStderr>,
}

impl Started {
    fn new(mut child: process::Child, is_group: bool) -> Started {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Some(Arc::new(Process::new(child, is_group)));
        Started { process, stdin, stdout, stderr }
    }

    /// Spawns the task that waits for the process.
    fn watch(
        mut self,
        task: Task,
        grace: Duration,
        at: &'static Location<'static>,
    ) -> io::Result<Child> {
        let process = Arc::clone(self.process.as_ref().expect("no task waits for it yet"));
        let events = ExitEvents::new(&process)?;
        let running = Running::new(Arc::clone(&process), events, grace, at);
        self.process = None;
        let running = Owned::with_async(running, Running::terminate);
        let promise = task.try_spawn(wait_for(running));
        let mut child = Child::new(process, promise);
        let stdin = self.stdin.take().map(|pipe| ChildStdin::new(pipe.into(), at));
        let stdout = self.stdout.take().map(|pipe| ChildStdout::new(pipe.into(), at));
        let stderr = self.stderr.take().map(|pipe| ChildStderr::new(pipe.into(), at));
        child.stdin = stdin.transpose()?;
        child.stdout = stdout.transpose()?;
        child.stderr = stderr.transpose()?;
        Ok(child)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // The job has started it after its future was dropped.
        // fault: process-without-waiter
        if let Some(process) = &self.process {
            process.kill_and_reap();
        }
    }
}

impl fmt::Debug for Spawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawn(..)")
    }
}
