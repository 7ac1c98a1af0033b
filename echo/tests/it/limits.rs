//! The limits on what a peer can consume.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{DEADLINE, Server, exchange, finish, is_disconnected, pattern};

#[test]
fn e5_a_full_server_does_not_accept() {
    for domains in ["1", "4"] {
        let server = Server::start(&["--max-clients", "1", "--domains", domains]);
        let mut first = server.connect();
        exchange(&mut first, b"first").unwrap();
        // The system establishes the second connection, the server does not accept it.
        let mut second = server.connect();
        second.write_all(b"second").unwrap();
        second.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let error = second.read(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        finish(first);
        second.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut back = [0; 6];
        second.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"second");
        finish(second);
        assert_eq!(server.interrupt().served(), (2, 11));
    }
}

#[test]
fn e5_ten_times_more_clients_than_allowed_are_all_served() {
    let server = Server::start(&["--max-clients", "5", "--domains", "2"]);
    let address = server.address;
    let threads: Vec<_> = (0..50)
        .map(|seed| {
            thread::spawn(move || {
                let mut stream = crate::process::connect(address);
                exchange(&mut stream, &pattern(seed, 2000)).unwrap();
                finish(stream);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(server.interrupt().served(), (50, 100_000));
}

#[test]
fn e2_an_idle_client_is_disconnected() {
    let server = Server::start(&["--idle-timeout", "100ms", "--log", "debug"]);
    let mut silent = server.connect();
    assert!(is_disconnected(&mut silent));
    let mut active = server.connect();
    exchange(&mut active, b"that was all").unwrap();
    assert!(is_disconnected(&mut active));
    let exit = server.interrupt();
    assert_eq!(exit.served(), (2, 12));
    assert_eq!(exit.err.matches("idle timeout").count(), 2, "{}", exit.err);
}

/// A process that was stopped looks at its sockets before its time limits elapse.
#[test]
fn e2_clients_that_have_sent_in_time_survive_when_the_process_is_stopped() {
    const IDLE_TIMEOUT: Duration = Duration::from_millis(300);
    let server = Server::start(&["--idle-timeout", "300ms", "--domains", "2"]);
    // Time passes only between an exchange and the stop. If this machine was too slow for that, the
    // clients may be idle, so others connect.
    let mut clients = loop {
        let begun = Instant::now();
        let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
        let exchanged = clients.iter_mut().all(|client| exchange(client, b"before").is_ok());
        server.stop();
        if exchanged && begun.elapsed() < IDLE_TIMEOUT / 2 {
            break clients;
        }
        server.signal(Signal::CONT);
    };
    for client in &mut clients {
        client.write_all(b"stopped").unwrap();
    }
    thread::sleep(2 * IDLE_TIMEOUT);
    server.signal(Signal::CONT);
    for client in &mut clients {
        let mut back = [0; 7];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"stopped");
    }
    drop(clients);
    assert!(server.interrupt().status.success());
}

#[test]
fn e1_an_active_client_is_not_disconnected() {
    let server = Server::start(&["--idle-timeout", "2s"]);
    let mut stream = server.connect();
    let begun = Instant::now();
    // Longer than the timeout, with far shorter pauses between the exchanges.
    while begun.elapsed() < Duration::from_millis(2600) {
        exchange(&mut stream, b"still here").unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    // Then it becomes idle.
    assert!(is_disconnected(&mut stream));
    server.interrupt().served();
}

fn write_failed(written: io::Result<usize>) -> bool {
    written.is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
}

/// Writes until the socket has accepted no bytes for a while.
fn flood(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(100) {
        match stream.write(&[7; 65536]) {
            Ok(_) => since = Instant::now(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            // The server has closed the connection.
            Err(_) => return,
        }
    }
}

#[test]
fn e3_a_client_that_never_reads_is_disconnected_and_costs_one_buffer() {
    const CLIENTS: usize = 40;
    let server =
        Server::start(&["--write-timeout", "400ms", "--idle-timeout", "1h", "--domains", "2"]);
    let mut other = server.connect();
    exchange(&mut other, &pattern(1, 100_000)).unwrap();
    let before = peak_kib(server.pid());
    let mut stuck: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    stuck.iter_mut().for_each(flood);
    // Another client is still served.
    exchange(&mut other, &pattern(2, 100_000)).unwrap();
    for stream in &mut stuck {
        // This client reads nothing, so only a disconnect makes its writes fail.
        let deadline = Instant::now() + DEADLINE;
        while !write_failed(stream.write(&[7; 65536])) {
            assert!(Instant::now() < deadline, "the server does not disconnect the client");
            thread::sleep(Duration::from_millis(1));
        }
    }
    if let (Some(before), Some(after)) = (before, peak_kib(server.pid())) {
        let each = (after - before) / CLIENTS;
        assert!(each <= 64, "{each} KiB for each client that does not read");
    }
    finish(other);
    let (connections, _) = server.interrupt().served();
    assert_eq!(connections, CLIENTS as u64 + 1);
}

/// Returns the peak memory of a process, where `/proc` exists.
fn peak_kib(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn e4_a_flood_is_echoed_in_order() {
    let server = Server::start(&["--domains", "1"]);
    let mut stream = server.connect();
    let mut reader = stream.try_clone().unwrap();
    let sent = pattern(9, 20 << 20);
    let expected = sent.clone();
    let reading = thread::spawn(move || {
        let mut back = vec![0; expected.len()];
        reader.read_exact(&mut back).unwrap();
        assert!(back == expected, "the bytes differ");
    });
    stream.write_all(&sent).unwrap();
    reading.join().unwrap();
    finish(stream);
    assert_eq!(server.interrupt().served(), (1, 20 << 20));
}

#[test]
fn e6_connections_that_are_reset_leave_nothing() {
    // With one domain there is one accept queue, in order: the last client is served after the
    // others.
    let server = Server::start(&["--domains", "1"]);
    for round in 0..2000 {
        let stream = server.connect();
        let socket = socket2::Socket::from(stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        if round % 2 == 0 {
            (&socket).write_all(b"gone").unwrap();
        }
    }
    let mut stream = server.connect();
    exchange(&mut stream, b"still here").unwrap();
    finish(stream);
    let (connections, _) = server.interrupt().served();
    assert_eq!(connections, 2001);
}
