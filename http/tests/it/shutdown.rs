//! The graceful shutdown.

use std::future::IntoFuture;
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use matou_http::runtime::{live_tasks, now, race_either, sleep, spawn};
use matou_http::{Limits, serve, service_fn, shutting_down};
use matou_net::{TcpListener, TcpStream};

use crate::support::{Client, Guard, Log, check, start, text};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn requests_in_progress_are_completed_and_idle_connections_are_closed() {
    check(|| async {
        let slow = service_fn(|_| async {
            sleep(SECOND * 3).await;
            text("purr")
        });
        let server = start(slow, |server| server.shutdown(sleep(SECOND * 5)));
        let (mut idle, mut fresh) = (server.connect().await, server.connect().await);
        assert_eq!(idle.get("/").await.0, 200);
        let mut busy = server.connect().await;
        let answer = spawn(async move {
            sleep(SECOND).await;
            let answer = busy.get("/").await;
            (answer, busy.rest().await)
        });
        let begun = now();
        assert_eq!(idle.rest().await, "");
        assert_eq!(fresh.rest().await, "");
        assert!(now() - begun <= SECOND * 3);
        assert!(TcpStream::connect(server.address).await.is_err());
        assert_eq!(answer.await?, ((200, "purr".into()), String::new()));
        let served = server.join().await;
        assert_eq!((served.connections, served.requests, served.cut), (3, 2, 0));
        Ok(())
    });
}

#[test]
fn what_exceeds_the_drain_timeout_is_cancelled_children_first() {
    check(|| async {
        let log = Log::default();
        let handler_log = Rc::clone(&log);
        let service = service_fn(move |_| {
            let guards = [Guard("handler", Rc::clone(&handler_log))];
            let child = Guard("child", Rc::clone(&handler_log));
            async move {
                let _guards = guards;
                let child = spawn(async move {
                    let _child = child;
                    sleep(SECOND * 50).await;
                });
                child.await.unwrap();
                text("late")
            }
        });
        let server = start(service, |server| server.shutdown(sleep(SECOND)));
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
        let started = now();
        assert_eq!(client.rest().await, "");
        assert!(now() - started >= SECOND * 10, "it has the drain timeout");
        let events = server.events();
        let served = server.join().await;
        assert_eq!((served.cut, served.cancelled), (1, 1));
        assert_eq!(log.take(), ["child", "handler"]);
        assert!(events[0].contains("cancelled 1 connections"), "{events:?}");
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn dropping_the_future_begins_the_shutdown() {
    check(|| async {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let slow = service_fn(|_| async {
            sleep(SECOND * 3).await;
            text("purr")
        });
        let limits = Limits { drain_timeout: SECOND * 5, ..Limits::default() };
        let server = serve(listener, slow).limits(limits).into_future();
        let client = spawn(async move {
            let mut client = Client::new(TcpStream::connect(address).await.unwrap());
            client.get("/").await
        });
        drop(race_either(server, sleep(SECOND)).await);
        assert_eq!(client.await?, (200, "purr".into()));
        assert!(TcpStream::connect(address).await.is_err());
        Ok(())
    });
}

#[test]
fn a_handler_may_wait_for_the_shutdown() {
    check(|| async {
        // A handler of axum must be `Send`.
        let wait = || async {
            shutting_down().await;
            "the server ends"
        };
        let server = start(Router::new().route("/", get(wait)), |server| server);
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        // Far more than the request needs to arrive.
        sleep(Duration::from_secs(1)).await;
        let (_, answer) = futures::join!(server.stop(), client.response());
        assert_eq!(answer, (200, "the server ends".to_owned()));
        // Outside a server it is never ready.
        assert!(futures::poll!(shutting_down()).is_pending());
        Ok(())
    });
}
