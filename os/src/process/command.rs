use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::panic::Location;
use std::path::Path;
use std::process::{self, Stdio};
use std::sync::Arc;
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::{Task, test};

use super::child::Child;
use super::output::{OutputFuture, StatusFuture};
use super::pipe::{ChildStderr, ChildStdin, ChildStdout};
use super::running::{ExitEvents, Process, Running, wait_for};
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
    command: process::Command,
    grace: Duration,
    output_limit: usize,
    is_group: bool,
}

impl Command {
    /// Creates a command that runs `program`, with the defaults of
    /// [`std::process::Command::new`].
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        let mut command = process::Command::new(program);
        // fault: descriptors-inherited
        sys::close_other_descriptors(&mut command);
        let grace = Duration::from_secs(3);
        Command { command, grace, output_limit: 64 << 20, is_group: false }
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Command {
        self.command.arg(argument);
        self
    }

    /// Adds several arguments.
    pub fn args<I, S>(&mut self, arguments: I) -> &mut Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.command.env(name, value);
        self
    }

    /// Sets several variables of the environment.
    pub fn envs<I, N, V>(&mut self, variables: I) -> &mut Command
    where
        I: IntoIterator<Item = (N, V)>,
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.command.envs(variables);
        self
    }

    /// Removes a variable of the environment.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.command.env_remove(name);
        self
    }

    /// Removes all variables of the environment.
    pub fn env_clear(&mut self) -> &mut Command {
        self.command.env_clear();
        self
    }

    /// Sets the working directory of the process.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Command {
        self.command.current_dir(directory);
        self
    }

    /// Sets the standard input. With [`Stdio::piped`] it is [`Child::stdin`].
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Command {
        self.command.stdin(stdin);
        self
    }

    /// Sets the standard output. With [`Stdio::piped`] it is [`Child::stdout`].
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Command {
        self.command.stdout(stdout);
        self
    }

    /// Sets the standard error. With [`Stdio::piped`] it is [`Child::stderr`].
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Command {
        self.command.stderr(stderr);
        self
    }

    /// Makes the process the leader of a new process group, which it and its descendants form.
    /// Signals, those of a cancellation included, go to all of them. (Ctrl-C at the terminal then
    /// does not reach them.)
    #[doc(alias = "setpgid")]
    pub fn process_group(&mut self) -> &mut Command {
        self.command.process_group(0);
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
    /// The system call that starts a process takes about a millisecond, and the domain waits for
    /// it. A command may be spawned several times.
    ///
    /// # Errors
    ///
    /// - As [`std::process::Command::spawn`].
    /// - [`Unsupported`](io::ErrorKind::Unsupported) in a simulated run.
    ///
    /// # Panics
    ///
    /// Outside a task.
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
    ///     let mut child = sort.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
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
    pub fn spawn(&mut self) -> io::Result<Child> {
        if test::simulation().is_some() {
            let text = "there are no child processes in a simulated run";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let at = Location::caller();
        let name = format!("process {}", self.command.get_program().to_string_lossy());
        let task = Task::new().name(name);
        let mut child = self.command.spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Arc::new(Process::new(child, self.is_group));
        // From here on the process is killed and reaped if something fails.
        let events = match ExitEvents::new(&process) {
            Ok(events) => events,
            Err(error) => {
                process.kill_and_reap();
                return Err(error);
            }
        };
        let running = Running::new(Arc::clone(&process), events, self.grace, at);
        let running = Owned::with_async(running, Running::terminate);
        let promise = task.try_spawn(wait_for(running));
        let mut child = Child::new(process, promise);
        child.stdin = stdin.map(|pipe| ChildStdin::new(pipe.into())).transpose()?;
        child.stdout = stdout.map(|pipe| ChildStdout::new(pipe.into())).transpose()?;
        child.stderr = stderr.map(|pipe| ChildStderr::new(pipe.into())).transpose()?;
        Ok(child)
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
    /// [`FileTooLarge`](io::ErrorKind::FileTooLarge) if the process wrote more than
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
        fmt::Debug::fmt(&self.command, f)
    }
}
