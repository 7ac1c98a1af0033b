//! Attempts to connect that are refused, time out or are cancelled.

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use matou_net::test::{Faults, counters, set_faults};
use matou_net::{TcpListener, TcpStream};
use matou_runtime::test::check;
use matou_runtime::{MainError, RunError, now, spawn, try_spawn, yield_now};
use socket2::{Domain, Socket, Type};

use crate::support::*;

/// Returns a socket that is bound and does not listen, and its address.
fn bound_socket() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&any_v4().into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// A listener with a full backlog, so that the system answers no further attempts to connect.
pub(crate) struct FullListener {
    pub(crate) address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl FullListener {
    pub(crate) fn new() -> FullListener {
        let (listener, address) = bound_socket();
        listener.listen(0).unwrap();
        let mut sockets = vec![listener];
        for _ in 0..4 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            // The first attempts succeed and fill the backlog; the others stay unanswered.
            let _ = filler.connect(&address.into());
            sockets.push(filler);
        }
        FullListener { address, _sockets: sockets }
    }
}

#[test]
fn r14_a_refusal_is_reported_once_with_the_address() {
    let result = run_on(1, async {
        let (_socket, address) = bound_socket();
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let text = error.to_string();
        let expected = format!("failed to connect to {address}: Connection refused");
        assert!(text.starts_with(&expected), "{text}");
        assert!(error.source().is_some() || error.get_ref().is_some());
        Ok(())
    });
    result.unwrap();
}

#[test]
fn an_unreachable_address_is_an_immediate_error() {
    let result = run_on(1, async {
        // TCP cannot connect to a broadcast address.
        let address: SocketAddr = "255.255.255.255:1".parse()?;
        let error = TcpStream::connect(address).await.unwrap_err();
        assert!(error.to_string().contains("255.255.255.255:1"), "{error}");
        Ok(())
    });
    result.unwrap();
}

#[test]
fn an_unanswered_attempt_ends_with_the_timeout() {
    let (result, left) = count_on(1, async {
        let full = FullListener::new();
        let limit = Duration::from_millis(20);
        let error = TcpStream::connect_timeout(full.address, limit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let expected = format!("failed to connect to {}: ", full.address);
        assert!(error.to_string().starts_with(&expected), "{error}");
        Ok(())
    });
    result.unwrap();
    assert_eq!(left, 0);
}

#[test]
fn an_answer_before_the_timeout_connects() {
    let result = run_on(1, async {
        for address in [any_v4(), any_v6()] {
            let mut listener = TcpListener::bind(address)?;
            let address = listener.local_addr()?;
            let mut stream = TcpStream::connect_timeout(address, DEADLINE).await?;
            assert_eq!(stream.peer_addr()?, address);
            let (_, peer) = listener.accept().await?;
            assert_eq!(peer, stream.local_addr()?);
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn r15_a_cancelled_connect_closes_its_socket() {
    let (result, left) = count_on(1, async {
        let full = FullListener::new();
        let before = descriptors();
        let child = spawn(TcpStream::connect(full.address));
        yield_now().await;
        assert_eq!(descriptors(), before + 1);
        assert!(child.cancel().await.is_none());
        assert_eq!(descriptors(), before);
        Ok(())
    });
    result.unwrap();
    assert_eq!(left, 0);
}

#[test]
fn a_leaked_connect_is_closed_and_reported() {
    let line = line_below(include_str!("connect.rs"), "Half made here.");
    let (result, left) = count_on(1, async {
        let full = FullListener::new();
        let child = spawn(async move {
            // Half made here.
            let mut connect = TcpStream::connect(full.address);
            assert!(futures::poll!(&mut connect).is_pending());
            leak(connect);
        });
        child.await?;
        Ok(())
    });
    let error = result.unwrap_err();
    assert!(matches!(error, RunError::Violated(_)), "{error}");
    let place = format!("made at {}:{line}:", file!());
    assert!(error.to_string().contains(&place), "{error}");
    // Only memory is leaked.
    assert_eq!(left, 0);
}

#[test]
fn the_first_of_several_addresses_that_answers_is_connected() {
    check(0..20, || async {
        set_faults(Faults::none());
        // A listener whose backlog is full answers no attempt.
        let mut silent = TcpListener::options().backlog(0).listen(any_v6())?;
        let _first = TcpStream::connect(silent.local_addr()?).await?;
        let refused = TcpListener::bind(any_v6())?.local_addr()?;
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;

        let begun = now();
        let mut stream = TcpStream::connect_any([refused, silent.local_addr()?, address]).await?;
        assert_eq!(stream.peer_addr()?, address);
        // IPv4 is the second one after the refused attempt, which takes no time.
        assert!(now() - begun < Duration::from_millis(200));

        let begun = now();
        let addresses = [silent.local_addr()?, silent.local_addr()?, address, refused];
        let mut stream = TcpStream::connect_any(addresses).await?;
        assert_eq!(stream.peer_addr()?, address);
        let passed = now() - begun;
        assert!((250..450).contains(&passed.as_millis()), "the delay is 250 ms: {passed:?}");

        let error = TcpStream::connect_any([refused, refused]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = TcpStream::connect_any([]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        Ok::<_, MainError>(())
    });
}

#[test]
fn aborted_attempts_leave_no_descriptor() {
    let (result, leaked) = count_on(1, async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let before = descriptors();
        let stream = TcpStream::connect_any([address, address, address]).await?;
        assert_eq!(descriptors(), before + 1);
        drop(stream);
        drop(TcpStream::connect_any([address]));
        Ok(())
    });
    result.unwrap();
    assert_eq!(leaked, 0);
}

#[test]
fn options_are_set_before_the_connection_is_established() {
    let body = || async {
        let listening = TcpListener::options().recv_buffer(1 << 16).send_buffer(1 << 16);
        let mut listener = listening.listen(any_v4())?;
        let local: SocketAddr = "127.0.0.2:0".parse()?;
        let options = TcpStream::options()
            .local_addr(local)
            .nodelay(true)
            .keepalive(Duration::from_secs(60))
            .linger(Duration::from_secs(1))
            .recv_buffer(1 << 16)
            .send_buffer(1 << 16);
        let mut stream = options.connect(listener.local_addr()?).await?;
        let (_, peer) = listener.accept().await?;
        assert_eq!((peer.ip(), stream.local_addr()?), (local.ip(), peer));
        assert_eq!((stream.nodelay()?, stream.linger()?), (true, Some(Duration::from_secs(1))));
        Ok(())
    };
    // Only Linux has all addresses of 127.0.0.0/8.
    if cfg!(target_os = "linux") {
        run_on(1, body()).unwrap();
    }
    check(0..5, body);
}

#[test]
fn a_listener_is_polled_through_its_pauses() {
    check(0..20, || async {
        set_faults(Faults::default().accept_errors(500));
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let clients: Vec<_> = (0..20)
            .map(|_| try_spawn(async move { TcpStream::connect(address).await.map(drop) }))
            .collect();
        for client in clients {
            client.await?;
        }
        let mut accepted = 0;
        let accepting = async {
            loop {
                std::future::poll_fn(|cx| listener.poll_accept(cx)).await?;
                accepted += 1;
            }
            #[expect(unreachable_code, reason = "it says what the block returns")]
            Ok::<(), std::io::Error>(())
        };
        let waited = matou_runtime::timeout(Duration::from_secs(600), accepting).await;
        assert!(waited.is_err());
        assert_eq!(accepted + counters().accepts_aborted, 20);
        Ok::<_, MainError>(())
    });
}
