//! Goal: the network of simulated runs is never kinder than the kernel's (scenario F23).
//! Method: the same programs of socket operations run on both, each operation after all effects of
//! the previous one have arrived, and all results are compared. Some programs are written out, and
//! hundreds are drawn from a seed.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use matou_net::test::{Faults, set_faults};
use matou_net::{
    Ending, FinishLimit, Shutdown, SocketKind, SocketStream, TcpListener, TcpStream, UnixStream,
};
use matou_runtime::test::Check;
use matou_runtime::{MainError, sleep};

use crate::support::*;

/// Longer than an effect takes to reach the peer, on the kernel's loopback and in the simulation.
const SETTLE: Duration = Duration::from_millis(1);

/// An operation on one of the two streams of a connection: 0 is the client's, 1 the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Write(usize),
    Read(usize),
    ReadOne(usize),
    Shutdown(usize, Shutdown),
    Linger(usize, u64),
    PeerAddr(usize),
    LocalAddr(usize),
    Nodelay(usize),
    Close(usize),
}

use Op::{Close, Linger, LocalAddr, Nodelay, PeerAddr, Read, ReadOne, Shutdown as Shut, Write};

/// Polls once; `None` if it would have to wait.
async fn attempt<T>(future: impl Future<Output = io::Result<T>>) -> Option<io::Result<T>> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(result) => Some(result),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

fn show<T: std::fmt::Debug>(result: Option<io::Result<T>>) -> String {
    match result {
        None => "waits".into(),
        Some(Ok(value)) => format!("{value:?}"),
        Some(Err(error)) => format!("{:?}", error.kind()),
    }
}

/// Performs an operation that only TCP streams have, or one of all streams.
async fn perform_tcp(
    op: Op,
    streams: &mut [Option<TcpStream>; 2],
    addresses: &Addresses,
) -> String {
    match op {
        Linger(side, millis) => {
            let Some(stream) = &mut streams[side] else { return "closed".into() };
            let set = stream.set_linger(Some(Duration::from_millis(millis)));
            format!("{} {}", show(Some(set)), show(Some(stream.linger())))
        }
        Nodelay(side) => {
            let Some(stream) = &mut streams[side] else { return "closed".into() };
            let set = stream.set_nodelay(true);
            format!("{} {}", show(Some(set)), show(Some(stream.nodelay())))
        }
        _ => perform(op, streams, addresses).await,
    }
}

/// The addresses of the two streams, as text.
type Addresses = [String; 2];

async fn perform<K: SocketKind>(
    op: Op,
    streams: &mut [Option<SocketStream<K>>; 2],
    addresses: &Addresses,
) -> String {
    let (Write(side)
    | Read(side)
    | ReadOne(side)
    | Shut(side, _)
    | Linger(side, _)
    | PeerAddr(side)
    | LocalAddr(side)
    | Nodelay(side)
    | Close(side)) = op;
    let Some(stream) = &mut streams[side] else { return "closed".into() };
    let mut buf = [0; 64];
    let is = |address: K::Address, side: usize| format!("{address:?}") == addresses[side];
    match op {
        Write(_) => show(attempt(stream.write(b"purr")).await),
        Read(_) => show(attempt(stream.read(&mut buf)).await),
        ReadOne(_) => show(attempt(stream.read(&mut buf[..1])).await),
        Shut(_, how) => show(Some(stream.shutdown(how))),
        PeerAddr(_) => show(Some(stream.peer_addr().map(|it| is(it, 1 - side)))),
        LocalAddr(_) => show(Some(stream.local_addr().map(|it| is(it, side)))),
        Linger(..) | Nodelay(_) => "none".into(),
        Close(_) => {
            streams[side] = None;
            "ok".into()
        }
    }
}

/// Returns the results of a program, one operation a line.
async fn results(program: &[Op], is_unix: bool) -> Result<String> {
    set_faults(Faults::none());
    let mut text = String::new();
    if is_unix {
        let (mut one, mut other) = UnixStream::pair()?;
        let addresses = [format!("{:?}", one.local_addr()?), format!("{:?}", other.local_addr()?)];
        let mut streams = [Some(one), Some(other)];
        for &op in program {
            sleep(SETTLE).await;
            writeln!(text, "{op:?}: {}", perform(op, &mut streams, &addresses).await)?;
        }
    } else {
        let (mut client, mut server) = pair().await?;
        let addresses =
            [format!("{:?}", client.local_addr()?), format!("{:?}", server.local_addr()?)];
        let mut streams = [Some(client), Some(server)];
        for &op in program {
            sleep(SETTLE).await;
            writeln!(text, "{op:?}: {}", perform_tcp(op, &mut streams, &addresses).await)?;
        }
    }
    Ok(text)
}

/// Runs all programs on the kernel and in a simulated run, and compares their results.
#[track_caller]
fn compare(is_unix: bool, programs: Vec<Vec<Op>>) {
    let all = |programs: Vec<Vec<Op>>| async move {
        let mut texts = Vec::new();
        for program in &programs {
            texts.push(results(program, is_unix).await?);
        }
        Ok::<_, MainError>(texts)
    };
    let kernel = run_on(1, all(programs.clone())).unwrap();
    let simulated = Check::simulated().max_ticks(u64::MAX).trial(1, all(programs));
    let simulated = simulated.outcome.unwrap();
    for (kernel, simulated) in kernel.iter().zip(&simulated) {
        assert_eq!(kernel, simulated, "the kernel's results are on the left");
    }
}

#[test]
fn f23_the_ends_of_a_unix_connection_are_those_of_the_kernel() {
    let both = Shutdown::Both;
    compare(
        true,
        vec![
            vec![Write(0), Close(0), Read(1), Read(1), PeerAddr(1), Shut(1, Shutdown::Write)],
            // A close with unread input resets the connection, whatever was shut down before.
            vec![Write(0), Close(1), Write(0), Read(0), Read(0), Write(0), PeerAddr(0)],
            vec![
                Write(0),
                Shut(0, Shutdown::Write),
                Shut(1, Shutdown::Write),
                Close(1),
                Read(0),
                Read(0),
            ],
            vec![Write(0), Shut(0, both), Close(1), Read(0), Read(0), Shut(0, both)],
            vec![Write(0), Write(1), ReadOne(1), Close(1), Read(0), Read(0), Read(0)],
            // Reads that were shut down: the peer's writes fail at once.
            vec![Write(0), Shut(1, Shutdown::Read), Write(0), ReadOne(1), Read(1), Read(1)],
        ],
    );
}

#[test]
fn f23_the_ends_of_a_connection_are_those_of_the_kernel() {
    let both = Shutdown::Both;
    compare(
        false,
        vec![
            // An orderly end, and operations after it.
            vec![Write(0), Close(0), Read(1), Read(1), PeerAddr(1), Shut(1, Shutdown::Write)],
            vec![
                Shut(0, Shutdown::Write),
                Read(1),
                Write(1),
                Shut(1, Shutdown::Write),
                Read(0),
                Read(0),
                PeerAddr(0),
                PeerAddr(1),
                LocalAddr(0),
                LocalAddr(1),
                Shut(0, both),
                Shut(1, both),
                Write(0),
                Read(1),
            ],
            // A reset by unread input, and by a linger time of zero, also one below a second.
            vec![
                Write(0),
                Close(1),
                Read(0),
                Read(0),
                Write(0),
                PeerAddr(0),
                LocalAddr(0),
                Shut(0, both),
            ],
            vec![Linger(0, 0), Close(0), PeerAddr(1), Shut(1, both), Read(1), Read(1), Write(1)],
            vec![
                Linger(0, 500),
                Close(0),
                Write(1),
                Write(1),
                Read(1),
                Nodelay(1),
                Linger(1, 2500),
            ],
            vec![Linger(0, 1500), Close(0), Read(1)],
            // A reset after the end of the stream.
            vec![
                Write(1),
                Shut(0, Shutdown::Write),
                Read(1),
                Close(0),
                Read(1),
                Write(1),
                Write(1),
            ],
            vec![Close(0), Write(1), Read(1), Write(1), Write(1), PeerAddr(1)],
            // Bytes that were there before the reset.
            vec![Write(0), Write(1), ReadOne(1), Close(1), Read(0), Read(0), Read(0)],
            // Reads that were shut down.
            vec![Shut(1, Shutdown::Read), Read(1), Write(0), Read(1), Read(1), Write(1), Read(0)],
            vec![Write(0), Shut(1, Shutdown::Read), ReadOne(1), Read(1), Read(1)],
            // Both directions shut down: bytes that arrive then are answered by a reset.
            vec![Shut(1, both), Write(0), Write(0), Read(0), Read(1), Write(1), PeerAddr(1)],
            vec![Shut(1, Shutdown::Write), Shut(1, Shutdown::Read), Write(0), Write(0), Read(1)],
            vec![
                Shut(0, both),
                Shut(0, both),
                Read(0),
                Write(0),
                Read(1),
                Close(0),
                Write(1),
                Write(1),
            ],
        ],
    );
}

#[test]
fn f23_random_programs_have_the_results_of_the_kernel() {
    const PROGRAMS: usize = 400;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut program = || {
        let length = 3 + draw(9);
        (0..length)
            .map(|_| {
                let side = draw(2) as usize;
                match draw(16) {
                    0..=3 => Write(side),
                    4..=7 => Read(side),
                    8 => ReadOne(side),
                    9 => Shut(side, Shutdown::Write),
                    10 => Shut(side, Shutdown::Read),
                    11 => Shut(side, Shutdown::Both),
                    12 => Linger(side, [0, 500, 1000][draw(3) as usize]),
                    13 => PeerAddr(side),
                    14 => LocalAddr(side),
                    _ => Close(side),
                }
            })
            .collect()
    };
    compare(false, (0..PROGRAMS).map(|_| program()).collect());
    compare(true, (0..PROGRAMS / 5).map(|_| program()).collect());
}

/// Operations of listeners and connections that are being established.
async fn establishments() -> Result<Vec<String>> {
    set_faults(Faults::none());
    let mut results = Vec::new();
    let mut listener = TcpListener::options().backlog(1).listen(any_v4())?;
    let address = listener.local_addr()?;
    results.push(show(Some(TcpListener::bind(address))).chars().take(9).collect());
    let reusing = TcpListener::options().reuse_port(true).listen(address);
    results.push(show(Some(reusing)).chars().take(9).collect());
    let unspecified = TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, address.port()));
    results.push(show(Some(unspecified)).chars().take(9).collect());

    // Two connections fit into a backlog of 1; the third one waits.
    let first = TcpStream::connect(address).await?;
    let mut second = TcpStream::connect(address).await?;
    sleep(SETTLE).await;
    let mut third = Box::pin(TcpStream::connect(address));
    results.push(show(attempt(third.as_mut()).await));
    sleep(SETTLE).await;
    results.push(show(attempt(third.as_mut()).await));
    drop(third);

    // A connection that was reset before it is accepted, and one that was closed.
    let mut first = first;
    first.set_linger(Some(Duration::ZERO))?;
    let peer = first.local_addr()?;
    drop(first);
    sleep(SETTLE).await;
    let (mut accepted, from) = listener.accept().await?;
    results.push((from == peer).to_string());
    results.push(show(attempt(accepted.read(&mut [0; 1])).await));
    results.push(show(Some(accepted.peer_addr())));

    // The listener is closed before a connection is accepted.
    drop(listener);
    sleep(SETTLE).await;
    results.push(show(attempt(second.read(&mut [0; 1])).await));
    results.push(show(attempt(second.write(b"purr")).await));
    results.push(show(Some(TcpStream::connect(address).await.map(drop))));
    Ok(results)
}

#[test]
fn f23_connections_are_established_as_by_the_kernel() {
    let kernel = run_on(1, establishments()).unwrap();
    let simulated = Check::simulated().trial(1, establishments()).outcome.unwrap();
    assert_eq!(kernel, simulated, "the kernel's results are on the left");
}

async fn ending_after_the_end(reset: bool) -> Result {
    let (mut peer, mut stream) = pair().await?;
    if reset {
        peer.set_linger(Some(Duration::ZERO))?;
    }
    drop(peer);
    sleep(Duration::from_millis(100)).await;
    for how in [Shutdown::Write, Shutdown::Read, Shutdown::Both] {
        stream.shutdown(how)?;
    }
    futures::AsyncWriteExt::close(&mut stream).await?;
    let ending = stream.finish(FinishLimit::new()).await?;
    assert_eq!(ending, if reset { Ending::Reset } else { Ending::Closed });
    Ok(())
}

#[test]
fn f23_ending_what_has_ended_is_a_success() {
    for reset in [false, true] {
        run_on(1, ending_after_the_end(reset)).unwrap();
        Check::simulated().trial(1, ending_after_the_end(reset)).outcome.unwrap();
    }
}
