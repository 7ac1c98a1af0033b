//! Does the server end when it is told to: in order, in time, and with nothing left?

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{DEADLINE, Server, exchange, finish, is_cut, pattern};

#[test]
fn x11_both_signals_end_an_idle_server() {
    for signal in [Signal::INT, Signal::TERM] {
        for domains in ["1", "2", "4"] {
            let server = Server::start(&["--domains", domains]);
            server.signal(signal);
            assert_eq!(server.wait().served(), (0, 0));
        }
    }
}

#[test]
fn what_was_served_is_counted() {
    for domains in ["1", "4"] {
        let server = Server::start(&["--domains", domains]);
        for seed in 0..20 {
            let mut stream = server.connect();
            exchange(&mut stream, &pattern(seed, 1000)).unwrap();
            finish(stream);
        }
        assert_eq!(server.interrupt().served(), (20, 20_000));
    }
}

/// Clients that exchange until they are cut, and count what each has done.
fn clients(server: &Server, number: usize) -> (Arc<[AtomicUsize]>, Vec<thread::JoinHandle<()>>) {
    let exchanges: Arc<[AtomicUsize]> = (0..number).map(|_| AtomicUsize::new(0)).collect();
    let threads = (0..number).map(|seed| {
        let (address, exchanges) = (server.address, Arc::clone(&exchanges));
        thread::spawn(move || {
            let bytes = pattern(seed, 3000);
            let Ok(mut stream) = TcpStream::connect(address) else {
                return;
            };
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            // A wrong byte panics, which the test sees. An error is the cut.
            while exchange(&mut stream, &bytes).is_ok() {
                exchanges[seed].fetch_add(1, SeqCst);
            }
        })
    });
    let threads = threads.collect();
    (exchanges, threads)
}

fn wait_for(what: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !what() {
        assert!(Instant::now() < deadline, "it never comes to that");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn e9_a_signal_in_the_middle_of_traffic_ends_it_in_order() {
    for (signal, domains) in [(Signal::INT, "1"), (Signal::TERM, "2"), (Signal::INT, "4")] {
        let server = Server::start(&["--domains", domains, "--drain-timeout", "300ms"]);
        let (exchanges, threads) = clients(&server, 30);
        // All of them are in the middle of it: one that was not let in yet would not be counted.
        wait_for(|| exchanges.iter().all(|exchanges| exchanges.load(SeqCst) >= 5));
        server.signal(signal);
        let (connections, bytes) = server.wait().served();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(connections, 30);
        let exchanged: usize = exchanges.iter().map(|exchanges| exchanges.load(SeqCst)).sum();
        assert!(bytes >= exchanged as u64 * 3000);
    }
}

#[test]
fn an_active_client_is_let_finish_while_nobody_new_is_let_in() {
    for domains in ["1", "2"] {
        let server = Server::start(&["--domains", domains, "--drain-timeout", "50s"]);
        let mut old = server.connect();
        exchange(&mut old, b"before").unwrap();
        server.signal(Signal::TERM);
        wait_for(|| TcpStream::connect(server.address).is_err());
        exchange(&mut old, &pattern(1, 100_000)).unwrap();
        finish(old);
        // Far sooner than the drain timeout: the deadline of the wait would not notice, the
        // connections that were made while the door was still open are closed by now.
        let (connections, bytes) = server.wait().served();
        assert!(connections >= 1);
        assert_eq!(bytes, 100_006);
    }
}

#[test]
fn a_client_that_is_not_done_in_time_is_cut_off() {
    for domains in ["1", "2"] {
        let server = Server::start(&["--domains", domains, "--drain-timeout", "50ms"]);
        let mut idle: Vec<_> = (0..10).map(|_| server.connect()).collect();
        for stream in &mut idle {
            exchange(stream, b"here").unwrap();
        }
        let ended = server.interrupt();
        assert_eq!(ended.served(), (10, 40));
        assert!(ended.err.contains("cut off"), "{}", ended.err);
        assert!(idle.iter_mut().all(is_cut));
    }
}

#[test]
fn a_client_that_never_reads_is_cut_off_as_well() {
    let server = Server::start(&["--drain-timeout", "50ms"]);
    let mut stuck = server.connect();
    stuck.set_nonblocking(true).unwrap();
    // Until nothing more goes in, so that the server waits for room.
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(100) {
        if stuck.write(&[7; 65536]).is_ok() {
            since = Instant::now();
        }
    }
    let (connections, _) = server.interrupt().served();
    assert_eq!(connections, 1);
}

#[test]
fn a_second_signal_ends_at_once() {
    let server = Server::start(&["--drain-timeout", "1h"]);
    let mut idle = server.connect();
    exchange(&mut idle, b"here").unwrap();
    server.signal(Signal::INT);
    // The door closes when the first one is handled.
    wait_for(|| TcpStream::connect(server.address).is_err());
    server.signal(Signal::INT);
    let ended = server.wait();
    assert!(ended.ended_by(Signal::INT), "{ended:?}");
}
