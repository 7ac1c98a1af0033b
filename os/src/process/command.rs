use std::ffi::OsStr;
use std::fmt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::output::{OutputFuture, StatusFuture};
use super::spawn::Spawn;
use crate::sys;

/// A process to start, as [`std::process::Command`].
///
/// # Examples
///
/// ```
/// use matou_os::process::Command;
/// use matou_os::runtime::{RunError, run};
///
/// # fn main() -> Result<(), RunError> {
/// run(async {
///     let output = Command::new("echo").arg("hello").output().await?;
///     assert!(output.status.success());
///     assert_eq!(output.stdout, b"hello\n");
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias = "subprocess")]
#[doc(alias = "popen")]
pub struct Command {
    command: SharedCommand,
    grace: Duration,
    output_limit: usize,
    is_group: bool,
}

/// A command, shared with the job that starts a process by it.
#[derive(Clone)]
pub(super) struct SharedCommand(Arc<Mutex<process::Command>>);

impl SharedCommand {
    pub(super) fn lock(&self) -> MutexGuard<'_, process::Command> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn program(&self) -> String {
        self.lock().get_program().to_string_lossy().into_owned()
    }
}

impl Command {
    /// Creates a command that runs `program`, with the defaults of
    /// [`std::process::Command::new`].
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        let mut command = process::Command::new(program);
        // fault: descriptors-inherited
        sys::close_other_descriptors(&mut command);
        let command = SharedCommand(Arc::new(Mutex::new(command)));
        let grace = Duration::from_secs(3);
        Command { command, grace, output_limit: 64 << 20, is_group: false }
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Command {
        self.command.lock().arg(argument);
        self
    }

    /// Adds several arguments.
    pub fn args<I, S>(&mut self, arguments: I) -> &mut Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command.lock().args(arguments);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.command.lock().env(name, value);
        self
    }

    /// Sets several variables of the environment.
    pub fn envs<I, N, V>(&mut self, variables: I) -> &mut Command
    where
        I: IntoIterator<Item = (N, V)>,
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.command.lock().envs(variables);
        self
    }

    /// Removes a variable of the environment.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.command.lock().env_remove(name);
        self
    }

    /// Removes all variables of the environment.
    pub fn env_clear(&mut self) -> &mut Command {
        self.command.lock().env_clear();
        self
    }

    /// Sets the working directory of the process.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Command {
        self.command.lock().current_dir(directory);
        self
    }

    /// Sets the standard input. With [`Stdio::piped`] it is [`Child::stdin`](super::Child::stdin).
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Command {
        self.command.lock().stdin(stdin);
        self
    }

    /// Sets the standard output. With [`Stdio::piped`] it is
    /// [`Child::stdout`](super::Child::stdout).
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Command {
        self.command.lock().stdout(stdout);
        self
    }

    /// Sets the standard error. With [`Stdio::piped`] it is
    /// [`Child::stderr`](super::Child::stderr).
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Command {
        self.command.lock().stderr(stderr);
        self
    }

    /// Makes the process the leader of a new process group, which it and its descendants form.
    /// Signals, those of a cancellation included, go to all of them. (Ctrl-C at the terminal then
    /// does not reach them.)
    #[doc(alias = "setpgid")]
    pub fn process_group(&mut self) -> &mut Command {
        self.command.lock().process_group(0);
        self.is_group = true;
        self
    }

    /// Sets how long a process that is cancelled has to end after SIGTERM, before it is killed.
    /// Default: 3 seconds; at most four fifths of
    /// [`Builder::grace`](matou_runtime::Builder::grace). Zero kills it at once.
    #[doc(alias = "kill_on_drop")]
    pub fn grace(&mut self, grace: Duration) -> &mut Command {
        self.grace = grace;
        self
    }

    /// Sets the most bytes that [`output`](Command::output) accepts, of the standard output and of
    /// the standard error each. Default: 64 MiB.
    pub fn output_limit(&mut self, bytes: usize) -> &mut Command {
        self.output_limit = bytes;
        self
    }

    /// Starts the process, and spawns a child of the current task that waits for it.
    ///
    /// A [blocking](matou_runtime::blocking()) job starts it, so no domain waits for the system
    /// calls, which take about a millisecond. A command may be spawned several times.
    ///
    /// # Errors
    ///
    /// - As [`std::process::Command::spawn`].
    /// - [`Unsupported`](std::io::ErrorKind::Unsupported) in a simulated run.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no process is left: one that has started is killed.
    ///
    /// # Panics
    ///
    /// If the future is polled outside a task.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{AsyncReadExt, AsyncWriteExt};
    /// use matou_os::process::{Command, Stdio};
    /// use matou_os::runtime::{RunError, run};
    ///
    /// # fn main() -> Result<(), RunError> {
    /// run(async {
    ///     let mut sort = Command::new("sort");
    ///     let mut child = sort.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().await?;
    ///     let mut input = child.stdin.take().expect("it is a pipe");
    ///     let mut output = child.stdout.take().expect("it is a pipe");
    ///     input.write_all(b"b\na\n").await?;
    ///     drop(input);
    ///     let mut sorted = String::new();
    ///     output.read_to_string(&mut sorted).await?;
    ///     assert_eq!(sorted, "a\nb\n");
    ///     assert!(child.wait().await?.success());
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn(&mut self) -> Spawn {
        Spawn::new(self.command.clone(), self.is_group, self.grace)
    }

    /// Runs the process to its end, and returns its status. The standard streams are inherited,
    /// unless they were set.
    ///
    /// # Errors
    ///
    /// The future returns the errors of [`spawn`](Command::spawn).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the process.
    #[track_caller]
    pub fn status(&mut self) -> StatusFuture {
        StatusFuture::new(self.spawn())
    }

    /// Runs the process to its end, and returns its status and its output. The standard input is
    /// empty.
    ///
    /// # Errors
    ///
    /// The future returns the errors of [`spawn`](Command::spawn), and
    /// [`FileTooLarge`](std::io::ErrorKind::FileTooLarge) if the process wrote more than
    /// [`output_limit`](Command::output_limit), in which case it was cancelled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the process.
    #[doc(alias = "capture")]
    #[track_caller]
    pub fn output(&mut self) -> OutputFuture {
        self.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        OutputFuture::new(self.spawn(), self.output_limit)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.command.lock(), f)
    }
}
