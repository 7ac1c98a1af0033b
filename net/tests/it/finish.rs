//! Goal: an answer reaches the peer although the request was not read (scenario F22).
//! Method: a client that sends more than the server reads, on threads and in simulated runs.

use std::io;
use std::time::Duration;

use matou_net::{Ending, FinishLimit, TcpStream};
use matou_runtime::test::{Check, check};
use matou_runtime::{MainError, now, sleep, try_spawn};

use crate::support::*;

const ANSWER: usize = 20_000;

/// Answers a request of which it reads one byte.
async fn answer(mut server: TcpStream) -> io::Result<Ending> {
    server.read(&mut [0; 1]).await?;
    server.write_all(&[2; ANSWER]).await?;
    server.finish(FinishLimit::new()).await
}

async fn an_answer_arrives() -> Result {
    let (mut client, server) = pair().await?;
    client.write_all(&[1; 5000]).await?;
    let server = try_spawn(answer(server));
    sleep(Duration::from_millis(20)).await; // the client is slow
    assert_eq!(read_to_end(&mut client).await?.len(), ANSWER);
    client.close();
    assert_eq!(server.await?, Ending::Closed);
    Ok(())
}

#[test]
fn f22_an_answer_arrives_although_the_request_was_not_read() {
    let _shared = shared();
    check(0..50, an_answer_arrives);
    Check::threaded().run(0..20, an_answer_arrives);
}

async fn limits() -> Result {
    // The peer never ends its stream.
    let (_client, server) = pair().await?;
    let (begun, time) = (now(), Duration::from_millis(50));
    assert_eq!(server.finish(FinishLimit::new().time(time)).await?, Ending::LimitReached);
    assert!(now() - begun >= time);
    // The peer sends more than the limit.
    let (mut client, server) = pair().await?;
    client.write_all(&[0; 1000]).await?;
    assert_eq!(server.finish(FinishLimit::new().bytes(999)).await?, Ending::LimitReached);
    // The peer resets the connection.
    let (mut client, server) = pair().await?;
    client.set_linger(Some(Duration::ZERO))?;
    client.close();
    assert_eq!(server.finish(FinishLimit::new()).await?, Ending::Reset);
    Ok::<_, MainError>(())
}

#[test]
fn f22_a_limit_or_a_reset_ends_the_wait() {
    let _shared = shared();
    check(0..20, limits);
    Check::threaded().run(0..2, limits);
}

#[test]
fn f22_a_dropped_finish_closes_the_stream() {
    let (result, left) = count_on(1, async {
        let (_client, server) = pair().await?;
        let before = descriptors();
        let mut finish = server.finish(FinishLimit::new());
        assert!(futures::poll!(&mut finish).is_pending());
        drop(finish);
        assert_eq!(descriptors(), before - 1);
        Ok(())
    });
    result.unwrap();
    assert_eq!(left, 0);
}
