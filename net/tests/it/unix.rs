//! Unix sockets on the kernel and in simulated runs.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use matou_net::{
    Ending, FinishLimit, Shutdown, UnixDatagram, UnixListener, UnixStream, copy_bidirectional,
};
use matou_ownership::transfer;
use matou_runtime::test::{check, simulation};
use matou_runtime::{MainError, spawn, try_spawn};

use crate::support::*;

/// Runs a body on the kernel and in simulated runs.
fn both<F: Future<Output = Result> + 'static>(body: impl Fn() -> F + Copy + 'static) {
    // First where a wait without an end is an error.
    check(0..20, body);
    run_on(2, body()).unwrap();
}

/// A path that no other test uses. Its file is removed at the end.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> SocketPath {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("matou-net-{}-{number}", std::process::id());
        SocketPath(std::env::temp_dir().join(name))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Returns a connected pair and the listener.
async fn pair_at(path: &SocketPath) -> io::Result<(UnixStream, UnixStream, UnixListener)> {
    let mut listener = UnixListener::bind(&path.0)?;
    let client = UnixStream::connect(&path.0).await?;
    let (server, peer) = listener.accept().await?;
    assert!(peer.is_unnamed());
    Ok((client, server, listener))
}

#[test]
fn streams_have_the_operations_of_tcp() {
    both(|| async {
        let path = SocketPath::new();
        let (mut client, mut server, mut listener) = pair_at(&path).await?;
        assert_eq!(listener.local_addr()?.as_pathname(), Some(path.0.as_path()));
        assert_eq!(client.peer_addr()?.as_pathname(), Some(path.0.as_path()));
        assert!(client.local_addr()?.is_unnamed());

        client.write_all(&pattern(1, 1000)).await?;
        let mut buf = [0; 2000];
        assert!(server.peek(&mut buf).await? > 0);
        let (mut reader, mut writer) = client.into_split();
        let echo = try_spawn(async move {
            let (mut reader, mut writer) = server.into_split();
            matou_net::copy(&mut reader, &mut writer).await?;
            let stream = reader.reunite(writer)?;
            transfer(&stream)?;
            Ok::<_, MainError>(stream)
        });
        writer.shutdown()?;
        let mut received = Vec::new();
        while received.len() < 1000 {
            let count = reader.read(&mut buf).await?;
            received.extend_from_slice(&buf[..count]);
        }
        assert_eq!(received, pattern(1, 1000));
        let server = echo.await?;
        drop((reader, writer));
        assert_eq!(server.finish(FinishLimit::new()).await?, Ending::Closed);
        Ok(())
    });
}

#[test]
fn the_ends_of_a_connection_are_those_of_the_kernel() {
    both(|| async {
        let (one, mut other) = UnixStream::pair()?;
        drop(one);
        assert_eq!(other.read(&mut [0; 1]).await?, 0);
        assert_eq!(other.write(b"purr").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert!(other.peer_addr()?.is_unnamed());
        other.shutdown(Shutdown::Write)?;

        // Unread input resets the connection.
        let (mut one, mut other) = UnixStream::pair()?;
        one.write_all(b"purr").await?;
        other.write_all(b"hiss").await?;
        drop(other);
        let mut buf = [0; 16];
        let mut count = 0;
        while count < 4 {
            count += one.read(&mut buf).await?;
        }
        assert_eq!(one.read(&mut buf).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(one.read(&mut buf).await?, 0);

        let (mut one, mut other) = UnixStream::pair()?;
        other.shutdown(Shutdown::Read)?;
        assert_eq!(one.write(b"purr").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        Ok(())
    });
}

#[test]
fn errors_say_which_path_and_why() {
    both(|| async {
        let path = SocketPath::new();
        let error = UnixStream::connect(&path.0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(path.0.to_str().unwrap()), "{error}");

        let listener = UnixListener::bind(&path.0)?;
        let error = UnixListener::bind(&path.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(!error.to_string().contains("stale"), "{error}");
        let options = UnixListener::options().remove_stale_file(true);
        let error = options.listen(&path.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "a living listener keeps its file");

        listener.close();
        let error = UnixStream::connect(&path.0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = UnixListener::bind(&path.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains("stale socket file"), "{error}");
        let mut listener = options.listen(&path.0)?;
        UnixStream::connect(&path.0).await?;
        listener.accept().await?;
        Ok(())
    });
}

#[test]
fn a_file_is_removed_however_its_owner_ends_if_that_was_asked_for() {
    both(|| async {
        let options = UnixListener::options().remove_on_close(true);
        let path = SocketPath::new();
        options.listen(&path.0)?.close();
        let mut listener = options.listen(&path.0)?;
        let waiting = try_spawn(async move { listener.accept().await.map(drop) });
        assert!(waiting.cancel().await.is_none());
        let at = path.0.clone();
        let failing = spawn(async move {
            let _listener = options.listen(&at).unwrap();
            std::panic::resume_unwind(Box::new("a failure"));
        });
        assert!(failing.await.is_err());
        let error = UnixStream::connect(&path.0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        Ok(())
    });
}

#[test]
fn a_file_that_is_of_another_owner_is_never_removed() {
    run_on(1, async {
        let path = SocketPath::new();
        let options = UnixListener::options().remove_stale_file(true).remove_on_close(true);
        let first = options.listen(&path.0)?;
        fs::remove_file(&path.0)?;
        let second = options.listen(&path.0)?;
        first.close();
        UnixStream::connect(&path.0).await?;
        // The descriptor is taken out, so the file stays.
        drop(second.into_std()?);
        assert!(path.0.exists());
        fs::remove_file(&path.0)?;
        fs::write(&path.0, "no socket")?;
        assert_eq!(options.listen(&path.0).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path.0)?, b"no socket");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_full_backlog_makes_clients_wait() {
    both(|| async {
        let path = SocketPath::new();
        let mut listener = UnixListener::options().backlog(0).listen(&path.0)?;
        let _first = UnixStream::connect(&path.0).await?;
        let at = path.0.clone();
        let second = try_spawn(async move { UnixStream::connect(&at).await.map(drop) });
        for _ in 0..3 {
            matou_runtime::yield_now().await;
        }
        listener.accept().await?;
        second.await?;
        listener.accept().await?;
        Ok(())
    });
}

#[cfg(target_os = "linux")]
#[test]
fn abstract_names_are_free_again_when_they_are_closed() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    both(|| async {
        let name = format!("matou-net-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name)?;
        for _ in 0..2 {
            let mut listener = UnixListener::options().listen_addr(&address)?;
            let mut client = UnixStream::connect_addr(&address).await?;
            listener.accept().await?;
            assert_eq!(client.peer_addr()?.as_abstract_name(), Some(name.as_bytes()));
            let error = UnixListener::options().listen_addr(&address).unwrap_err();
            assert!(error.to_string().contains(&format!("@{name}")), "{error}");
        }
        let error = UnixStream::connect_addr(&address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        Ok(())
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_credentials_of_a_peer_are_those_of_its_process() {
    run_on(1, async {
        let (mut one, _other) = UnixStream::pair()?;
        let peer = one.peer_credentials()?;
        assert_eq!(peer.pid, Some(std::process::id() as i32));
        assert_eq!(peer.uid, rustix::process::getuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getgid().as_raw());
        Ok(())
    })
    .unwrap();
    check(0..1, || async {
        let (mut one, _other) = UnixStream::pair()?;
        assert_eq!(one.peer_credentials().unwrap_err().kind(), ErrorKind::Unsupported);
        Ok::<_, MainError>(())
    });
}

#[test]
fn datagrams_are_whole_and_none_is_lost() {
    both(|| async {
        let path = SocketPath::new();
        let mut server = UnixDatagram::bind(&path.0)?;
        let mut unbound = UnixDatagram::unbound()?;
        unbound.send_to(b"purr", &path.0).await?;
        let mut connected = UnixDatagram::unbound()?;
        connected.connect(&path.0)?;
        connected.send(b"").await?;
        let mut buf = [0; 16];
        let (count, from) = server.recv_from(&mut buf).await?;
        assert_eq!((&buf[..count], from.is_unnamed()), (&b"purr"[..], true));
        assert_eq!(server.recv(&mut buf).await?, 0);

        // More than the queue holds: both kinds of senders wait for room.
        let at = path.0.clone();
        let to_path = try_spawn(async move {
            for number in 0..50 {
                unbound.send_to(&[number], &at).await?;
            }
            Ok::<_, io::Error>(())
        });
        let to_peer = try_spawn(async move {
            for number in 50..100 {
                connected.send(&[number]).await?;
            }
            Ok::<_, io::Error>(())
        });
        let mut numbers = Vec::new();
        for _ in 0..100 {
            assert_eq!(server.recv(&mut buf).await?, 1);
            numbers.push(buf[0]);
        }
        to_path.await?;
        to_peer.await?;
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<u8>>());
        Ok(())
    });
}

#[test]
fn datagrams_to_no_socket_are_errors() {
    both(|| async {
        let path = SocketPath::new();
        let mut one = UnixDatagram::unbound()?;
        let error = one.connect(&path.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().starts_with("failed to connect to /"), "{error}");
        UnixDatagram::bind(&path.0)?.close();
        let error = one.send_to(b"purr", &path.0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = UnixDatagram::bind(&path.0).unwrap_err();
        assert!(error.to_string().contains("stale socket file"), "{error}");

        let (mut one, mut other) = UnixDatagram::pair()?;
        one.send(b"purr").await?;
        assert_eq!(other.recv(&mut [0; 16]).await?, 4);
        assert!(other.peer_addr()?.is_unnamed());
        drop(other);
        assert_eq!(one.send(b"purr").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        Ok(())
    });
}

#[test]
fn unix_sockets_are_closed_with_their_tasks() {
    let (result, leaked) = count_on(1, async {
        let (mut one, other) = UnixStream::pair()?;
        let (datagrams, _) = UnixDatagram::pair()?;
        let child = try_spawn(async move {
            let _kept = (other, datagrams);
            one.read(&mut [0; 1]).await
        });
        assert!(child.cancel().await.is_none());
        Ok(())
    });
    result.unwrap();
    assert_eq!(leaked, 0);
}

#[test]
fn a_proxy_joins_tcp_and_unix_streams() {
    both(|| async {
        let (mut client, mut front) = pair().await?;
        let (mut back, mut server) = UnixStream::pair()?;
        let proxy = try_spawn(async move { copy_bidirectional(&mut front, &mut back).await });
        client.write_all(&pattern(2, 5000)).await?;
        client.shutdown(Shutdown::Write)?;
        let (mut received, mut buf) = (Vec::new(), [0; 4096]);
        while let count @ 1.. = server.read(&mut buf).await? {
            received.extend_from_slice(&buf[..count]);
        }
        assert_eq!(received, pattern(2, 5000));
        // The other direction is still open.
        server.write_all(b"purr").await?;
        drop(server);
        assert_eq!(read_to_end(&mut client).await?, b"purr");
        assert_eq!(proxy.await?, (5000, 4));
        Ok(())
    });
}

#[test]
fn a_simulated_run_creates_no_file() {
    check(0..1, || async {
        let path = SocketPath::new();
        let _listener = UnixListener::bind(&path.0)?;
        assert!(simulation().is_some() && !path.0.exists());
        Ok::<_, MainError>(())
    });
}

/// The address of such a peer is one byte longer than the structure of the system.
#[cfg(target_os = "linux")]
#[test]
fn a_peer_with_the_longest_path_is_received_from() {
    run_on(1, async {
        let path = SocketPath::new();
        let mut server = UnixDatagram::bind(&path.0)?;
        let dir = std::env::temp_dir();
        let fill = 108 - dir.as_os_str().len() - 1;
        let longest = SocketPath(dir.join(format!("{:x>fill$}", std::process::id())));
        assert_eq!(longest.0.as_os_str().len(), 108);
        let peer = rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::DGRAM,
            None,
        )?;
        rustix::net::bind(&peer, &rustix::net::SocketAddrUnix::new(&longest.0)?)?;
        let to = rustix::net::SocketAddrUnix::new(&path.0)?;
        rustix::net::sendto(&peer, b"purr", rustix::net::SendFlags::empty(), &to)?;
        let mut buf = [0; 16];
        let (count, from) = server.recv_from(&mut buf).await?;
        assert_eq!((count, from.is_unnamed()), (4, true));
        Ok(())
    })
    .unwrap();
}
