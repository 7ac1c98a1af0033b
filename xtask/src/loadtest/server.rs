//! The server under test, as a child process that never outlives its handle.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::process::{self, Sample};

/// How long the server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Lines of standard error that are kept for a report.
const ERROR_LINES_MAX: usize = 20;

/// Bytes kept of a single line of output.
const LINE_BYTES_MAX: usize = 4_096;

/// A running server.
pub(super) struct Server {
    child: Kept,
    address: SocketAddr,
    output: JoinHandle<String>,
    errors: JoinHandle<VecDeque<String>>,
    told_at: Option<Instant>,
    ended: Option<(ExitStatus, Instant)>,
}

/// How a server ended.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) status: ExitStatus,
    /// From the signal to the end.
    pub(super) took: Duration,
    /// The last line on its standard output.
    pub(super) last_line: String,
    pub(super) errors: Vec<String>,
}

impl Server {
    /// Starts the server and waits until it says on which address it listens.
    pub(super) fn start(mut command: Command) -> Result<Server> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // In a group of its own, so that Ctrl-C reaches this program alone and the order of the
        // shutdown stays the one that is tested.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("failed to start {command:?}"))?;
        let mut child = Kept(child);
        let output = child.0.stdout.take().context("the server has no standard output")?;
        let errors = child.0.stderr.take().context("the server has no standard error")?;
        let (sender, receiver) = mpsc::channel();
        let output = thread::spawn(move || keep_last_line(output, &sender));
        let errors = thread::spawn(move || keep_last_lines(errors));
        match receiver.recv_timeout(START_LIMIT) {
            Ok(address) => {
                Ok(Server { child, address, output, errors, told_at: None, ended: None })
            }
            Err(_) => {
                // Its end closes the pipe, on which the reader of its last words waits.
                drop(child);
                let words = errors.join().unwrap_or_default();
                bail!("the server did not say `listening on ADDR`{}", quote(words.iter()));
            }
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    pub(super) fn sample(&self) -> Result<Sample> {
        process::sample(self.pid())
    }

    /// Whether the server was told to end.
    pub(super) fn is_told(&self) -> bool {
        self.told_at.is_some()
    }

    /// Sends SIGINT.
    pub(super) fn interrupt(&mut self) -> Result<()> {
        ensure!(!self.has_ended()?, "the server ended before it was told to");
        self.told_at = Some(Instant::now());
        kill_process(Pid::from_child(&self.child.0), Signal::INT)
            .context("failed to send SIGINT to the server")
    }

    pub(super) fn has_ended(&mut self) -> Result<bool> {
        if self.ended.is_none() {
            self.ended = self.child.0.try_wait()?.map(|status| (status, Instant::now()));
        }
        Ok(self.ended.is_some())
    }

    /// Waits for the end of a server that was told to end.
    pub(super) fn wait(mut self, limit: Duration, interrupted: &AtomicBool) -> Result<Ending> {
        let told_at = self.told_at.context("the server was not told to end")?;
        let deadline = Instant::now() + limit;
        while !self.has_ended()? {
            ensure!(!interrupted.load(SeqCst), "interrupted");
            if Instant::now() >= deadline {
                bail!("the server did not end within {limit:?}{}", self.last_words());
            }
            thread::sleep(Duration::from_millis(5));
        }
        let (status, ended_at) = self.ended.expect("the loop ends when it has ended");
        Ok(Ending {
            status,
            took: ended_at - told_at,
            last_line: self.output.join().unwrap_or_default(),
            errors: self.errors.join().unwrap_or_default().into(),
        })
    }

    /// Ends the server the hard way and returns its last words, for a report.
    pub(super) fn last_words(self) -> String {
        drop(self.child);
        quote(self.errors.join().unwrap_or_default().iter())
    }
}

/// A child process that is killed, by its own id, when its handle is dropped.
pub(super) struct Kept(pub(super) Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // Both fail only for a child that is already gone. `kill` does nothing after a `wait`, so
        // that it cannot hit a stranger with the same number.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The closing line of `echo`: what it served, and what it left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) connections: u64,
    pub(super) bytes: u64,
    pub(super) tasks_left: u64,
    pub(super) descriptors_left: u64,
}

impl Summary {
    /// Reads `served N connections, M bytes, tasks left 0, descriptors left 0`.
    pub(super) fn parse(line: &str) -> Option<Summary> {
        let rest = line.trim().strip_prefix("served ")?;
        let mut parts = rest.split(", ");
        let summary = Summary {
            connections: parts.next()?.strip_suffix(" connections")?.parse().ok()?,
            bytes: parts.next()?.strip_suffix(" bytes")?.parse().ok()?,
            tasks_left: parts.next()?.strip_prefix("tasks left ")?.parse().ok()?,
            descriptors_left: parts.next()?.strip_prefix("descriptors left ")?.parse().ok()?,
        };
        parts.next().is_none().then_some(summary)
    }
}

/// Indents lines under a message, or returns nothing if there are none.
pub(super) fn quote<'a>(lines: impl Iterator<Item = &'a String>) -> String {
    lines.map(|line| format!("\n    | {line}")).collect()
}

fn keep_last_line(output: impl Read, listening: &mpsc::Sender<SocketAddr>) -> String {
    let mut last = String::new();
    for_each_line(output, |line| {
        if let Some(address) = line.strip_prefix("listening on ").and_then(|a| a.parse().ok()) {
            // Only the first one is waited for.
            let _ = listening.send(address);
        }
        last = line;
    });
    last
}

fn keep_last_lines(errors: impl Read) -> VecDeque<String> {
    let mut lines = VecDeque::new();
    for_each_line(errors, |line| {
        lines.push_back(line);
        if lines.len() > ERROR_LINES_MAX {
            lines.pop_front();
        }
    });
    lines
}

/// Reads lines to the end of the pipe, so that the server never waits on a full one.
fn for_each_line(pipe: impl Read, mut each: impl FnMut(String)) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match pipe.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => each(String::from_utf8_lossy(&line).trim_end().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        // A shell cannot trap a signal that it inherits as ignored, which is how the tests
        // themselves are started by a shell in the background. A handled one is not inherited.
        super::super::watch_signals().expect("signals can be handled");
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_summary_is_read_as_echo_prints_it() {
        let line = "served 12 connections, 768 bytes, tasks left 0, descriptors left 1";
        let summary = Summary { connections: 12, bytes: 768, tasks_left: 0, descriptors_left: 1 };
        assert_eq!(Summary::parse(line), Some(summary));
        assert_eq!(Summary::parse("served 12 connections, 768 bytes"), None);
        assert_eq!(Summary::parse(&format!("{line}, and more")), None);
    }

    #[test]
    fn a_server_says_where_it_listens_and_its_last_line_is_kept() {
        let script = "trap 'echo bye; exit 0' INT; echo listening on 127.0.0.1:9; echo more;
            while :; do sleep 0.01; done";
        let mut server = Server::start(shell(script)).expect("it starts");
        assert_eq!(server.address().port(), 9);
        server.interrupt().expect("it lives");
        let ending =
            server.wait(Duration::from_secs(10), &AtomicBool::new(false)).expect("it ends");
        assert!(ending.status.success());
        assert_eq!(ending.last_line, "bye");
    }

    #[test]
    fn a_server_that_does_not_listen_is_an_error_with_its_own_words() {
        let error = Server::start(shell("echo port in use >&2; exit 3")).err().expect("it fails");
        assert!(error.to_string().contains("| port in use"), "{error}");
    }

    #[test]
    fn a_server_that_does_not_end_is_an_error_and_is_gone_afterwards() {
        let script = "trap '' INT; echo listening on 127.0.0.1:9; exec sleep 1000";
        let mut server = Server::start(shell(script)).expect("it starts");
        let pid = server.pid();
        server.interrupt().expect("it lives");
        let outcome = server.wait(Duration::from_millis(50), &AtomicBool::new(false));
        assert!(outcome.expect_err("it stays").to_string().contains("did not end within"));
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
