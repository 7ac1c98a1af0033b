//! The handler of a request is a task.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use http::StatusCode;
use matou_http::runtime::{live_tasks, remaining, sleep, spawn, yield_now};
use matou_http::{BoxError, Limits, peer_addr, service_fn};

use crate::support::{Guard, Log, check, start, text};

#[test]
fn a_router_of_axum_is_served() {
    check(|| async {
        let router = Router::new()
            .route("/", get(|| async { "purr" }))
            .route("/echo", post(|body: String| async move { (StatusCode::CREATED, body) }));
        let server = start(router, |server| server);
        let mut client = server.connect().await;
        assert_eq!(client.get("/").await, (200, "purr".into()));
        client.send("POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nmeow").await;
        assert_eq!(client.response().await, (201, "meow".into()));
        assert_eq!(client.get("/none").await.0, 404);
        server.stop().await;
        Ok(())
    });
}

#[test]
fn state_need_not_be_send_and_the_peer_is_known() {
    check(|| async {
        let count = Rc::new(Cell::new(0));
        let counter = Rc::clone(&count);
        let service = service_fn(move |_| {
            counter.set(counter.get() + 1);
            async { text(peer_addr().expect("in a handler").tcp().unwrap().to_string()) }
        });
        let server = start(service, |server| server);
        let mut client = server.connect().await;
        let address = client.stream.local_addr()?.to_string();
        assert_eq!(client.get("/").await, (200, address.clone()));
        assert_eq!(client.get("/").await, (200, address));
        server.stop().await;
        assert_eq!(count.get(), 2);
        assert!(peer_addr().is_none());
        Ok(())
    });
}

#[test]
fn a_handler_that_panics_fails_or_violates_a_rule_is_the_status_500() {
    check(|| async {
        let service = service_fn(|request| async move {
            match request.uri().path() {
                "/panic" => panic!("a mistake"),
                "/error" => Err::<http::Response<String>, BoxError>("no luck".into()),
                "/violation" => {
                    std::mem::forget(spawn(pending::<()>()));
                    Ok(http::Response::new(String::new()))
                }
                _ => Ok(http::Response::new("purr".into())),
            }
        });
        let server = start(service, |server| server);
        let mut client = server.connect().await;
        for path in ["/panic", "/error", "/violation"] {
            assert_eq!(client.get(path).await, (500, String::new()));
            assert_eq!(client.get("/").await, (200, "purr".into())); // on the same connection
        }
        drop(client);
        let events = server.stop().await;
        assert_eq!(events.len(), 3, "{events:?}");
        for (event, (path, why)) in events.iter().zip([
            ("GET /panic", "a mistake"),
            ("GET /error", "no luck"),
            ("GET /violation", "StillHasChildren"),
        ]) {
            assert!(event.contains(path) && event.contains(why), "{event}");
        }
        Ok(())
    });
}

/// A handler with a child, which both have a guard.
fn with_child(log: &Log) -> impl Future<Output = ()> + use<> {
    let (guard, child) = (Guard("handler", Rc::clone(log)), Guard("child", Rc::clone(log)));
    async move {
        let _guard = guard;
        let child = spawn(async move {
            let _child = child;
            assert!(remaining().is_some());
            pending::<()>().await
        });
        child.await.unwrap();
    }
}

#[test]
fn a_client_that_leaves_cancels_its_handler_children_first() {
    check(|| async {
        let log = Log::default();
        let handler_log = Rc::clone(&log);
        let service = service_fn(move |_| {
            let work = with_child(&handler_log);
            async move {
                work.await;
                text("")
            }
        });
        let server = start(service, |server| server);
        let mut other = server.connect().await;
        other.send("GET /other HTTP/1.1\r\nhost: test\r\n\r\n").await;
        for reset in [false, true] {
            let mut client = server.connect().await;
            client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
            sleep(Duration::from_millis(100)).await;
            if reset {
                client.stream.set_linger(Some(Duration::ZERO))?;
            }
            drop(client);
            sleep(Duration::from_millis(100)).await;
            assert_eq!(log.take(), ["child", "handler"]);
        }
        drop(other);
        let events = server.stop().await;
        assert!(events.is_empty(), "{events:?}");
        assert_eq!(log.take(), ["child", "handler"]);
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_handler_that_exceeds_its_time_limit_is_cancelled_children_first() {
    check(|| async {
        let log = Log::default();
        let handler_log = Rc::clone(&log);
        let service = service_fn(move |request| {
            let work = with_child(&handler_log);
            async move {
                if request.uri().path() == "/slow" {
                    work.await;
                }
                yield_now().await;
                text("purr")
            }
        });
        let limits = Limits { request_timeout: Duration::from_secs(3), ..Limits::default() };
        let server = start(service, |server| server.limits(limits));
        let mut client = server.connect().await;
        assert_eq!(client.get("/slow").await, (503, String::new()));
        assert_eq!(log.take(), ["child", "handler"]);
        assert_eq!(client.get("/").await, (200, "purr".into()));
        drop(client);
        let events = server.stop().await;
        assert!(events.len() == 1 && events[0].contains("GET /slow"), "{events:?}");
        Ok(())
    });
}
