//! The server under test.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use matou_loadgen::process::ChildGuard;
use rustix::process::Signal;

/// How long the server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Lines of standard error that are kept for a report.
const ERROR_LINES_MAX: usize = 20;

/// Bytes kept of a single line of output.
const LINE_BYTES_MAX: u64 = 4_096;

/// A running server. Dropping it shuts it down.
pub(crate) struct Server {
    child: ChildGuard,
    address: SocketAddr,
    stdout: JoinHandle<Vec<String>>,
    stderr: JoinHandle<Vec<String>>,
    signalled_at: Option<Instant>,
    ended: Option<(ExitStatus, Instant)>,
}

/// How a server ended.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) status: ExitStatus,
    /// From the signal to the end.
    pub(crate) took: Duration,
    /// The last line on its standard output.
    pub(crate) last_line: String,
    pub(crate) errors: Vec<String>,
}

impl Server {
    /// Starts the server and waits until it prints the address that it listens on.
    pub(crate) fn start(mut command: Command, grace: Duration) -> Result<Server> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = ChildGuard::start(&mut command)?.with_grace(grace);
        let stdout = child.child().stdout.take().context("the server has no standard output")?;
        let stderr = child.child().stderr.take().context("the server has no standard error")?;
        let (sender, receiver) = mpsc::channel();
        let stdout = thread::spawn(move || last_lines(stdout, 1, Some(&sender)));
        let stderr = thread::spawn(move || last_lines(stderr, ERROR_LINES_MAX, None));
        match receiver.recv_timeout(START_LIMIT) {
            Ok(address) => {
                Ok(Server { child, address, stdout, stderr, signalled_at: None, ended: None })
            }
            Err(_) => {
                // The end of the process closes the pipes.
                drop(child);
                let words = stderr.join().unwrap_or_default();
                bail!("the server did not print `listening on ADDR`{}", quote(&words));
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn was_signalled(&self) -> bool {
        self.signalled_at.is_some()
    }

    /// Sends the signal to shut down.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        ensure!(!self.has_ended()?, "the server ended before the signal");
        self.signalled_at = Some(Instant::now());
        self.child.signal(signal)
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        if self.ended.is_none() {
            let status = self.child.child().try_wait()?;
            self.ended = status.map(|status| (status, Instant::now()));
        }
        Ok(self.ended.is_some())
    }

    /// Waits for the end of a server that was signalled, and kills it after `limit`.
    pub(crate) fn wait(mut self, limit: Duration) -> Result<Ending> {
        let signalled_at = self.signalled_at.context("the server was not signalled")?;
        let mut was_killed = false;
        while !self.has_ended()? {
            if !was_killed && signalled_at.elapsed() >= limit {
                was_killed = true;
                self.child.signal(Signal::KILL)?;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let (status, ended_at) = self.ended.expect("the loop ends once it has ended");
        let mut errors = self.stderr.join().unwrap_or_default();
        if was_killed {
            errors.push(format!("killed, since it did not end within {limit:?}"));
        }
        Ok(Ending {
            status,
            took: ended_at - signalled_at,
            last_line: self.stdout.join().unwrap_or_default().pop().unwrap_or_default(),
            errors,
        })
    }

    /// Kills the server, and returns its last lines of standard error for a report.
    pub(crate) fn kill(self) -> String {
        drop(self.child.with_grace(Duration::ZERO));
        quote(&self.stderr.join().unwrap_or_default())
    }
}

/// The last line that `echo` prints: the numbers of connections and bytes served, and of tasks and
/// descriptors that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) connections: u64,
    pub(crate) bytes: u64,
    pub(crate) tasks_left: u64,
    pub(crate) descriptors_left: u64,
}

impl Summary {
    /// Reads `served N connections, M bytes, tasks left 0, descriptors left 0`.
    pub(crate) fn parse(line: &str) -> Option<Summary> {
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

/// Indents lines under a message.
pub(crate) fn quote(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n    | {line}")).collect()
}

/// Reads a pipe to its end, so that the server never blocks on a full one. Returns the last `count`
/// lines, and sends the first address that is announced.
fn last_lines(
    pipe: impl Read,
    count: usize,
    announced: Option<&mpsc::Sender<SocketAddr>>,
) -> Vec<String> {
    let mut pipe = BufReader::new(pipe);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        match pipe.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return lines,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_string();
        let address = line.strip_prefix("listening on ").and_then(|it| it.parse().ok());
        if let (Some(announced), Some(address)) = (announced, address) {
            // The receiver reads only the first one.
            let _ = announced.send(address);
        }
        lines.push(line);
        if lines.len() > count {
            lines.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> Result<Server> {
        // A shell cannot trap a signal that it inherits as ignored, which is the case if a shell
        // started these tests in the background. A handled signal is reset in the child.
        let _ = matou_loadgen::catch_interrupts();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Server::start(command, Duration::ZERO)
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
    fn a_server_announces_its_address_and_its_last_line_is_kept() {
        let script = "trap 'echo bye; exit 0' INT; echo listening on 127.0.0.1:9; echo more;
            while :; do sleep 0.01; done";
        let mut server = start(script).expect("it starts");
        assert_eq!(server.address().port(), 9);
        server.signal(Signal::INT).expect("it runs");
        let ending = server.wait(Duration::from_secs(10)).expect("it ends");
        assert!(ending.status.success());
        assert_eq!(ending.last_line, "bye");
    }

    #[test]
    fn a_server_that_does_not_listen_is_an_error_with_its_standard_error() {
        let error = start("echo port in use >&2; exit 3").err().expect("it fails");
        assert!(error.to_string().contains("| port in use"), "{error}");
    }

    #[test]
    fn a_server_that_does_not_end_is_killed() {
        let script = "trap '' INT; echo listening on 127.0.0.1:9; exec sleep 1000";
        let mut server = start(script).expect("it starts");
        let pid = server.id();
        server.signal(Signal::INT).expect("it runs");
        let ending = server.wait(Duration::from_millis(50)).expect("it can be killed");
        assert!(!ending.status.success());
        assert!(ending.errors[0].contains("did not end within"), "{:?}", ending.errors);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
