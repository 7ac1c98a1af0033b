use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use matou_runtime::Promise;
use matou_runtime::futures::Cancel;
use matou_runtime::signal::Signal;

use super::pipe::{ChildStderr, ChildStdin, ChildStdout};
use super::running::Process;
use crate::outcome::into_result;

/// A child process; made by [`Command::spawn`](super::Command::spawn).
///
/// Dropping it gives the process up, as dropping a [`Promise`] does: the process is cancelled, and
/// the parent's end waits for its end.
#[must_use = "dropping it cancels the process"]
pub struct Child {
    /// The standard input of the process, if it is a pipe.
    pub stdin: Option<ChildStdin>,
    /// The standard output of the process, if it is a pipe.
    pub stdout: Option<ChildStdout>,
    /// The standard error of the process, if it is a pipe.
    pub stderr: Option<ChildStderr>,
    process: Arc<Process>,
    state: State,
}

enum State {
    Running(Promise<ExitStatus, io::Error>),
    Ended(ExitStatus),
    /// Waiting has failed.
    Failed,
}

impl Child {
    pub(super) fn new(process: Arc<Process>, promise: Promise<ExitStatus, io::Error>) -> Child {
        let state = State::Running(promise);
        Child { stdin: None, stdout: None, stderr: None, process, state }
    }

    /// Returns the number of the process. After its end it may belong to another process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Closes the standard input of the process, and waits for its end.
    ///
    /// # Errors
    ///
    /// If other code of the program has reaped the process.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; `wait` can be called again, also after the end.
    pub fn wait(&mut self) -> Wait<'_> {
        self.stdin = None;
        Wait { child: self }
    }

    /// Cancels the process and waits until it has ended: SIGTERM, then, after the [grace
    /// period](super::Command::grace), SIGKILL.
    ///
    /// The future returns `None` if the process was cut off, and its outcome if it had ended
    /// before. See [`Promise::cancel`].
    ///
    /// # Panics
    ///
    /// If [`wait`](Child::wait) has returned the status.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_os::process::Command;
    /// use matou_os::runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let child = Command::new("sleep").arg("1000").spawn().await?;
    ///     assert!(child.cancel().await.is_none());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn cancel(self) -> Cancel<ExitStatus, io::Error> {
        match self.state {
            State::Running(promise) => promise.cancel(),
            State::Ended(_) | State::Failed => panic!("a process is cancelled after its end"),
        }
    }

    /// Sends a signal to the process, or to its group if it has one of its own.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](io::ErrorKind::NotFound) if the process has ended.
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) if the system does not have the signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "there is no such signal");
        let number = rustix::process::Signal::from_named_raw(signal.number());
        self.process.signal(number.ok_or_else(invalid)?)
    }

    /// Sends SIGKILL to the process, or to its group if it has one of its own.
    ///
    /// # Errors
    ///
    /// As [`signal`](Child::signal).
    pub fn kill(&self) -> io::Result<()> {
        self.process.signal(rustix::process::Signal::KILL)
    }
}

/// The future of [`Child::wait`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Wait<'a> {
    child: &'a mut Child,
}

impl Future for Wait<'_> {
    type Output = io::Result<ExitStatus>;

    #[track_caller]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let state = &mut self.get_mut().child.state;
        let promise = match state {
            State::Running(promise) => promise,
            State::Ended(status) => return Poll::Ready(Ok(*status)),
            State::Failed => return Poll::Ready(Err(io::Error::other("the process was lost"))),
        };
        let result = into_result(ready!(Pin::new(promise).poll(cx)));
        *state = match &result {
            Ok(status) => State::Ended(*status),
            Err(_) => State::Failed,
        };
        Poll::Ready(result)
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("id", &self.id()).finish_non_exhaustive()
    }
}
