//! A server in a child process that is killed with its handle, and clients with timeouts.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use matou_echo::open_descriptors;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// Longer than any operation of these tests, unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
    pub(crate) address: SocketAddr,
}

/// The exit status and the output of a process.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) status: ExitStatus,
    pub(crate) out: Vec<String>,
    pub(crate) err: String,
}

pub(crate) fn echo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo"));
    command.args(arguments);
    command
}

impl Server {
    /// Starts the server on a free port.
    #[track_caller]
    pub(crate) fn start(arguments: &[&str]) -> Server {
        let mut command = echo(&["--listen", "127.0.0.1:0"]);
        command.args(arguments);
        Server::spawn(command)
    }

    #[track_caller]
    pub(crate) fn spawn(command: Command) -> Server {
        Server::spawn_with_stderr(command, Stdio::piped())
    }

    #[track_caller]
    pub(crate) fn spawn_with_stderr(mut command: Command, stderr: Stdio) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let mut server = Server { child, lines, address: ([0, 0, 0, 0], 0).into() };
        server.address = server.next_address();
        server
    }

    /// Waits for the next line that contains a listening address.
    #[track_caller]
    pub(crate) fn next_address(&mut self) -> SocketAddr {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => {
                let address = line.strip_prefix("listening on ");
                address.unwrap_or_else(|| panic!("{line}")).parse().unwrap()
            }
            Err(_) => {
                let _ = self.child.kill();
                let mut err = String::new();
                let stderr = self.child.stderr.take();
                let _ = stderr.map(|mut stderr| stderr.read_to_string(&mut err));
                panic!("the server printed no listening address: {err}")
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops the process, and waits until it is stopped. `Signal::CONT` continues it.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        let waited = waitpid(Some(Pid::from_child(&self.child)), WaitOptions::UNTRACED);
        let (_, status) = waited.unwrap().expect("the process is a child");
        assert!(status.stopped(), "{status:?}");
    }

    /// Waits until the process exits.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Exit {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the process does not exit");
            thread::sleep(Duration::from_millis(2));
        };
        let mut err = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut err).unwrap();
        }
        let out = self.lines.iter().collect();
        Exit { status, out, err }
    }

    #[track_caller]
    pub(crate) fn interrupt(self) -> Exit {
        self.signal(Signal::INT);
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Has no effect if the process has exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Exit {
    /// Asserts that the server exited successfully and left nothing behind. Returns the numbers of
    /// connections and bytes that it served.
    #[track_caller]
    pub(crate) fn served(&self) -> (u64, u64) {
        assert!(self.status.success(), "{self:?}");
        let line = self.out.last().unwrap_or_else(|| panic!("{self:?}"));
        // The number of descriptors is not known on every system.
        let descriptors = if open_descriptors().is_some() { "0" } else { "unknown" };
        let rest = format!(" bytes, tasks left 0, descriptors left {descriptors}");
        let (connections, bytes) = line
            .strip_prefix("served ")
            .and_then(|line| line.strip_suffix(&rest))
            .and_then(|numbers| numbers.split_once(" connections, "))
            .unwrap_or_else(|| panic!("{line}"));
        (connections.parse().unwrap(), bytes.parse().unwrap())
    }

    /// Asserts that the server exited with status 1 and one line, and returns the line.
    #[track_caller]
    pub(crate) fn startup_error(&self) -> &str {
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        assert_eq!(self.out, [""; 0], "{self:?}");
        let line = self.err.strip_suffix('\n').unwrap_or_default();
        assert!(!line.contains('\n'), "{self:?}");
        let message = line.strip_prefix("error: ");
        message.unwrap_or_else(|| panic!("{self:?}"))
    }

    pub(crate) fn was_killed_by(&self, signal: Signal) -> bool {
        self.status.signal() == Some(signal.as_raw())
    }
}

/// Runs a command until it exits.
pub(crate) fn run(command: &mut Command) -> Exit {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    Exit {
        status: output.status,
        out: out.lines().map(str::to_owned).collect(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends bytes, and compares them with those that it receives.
pub(crate) fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    assert!(back == bytes, "{} bytes came back changed", bytes.len());
    Ok(())
}

/// Waits until the server closes or resets the connection. Returns `false` on another error.
#[track_caller]
pub(crate) fn is_disconnected(stream: &mut TcpStream) -> bool {
    let mut buf = [0; 65536];
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// Shuts the write direction down, and waits until the server closes the connection.
pub(crate) fn finish(mut stream: TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

/// Returns bytes that depend on their position and on `seed`.
pub(crate) fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 31 + i / 251 + seed * 7) % 256) as u8).collect()
}
