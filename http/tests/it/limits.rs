//! What clients can cost at most.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use matou_http::runtime::{now, sleep, spawn};
use matou_http::{BodyError, Limits, RequestBody, service_fn};

use crate::support::{check, check_seeds, read_body, start, text};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_slow_head_ends_the_connection() {
    check(|| async {
        let server = start(service_fn(|_| async { text("purr") }), |server| server);
        // Nothing at all, one byte per second, and the same after a first request.
        for (first, slow) in [(false, false), (false, true), (true, true)] {
            let mut client = server.connect().await;
            if first {
                assert_eq!(client.get("/").await.0, 200);
                sleep(SECOND * 5).await;
            }
            let started = now();
            let (mut reader, mut writer) = client.stream.into_split();
            let dripping = spawn(async move {
                for byte in b"GET / HTTP/1.1\r\nx-slow: aaaaaaaaaaaaaaaaaaaa" {
                    if !slow || writer.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    sleep(SECOND).await;
                }
                std::future::pending::<()>().await
            });
            let (mut answer, mut buf) = (Vec::new(), [0; 256]);
            while let Ok(count @ 1..) = reader.read(&mut buf).await {
                answer.extend_from_slice(&buf[..count]);
            }
            assert_eq!(answer.starts_with(b"HTTP/1.1 408 "), slow, "{answer:?}");
            assert_eq!(answer.is_empty(), !slow);
            let elapsed = now() - started;
            assert!(SECOND * 9 < elapsed && elapsed < SECOND * 12, "{elapsed:?}");
            dripping.cancel().await;
        }
        server.stop().await;
        Ok(())
    });
}

#[test]
fn an_idle_connection_is_closed() {
    check(|| async {
        let limits = Limits { idle_timeout: SECOND * 20, ..Limits::default() };
        let slow = service_fn(|_| async {
            sleep(SECOND * 30).await; // a connection with a request is not idle
            text("purr")
        });
        let server = start(slow, |server| server.limits(limits));
        let mut client = server.connect().await;
        for _ in 0..2 {
            assert_eq!(client.get("/").await.0, 200);
            sleep(SECOND * 15).await;
        }
        assert_eq!(client.get("/").await.0, 200);
        let idle_since = now();
        assert_eq!(client.rest().await, "");
        let elapsed = now() - idle_since;
        assert!(SECOND * 19 < elapsed && elapsed < SECOND * 22, "{elapsed:?}");
        server.stop().await;
        Ok(())
    });
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    check(|| async {
        let server = start(service_fn(|_| async { text("purr") }), |server| server);
        let many = "a: b\r\n".repeat(101);
        let long = format!("a: {}\r\n", "b".repeat(17 << 10));
        // A head without an end: hyper's buffer is full at some time.
        let endless = "a: b\r\n".repeat(20_000);
        for (head, end) in [(many, "\r\n"), (long, "\r\n"), (endless, "")] {
            let mut client = server.connect().await;
            let request = format!("GET / HTTP/1.1\r\n{head}{end}");
            drop(client.stream.write_all(request.as_bytes()).await);
            let answer = client.rest().await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
        }
        server.stop().await;
        Ok(())
    });
}

#[test]
fn a_body_that_stalls_fails() {
    check(|| async {
        let read = service_fn(|mut request: Request<RequestBody>| async move {
            let Err(BodyError::TimedOut) = read_body(request.body_mut()).await else {
                return text("complete");
            };
            let mut response = Response::new(String::new());
            *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
            Ok(response)
        });
        let server = start(read, |server| server);
        let mut client = server.connect().await;
        client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\na").await;
        sleep(SECOND * 20).await;
        client.send("b").await; // each part has the whole time
        let started = now();
        assert_eq!(client.response().await.0, 408);
        assert!(now() - started >= SECOND * 29);
        assert_eq!(client.rest().await, ""); // the connection cannot be used further
        server.stop().await;
        Ok(())
    });
}

#[test]
fn a_client_that_receives_nothing_loses_the_connection() {
    check_seeds(1, || async {
        let large = service_fn(|_| async { text("x".repeat(4 << 20)) });
        let server = start(large, |server| server);
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        sleep(SECOND * 40).await;
        let received = client.rest().await;
        assert!(received.len() < 4 << 20, "all of it was sent");
        server.stop().await;
        Ok(())
    });
}

#[test]
fn further_connections_wait_while_the_server_is_full() {
    check(|| async {
        let limits = Limits { connections_max: 1, ..Limits::default() };
        let server = start(service_fn(|_| async { text("purr") }), |server| server.limits(limits));
        let mut first = server.connect().await;
        assert_eq!(first.get("/").await.0, 200);
        let mut second = server.connect().await;
        let waiting = spawn(async move { second.get("/").await.0 });
        sleep(SECOND).await;
        assert!(!waiting.is_finished());
        drop(first);
        assert_eq!(waiting.await?, 200);
        server.stop().await;
        Ok(())
    });
}
