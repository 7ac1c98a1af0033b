//! The load generator against servers of plain threads in this process.
//!
//! Method: each server is a thread per connection with a known fault, or none; the generator must
//! pass the honest one, name each fault, and come to its end in bounded time with all of them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::failure::Kind;
use super::generator::{Load, Stagehand, Tally, generate};
use super::patterns::Pattern;

/// A server that calls `serve` on a thread for each connection, until it is dropped.
struct ThreadServer {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    acceptor: Option<thread::JoinHandle<()>>,
}

impl ThreadServer {
    fn start(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> ThreadServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let closed = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(AtomicU64::new(0));
        let (is_closed, count) = (Arc::clone(&closed), Arc::clone(&accepted));
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                if is_closed.load(SeqCst) {
                    return;
                }
                let (stream, serve) = (stream.expect("accept"), serve.clone());
                count.fetch_add(1, SeqCst);
                thread::spawn(move || serve(stream));
            }
        });
        ThreadServer { address, closed, accepted, acceptor: Some(acceptor) }
    }

    fn accepted(&self) -> u64 {
        self.accepted.load(SeqCst)
    }

    fn close(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            self.closed.store(true, SeqCst);
            // The acceptor sees the flag behind one last connection.
            let _ = TcpStream::connect(self.address);
            acceptor.join().expect("the acceptor does not panic");
        }
    }
}

impl Drop for ThreadServer {
    fn drop(&mut self) {
        self.close();
    }
}

/// Echoes with every byte sent through `change`, which also gets the byte's offset.
fn echo_with(mut stream: TcpStream, change: impl Fn(u64, u8) -> u8) {
    let mut buffer = [0; 4_096];
    let mut offset = 0;
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 {
            return;
        }
        for byte in &mut buffer[..n] {
            *byte = change(offset, *byte);
            offset += 1;
        }
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

fn echo(stream: TcpStream) {
    echo_with(stream, |_, byte| byte);
}

fn load(server: &ThreadServer, pattern: Pattern, clients: usize) -> Load {
    Load {
        address: server.address,
        plan: pattern.plan(pattern.default_size(), Duration::from_millis(5)),
        clients,
        threads: 2,
        duration: Duration::from_millis(300),
        stuck_limit: Duration::from_secs(20),
    }
}

fn go(load: &Load) -> Tally {
    generate(load, |_| Ok(())).expect("the generator itself is well")
}

#[test]
fn churn_passes_an_honest_server() {
    let server = ThreadServer::start(echo);
    let tally = go(&load(&server, Pattern::Churn, 10));
    assert_eq!(tally.failures.total(), 0, "{:?}", tally.failures);
    assert!(tally.counts.connections >= 10);
    assert_eq!(tally.counts.messages, tally.counts.connections);
    assert_eq!(tally.counts.bytes, 64 * tally.counts.messages);
    assert_eq!(tally.latencies.0.len(), tally.counts.messages);
    // No connection over two sockets and two threads is made and used in less than a microsecond.
    let nanos = tally.latencies.0.min()..=tally.latencies.0.max();
    assert!(*nanos.start() > 1_000 && u128::from(*nanos.end()) / 2 < tally.elapsed.as_nanos());
    assert!(server.accepted() >= tally.counts.connections);
}

#[test]
fn churn_passes_with_messages_larger_than_all_buffers() {
    let server = ThreadServer::start(echo);
    let plan = Pattern::Churn.plan(8 << 20, Duration::ZERO);
    let tally = go(&Load { plan, ..load(&server, Pattern::Churn, 3) });
    assert_eq!(tally.failures.total(), 0, "{:?}", tally.failures);
    assert!(tally.counts.connections >= 3);
}

#[test]
fn connections_stay_in_the_other_patterns() {
    for pattern in [Pattern::Pingpong, Pattern::Stream, Pattern::Slow] {
        let server = ThreadServer::start(echo);
        let tally = go(&load(&server, pattern, 7));
        assert_eq!(tally.failures.total(), 0, "{pattern:?}: {:?}", tally.failures);
        assert_eq!(tally.counts.connections, 7, "{pattern:?}");
        assert!(tally.counts.messages >= 7, "{pattern:?}");
        let size = pattern.default_size() as u64;
        assert_eq!(tally.counts.bytes, size * tally.counts.messages, "{pattern:?}");
        assert_eq!(server.accepted(), 7, "{pattern:?}");
    }
}

#[test]
fn idle_clients_echo_once_hold_and_echo_once_more() {
    let server = ThreadServer::start(echo);
    let mut held = None;
    let load = load(&server, Pattern::Idle, 150);
    let tally = generate(&load, |stagehand: &Stagehand| {
        if stagehand.holding() == 150 && held.is_none() {
            held = Some(stagehand.counters.read());
            stagehand.begin_second_act();
        }
        Ok(())
    });
    let tally = tally.expect("the generator itself is well");
    let held = held.expect("all were silent at a time");
    assert_eq!((held.connections, held.messages), (0, 150));
    assert_eq!(tally.failures.total(), 0, "{:?}", tally.failures);
    assert_eq!((tally.counts.connections, tally.counts.messages), (150, 300));
}

#[test]
fn a_single_wrong_byte_fails_the_run() {
    // One byte of one message, far into the stream of one connection.
    let first = Arc::new(AtomicBool::new(true));
    let server = ThreadServer::start(move |stream| {
        let is_first = first.swap(false, SeqCst);
        let changed = |offset| is_first && offset == 1_000;
        echo_with(stream, |offset, byte| if changed(offset) { byte ^ 0x20 } else { byte });
    });
    let long = Duration::from_secs(60);
    let tally = go(&Load { duration: long, ..load(&server, Pattern::Pingpong, 5) });
    assert_eq!(tally.failures.count(Kind::WrongByte), 1);
    assert!(tally.failures.details()[0].contains("byte 1000 was sent as"));
    assert!(tally.elapsed < long, "a wrong byte ends the run at once");
}

#[test]
fn a_buffer_that_crosses_over_fails_the_run() {
    // Every connection gets the bytes that the one before it sent.
    let last = Arc::new(std::sync::Mutex::new(vec![0; 64]));
    let server = ThreadServer::start(move |mut stream| {
        let mut buffer = vec![0; 64];
        if stream.read_exact(&mut buffer).is_ok() {
            std::mem::swap(&mut buffer, &mut last.lock().expect("no panic"));
            let _ = stream.write_all(&buffer);
        }
    });
    let tally = go(&load(&server, Pattern::Churn, 4));
    assert!(tally.failures.count(Kind::WrongByte) >= 1);
}

#[test]
fn a_server_that_never_answers_fails_in_bounded_time() {
    let server = ThreadServer::start(|stream| {
        // Holds the connection until the client gives it up.
        let mut sink = std::io::sink();
        let _ = std::io::copy(&mut { stream }, &mut sink);
    });
    for pattern in [Pattern::Churn, Pattern::Pingpong, Pattern::Stream, Pattern::Slow] {
        let stuck_limit = Duration::from_millis(100);
        let tally = go(&Load { stuck_limit, ..load(&server, pattern, 3) });
        // A server that reads to the end and closes may be met as that, in odd rounds of churn.
        let stuck = tally.failures.count(Kind::Stuck) + tally.failures.count(Kind::ClosedEarly);
        assert!(stuck >= 3, "{pattern:?}: {:?}", tally.failures);
        assert_eq!(tally.counts.messages, 0, "{pattern:?}");
    }
}

#[test]
fn a_server_that_never_closes_fails_in_bounded_time() {
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let server = ThreadServer::start(move |stream| {
        let keep = stream.try_clone().expect("descriptors are left");
        held.lock().expect("no panic").push(keep);
        echo(stream);
    });
    let stuck_limit = Duration::from_millis(100);
    let tally = go(&Load { stuck_limit, ..load(&server, Pattern::Churn, 3) });
    assert!(tally.failures.count(Kind::Stuck) >= 3, "{:?}", tally.failures);
    assert_eq!(tally.counts.connections, 0);
}

#[test]
fn a_server_that_sends_too_much_fails_the_run() {
    let server = ThreadServer::start(|mut stream| {
        let mut buffer = [0; 64];
        if stream.read_exact(&mut buffer).is_ok() {
            let _ = stream.write_all(&buffer).and_then(|()| stream.write_all(&buffer[..1]));
            let _ = stream.read(&mut buffer);
        }
    });
    let tally = go(&load(&server, Pattern::Churn, 3));
    assert!(tally.failures.count(Kind::Surplus) >= 3, "{:?}", tally.failures);
    assert_eq!(tally.counts.connections, 0);
}

#[test]
fn a_server_that_hangs_up_is_an_error_before_the_signal_and_none_after_it() {
    let hang_up = |mut stream: TcpStream| {
        let mut buffer = [0; 64];
        let _ = stream.read(&mut buffer);
        let _ = stream.shutdown(Shutdown::Both);
    };
    let server = ThreadServer::start(hang_up);
    let tally = go(&load(&server, Pattern::Churn, 3));
    assert!(tally.failures.count(Kind::ClosedEarly) >= 3, "{:?}", tally.failures);
    assert_eq!(tally.cuts.total(), 0);

    // Half of the run with an honest server, which then vanishes, as one does that was told to end.
    let (ending, is_ending) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    let at_work = Arc::clone(&ending);
    let mut server =
        ThreadServer::start(
            move |stream| {
                if at_work.load(SeqCst) { hang_up(stream) } else { echo(stream) }
            },
        );
    let load = Load { duration: Duration::from_secs(60), ..load(&server, Pattern::Churn, 3) };
    let tally = generate(&load, |stagehand: &Stagehand| {
        if stagehand.counters.read().connections > 20 && !is_ending.swap(true, SeqCst) {
            stagehand.expect_cuts();
            ending.store(true, SeqCst);
            server.close();
        }
        Ok(())
    });
    let tally = tally.expect("the generator itself is well");
    assert_eq!(tally.failures.total(), 0, "{:?}", tally.failures);
    assert_eq!(tally.cuts.total(), 3, "each client is cut once: {:?}", tally.cuts);
    assert!(tally.counts.connections > 20);
}

#[test]
fn nobody_listening_is_an_error() {
    let server = ThreadServer::start(echo);
    let load = load(&server, Pattern::Churn, 3);
    drop(server);
    let tally = go(&load);
    assert!(tally.failures.count(Kind::Refused) >= 3, "{:?}", tally.failures);
}

#[test]
fn an_error_of_the_watcher_ends_the_run_at_once() {
    let server = ThreadServer::start(echo);
    let long = Load { duration: Duration::from_secs(3_600), ..load(&server, Pattern::Pingpong, 3) };
    let outcome: Result<Tally> = generate(&long, |stagehand: &Stagehand| {
        if stagehand.counters.read().messages > 10 {
            bail!("seen enough");
        }
        Ok(())
    });
    assert_eq!(outcome.expect_err("the watcher failed").to_string(), "seen enough");
}
