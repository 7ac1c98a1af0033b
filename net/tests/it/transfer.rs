//! Edge cases of reads and writes: ends of streams, shutdowns, short counts, several waiters.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures::future::{join, poll_fn};
use futures::task::Poll;
use matou_net::TcpStream;
use matou_runtime::{race, sleep, spawn, timeout, try_spawn, yield_now};

use crate::support::*;

/// Writes until the socket accepts no bytes, and returns how many it accepted.
async fn fill(stream: &mut TcpStream) -> io::Result<usize> {
    let mut written = 0;
    let chunk = vec![9; 65536];
    loop {
        let write = async { Some(stream.write(&chunk).await) };
        // Several ticks, in case the window still opens.
        match race(write, async {
            sleep(Duration::from_millis(30)).await;
            None
        })
        .await
        {
            Some(count) => written += count?,
            None => return Ok(written),
        }
    }
}

#[test]
fn an_empty_read_is_not_the_end_of_the_stream() {
    let result = run_on(1, async {
        let (mut client, mut server) = pair().await?;
        // There are no bytes to read, and an empty read completes nevertheless.
        assert_eq!(server.read(&mut []).await?, 0);
        assert_eq!(server.write(&[]).await?, 0);
        server.write_all(&[]).await?;
        client.write_all(b"x").await?;
        let mut buf = [0; 8];
        assert_eq!(server.read(&mut buf).await?, 1);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn the_end_of_the_stream_is_reported_every_time() {
    let result = run_on(1, async {
        let (mut client, mut server) = pair().await?;
        client.write_all(b"last").await?;
        drop(client);
        assert_eq!(read_to_end(&mut server).await?, b"last");
        for _ in 0..3 {
            assert_eq!(server.read(&mut [0; 8]).await?, 0);
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn an_end_that_arrives_with_the_last_bytes_is_not_missed() {
    let result = run_on(1, async {
        let (mut client, mut server) = pair().await?;
        // The stream is registered when the bytes arrive, so a short read skips the next attempt.
        let reader = try_spawn(async move {
            let first = server.read(&mut [0; 64]).await?;
            let second = server.read(&mut [0; 64]).await?;
            Ok::<_, io::Error>((first, second))
        });
        yield_now().await;
        client.write_all(b"bye").await?;
        drop(client);
        assert_eq!(reader.await?, (3, 0));
        Ok(())
    });
    result.unwrap();
}

#[test]
fn r11_a_half_closed_peer_receives_the_pending_bytes() {
    let result = run_on(1, async {
        let (mut client, mut server) = pair().await?;
        let sent = pattern(3, 3_000_000);
        let expected = sent.clone();
        let server = try_spawn(async move {
            // Read everything before the first write, which happens after the peer's shutdown.
            let all = read_to_end(&mut server).await?;
            server.write_all(&all).await?;
            server.shutdown(Shutdown::Write)
        });
        client.write_all(&sent).await?;
        client.shutdown(Shutdown::Write)?;
        let back = read_to_end(&mut client).await?;
        assert!(back == expected, "{} bytes came back", back.len());
        server.await?;
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_write_to_a_closed_peer_is_an_error_and_no_signal() {
    let result = run_on(1, async {
        let (client, mut server) = pair().await?;
        drop(client);
        let error = loop {
            // The first write may succeed: the reset is the answer to it.
            if let Err(error) = server.write(b"hello?").await {
                break error;
            }
            sleep(Duration::from_millis(1)).await;
        };
        let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(kinds.contains(&error.kind()), "{error}");
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_read_reports_a_reset() {
    let result = run_on(1, async {
        let (mut client, mut server) = pair().await?;
        client.set_linger(Some(Duration::ZERO))?;
        let reader = spawn(async move { server.read(&mut [0; 8]).await });
        yield_now().await;
        drop(client);
        let error = reader.await?.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn r16_short_writes_preserve_the_order() {
    let result = run_on(2, async {
        let (mut client, mut server) = pair().await?;
        let reader = try_spawn(async move {
            let mut all = Vec::new();
            let mut size = 0;
            loop {
                // Buffers of all sizes, including 1.
                size = size % 977 + 1;
                let mut buf = vec![0; size];
                match server.read(&mut buf).await? {
                    0 => return Ok::<_, io::Error>(all),
                    count => all.extend_from_slice(&buf[..count]),
                }
                if all.len() % 5 == 0 {
                    yield_now().await;
                }
            }
        });
        let sent = pattern(11, 4_000_000);
        client.write_all(&sent).await?;
        drop(client);
        assert!(reader.await? == sent, "the bytes differ");
        Ok(())
    });
    result.unwrap();
}

#[test]
fn r5_a_reader_and_a_writer_are_both_woken() {
    let result = run_on(1, async {
        let (mut client, mut server) = pair().await?;
        let pending = fill(&mut server).await?;
        let (reader, writer) = server.halves();
        let (reader, writer) = (reader.shared(), writer.shared());
        let mut buf = [0; 4];
        let both = join(reader.read(&mut buf), writer.write_all(b"more"));
        let peer = async {
            client.write_all(b"word").await?;
            let mut left = pending + 4;
            let mut buf = vec![0; 65536];
            while left > 0 {
                left -= client.read(&mut buf).await?;
            }
            io::Result::Ok(())
        };
        let ((read, wrote), peer) = join(both, peer).await;
        assert_eq!(read?, 4);
        wrote?;
        peer?;
        Ok(())
    });
    result.unwrap();
}

#[test]
fn r5_two_readers_are_both_woken() {
    let result = run_on(1, async {
        let (mut client, mut server) = pair().await?;
        let (one, other) = server.halves();
        let (mut a, mut b) = ([0], [0]);
        let write = async {
            yield_now().await;
            client.write_all(b"ab").await
        };
        let reads = join(one.shared().read(&mut a), other.shared().read(&mut b));
        let ((one, other), wrote) = join(reads, write).await;
        assert_eq!((one?, other?), (1, 1));
        wrote?;
        assert_ne!(a, b);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn r6_a_dropped_read_loses_nothing() {
    let result = run_on(1, async {
        let (mut client, mut server) = pair().await?;
        let mut buf = [0; 8];
        for round in 0..20u8 {
            let timed_out = timeout(Duration::ZERO, server.read(&mut buf)).await;
            assert!(timed_out.is_err());
            client.write_all(&[round]).await?;
            assert_eq!(server.read(&mut buf).await?, 1);
            assert_eq!(buf[0], round);
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn r10_a_closed_peer_causes_no_events_while_no_task_reads() {
    let (builder, [seen]) = CountingReactor::builder();
    let _exclusive = exclusive();
    let result = bounded(builder, async move {
        let (mut client, mut server) = pair().await?;
        // The stream is registered, and then no task waits for it.
        let waited = timeout(Duration::ZERO, server.read(&mut [0])).await;
        assert!(waited.is_err());
        client.set_linger(Some(Duration::ZERO))?;
        drop(client);
        sleep(Duration::from_millis(20)).await;
        let before = seen.parks.load(SeqCst);
        sleep(Duration::from_millis(200)).await;
        let parks = seen.parks.load(SeqCst) - before;
        assert!(parks <= 4, "{parks} parks while nothing happens");
        drop(server);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_report_names_the_line_of_a_read() {
    let line = line_below(include_str!("transfer.rs"), "Waited for here.");
    let error = run_on(1, async {
        let (client, mut server) = pair().await?;
        let reader = spawn(async move {
            // Waited for here.
            server.read(&mut [0; 8]).await.map(drop)
        });
        yield_now().await;
        // The promise is leaked while the reader waits, so the report contains its wait.
        leak(reader);
        drop(client);
        Ok(())
    })
    .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("read on descriptor"), "{text}");
    let place = format!("{}:{line}:", file!());
    assert!(text.contains(&place), "{text} does not name {place}");
}

#[test]
fn outside_a_run_an_operation_that_waits_panics_with_a_clear_message() {
    let _shared = shared();
    let (client, listener) = {
        let listener = std::net::TcpListener::bind(any_v4()).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener)
    };
    let mut stream = TcpStream::from_std(client).unwrap();
    // Operations that cannot wait work outside a run.
    assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut buf = [0];
        let mut read = stream.read(&mut buf);
        futures::executor::block_on(poll_fn(move |cx| {
            let _ = std::pin::Pin::new(&mut read).poll(cx);
            Poll::Ready(())
        }))
    }))
    .unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("inside a matou run"), "{message}");
}
