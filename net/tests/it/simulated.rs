//! The in-memory network behaves as TCP does where programs observe it, and every run is
//! reproducible.
//!
//! The bodies run under `matou_runtime::test` with many seeds. Bodies that check the behaviour of
//! TCP also run over real sockets.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use futures::future::try_join;
use matou_net::test::{Faults, counters, set_faults};
use matou_net::{TcpListener, TcpStream};
use matou_runtime::test::{Check, check};
use matou_runtime::{MainError, RunError, Task, await_all, now, sleep, try_spawn};

type TestResult = Result<(), MainError>;

fn any_address() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Returns the client's and the server's stream of a connection.
async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let mut listener = TcpListener::bind(any_address())?;
    let address = listener.local_addr()?;
    let (client, (server, _)) = try_join(TcpStream::connect(address), listener.accept()).await?;
    Ok((client, server))
}

async fn read_to_end(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// The payload exceeds the window, so the writer must wait for the reader.
async fn a_long_payload_arrives_completely() -> TestResult {
    let (mut client, mut server) = pair().await?;
    let writer = try_spawn(async move {
        client.write_all(&payload(200_000)).await?;
        client.shutdown(Shutdown::Write)?;
        read_to_end(&mut client).await
    });
    let read = read_to_end(&mut server).await?;
    assert!(read == payload(200_000), "{} bytes", read.len());
    drop(server);
    assert!(writer.await?.is_empty());
    Ok(())
}

#[test]
fn bytes_arrive_in_order_and_once() {
    check(0..50, a_long_payload_arrives_completely);
    let _shared = crate::support::shared();
    Check::threaded().run(0..2, a_long_payload_arrives_completely);
}

async fn a_close_with_unread_bytes_resets() -> TestResult {
    let (mut client, mut server) = pair().await?;
    client.write_all(b"never read").await?;
    let mut first = [0; 1];
    server.read(&mut first).await?;
    drop(server);
    let mut buffer = [0; 10];
    let error = client.read(&mut buffer).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(client.read(&mut buffer).await?, 0, "a reset is reported once");
    let error = client.write(b"hello?").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(client.peer_addr().unwrap_err().kind(), io::ErrorKind::NotConnected);
    Ok(())
}

async fn a_write_into_a_closed_connection_is_answered_with_a_reset() -> TestResult {
    let (mut client, server) = pair().await?;
    drop(server);
    let mut buffer = [0; 10];
    assert_eq!(client.read(&mut buffer).await?, 0);
    client.write_all(b"hello?").await?;
    sleep(Duration::from_millis(100)).await;
    let error = client.write_all(b"hello?!").await.unwrap_err();
    let kinds = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    assert!(kinds.contains(&error.kind()), "{error}");
    Ok(())
}

async fn a_connect_without_a_listener_is_refused() -> TestResult {
    let address = TcpListener::bind(any_address())?.local_addr()?;
    let error = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(error.to_string().starts_with(&format!("failed to connect to {address}")), "{error}");
    Ok(())
}

async fn an_address_is_bound_once() -> TestResult {
    let mut first = TcpListener::bind(any_address())?;
    let address = first.local_addr()?;
    let error = TcpListener::bind(address).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    first.close();
    let options = TcpListener::options().reuse_port(true);
    let _one = options.listen(address)?;
    let _two = options.listen(address)?;
    assert!(TcpListener::options().listen_many(address, 2).is_err());
    Ok(())
}

/// A close with `SO_LINGER` zero discards the bytes that were sent.
async fn a_linger_of_zero_resets() -> TestResult {
    let (mut client, mut server) = pair().await?;
    server.set_linger(Some(Duration::ZERO))?;
    assert_eq!(server.linger()?, Some(Duration::ZERO));
    drop(server);
    let error = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    Ok(())
}

async fn a_closed_listener_resets_queued_connections() -> TestResult {
    let mut listener = TcpListener::bind(any_address())?;
    let mut client = TcpStream::connect(listener.local_addr()?).await?;
    sleep(Duration::from_millis(50)).await;
    listener.close();
    let error = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    Ok(())
}

#[test]
fn it_behaves_as_the_system() {
    let _shared = crate::support::shared();
    macro_rules! both {
        ($($body:ident),*) => {$(
            check(0..30, $body);
            Check::threaded().run(0..1, $body);
        )*};
    }
    both!(
        a_close_with_unread_bytes_resets,
        a_write_into_a_closed_connection_is_answered_with_a_reset,
        a_connect_without_a_listener_is_refused,
        an_address_is_bound_once,
        a_linger_of_zero_resets,
        a_closed_listener_resets_queued_connections
    );
}

/// On real threads faults have no effect, and nothing is counted.
#[test]
fn a_body_with_faults_also_runs_over_real_sockets() {
    async fn body() -> TestResult {
        set_faults(Faults::default().segmentation(false));
        let (mut client, mut server) = pair().await?;
        client.write_all(b"purr").await?;
        assert!(server.read(&mut [0; 10]).await? > 0);
        let simulated = matou_runtime::test::simulation().is_some();
        assert_eq!(counters().connections, u64::from(simulated));
        Ok(())
    }
    check(0..5, body);
    let _shared = crate::support::shared();
    Check::threaded().run(0..1, body);
}

#[test]
fn the_delay_of_segments_is_configurable() {
    check(0..20, || async {
        set_faults(Faults::none());
        let begun = now();
        let (mut client, mut server) = pair().await?;
        client.write_all(b"purr").await?;
        assert_eq!(server.read(&mut [0; 10]).await?, 4, "the write is not split");
        let passed = now() - begun;
        assert!(
            passed < Duration::from_secs(1),
            "only messages between domains take time: {passed:?}"
        );

        set_faults(Faults::none().delay(Duration::from_secs(3600)));
        let begun = now();
        for _ in 0..20 {
            client.write_all(b"purr").await?;
            assert_eq!(server.read(&mut [0; 10]).await?, 4);
        }
        let passed = now() - begun;
        assert!(passed > Duration::from_secs(3600), "{passed:?}");
        assert_eq!((counters().segments, counters().bytes), (21, 84));
        Ok::<_, MainError>(())
    });
}

#[test]
fn reads_and_writes_are_split_at_any_byte() {
    let splits = Cell::new(0);
    for seed in 0..50 {
        let trial = Check::simulated().trial(seed, async {
            let (mut client, mut server) = pair().await?;
            client.write_all(b"purr").await?;
            let mut buffer = [0; 4];
            let first = server.read(&mut buffer).await?;
            let mut read = first;
            while read < 4 {
                read += server.read(&mut buffer[read..]).await?;
            }
            assert_eq!(&buffer, b"purr");
            Ok::<_, MainError>(first)
        });
        splits.set(splits.get() | 1 << trial.outcome.unwrap());
    }
    assert_eq!(splits.get(), 0b11110, "1, 2, 3 and 4 bytes at a time");
}

/// A client of an echo server that tolerates faults of the network, and returns them.
async fn try_echo(address: SocketAddr, length: usize) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let sent = payload(length);
    let (mut written, mut read) = (0, 0);
    let mut buffer = [0; 4096];
    while read < sent.len() {
        if written < sent.len() {
            let chunk = (written + 1500).min(sent.len());
            written += stream.write(&sent[written..chunk]).await?;
        }
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        assert_eq!(&buffer[..count], &sent[read..read + count], "received bytes are correct");
        read += count;
    }
    Ok(())
}

#[test]
fn faults_occur_and_are_counted() {
    let mut seen = [0; 4];
    for seed in 0..40 {
        let trial = Check::simulated().trial(seed, async {
            set_faults(Faults::all().resets(300).refusals(100).accept_errors(200));
            let mut listener = TcpListener::bind(any_address())?;
            let address = listener.local_addr()?;
            let clients: Vec<_> =
                (0..20).map(|_| try_spawn(async move { try_echo(address, 9000).await })).collect();
            let server = try_spawn(async move {
                let orphans = matou_runtime::Orphans::new();
                loop {
                    let (mut stream, _) = listener.accept().await?;
                    let echo = async move {
                        let (reader, mut writer) = stream.halves();
                        let _ = futures::io::copy(reader, &mut writer).await;
                    };
                    Task::new().orphans(&orphans).spawn(echo).unwrap();
                }
                #[expect(unreachable_code, reason = "it says what the block returns")]
                Ok::<(), io::Error>(())
            });
            let failed = await_all(clients).await.iter().filter(|ended| ended.is_err()).count();
            server.cancel().await;
            let counters = counters();
            assert!(failed as u64 <= counters.resets + counters.refusals + counters.accept_errors);
            assert_eq!(failed == 0, counters.resets + counters.refusals == 0, "{counters:?}");
            Ok::<_, MainError>(counters)
        });
        let counters = trial.outcome.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let faults = [counters.resets, counters.refusals, counters.stalls, counters.accept_errors];
        for (seen, count) in seen.iter_mut().zip(faults) {
            *seen += count;
        }
    }
    assert!(seen.iter().all(|&count| count > 10), "every fault occurs: {seen:?}");
}

/// A reset loses the bytes in flight, and no later byte may be received in their place.
#[test]
fn a_reset_leaves_no_gap() {
    check(0..300, || async {
        set_faults(Faults::default().resets(1000));
        let (mut client, mut server) = pair().await?;
        let writer = try_spawn(async move {
            for chunk in payload(60_000).chunks(500) {
                client.write_all(chunk).await?;
                sleep(Duration::from_millis(1)).await;
            }
            Ok::<_, io::Error>(())
        });
        let (mut read, mut buffer) = (Vec::new(), [0; 1000]);
        while let Ok(count @ 1..) = server.read(&mut buffer).await {
            read.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(counters().resets, 1);
        assert!(read == payload(60_000)[..read.len()], "the received bytes are a prefix");
        assert!(writer.await.is_err());
        Ok::<_, MainError>(())
    });
}

/// With a full backlog the client retries, and times out in the end.
#[test]
fn a_full_backlog_makes_clients_wait() {
    check(0..20, || async {
        // As in Linux, a backlog of 0 holds one connection.
        let mut listener = TcpListener::options().backlog(0).listen(any_address())?;
        let address = listener.local_addr()?;
        let _first = TcpStream::connect(address).await?;
        let begun = now();
        let accept = async {
            sleep(Duration::from_millis(500)).await;
            listener.accept().await
        };
        let (_accepted, _second) = try_join(accept, TcpStream::connect(address)).await?;
        assert!(now() - begun < Duration::from_secs(2));
        let begun = now();
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(now() - begun > Duration::from_secs(30));
        Ok::<_, MainError>(())
    });
}

#[test]
fn waiting_for_a_silent_peer_is_a_deadlock_with_its_line() {
    let trial = Check::simulated().trial(1, async {
        let (mut client, _server) = pair().await?;
        client.read(&mut [0; 1]).await?;
        Ok::<_, MainError>(())
    });
    let Err(RunError::Deadlock(deadlock)) = trial.outcome else { panic!("{:?}", trial.outcome) };
    let text = deadlock.to_string();
    assert!(text.contains("waits for read at net/tests/it/simulated.rs:"), "{text}");
}

#[test]
fn sockets_of_the_standard_library_are_unsupported_in_a_simulated_run() {
    check(0..1, || async {
        let listener = std::net::TcpListener::bind(any_address())?;
        let error = TcpListener::from_std(listener).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        let error = TcpListener::bind(any_address())?.into_std().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        Ok::<_, MainError>(())
    });
}

#[test]
fn the_same_seed_is_the_same_network() {
    for seed in 0..10 {
        let trial = || {
            Check::simulated().domains(3).trial(seed, async {
                set_faults(Faults::all());
                let (mut client, mut server) = pair().await?;
                client.write_all(&payload(5000)).await?;
                client.shutdown(Shutdown::Write)?;
                read_to_end(&mut server).await?;
                Ok::<_, MainError>(())
            })
        };
        let (first, second) = (trial(), trial());
        assert_eq!((first.hash, first.events), (second.hash, second.events));
    }
}
