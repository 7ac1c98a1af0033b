//! Goal: bytes behind an urgent byte are read (scenario F6): a read ends before it, which must not
//! be taken for the end of the available bytes.

use std::time::Duration;

use matou_net::TcpStream;
use matou_runtime::{sleep, timeout};
use rustix::net::{SendFlags, send};

use crate::support::*;

/// Sends bytes, some of them urgent, and returns what the other side reads.
async fn received(messages: &[(&[u8], SendFlags)]) -> Result<Vec<u8>> {
    let listener = std::net::TcpListener::bind(any_v4())?;
    let peer = std::net::TcpStream::connect(listener.local_addr()?)?;
    let mut stream = TcpStream::from_std(listener.accept()?.0)?;
    let mut buf = [0; 64];
    // Let it register first.
    assert!(futures::poll!(std::pin::pin!(stream.read(&mut buf))).is_pending());
    for &(bytes, flags) in messages {
        send(&peer, bytes, flags)?;
    }
    sleep(Duration::from_millis(5)).await;
    drop(peer);
    Ok(timeout(DEADLINE, read_to_end(&mut stream)).await??)
}

#[test]
fn f6_bytes_behind_an_urgent_byte_are_read() {
    const NONE: SendFlags = SendFlags::empty();
    run_on(1, async {
        let bytes = received(&[(b"abc", NONE), (b"!", SendFlags::OOB), (b"efg", NONE)]).await?;
        assert_eq!(bytes, b"abcefg");
        Ok(())
    })
    .unwrap();
}

/// The peer stays open, so that no later event wakes the reader.
#[test]
fn f6_a_reader_waits_for_no_further_event() {
    run_on(1, async {
        let listener = std::net::TcpListener::bind(any_v4())?;
        let peer = std::net::TcpStream::connect(listener.local_addr()?)?;
        let mut stream = TcpStream::from_std(listener.accept()?.0)?;
        let mut buf = [0; 64];
        for _ in 0..10 {
            assert!(futures::poll!(std::pin::pin!(stream.read(&mut buf))).is_pending());
            send(&peer, b"abc", SendFlags::empty())?;
            send(&peer, b"!", SendFlags::OOB)?;
            send(&peer, b"efg", SendFlags::empty())?;
            let mut received = Vec::new();
            while received.len() < 6 {
                let count = timeout(DEADLINE, stream.read(&mut buf)).await??;
                received.extend_from_slice(&buf[..count]);
            }
            assert_eq!(received, b"abcefg");
        }
        Ok(())
    })
    .unwrap();
}
