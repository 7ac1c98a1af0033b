//! Owned halves of a stream, peeks, operations that do not wait, and vectored transfers, on the
//! kernel and in simulated runs.

use std::io::{self, IoSlice, IoSliceMut};

use futures::{AsyncReadExt, AsyncWriteExt};
use matou_net::test::{Faults, set_faults};
use matou_net::{ReadHalf, TcpStream};
use matou_ownership::{ResourceHandle, transfer};
use matou_runtime::test::check;
use matou_runtime::{MainError, Task, call, try_spawn};

use crate::support::*;

/// Runs a body on the kernel and in simulated runs.
fn both<F: Future<Output = Result> + 'static>(body: impl Fn() -> F + Copy + 'static) {
    // First where a wait without an end is an error.
    check(0..20, body);
    run_on(2, body()).unwrap();
}

async fn rest(reader: &mut ReadHalf) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await?;
    Ok(all)
}

#[test]
fn halves_are_owned_by_two_tasks_and_a_dropped_write_half_ends_the_stream() {
    both(|| async {
        let (client, server) = pair().await?;
        let (mut reader, mut writer) = client.into_split();
        let writing = try_spawn(async move {
            writer.write_all(&pattern(1, 10_000)).await?;
            Ok::<_, io::Error>(writer.ticket().is_owned_by_current())
        });
        let (mut from_client, to_client) = server.into_split();
        let echo = Task::new().try_spawn(async move {
            let mut to_client = to_client;
            let received = rest(&mut from_client).await?;
            to_client.write_all(&received).await
        });
        assert_eq!(rest(&mut reader).await?, pattern(1, 10_000));
        assert!(writing.await?, "the task that used the half owned it");
        echo.await?;
        Ok(())
    });
}

#[test]
fn the_last_half_closes_the_stream() {
    for reader_first in [false, true] {
        let (result, leaked) = count_on(1, async move {
            let (client, mut server) = pair().await?;
            let before = descriptors();
            let (reader, writer) = client.into_split();
            if reader_first {
                drop(reader);
                assert_eq!(descriptors(), before);
                drop(writer);
            } else {
                drop(writer);
                assert_eq!(read_to_end(&mut server).await?, b"");
                assert_eq!(descriptors(), before);
                drop(reader);
            }
            assert_eq!(descriptors(), before - 1);
            Ok(())
        });
        result.unwrap();
        assert_eq!(leaked, 0);
    }
}

/// Handles that are unreachable keep no descriptor open.
#[test]
fn leaked_halves_are_closed_at_the_end_of_their_task() {
    let (result, leaked) = count_on(1, async {
        let (client, _server) = pair().await?;
        leak(client.into_split());
        Ok(())
    });
    assert!(result.is_err(), "the leak is reported");
    assert_eq!(leaked, 0);
}

#[test]
fn halves_of_a_cancelled_task_are_closed() {
    both(|| async {
        let (client, mut server) = pair().await?;
        let (mut reader, writer) = client.into_split();
        let child = try_spawn(async move {
            let _writer = writer;
            reader.read(&mut [0; 1]).await
        });
        assert!(child.cancel().await.is_none());
        assert_eq!(read_to_end(&mut server).await?, b"");
        Ok(())
    });
}

#[test]
fn halves_are_reunited() {
    both(|| async {
        let (client, mut server) = pair().await?;
        let (reader, mut writer) = client.into_split();
        let writing = call(|| async move {
            writer.write_all(b"pu").await.expect("the peer is there");
            transfer(&writer).expect("the task owns it");
            writer
        })?;
        let mut client = reader.reunite(writing.await?)?;
        client.write_all(b"rr").await?;
        assert!(client.ticket().is_owned_by_current());
        drop(client);
        assert_eq!(read_to_end(&mut server).await?, b"purr");

        let (one, other) = pair().await?;
        let ((reader, _writer), (_reader, writer)) = (one.into_split(), other.into_split());
        let error = reader.reunite(writer).unwrap_err();
        assert_eq!(error.to_string(), "the halves do not belong to one stream");
        Ok(())
    });
}

#[test]
fn a_peek_leaves_the_bytes() {
    both(|| async {
        set_faults(Faults::none());
        let (mut client, mut server) = pair().await?;
        client.write_all(b"purr").await?;
        let mut buf = [0; 16];
        for _ in 0..2 {
            assert_eq!(server.peek(&mut buf).await?, 4);
            assert_eq!(&buf[..4], b"purr");
        }
        // After a peek of all bytes, a read does not wait for others.
        assert_eq!(server.read(&mut buf).await?, 4);
        drop(client);
        assert_eq!(server.peek(&mut buf).await?, 0);
        Ok(())
    });
}

#[test]
fn operations_that_would_wait_fail() {
    both(|| async {
        set_faults(Faults::none());
        let (mut client, mut server) = pair().await?;
        let mut buf = vec![0; 1 << 16];
        let error = server.try_read(&mut buf).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let mut sent = 0;
        loop {
            match client.try_write(&buf) {
                Ok(count) => sent += count,
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        let mut received = 0;
        while received < sent {
            received += server.read(&mut buf).await?;
        }
        assert_eq!((server.try_read(&mut [])?, client.try_write(&[])?), (0, 0));
        drop(client);
        assert_eq!(server.read(&mut buf).await?, 0);
        assert_eq!(server.try_read(&mut buf)?, 0);
        Ok(())
    });
}

async fn write_slices(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        // More slices than one system call takes, half of them empty.
        let slices: Vec<_> = bytes[written..]
            .iter()
            .flat_map(|byte| [IoSlice::new(&[]), IoSlice::new(std::slice::from_ref(byte))])
            .collect();
        let count = stream.write_vectored(&slices).await?;
        assert!(count > 0);
        written += count;
    }
    Ok(())
}

#[test]
fn any_number_of_slices_is_written_and_read() {
    both(|| async {
        let (mut client, mut server) = pair().await?;
        let sent = pattern(3, 3000);
        write_slices(&mut client, &sent).await?;
        drop(client);
        let mut received = Vec::new();
        loop {
            let mut bytes = [0; 3000];
            let mut slices: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
            slices.insert(0, IoSliceMut::new(&mut []));
            match server.read_vectored(&mut slices).await? {
                0 => break,
                count => received.extend_from_slice(&bytes[..count]),
            }
        }
        assert!(received == sent, "{} bytes", received.len());
        assert_eq!(server.read_vectored(&mut [IoSliceMut::new(&mut [])]).await?, 0);
        Ok::<_, MainError>(())
    });
}
