//! Copies between streams, and lines.

use std::io::ErrorKind;
use std::time::Duration;

use matou_net::{LineReader, Shutdown, copy, copy_bidirectional};
use matou_runtime::test::check;
use matou_runtime::{MainError, now, sleep, try_spawn};

use crate::support::*;

#[test]
fn a_copy_that_is_idle_ends_at_its_limit() {
    const LIMIT: Duration = Duration::from_secs(10);
    check(0..20, || async {
        let (mut client, mut front) = pair().await?;
        let (mut back, mut server) = pair().await?;
        let begun = now();
        let proxy =
            try_spawn(
                async move { copy_bidirectional(&mut front, &mut back).idle_limit(LIMIT).await },
            );
        // A byte in either direction counts.
        for _ in 0..5 {
            sleep(Duration::from_secs(6)).await;
            client.write_all(b"p").await?;
            server.read(&mut [0; 1]).await?;
            sleep(Duration::from_secs(6)).await;
            server.write_all(b"p").await?;
            client.read(&mut [0; 1]).await?;
        }
        let error = proxy.await.unwrap_err();
        assert!(error.to_string().contains("no byte was copied for 10s"), "{error}");
        let passed = now() - begun;
        assert!(Duration::from_secs(70) <= passed && passed < Duration::from_secs(72));
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_copy_ends_with_the_error_of_a_stream() {
    check(0..20, || async {
        let (mut client, mut server) = pair().await?;
        let (mut back, _other) = pair().await?;
        back.shutdown(Shutdown::Write)?;
        client.write_all(&pattern(1, 10_000)).await?;
        client.shutdown(Shutdown::Write)?;
        let error = copy(&mut server, &mut back).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        Ok::<_, MainError>(())
    });
}

#[test]
fn lines_are_read_up_to_a_length() {
    check(0..50, || async {
        let (mut client, server) = pair().await?;
        let writing =
            try_spawn(async move { client.write_all("purr\r\n\nmiaow ä\nlast".as_bytes()).await });
        let mut lines = LineReader::new(server, 8);
        let mut read = Vec::new();
        while let Some(line) = lines.next_line().await? {
            read.push(line);
        }
        assert_eq!(read, ["purr", "", "miaow ä", "last"]);
        writing.await?;

        for (sent, text) in [(&b"123456789\n"[..], "longer than 8 bytes"), (b"\xff\n", "UTF-8")] {
            let (mut client, server) = pair().await?;
            client.write_all(sent).await?;
            let mut lines = LineReader::new(server, 8);
            for _ in 0..2 {
                let error = lines.next_line().await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidData);
                assert!(error.to_string().contains(text), "{error}");
            }
        }
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_cancelled_line_loses_no_bytes() {
    check(0..20, || async {
        let (mut client, server) = pair().await?;
        let mut lines = LineReader::new(server, 100);
        client.write_all(b"pu").await?;
        let waited = matou_runtime::timeout(Duration::from_secs(1), lines.next_line()).await;
        assert!(waited.is_err());
        client.write_all(b"rr\nrest").await?;
        assert_eq!(lines.next_line().await?.as_deref(), Some("purr"));
        drop(client);
        assert_eq!(lines.next_line().await?.as_deref(), Some("rest"));
        assert_eq!(lines.next_line().await?, None);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_line_without_end_is_refused_at_the_limit() {
    check(0..5, || async {
        let (mut client, server) = pair().await?;
        let writing = try_spawn(async move { client.write_all(&[b'x'; 100_000]).await });
        let mut lines = LineReader::new(server, 100);
        let error = lines.next_line().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let (stream, rest) = lines.into_inner();
        assert!(rest.len() < 10_000, "{} bytes were read", rest.len());
        drop(stream);
        let _ = writing.await;
        Ok::<_, MainError>(())
    });
}
