//! The shutdown: graceful, in time, and without leaks.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{DEADLINE, Server, exchange, finish, is_disconnected, pattern};

#[test]
fn x11_both_signals_stop_an_idle_server() {
    for signal in [Signal::INT, Signal::TERM] {
        for domains in ["1", "2", "4"] {
            let server = Server::start(&["--domains", domains]);
            server.signal(signal);
            assert_eq!(server.wait().served(), (0, 0));
        }
    }
}

#[test]
fn connections_and_bytes_are_counted() {
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

/// Starts clients that exchange messages until they are disconnected, and count the exchanges.
fn spawn_clients(
    server: &Server,
    number: usize,
) -> (Arc<[AtomicUsize]>, Vec<thread::JoinHandle<()>>) {
    let exchanges: Arc<[AtomicUsize]> = (0..number).map(|_| AtomicUsize::new(0)).collect();
    let threads = (0..number).map(|seed| {
        let (address, exchanges) = (server.address, Arc::clone(&exchanges));
        thread::spawn(move || {
            let bytes = pattern(seed, 3000);
            let Ok(mut stream) = TcpStream::connect(address) else {
                return;
            };
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            // A wrong byte panics, which fails the test. An error is the disconnect.
            while exchange(&mut stream, &bytes).is_ok() {
                exchanges[seed].fetch_add(1, SeqCst);
            }
        })
    });
    let threads = threads.collect();
    (exchanges, threads)
}

fn wait_until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !what() {
        assert!(Instant::now() < deadline, "the condition never became true");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn e9_a_signal_during_traffic_stops_the_server_gracefully() {
    for (signal, domains) in [(Signal::INT, "1"), (Signal::TERM, "2"), (Signal::INT, "4")] {
        let server = Server::start(&["--domains", domains, "--drain-timeout", "300ms"]);
        let (exchanges, threads) = spawn_clients(&server, 30);
        // Every client has been accepted: the server does not count the others.
        wait_until(|| exchanges.iter().all(|exchanges| exchanges.load(SeqCst) >= 5));
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
fn an_active_client_may_finish_while_new_ones_are_refused() {
    for domains in ["1", "2"] {
        let server = Server::start(&["--domains", domains, "--drain-timeout", "50s"]);
        let mut old = server.connect();
        exchange(&mut old, b"before").unwrap();
        server.signal(Signal::TERM);
        wait_until(|| TcpStream::connect(server.address).is_err());
        exchange(&mut old, &pattern(1, 100_000)).unwrap();
        finish(old);
        // Connections that were queued before the listener was closed may be counted as well. This
        // test would exceed its deadline if the server waited for the drain timeout.
        let (connections, bytes) = server.wait().served();
        assert!(connections >= 1);
        assert_eq!(bytes, 100_006);
    }
}

#[test]
fn a_client_that_exceeds_the_drain_timeout_is_disconnected() {
    for domains in ["1", "2"] {
        let server = Server::start(&["--domains", domains, "--drain-timeout", "50ms"]);
        let mut idle: Vec<_> = (0..10).map(|_| server.connect()).collect();
        for stream in &mut idle {
            exchange(stream, b"here").unwrap();
        }
        let exit = server.interrupt();
        assert_eq!(exit.served(), (10, 40));
        assert!(exit.err.contains("drain timeout"), "{}", exit.err);
        assert!(idle.iter_mut().all(is_disconnected));
    }
}

#[test]
fn a_client_that_never_reads_is_disconnected_at_shutdown() {
    let server = Server::start(&["--drain-timeout", "50ms"]);
    let mut stuck = server.connect();
    stuck.set_nonblocking(true).unwrap();
    // Until the socket accepts no bytes, so that the server waits for room.
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
fn a_second_signal_ends_the_process_immediately() {
    let server = Server::start(&["--drain-timeout", "1h"]);
    let mut idle = server.connect();
    exchange(&mut idle, b"here").unwrap();
    server.signal(Signal::INT);
    // The listener is closed when the first signal is handled.
    wait_until(|| TcpStream::connect(server.address).is_err());
    server.signal(Signal::INT);
    let exit = server.wait();
    assert!(exit.was_killed_by(Signal::INT), "{exit:?}");
}
