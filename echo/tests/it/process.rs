//! A server as a child process that never outlives its handle, and clients that wait for a bounded
//! time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes this long unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
    pub(crate) address: SocketAddr,
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
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
    pub(crate) fn spawn(mut command: Command) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let mut server = Server { child, lines, address: ([0, 0, 0, 0], 0).into() };
        server.address = server.next_address();
        server
    }

    /// Waits for the next line that says where it listens.
    #[track_caller]
    pub(crate) fn next_address(&mut self) -> SocketAddr {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => {
                let address = line.strip_prefix("listening on ");
                address.unwrap_or_else(|| panic!("{line}")).parse().unwrap()
            }
            Err(_) => {
                let _ = self.child.kill();
                let mut words = String::new();
                let _ = self.child.stderr.take().unwrap().read_to_string(&mut words);
                panic!("it never says where it listens: {words}")
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

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(2));
        };
        let mut err = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut err).unwrap();
        let out = self.lines.iter().collect();
        Ended { status, out, err }
    }

    #[track_caller]
    pub(crate) fn interrupt(self) -> Ended {
        self.signal(Signal::INT);
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing happens if it is gone already.
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

impl Ended {
    /// Asserts that it ended as it should, and returns how many connections and bytes it served.
    #[track_caller]
    pub(crate) fn served(&self) -> (u64, u64) {
        assert!(self.status.success(), "{self:?}");
        let line = self.out.last().unwrap_or_else(|| panic!("{self:?}"));
        let left = line.strip_suffix(" bytes, tasks left 0, descriptors left 0");
        let left = left.unwrap_or_else(|| panic!("{line}"));
        let (connections, bytes) = left
            .strip_prefix("served ")
            .and_then(|left| left.split_once(" connections, "))
            .unwrap_or_else(|| panic!("{line}"));
        (connections.parse().unwrap(), bytes.parse().unwrap())
    }

    /// Asserts that it refused to work with this status and one line, and returns the line.
    #[track_caller]
    pub(crate) fn refused(&self) -> &str {
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        assert_eq!(self.out, [""; 0], "{self:?}");
        let line = self.err.strip_suffix('\n').unwrap_or_default();
        assert!(!line.contains('\n'), "{self:?}");
        let message = line.strip_prefix("error: ");
        message.unwrap_or_else(|| panic!("{self:?}"))
    }

    pub(crate) fn ended_by(&self, signal: Signal) -> bool {
        self.status.signal() == Some(signal.as_raw())
    }
}

/// Runs a command that is expected to end by itself.
pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    Ended {
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

/// Sends bytes and compares what comes back.
pub(crate) fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    assert!(back == bytes, "{} bytes came back changed", bytes.len());
    Ok(())
}

/// Whether the server has ended the connection, be it in order or not.
#[track_caller]
pub(crate) fn is_cut(stream: &mut TcpStream) -> bool {
    let mut buf = [0; 65536];
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// Ends the direction of writing, and waits until the server has done the same.
pub(crate) fn finish(mut stream: TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

/// Bytes that differ from place to place and from one `seed` to the next.
pub(crate) fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 31 + i / 251 + seed * 7) % 256) as u8).collect()
}
