//! `accept` continues after errors and cancellations.

use std::cell::Cell;
use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join;
use matou_net::{TcpListener, TcpStream};
use matou_runtime::{race, spawn, timeout, yield_now};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::*;

#[test]
fn an_address_in_use_is_named() {
    let result = run_on(1, async {
        let mut first = TcpListener::bind(any_v4())?;
        let address = first.local_addr()?;
        let error = TcpListener::bind(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let text = error.to_string();
        let named = text.starts_with(&format!("failed to bind {address}: "))
            || text.starts_with(&format!("failed to listen on {address}: "));
        assert!(named, "{text}");
        Ok(())
    });
    result.unwrap();
}

#[test]
fn an_address_of_another_host_is_an_error() {
    let result = run_on(1, async {
        let address: SocketAddr = "192.0.2.1:0".parse()?;
        let error = TcpListener::bind(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn an_ipv6_only_port_leaves_the_ipv4_port_free() {
    let result = run_on(1, async {
        let options = TcpListener::options().only_v6(true);
        let mut six = options.listen("[::]:0")?;
        let port = six.local_addr()?.port();
        let four = TcpListener::options().listen(SocketAddr::from(([0, 0, 0, 0], port)));
        assert!(four.is_ok(), "{four:?}");
        Ok(())
    });
    result.unwrap();
}

#[test]
fn accepted_streams_inherit_nodelay() {
    let result = run_on(1, async {
        for nodelay in [false, true] {
            let mut listener = TcpListener::options().nodelay(nodelay).listen(any_v4())?;
            let _client = TcpStream::connect(listener.local_addr()?).await?;
            let (mut stream, _) = listener.accept().await?;
            assert_eq!(stream.nodelay()?, nodelay);
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn r15_a_dropped_accept_loses_no_connection() {
    let result = run_on(1, async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        for _ in 0..20 {
            let timed_out = timeout(Duration::ZERO, listener.accept()).await;
            assert!(timed_out.is_err());
            let mut client = TcpStream::connect(address).await?;
            // Both branches of the race are ready.
            let accepted = race(async { Some(listener.accept().await) }, async { None }).await;
            let (_, peer) = match accepted {
                Some(accepted) => accepted?,
                None => listener.accept().await?,
            };
            assert_eq!(peer, client.local_addr()?);
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn two_concurrent_accepts_both_complete() {
    let result = run_on(1, async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let shared = listener.shared();
        let accepts = join(shared.accept(), shared.accept());
        let connects = async {
            yield_now().await;
            join(TcpStream::connect(address), TcpStream::connect(address)).await
        };
        let ((one, other), connected) = join(accepts, connects).await;
        assert_ne!(one?.1, other?.1);
        assert!(connected.0.is_ok() && connected.1.is_ok());
        Ok(())
    });
    result.unwrap();
}

#[test]
fn accept_fails_on_a_socket_that_does_not_listen() {
    let result = run_on(1, async {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&any_v4().into())?;
        let mut listener = TcpListener::from_std(socket.into())?;
        let address = listener.local_addr()?;
        let error = listener.accept().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(text.contains(&format!("accept on {address}")), "{text}");
        assert_eq!(listener.pauses(), 0);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_listener_converts_from_and_into_the_standard_library() {
    let (result, left) = count_on(1, async {
        let theirs = std::net::TcpListener::bind(any_v4())?;
        let address = theirs.local_addr()?;
        let mut ours = TcpListener::from_std(theirs)?;
        // The listener is registered when it is converted back.
        assert!(timeout(Duration::ZERO, ours.accept()).await.is_err());
        let theirs = ours.into_std()?;
        theirs.set_nonblocking(false)?;
        let client = TcpStream::connect(address).await?;
        assert_eq!(theirs.accept()?.1, client.into_std()?.local_addr()?);
        Ok(())
    });
    result.unwrap();
    assert_eq!(left, 0);
}

/// Prevents this process from opening further descriptors until `end`.
struct DescriptorLimit(Rlimit);

impl DescriptorLimit {
    fn begin() -> io::Result<DescriptorLimit> {
        let before = getrlimit(Resource::Nofile);
        // The next descriptor gets the lowest free number.
        let next = io::stdin().next_descriptor()?;
        let limit = Rlimit { current: Some(next), maximum: before.maximum };
        setrlimit(Resource::Nofile, limit)?;
        Ok(DescriptorLimit(before))
    }

    fn end(self) -> io::Result<()> {
        Ok(setrlimit(Resource::Nofile, self.0)?)
    }
}

trait NextDescriptor {
    fn next_descriptor(&self) -> io::Result<u64>;
}

impl<T: std::os::fd::AsFd> NextDescriptor for T {
    fn next_descriptor(&self) -> io::Result<u64> {
        let clone = self.as_fd().try_clone_to_owned()?;
        Ok(clone.as_raw_fd() as u64)
    }
}

/// The limit applies to the whole process, so this test runs itself in a child process.
#[test]
fn r1_accept_pauses_while_descriptors_are_exhausted_and_then_continues() {
    const CHILD: &str = "MATOU_NET_SHORT_OF_DESCRIPTORS";
    if env::var_os(CHILD).is_some() {
        return exhaust_descriptors().unwrap();
    }
    let name = "accept::r1_accept_pauses_while_descriptors_are_exhausted_and_then_continues";
    let _shared = shared();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let ran = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{ran}{text}");
    assert!(ran.contains("1 passed"), "{ran}");
}

fn exhaust_descriptors() -> Result<(), matou_runtime::RunError> {
    run_on(1, async {
        let mut listener = TcpListener::bind(any_v4())?;
        let address = listener.local_addr()?;
        let pauses = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&pauses);
        let count = AtomicU64::new(0);
        listener.on_pause(move |pause| {
            assert_eq!(pause.error.raw_os_error(), Some(24)); // EMFILE
            assert_eq!(pause.count, count.fetch_add(1, SeqCst) + 1);
            seen.lock().unwrap().push(pause.duration.as_millis());
        });

        // One client is connected already, and must be served during the shortage.
        let mut old = std::net::TcpStream::connect(address)?;
        let (mut served, _) = listener.accept().await?;
        let rounds = Rc::new(Cell::new(0));
        let counted = Rc::clone(&rounds);
        let echo = spawn(async move {
            let mut byte = [0];
            while served.read(&mut byte).await? == 1 {
                served.write_all(&byte).await?;
                counted.set(counted.get() + 1);
            }
            io::Result::Ok(())
        });

        for _ in 0..2 {
            let clients: io::Result<Vec<_>> =
                (0..3).map(|_| std::net::TcpStream::connect(address)).collect();
            let clients = clients?;
            let short = DescriptorLimit::begin()?;
            pauses.lock().unwrap().clear();
            let before = listener.pauses();
            let accepting = async {
                let mut accepted = Vec::new();
                for _ in 0..3 {
                    accepted.push(listener.accept().await?);
                }
                io::Result::Ok(accepted)
            };
            let watching = async {
                for round in 0..4 {
                    wait_until(|| pauses.lock().unwrap().len() > round).await;
                    old.write_all(&[round as u8])?;
                    let served = rounds.get();
                    wait_until(|| rounds.get() > served).await;
                    let mut byte = [0];
                    old.read_exact(&mut byte)?;
                    assert_eq!(byte[0], round as u8);
                }
                short.end()
            };
            let (accepted, watched) = join(accepting, watching).await;
            watched?;
            assert_eq!(accepted?.len(), clients.len());
            // Each shortage starts with the shortest pause.
            let pauses = pauses.lock().unwrap();
            assert_eq!(pauses[..4], [5, 10, 20, 40]);
            assert_eq!(listener.pauses() - before, pauses.len() as u64);
        }
        drop(old);
        echo.await??;
        Ok(())
    })
}
