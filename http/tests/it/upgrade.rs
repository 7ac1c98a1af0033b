//! Other protocols on a connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use http::{Request, Response, StatusCode};
use matou_http::runtime::{live_tasks, now, sleep};
use matou_http::{RequestBody, UpgradeError, Upgraded, service_fn, upgrade};

use crate::support::{check, start, status};

/// Sends back what it receives, in capitals.
async fn shout(mut connection: Upgraded) {
    let mut buf = [0; 64];
    loop {
        let read = poll_fn(|cx| Pin::new(&mut connection).poll_read(cx, &mut buf));
        let Ok(count @ 1..) = read.await else { break };
        let mut rest = Bytes::from(buf[..count].to_ascii_uppercase());
        while !rest.is_empty() {
            let write = poll_fn(|cx| Pin::new(&mut connection).poll_write(cx, &rest));
            let Ok(written) = write.await else { return };
            drop(rest.split_to(written));
        }
    }
}

async fn handler(mut request: Request<RequestBody>) -> Result<Response<String>, UpgradeError> {
    let mut response = Response::new(String::new());
    let path = request.uri().path().to_owned();
    match (path.as_str(), upgrade(&mut request, shout)) {
        ("/refuse", Ok(())) => *response.status_mut() = StatusCode::FORBIDDEN,
        (_, Ok(())) => *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS,
        (_, Err(error)) => {
            assert_eq!(error, UpgradeError::NotRequested);
            *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        }
    }
    Ok(response)
}

const HEAD: &str = "HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n";

#[test]
fn an_upgraded_connection_is_a_child_of_its_connection() {
    check(|| async {
        let server = start(service_fn(handler), |server| server);
        let mut client = server.connect().await;
        client.send(format!("GET / {HEAD}early ")).await; // bytes behind the request
        assert_eq!(status(&client.head().await), 101);
        assert_eq!(client.bytes(6).await, b"EARLY ");
        client.send("purr").await;
        assert_eq!(client.bytes(4).await, b"PURR");

        let mut plain = server.connect().await;
        assert_eq!(plain.get("/").await.0, 426);
        plain.send(format!("GET /refuse {HEAD}")).await;
        assert_eq!(plain.response().await.0, 403);
        drop(plain);

        drop(client);
        server.stop().await;
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_shutdown_waits_for_an_upgraded_connection_up_to_the_drain_timeout() {
    check(|| async {
        let stop = sleep(Duration::from_secs(1));
        let server = start(service_fn(handler), |server| server.shutdown(stop));
        let mut client = server.connect().await;
        client.send(format!("GET / {HEAD}")).await;
        assert_eq!(status(&client.head().await), 101);
        sleep(Duration::from_secs(5)).await;
        client.send("still").await;
        assert_eq!(client.bytes(5).await, b"STILL");
        let started = now();
        assert_eq!(client.rest().await, "");
        assert!(now() - started < Duration::from_secs(7));
        assert_eq!(server.join().await.cut, 1);
        Ok(())
    });
}
