//! The server's start, life and end under faults: early signals, streams that no process reads, a
//! lack of descriptors, process 1, and clients that the end of the shutdown cuts off.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::process::{DEADLINE, Server, echo, exchange, finish, is_disconnected, pattern, run};

/// A server whose standard output says nothing, so that its port is chosen beforehand. It is killed
/// with its handle.
struct Mute {
    child: Child,
    address: SocketAddr,
}

impl Mute {
    fn start(arguments: &[&str], stdout: Stdio) -> Mute {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut command = echo(&["--listen", &address.to_string()]);
        command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
        Mute { child: command.spawn().unwrap(), address }
    }

    fn connect(&self) -> TcpStream {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn terminate(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        wait_for(&mut self.child)
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the process does not exit");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn e11_no_signal_is_lost_however_early_it_comes() {
    for round in 0..100 {
        let signal = if round % 2 == 0 { Signal::TERM } else { Signal::INT };
        let mut command = echo(&["--listen", "127.0.0.1:0", "--domains", "2"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        thread::sleep(Duration::from_micros(60 * round));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = wait_for(&mut child);
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        // Either the signal came before the server handles signals, or the server has stopped.
        let stopped = status.success() && out.contains("served 0 connections");
        assert!(stopped || status.signal() == Some(signal.as_raw()), "{status:?}: {out}");
    }
}

/// Returns the two ends of a pipe that is full: a write waits until the pipe is read or closed.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let size = rustix::pipe::fcntl_getpipe_size(&writer).unwrap();
    let mut file = fs::File::from(writer);
    file.write_all(&vec![b'.'; size]).unwrap();
    (reader, file.into())
}

#[test]
fn e12_a_full_stderr_stops_neither_the_server_nor_its_shutdown() {
    for level in ["info", "debug"] {
        let (_reader, writer) = full_pipe();
        let mut command = echo(&["--listen", "127.0.0.1:0", "--log", level, "--domains", "2"]);
        command.args(["--drain-timeout", "100ms"]);
        let server = Server::spawn_with_stderr(command, writer.into());
        for seed in 0..1500 {
            let mut stream = server.connect();
            exchange(&mut stream, &pattern(seed, 100)).unwrap();
            finish(stream);
        }
        // The shutdown logs that it cancels this client.
        let mut idle = server.connect();
        exchange(&mut idle, b"here").unwrap();
        assert_eq!(server.interrupt().served(), (1501, 150_004));
    }
}

#[test]
fn e12_a_stderr_that_is_read_late_receives_the_lines_and_the_number_of_lost_ones() {
    let (reader, writer) = full_pipe();
    let mut command = echo(&["--listen", "127.0.0.1:0", "--log", "debug", "--domains", "1"]);
    command.args(["--drain-timeout", "1h"]);
    let server = Server::spawn_with_stderr(command, writer.into());
    for _ in 0..1500 {
        finish(server.connect());
    }
    let reading = thread::spawn(move || {
        let mut text = String::new();
        fs::File::from(reader).read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(server.interrupt().served(), (1500, 0));
    let text = reading.join().unwrap();
    assert!(text.contains("info: serving at most"), "{text}");
    assert!(text.contains(" lines were dropped"), "{text}");
    assert!(text.matches("connected from").count() < 1500);
}

#[test]
fn e12_a_closed_or_full_stdout_stops_neither_the_server_nor_its_shutdown() {
    let (reader, closed) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    drop(reader);
    let (_reader, full) = full_pipe();
    for stdout in [closed, full] {
        let server = Mute::start(&["--domains", "2"], stdout.into());
        let mut stream = server.connect();
        exchange(&mut stream, &pattern(1, 10_000)).unwrap();
        finish(stream);
        let status = server.terminate();
        assert!(status.success(), "{status:?}");
    }
}

/// Runs the server as process 1 of a namespace. Returns the process that has created the namespace
/// and the server, or `None` where the system does not permit it.
fn process_one(arguments: &[&str]) -> Option<(Server, Pid)> {
    let unshare = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", program]);
        command
    };
    if !unshare("true").status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no namespaces of processes");
        return None;
    }
    let mut command = unshare(env!("CARGO_BIN_EXE_echo"));
    command.args(["--listen", "127.0.0.1:0"]).args(arguments);
    let server = Server::spawn(command);
    let pid = server.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let echo = children.split_whitespace().next().unwrap().parse().unwrap();
    Some((server, Pid::from_raw(echo).unwrap()))
}

#[test]
fn e13_process_one_stops_at_the_first_signal_and_exits_at_the_second() {
    let Some((server, echo)) = process_one(&[]) else { return };
    kill_process(echo, Signal::TERM).unwrap();
    assert_eq!(server.wait().served(), (0, 0));
    for signal in [Signal::TERM, Signal::INT] {
        let (server, echo) = process_one(&["--drain-timeout", "1h"]).unwrap();
        let mut idle = server.connect();
        exchange(&mut idle, b"here").unwrap();
        kill_process(echo, signal).unwrap();
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(server.address).is_ok() {
            assert!(Instant::now() < deadline, "the first signal is not handled");
        }
        kill_process(echo, signal).unwrap();
        let exit = server.wait();
        assert_eq!(exit.status.code(), Some(128 + signal.as_raw()), "{exit:?}");
    }
}

/// Sends bytes without a pause, and reads slowly. Returns the number of received bytes.
fn flood_and_read_slowly(mut stream: TcpStream) -> u64 {
    let mut writer = stream.try_clone().unwrap();
    thread::spawn(move || while writer.write_all(&[7; 16_384]).is_ok() {});
    let (mut received, mut buf) = (0, [0; 65_536]);
    loop {
        match stream.read(&mut buf) {
            Ok(0) | Err(_) => return received,
            Ok(count) => received += count as u64,
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn e14_a_client_that_is_cut_off_receives_every_byte_that_was_counted() {
    for domains in ["1", "2"] {
        let server = Server::start(&["--domains", domains, "--drain-timeout", "50ms"]);
        let streams: Vec<_> = (0..4).map(|_| server.connect()).collect();
        let readers: Vec<_> = streams
            .into_iter()
            .map(|mut stream| {
                exchange(&mut stream, b"here").unwrap();
                thread::spawn(move || 4 + flood_and_read_slowly(stream))
            })
            .collect();
        thread::sleep(Duration::from_millis(50));
        let (connections, bytes) = server.interrupt().served();
        let received: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert_eq!((connections, bytes), (4, received));
    }
}

#[test]
fn e15_every_error_of_the_start_says_what_failed() {
    if run(Command::new("bash").args(["-c", "true"])).status.code() != Some(0) {
        return eprintln!("skipped: no bash");
    }
    let mut failures = 0;
    // The server has a decreasing number of descriptors left, so that it fails at every step.
    for occupied in (3..64).rev() {
        let script = format!(
            "for ((fd = 3; fd < {occupied}; fd++)); do eval \"exec $fd</dev/null\"; done; \
             ulimit -n 64 && exec {} --listen 127.0.0.1:0 --domains 2",
            env!("CARGO_BIN_EXE_echo")
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 9];
        let started = child.stdout.as_mut().unwrap().read_exact(&mut first).is_ok();
        if started {
            assert_eq!(&first, b"listening");
            kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
            assert!(wait_for(&mut child).success(), "with {occupied} descriptors occupied");
            break;
        }
        let status = wait_for(&mut child);
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        if err.contains("shared libraries") || err.contains("bash:") {
            continue;
        }
        assert_eq!(status.code(), Some(1), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(err.starts_with("error: failed to "), "{err}");
        failures += 1;
    }
    assert!(failures > 5, "{failures}");
}

/// Returns the number of open descriptors of a process.
fn descriptors_of(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64
}

#[test]
fn e16_a_lack_of_descriptors_delays_new_clients_only() {
    let server = Server::start(&["--domains", "1"]);
    let pid = Pid::from_raw(server.pid() as i32);
    let limit = |current: u64| {
        let limits = Rlimit { current: Some(current), maximum: Some(1024) };
        prlimit(pid, Resource::Nofile, limits).unwrap();
    };
    let mut served: Vec<_> = (0..5).map(|_| server.connect()).collect();
    served.iter_mut().for_each(|stream| exchange(stream, b"before").unwrap());
    limit(descriptors_of(server.pid()));
    let mut waiting: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for (seed, stream) in served.iter_mut().enumerate() {
        exchange(stream, &pattern(seed, 100_000)).unwrap();
    }
    limit(512);
    waiting.iter_mut().for_each(|stream| exchange(stream, b"later!").unwrap());
    served.into_iter().chain(waiting).for_each(finish);
    let exit = server.interrupt();
    assert_eq!(exit.served(), (10, 5 * 100_000 + 60));
    assert!(exit.err.contains("warn: accepting no connections"), "{}", exit.err);
}

#[test]
fn e16_a_client_that_resets_its_connection_affects_no_other() {
    let server = Server::start(&["--domains", "2"]);
    let mut other = server.connect();
    for seed in 0..200 {
        let mut stream = server.connect();
        let _ = stream.write(&pattern(seed, 50_000)).unwrap();
        let socket = socket2::Socket::from(stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        drop(socket);
        exchange(&mut other, &pattern(seed, 1000)).unwrap();
    }
    server.signal(Signal::TERM);
    finish(other);
    let (connections, bytes) = server.wait().served();
    assert!((201, 200_000) <= (connections, bytes), "{connections} {bytes}");
}

#[test]
fn e16_a_second_signal_ends_the_process_while_its_streams_are_full() {
    let (_reader, full) = full_pipe();
    let mut server = Mute::start(&["--domains", "2", "--drain-timeout", "1h"], full.into());
    let mut idle = server.connect();
    exchange(&mut idle, b"here").unwrap();
    let pid = Pid::from_child(&server.child);
    kill_process(pid, Signal::INT).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while TcpStream::connect(server.address).is_ok() {
        assert!(Instant::now() < deadline, "the first signal is not handled");
    }
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(wait_for(&mut server.child).signal(), Some(Signal::INT.as_raw()));
    assert!(is_disconnected(&mut idle));
}
