//! UDP sockets on the kernel and in simulated runs.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use matou_net::UdpSocket;
use matou_net::test::{Faults, counters, set_faults};
use matou_runtime::test::{Check, check, simulation};
use matou_runtime::{MainError, sleep, try_call, try_spawn};

use crate::support::*;

/// Runs a body on the kernel and in simulated runs.
fn both<F: Future<Output = Result> + 'static>(body: impl Fn() -> F + Copy + 'static) {
    // First where a wait without an end is an error.
    check(0..20, body);
    run_on(2, body()).unwrap();
}

fn socket() -> io::Result<(UdpSocket, SocketAddr)> {
    let mut socket = UdpSocket::bind(any_v4())?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

#[test]
fn datagrams_arrive_whole_and_with_the_address_of_their_sender() {
    both(|| async {
        let ((mut one, at_one), (mut other, at_other)) = (socket()?, socket()?);
        let mut buf = [0; 8];
        // The second datagram arrives while the first one is short: no receive may wait then.
        for datagram in [&b"pu"[..], b"", b"rr, purr, purr"] {
            assert_eq!(one.send_to(datagram, at_other).await?, datagram.len());
        }
        assert_eq!(other.recv_from(&mut buf).await?, (2, at_one));
        assert_eq!(other.peek_from(&mut buf).await?, (0, at_one));
        assert_eq!(other.recv(&mut buf).await?, 0);
        assert_eq!(other.peek(&mut buf).await?, 8);
        assert_eq!(other.recv_from(&mut buf).await?, (8, at_one), "the rest is lost");
        assert_eq!(&buf, b"rr, purr");
        let error = other.try_recv_from(&mut buf).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        Ok(())
    });
}

#[test]
fn a_connected_socket_receives_from_its_peer_only() {
    both(|| async {
        let ((mut one, at_one), (mut other, at_other)) = (socket()?, socket()?);
        let (mut stranger, _) = socket()?;
        assert_eq!(one.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        assert!(one.send(b"purr").await.is_err(), "it has no peer");
        one.connect(at_other)?;
        assert_eq!(one.peer_addr()?, at_other);
        stranger.send_to(b"hiss", at_one).await?;
        sleep(Duration::from_millis(50)).await;
        other.send_to(b"purr", at_one).await?;
        let mut buf = [0; 8];
        let count = one.recv(&mut buf).await?;
        assert_eq!(&buf[..count], b"purr");
        assert_eq!(one.try_send(b"miaow")?, 5);
        assert_eq!(other.recv_from(&mut buf).await?, (5, at_one));
        Ok(())
    });
}

#[test]
fn a_connected_socket_learns_that_its_peer_is_closed() {
    both(|| async {
        let ((mut one, _), (other, at_other)) = (socket()?, socket()?);
        one.connect(at_other)?;
        other.close();
        one.send(b"purr").await?;
        let error = one.recv(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        Ok(())
    });
}

#[test]
fn a_socket_is_moved_and_closed_with_its_task() {
    let (result, leaked) = count_on(2, async {
        let ((mut one, at_one), (mut other, at_other)) = (socket()?, socket()?);
        let answering = try_call(move || async move {
            let mut buf = [0; 8];
            let (count, from) = other.recv_from(&mut buf).await?;
            other.send_to(&buf[..count], from).await
        })?;
        one.send_to(b"purr", at_other).await?;
        let mut buf = [0; 8];
        assert_eq!(one.recv_from(&mut buf).await?, (4, at_other));
        answering.await?;
        let waiting = try_spawn(async move { one.recv(&mut [0; 8]).await });
        assert!(waiting.cancel().await.is_none());
        UdpSocket::bind(at_one)?;
        Ok(())
    });
    result.unwrap();
    assert_eq!(leaked, 0);
}

#[test]
fn an_address_has_one_socket_and_errors_name_it() {
    both(|| async {
        let (_one, address) = socket()?;
        let error = UdpSocket::bind(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("failed to bind {address}")), "{error}");
        // The port of a TCP socket is another one. Other tests may use the one of this number.
        let is_another = (0..50).any(|_| {
            socket().is_ok_and(|(_two, address)| matou_net::TcpListener::bind(address).is_ok())
        });
        assert!(is_another);
        let error = socket()?.0.send_to(&[0; 70_000], address).await.unwrap_err();
        assert!(error.to_string().contains("ong"), "{error}");
        Ok(())
    });
}

#[test]
fn options_are_set() {
    both(|| async {
        let (mut one, address) = socket()?;
        let broadcast = (Ipv4Addr::BROADCAST, address.port()).into();
        let error = one.send_to(b"purr", broadcast).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        one.set_broadcast(true)?;
        one.set_ttl(7)?;
        assert_eq!((one.broadcast()?, one.ttl()?), (true, 7));
        Ok(())
    });
}

#[test]
fn a_multicast_group_is_joined_and_left() {
    let group = Ipv4Addr::new(224, 0, 0, 251);
    run_on(1, async move {
        let (mut one, _) = socket()?;
        assert!(one.join_multicast_v4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST).is_err());
        one.join_multicast_v4(group, Ipv4Addr::LOCALHOST)?;
        one.set_multicast_loop_v4(true)?;
        one.set_multicast_ttl_v4(2)?;
        one.leave_multicast_v4(group, Ipv4Addr::LOCALHOST)?;
        assert!(one.leave_multicast_v4(group, Ipv4Addr::LOCALHOST).is_err());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_simulated_run_refuses_multicast_and_broadcast() {
    let _shared = shared();
    check(0..1, || async {
        let (mut one, address) = socket()?;
        let group = Ipv4Addr::new(224, 0, 0, 251);
        let error = one.join_multicast_v4(group, Ipv4Addr::UNSPECIFIED).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("multicast"), "{error}");
        one.set_broadcast(true)?;
        for ip in [Ipv4Addr::BROADCAST, group] {
            let sent = one.send_to(b"purr", (ip, address.port()).into()).await;
            assert_eq!(sent.unwrap_err().kind(), ErrorKind::Unsupported);
        }
        let error = UdpSocket::from_std(std::net::UdpSocket::bind(any_v4())?).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        Ok::<_, MainError>(())
    });
}

/// Sends numbered datagrams, and returns the numbers that arrive.
async fn arrivals(faults: Faults) -> Result<Vec<u8>> {
    set_faults(faults);
    let ((mut one, _), (mut other, at_other)) = (socket()?, socket()?);
    for number in 0..100 {
        one.send_to(&[number], at_other).await?;
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let (mut arrived, mut buf) = (Vec::new(), [0; 1]);
    while let Ok(1) = other.try_recv(&mut buf) {
        arrived.push(buf[0]);
    }
    let counters = counters();
    assert_eq!(counters.datagrams, 100);
    let expected = 100 + counters.datagrams_duplicated - counters.datagrams_lost;
    assert_eq!(arrived.len() as u64, expected, "{counters:?}");
    Ok(arrived)
}

#[test]
fn datagrams_are_lost_duplicated_and_reordered_by_the_seed() {
    let arrive = |seed, faults| {
        Check::simulated().trial(seed, arrivals(faults)).outcome.unwrap_or_else(|e| panic!("{e}"))
    };
    let in_order: Vec<u8> = (0..100).collect();
    let (mut lost, mut doubled, mut late) = (0, 0, 0);
    for seed in 0..10 {
        assert_eq!(arrive(seed, Faults::default()), in_order);
        lost += 100 - arrive(seed, Faults::default().loss(100)).len();
        doubled += arrive(seed, Faults::default().duplication(100)).len() - 100;
        let mut arrived = arrive(seed, Faults::default().reordering(100));
        late += arrived.windows(2).filter(|pair| pair[0] > pair[1]).count();
        arrived.sort_unstable();
        assert_eq!(arrived, in_order, "a late datagram is not lost");
        assert_eq!(arrive(seed, Faults::all()), arrive(seed, Faults::all()));
    }
    for count in [lost, doubled, late] {
        assert!((20..200).contains(&count), "{lost} {doubled} {late}");
    }
}

#[test]
fn a_full_buffer_loses_datagrams() {
    check(0..3, || async {
        set_faults(Faults::none());
        let ((mut one, _), (_other, at_other)) = (socket()?, socket()?);
        for _ in 0..10 {
            one.send_to(&[0; 60_000], at_other).await?;
        }
        assert_eq!(counters().datagrams_lost, 7);
        Ok::<_, MainError>(())
    });
}

/// An operation on one of two sockets.
#[derive(Clone, Copy, Debug)]
enum Op {
    Connect(usize),
    Send(usize),
    SendTo(usize),
    Receive(usize, usize),
    Peek(usize),
    PeerAddr(usize),
    Close(usize),
}

async fn perform(op: Op, sockets: &mut [Option<UdpSocket>; 2], at: [SocketAddr; 2]) -> String {
    let (Op::Connect(side)
    | Op::Send(side)
    | Op::SendTo(side)
    | Op::Receive(side, _)
    | Op::Peek(side)
    | Op::PeerAddr(side)
    | Op::Close(side)) = op;
    let Some(socket) = &mut sockets[side] else { return "closed".into() };
    let mut buf = [0; 16];
    let result = match op {
        Op::Connect(_) => socket.connect(at[1 - side]).map(|()| 0),
        Op::Send(_) => socket.try_send(b"purr"),
        Op::SendTo(_) => socket.try_send_to(b"miaow", at[1 - side]),
        Op::Receive(_, len) => socket.try_recv_from(&mut buf[..len]).map(|(count, from)| {
            assert_eq!(from, at[1 - side]);
            count
        }),
        Op::Peek(_) => {
            // After a peek that would wait, the next one waits until the domain knows of the event.
            sleep(Duration::from_millis(1)).await;
            match futures::poll!(Box::pin(socket.peek(&mut buf))) {
                std::task::Poll::Ready(result) => result,
                std::task::Poll::Pending => Err(ErrorKind::WouldBlock.into()),
            }
        }
        Op::PeerAddr(_) => socket.peer_addr().map(|peer| usize::from(peer == at[1 - side])),
        Op::Close(_) => {
            sockets[side] = None;
            Ok(0)
        }
    };
    match result {
        Ok(count) => format!("{count} {}", String::from_utf8_lossy(&buf[..count.min(16)])),
        // The kinds of some errors are not stable.
        Err(error) => format!("{}", error.raw_os_error().map_or(error.kind(), kind_of)),
    }
}

fn kind_of(errno: i32) -> ErrorKind {
    io::Error::from_raw_os_error(errno).kind()
}

async fn results(programs: Vec<Vec<Op>>) -> Result<Vec<String>> {
    set_faults(Faults::none());
    let mut texts = Vec::new();
    for program in programs {
        let ((one, at_one), (other, at_other)) = (socket()?, socket()?);
        let mut sockets = [Some(one), Some(other)];
        let mut text = String::new();
        for op in program {
            let result = perform(op, &mut sockets, [at_one, at_other]).await;
            writeln!(text, "{op:?}: {result}")?;
            if simulation().is_some() {
                sleep(Duration::from_millis(1)).await;
            }
        }
        texts.push(text);
    }
    Ok(texts)
}

/// On the loopback of the kernel a datagram has arrived when it was sent.
#[cfg(target_os = "linux")]
#[test]
fn f23_random_programs_of_datagrams_have_the_results_of_the_kernel() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut program = || {
        (0..3 + draw(10))
            .map(|_| {
                let side = draw(2) as usize;
                match draw(16) {
                    0 | 1 => Op::Connect(side),
                    2..=4 => Op::Send(side),
                    5..=7 => Op::SendTo(side),
                    8..=11 => Op::Receive(side, [2, 16][draw(2) as usize]),
                    12 => Op::Peek(side),
                    13 => Op::PeerAddr(side),
                    _ => Op::Close(side),
                }
            })
            .collect()
    };
    let programs: Vec<Vec<Op>> = (0..400).map(|_| program()).collect();
    let kernel = run_on(1, results(programs.clone())).unwrap();
    let simulated = Check::simulated().max_ticks(u64::MAX).trial(1, results(programs));
    for (kernel, simulated) in kernel.iter().zip(&simulated.outcome.unwrap()) {
        assert_eq!(kernel, simulated, "the kernel's results are on the left");
    }
}
