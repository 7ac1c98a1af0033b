//! The load generator against servers of plain threads with known faults, or none.
//!
//! The generator must accept the correct server, report each fault, and end in bounded time with
//! all of them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use matou_loadgen::{Generator, Kind, Load, Pattern, Plan, Totals};

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

    fn close(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            self.closed.store(true, SeqCst);
            // The acceptor checks the flag after one last connection.
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

/// Echoes with every byte passed through `change`, which also gets the byte's offset.
fn echo_with(mut stream: TcpStream, change: impl Fn(u64, u8) -> u8) {
    let mut buffer = [0; 4_096];
    let mut offset = 0;
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
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
        stall_limit: Duration::from_secs(20),
    }
}

/// Runs a load until all clients are done, stopping it after a while.
fn run(load: Load) -> Totals {
    run_with(load, |generator, elapsed| {
        if elapsed > Duration::from_millis(200) {
            generator.stop();
        }
    })
}

fn run_with(load: Load, mut watch: impl FnMut(&mut Generator, Duration)) -> Totals {
    let began = Instant::now();
    let mut generator = Generator::new(load).expect("there is epoll");
    while generator.step().expect("events can be waited for") {
        watch(&mut generator, began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(60), "the load does not end");
    }
    generator.finish()
}

#[test]
fn churn_accepts_a_correct_server() {
    let server = ThreadServer::start(echo);
    let began = Instant::now();
    let totals = run(load(&server, Pattern::Churn, 10));
    assert_eq!(totals.failures.total(), 0, "{:?}", totals.failures);
    let counts = totals.counts;
    assert!(counts.connections >= 10);
    assert_eq!((counts.messages, counts.bytes), (counts.connections, 64 * counts.messages));
    assert_eq!(totals.latencies.len(), counts.messages);
    // No connection over two sockets and two threads takes less than a microsecond.
    let (min, max) = (totals.latencies.min(), totals.latencies.max());
    assert!(min > 1_000 && u128::from(max) / 2 < began.elapsed().as_nanos());
    assert!(server.accepted.load(SeqCst) >= counts.connections);
}

#[test]
fn churn_accepts_messages_larger_than_all_buffers() {
    let server = ThreadServer::start(echo);
    let plan = Pattern::Churn.plan(8 << 20, Duration::ZERO);
    let totals = run(Load { plan, ..load(&server, Pattern::Churn, 3) });
    assert_eq!(totals.failures.total(), 0, "{:?}", totals.failures);
    assert!(totals.counts.connections >= 3);
}

#[test]
fn connections_persist_in_the_other_patterns() {
    for pattern in [Pattern::Pingpong, Pattern::Stream, Pattern::Slow] {
        let server = ThreadServer::start(echo);
        let totals = run(load(&server, pattern, 7));
        assert_eq!(totals.failures.total(), 0, "{pattern:?}: {:?}", totals.failures);
        assert_eq!(totals.counts.connections, 7, "{pattern:?}");
        assert!(totals.counts.messages > 7, "{pattern:?}");
        let size = pattern.default_size() as u64;
        assert_eq!(totals.counts.bytes, size * totals.counts.messages, "{pattern:?}");
        assert_eq!(server.accepted.load(SeqCst), 7, "{pattern:?}");
    }
}

#[test]
fn pauses_limit_the_rate_of_slow_clients() {
    let server = ThreadServer::start(echo);
    let plan = Pattern::Slow.plan(1, Duration::from_millis(50));
    let totals = run(Load { plan, ..load(&server, Pattern::Slow, 1) });
    assert!((2..=6).contains(&totals.counts.messages), "{:?}", totals.counts);
}

#[test]
fn idle_clients_echo_once_hold_and_echo_once_more() {
    let server = ThreadServer::start(echo);
    let mut held = None;
    let totals = run_with(load(&server, Pattern::Idle, 150), |generator, _| {
        if generator.holding() == 150 && held.is_none() {
            held = Some(generator.counts());
            generator.release();
        }
    });
    let held = held.expect("all clients were silent at the same time");
    assert_eq!((held.connections, held.messages), (0, 150));
    assert_eq!(totals.failures.total(), 0, "{:?}", totals.failures);
    assert_eq!((totals.counts.connections, totals.counts.messages), (150, 300));
}

#[test]
fn a_single_wrong_byte_ends_the_load() {
    // One byte of one message, far into the stream of one connection.
    let first = Arc::new(AtomicBool::new(true));
    let server = ThreadServer::start(move |stream| {
        let is_first = first.swap(false, SeqCst);
        let changed = |offset| is_first && offset == 1_000;
        echo_with(stream, |offset, byte| if changed(offset) { byte ^ 0x20 } else { byte });
    });
    // It is never stopped.
    let totals = run_with(load(&server, Pattern::Pingpong, 5), |_, _| {});
    assert_eq!(totals.failures.count(Kind::WrongBytes), 1);
    assert!(totals.failures.details()[0].contains("byte 1000 was sent as"));
}

#[test]
fn a_buffer_of_another_connection_is_detected() {
    // Every connection receives the bytes that the one before it sent.
    let last = Arc::new(std::sync::Mutex::new(vec![0; 64]));
    let server = ThreadServer::start(move |mut stream| {
        let mut buffer = vec![0; 64];
        if stream.read_exact(&mut buffer).is_ok() {
            std::mem::swap(&mut buffer, &mut last.lock().expect("no panic"));
            let _ = stream.write_all(&buffer);
        }
    });
    let totals = run(load(&server, Pattern::Churn, 4));
    assert!(totals.failures.count(Kind::WrongBytes) >= 1);
}

#[test]
fn surplus_bytes_are_detected() {
    let server = ThreadServer::start(|mut stream| {
        let mut buffer = [0; 64];
        if stream.read_exact(&mut buffer).is_ok() {
            let _ = stream.write_all(&buffer).and_then(|()| stream.write_all(&buffer[..1]));
            let _ = stream.read(&mut buffer);
        }
    });
    let totals = run(load(&server, Pattern::Churn, 3));
    assert!(totals.failures.count(Kind::WrongBytes) >= 1, "{:?}", totals.failures);
}

#[test]
fn a_server_that_never_answers_fails_in_bounded_time() {
    let server = ThreadServer::start(|mut stream| {
        // Holds the connection until the client gives up.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    for pattern in [Pattern::Churn, Pattern::Pingpong, Pattern::Stream, Pattern::Slow] {
        let stall_limit = Duration::from_millis(100);
        let totals = run(Load { stall_limit, ..load(&server, pattern, 3) });
        assert!(totals.failures.count(Kind::Stalled) >= 3, "{pattern:?}: {:?}", totals.failures);
        assert_eq!(totals.counts.messages, 0, "{pattern:?}");
    }
}

#[test]
fn a_server_that_never_closes_fails_in_bounded_time() {
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let server = ThreadServer::start(move |stream| {
        let clone = stream.try_clone().expect("descriptors are left");
        held.lock().expect("no panic").push(clone);
        echo(stream);
    });
    let stall_limit = Duration::from_millis(100);
    let totals = run(Load { stall_limit, ..load(&server, Pattern::Churn, 3) });
    assert!(totals.failures.count(Kind::Stalled) >= 3, "{:?}", totals.failures);
    assert_eq!(totals.counts.connections, 0);
}

#[test]
fn a_disconnect_is_a_failure_before_the_shutdown_and_none_after_it() {
    let hang_up = |mut stream: TcpStream| {
        let mut buffer = [0; 64];
        let _ = stream.read(&mut buffer);
        let _ = stream.shutdown(Shutdown::Both);
    };
    let server = ThreadServer::start(hang_up);
    let totals = run(load(&server, Pattern::Churn, 3));
    assert!(totals.failures.count(Kind::Disconnected) >= 3, "{:?}", totals.failures);
    assert_eq!(totals.cut.total(), 0);

    // A server that is correct at first, and then shuts down.
    let ending = Arc::new(AtomicBool::new(false));
    let is_ending = Arc::clone(&ending);
    let serve = move |stream| if is_ending.load(SeqCst) { hang_up(stream) } else { echo(stream) };
    let mut server = ThreadServer::start(serve);
    let totals = run_with(load(&server, Pattern::Churn, 3), |generator, _| {
        if generator.counts().connections > 20 && !ending.swap(true, SeqCst) {
            generator.expect_disconnects();
            server.close();
        }
    });
    assert_eq!(totals.failures.total(), 0, "{:?}", totals.failures);
    assert_eq!(totals.cut.total(), 3, "each client is cut once: {:?}", totals.cut);
    assert!(totals.counts.connections > 20);
}

#[test]
fn a_refused_connection_is_a_failure() {
    let server = ThreadServer::start(echo);
    let load = load(&server, Pattern::Churn, 3);
    drop(server);
    let totals = run(load);
    assert!(totals.failures.count(Kind::Disconnected) >= 3, "{:?}", totals.failures);
}

#[test]
fn run_until_fails_at_the_first_failure() {
    let server = ThreadServer::start(echo);
    let plan = Plan { window: 64, ..Plan::pingpong(4096) };
    let load = Load { plan, ..load(&server, Pattern::Stream, 2) };
    let mut generator = Generator::new(load.clone()).expect("there is epoll");
    generator.run_until(|it| it.counts().messages > 100).expect("the server is correct");
    drop((generator, server));
    let mut generator = Generator::new(load).expect("there is epoll");
    let error = generator.run_for(Duration::from_secs(60)).expect_err("no server listens");
    assert!(error.to_string().contains("failed to connect"), "{error}");
}
