//! What a peer can take, at most.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{DEADLINE, Server, exchange, finish, is_cut, pattern};

#[test]
fn e5_the_permit_comes_before_the_accept() {
    for domains in ["1", "4"] {
        let server = Server::start(&["--max-clients", "1", "--domains", domains]);
        let mut first = server.connect();
        exchange(&mut first, b"first").unwrap();
        // The system takes the second one in, the server does not.
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
fn e5_ten_times_more_clients_than_may_be_are_all_served_later() {
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
fn e2_a_client_that_says_nothing_is_cut_off() {
    let server = Server::start(&["--idle-timeout", "100ms", "--log", "debug"]);
    let mut mute = server.connect();
    assert!(is_cut(&mut mute));
    let mut talker = server.connect();
    exchange(&mut talker, b"that was all").unwrap();
    assert!(is_cut(&mut talker));
    let ended = server.interrupt();
    assert_eq!(ended.served(), (2, 12));
    assert_eq!(ended.err.matches("silent for too long").count(), 2, "{}", ended.err);
}

#[test]
fn e1_a_client_that_talks_is_not_cut_off() {
    let server = Server::start(&["--idle-timeout", "2s"]);
    let mut stream = server.connect();
    let begun = Instant::now();
    // For longer than the timeout, with silences that are far shorter.
    while begun.elapsed() < Duration::from_millis(2600) {
        exchange(&mut stream, b"still here").unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    // And then it is silent.
    assert!(is_cut(&mut stream));
    server.interrupt().served();
}

fn is_refused(written: io::Result<usize>) -> bool {
    written.is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
}

/// Writes until nothing more goes in for a while.
fn flood(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(100) {
        match stream.write(&[7; 65536]) {
            Ok(_) => since = Instant::now(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            // It was cut off already.
            Err(_) => return,
        }
    }
}

#[test]
fn e3_a_client_that_never_reads_is_cut_off_and_costs_one_buffer() {
    const CLIENTS: usize = 40;
    let server =
        Server::start(&["--write-timeout", "400ms", "--idle-timeout", "1h", "--domains", "2"]);
    let mut other = server.connect();
    exchange(&mut other, &pattern(1, 100_000)).unwrap();
    let before = peak_kib(server.pid());
    let mut stuck: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    stuck.iter_mut().for_each(flood);
    // Somebody else's service goes on.
    exchange(&mut other, &pattern(2, 100_000)).unwrap();
    for stream in &mut stuck {
        // Nothing is read that could let the server go on, so only the cut ends this.
        let deadline = Instant::now() + DEADLINE;
        while !is_refused(stream.write(&[7; 65536])) {
            assert!(Instant::now() < deadline, "it is never cut off");
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

/// The most memory that a process ever had, where the system tells.
fn peak_kib(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn e4_a_flood_comes_back_in_order() {
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
    // On one domain, whose queue is in order: whoever is served behind them, comes after them.
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
