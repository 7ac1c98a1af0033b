//! HTTP/1.1.

use std::time::Duration;

use http::{Response, StatusCode};
use matou_http::runtime::sleep;
use matou_http::{BodyError, Limits, service_fn};
use matou_net::Shutdown;

use crate::support::{Later, check, check_seeds, read_body, start, status, text};

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    check(|| async {
        let path = service_fn(|request| async move {
            // The first one takes longest.
            let path = request.uri().path().to_owned();
            let wait = if path == "/1" { 30 } else { 1 };
            sleep(Duration::from_millis(wait)).await;
            text(path)
        });
        let server = start(path, |server| server);
        let mut client = server.connect().await;
        let get = |n| format!("GET /{n} HTTP/1.1\r\nhost: test\r\n\r\n");
        client.send([get(1), get(2), get(3)].concat()).await;
        for path in ["/1", "/2", "/3"] {
            assert_eq!(client.response().await, (200, path.into()));
        }
        assert_eq!(client.get("/4").await.1, "/4");
        assert!(server.stop().await.is_empty());
        Ok(())
    });
}

#[test]
fn a_client_that_expects_it_is_asked_to_continue() {
    check(|| async {
        let echo = service_fn(|mut request: http::Request<matou_http::RequestBody>| async move {
            if request.uri().path() == "/refuse" {
                let mut response = Response::new(String::new());
                *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                return Ok(response);
            }
            let body = read_body(request.body_mut()).await?;
            Ok::<_, BodyError>(Response::new(String::from_utf8(body).unwrap()))
        });
        let server = start(echo, |server| server);
        let head = "HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
        let mut client = server.connect().await;
        client.send(format!("POST / {head}")).await;
        assert_eq!(status(&client.head().await), 100);
        client.send("purr").await;
        assert_eq!(client.response().await, (200, "purr".into()));

        let mut refused = server.connect().await;
        refused.send(format!("POST /refuse {head}")).await;
        assert_eq!(refused.response().await.0, 413); // without a 100 before
        server.stop().await;
        Ok(())
    });
}

#[test]
fn an_answer_is_not_lost_when_the_body_stays_unread() {
    check(|| async {
        let refuse = service_fn(|_| async {
            let mut response = Response::new("too large".repeat(1000));
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            Ok::<_, BodyError>(response)
        });
        let server = start(refuse, |server| server);
        let mut client = server.connect().await;
        client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 500000\r\n\r\n").await;
        for _ in 0..10 {
            // The server may have discarded enough and closed.
            drop(client.stream.write_all(&[b'x'; 20_000]).await);
        }
        sleep(Duration::from_millis(100)).await;
        let (status, body) = client.response().await;
        assert_eq!((status, body.len()), (413, 9000));
        drop(client);
        server.stop().await;
        Ok(())
    });
}

#[test]
fn a_client_that_ends_its_stream_receives_the_rest_if_that_is_permitted() {
    check(|| async {
        let stream = service_fn(|_| async {
            let rest = async {
                sleep(Duration::from_secs(5)).await;
                "rest"
            };
            Ok::<_, BodyError>(Response::new(Later::new("first ", rest)))
        });
        for permitted in [true, false] {
            let server = start(stream, |server| server.half_close(permitted));
            let mut client = server.connect().await;
            client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
            client.stream.shutdown(Shutdown::Write)?;
            let received = client.rest().await;
            assert_eq!(received.contains("rest\r\n0\r\n\r\n"), permitted, "{received}");
            server.stop().await;
        }
        Ok(())
    });
}

#[test]
fn a_slow_reader_receives_a_large_body_completely() {
    const SIZE: usize = 14 << 20;
    check_seeds(1, || async {
        let large = service_fn(|_| async { text("x".repeat(SIZE)) });
        let limits = Limits { write_timeout: Duration::from_secs(2), ..Limits::default() };
        let server = start(large, |server| server.limits(limits));
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        client.head().await;
        let (mut received, mut buf) = (0, vec![0; 1 << 16]);
        while let count @ 1.. = client.stream.read(&mut buf).await? {
            received += count;
            sleep(Duration::from_millis(10)).await; // slow, but never for long
        }
        // The rest of the head's last read is in the client's buffer.
        received += client.rest().await.len();
        assert_eq!(received, SIZE);
        server.stop().await;
        Ok(())
    });
}

#[test]
fn a_body_longer_than_declared_is_no_part_of_the_request() {
    check(|| async {
        let echo = service_fn(|mut request: http::Request<matou_http::RequestBody>| async move {
            let body = read_body(request.body_mut()).await?;
            Ok::<_, BodyError>(Response::new(String::from_utf8(body).unwrap()))
        });
        let server = start(echo, |server| server);
        let mut client = server.connect().await;
        client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\npurr@@ meow").await;
        client.send("\r\n\r\n").await;
        assert_eq!(client.response().await, (200, "purr".into()));
        // The rest is the next request, and no valid one.
        assert_eq!(status(&client.head().await), 400);
        assert_eq!(client.rest().await, "");
        server.stop().await;
        Ok(())
    });
}

#[test]
fn a_request_whose_body_is_cut_short_fails() {
    check(|| async {
        for permitted in [true, false] {
            let log = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
            let handler_log = std::rc::Rc::clone(&log);
            let read = service_fn(move |mut request: http::Request<matou_http::RequestBody>| {
                let log = std::rc::Rc::clone(&handler_log);
                async move {
                    let result = read_body(request.body_mut()).await;
                    log.borrow_mut().push(matches!(result, Err(BodyError::Incomplete(_))));
                    text("")
                }
            });
            let server = start(read, |server| server.half_close(permitted));
            let mut client = server.connect().await;
            client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\nabc").await;
            client.stream.shutdown(Shutdown::Write)?;
            client.rest().await;
            server.stop().await;
            // Or the client has left, and the handler was cancelled.
            assert!(log.take().iter().all(|is_incomplete| *is_incomplete));
        }
        Ok(())
    });
}

#[test]
fn an_expectation_that_is_unknown_is_ignored() {
    check(|| async {
        let server = start(service_fn(|_| async { text("purr") }), |server| server);
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: test\r\nexpect: meow\r\n\r\n").await;
        assert_eq!(client.response().await, (200, "purr".into()));
        server.stop().await;
        Ok(())
    });
}
