//! Parts for axum that it has for tokio only: a layer with a time limit, streams that keep alive.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures::{StreamExt, stream};
use http::StatusCode;
use matou_http::runtime::{live_tasks, now, sleep, spawn};
use matou_http::{TimeoutLayer, keep_alive, peer_addr, shutting_down};

use crate::support::{check, start};

const SECOND: Duration = Duration::from_secs(1);

/// Sends its text when it is dropped.
struct Dropped(&'static str, futures::channel::mpsc::UnboundedSender<&'static str>);

impl Drop for Dropped {
    fn drop(&mut self) {
        drop(self.1.unbounded_send(self.0));
    }
}

#[test]
fn a_route_with_a_time_limit_ends_its_children_first() {
    check(|| async {
        let (send, mut order) = futures::channel::mpsc::unbounded();
        let slow = move || {
            let (handler, child) = (Dropped("handler", send.clone()), Dropped("child", send));
            async move {
                let _handler = handler;
                let child = spawn(async move {
                    let _child = child;
                    pending::<()>().await;
                });
                child.await.map_or_else(|error| error.to_string(), |()| String::new())
            }
        };
        let limited = Router::new()
            .route("/slow", get(slow))
            .route("/fast", get(|| async { peer_addr().expect("in a handler").to_string() }))
            .route_layer(TimeoutLayer::new(2 * SECOND).status(StatusCode::GATEWAY_TIMEOUT));
        let router = limited.route("/free", get(|| async { sleep(3 * SECOND).await }));
        let server = start(router, |server| server);
        let mut client = server.connect().await;
        assert_eq!(client.get("/fast").await.0, 200);
        let begun = now();
        assert_eq!(client.get("/slow").await.0, 504);
        assert!((1900..2900).contains(&(now() - begun).as_millis()));
        assert_eq!(order.next().await, Some("child"));
        assert_eq!(order.next().await, Some("handler"));
        assert_eq!(client.get("/free").await.0, 200);
        assert_eq!(server.stop().await, [""; 0]);
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_panic_behind_the_layer_is_the_status_500() {
    check(|| async {
        let panics = || async {
            if live_tasks() > 0 {
                panic!("a mistake")
            }
        };
        let layer = TimeoutLayer::new(SECOND);
        let router = Router::new().route("/", get(panics)).route_layer(layer);
        let server = start(router, |server| server);
        assert_eq!(server.connect().await.get("/").await.0, 500);
        let events = server.stop().await;
        assert!(events[0].contains("layers.rs") && events[0].contains("a mistake"), "{events:?}");
        Ok(())
    });
}

#[test]
fn a_silent_stream_of_events_sends_comments() {
    check(|| async {
        let news = || async {
            let events = stream::once(async {
                sleep(5 * SECOND).await;
                Ok::<_, Infallible>(Event::default().data("meow"))
            });
            Sse::new(keep_alive(events, 2 * SECOND, || Ok(Event::default().comment("purr"))))
        };
        let server = start(Router::new().route("/", get(news)), |server| server);
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let answer = client.rest().await;
        let (comments, event) = answer.split_once("data: meow").expect(&answer);
        assert_eq!(comments.matches(": purr").count(), 2, "{answer}");
        assert!(!event.contains("purr"), "{answer}");
        server.stop().await;
        Ok(())
    });
}

#[test]
fn a_response_without_an_end_ends_itself_at_the_shutdown() {
    check(|| async {
        let wait = || async {
            shutting_down().await;
            "the server ends"
        };
        let server = start(Router::new().route("/", get(wait)), |server| server);
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        // Far more than the request needs to arrive.
        sleep(SECOND).await;
        let begun = now();
        let (_, answer) = futures::join!(server.stop(), client.response());
        assert_eq!(answer, (200, "the server ends".to_owned()));
        assert!(now() - begun < 5 * SECOND);
        // Outside a server it is never ready.
        assert!(futures::poll!(shutting_down()).is_pending());
        Ok(())
    });
}
