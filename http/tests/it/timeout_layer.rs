//! Time limits of single routes.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use matou_http::runtime::{live_tasks, now, remaining, sleep, spawn};
use matou_http::{TimeoutLayer, peer_addr};

use crate::support::{Guard, Log, check, start};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_route_that_exceeds_its_limit_is_cancelled_children_first() {
    check(|| async {
        let limit = TimeoutLayer::new(SECOND * 2);
        let late = limit.status(StatusCode::GATEWAY_TIMEOUT);
        LOG.with(|log| log.take());
        let router = Router::new()
            .route("/slow", get(slow).layer(limit))
            .route("/proxy", get(|| async { sleep(SECOND * 50).await }).layer(late))
            .route("/fast", get(|| async { peer_addr().unwrap().to_string() }).layer(limit))
            .route("/panic", get(|| async { boom() }).layer(limit))
            .route(
                "/free",
                get(|| async {
                    sleep(SECOND * 3).await;
                    "free"
                }),
            );
        let server = start(router, |server| server);
        let mut client = server.connect().await;
        let begun = now();
        assert_eq!(client.get("/slow").await, (503, String::new()));
        assert!((SECOND * 2..SECOND * 3).contains(&(now() - begun)));
        assert_eq!(LOG.with(|log| log.take()), ["child", "handler"]);
        assert_eq!(client.get("/proxy").await.0, 504);
        let address = client.stream.local_addr()?.to_string();
        assert_eq!(client.get("/fast").await, (200, address));
        assert_eq!(client.get("/free").await, (200, "free".into()));
        assert_eq!(client.get("/panic").await.0, 500);
        let events = server.stop().await;
        assert!(events[0].contains("a mistake"), "{events:?}");
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

thread_local! {
    static LOG: Log = Log::default();
}

/// Its guards are not `Send`, as the futures of axum's handlers must be, so they are in a task.
async fn slow() -> &'static str {
    let handler = spawn(async {
        let _guard = LOG.with(|log| Guard("handler", log.clone()));
        let child = spawn(async {
            let _guard = LOG.with(|log| Guard("child", log.clone()));
            assert!(remaining().is_some_and(|left| left <= SECOND * 2));
            sleep(SECOND * 50).await;
        });
        child.await.unwrap();
    });
    handler.await.unwrap();
    "late"
}

fn boom() -> &'static str {
    panic!("a mistake")
}

#[test]
fn a_client_that_leaves_cancels_the_handler_behind_the_layer() {
    check(|| async {
        let slow = get(|| async { sleep(SECOND * 50).await }).layer(TimeoutLayer::new(SECOND * 40));
        let server = start(Router::new().route("/", slow), |server| server);
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
        sleep(SECOND).await;
        drop(client);
        sleep(SECOND).await;
        assert_eq!(live_tasks(), 4, "main, and three of the server");
        server.stop().await;
        Ok(())
    });
}
