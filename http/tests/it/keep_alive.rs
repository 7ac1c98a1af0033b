//! Server-sent events.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures::{Stream, StreamExt, stream};
use matou_http::keep_alive;
use matou_http::runtime::{now, sleep};

use crate::support::{check, start};

const SECOND: Duration = Duration::from_secs(1);

/// An event after 2 s, after 32 s, and then none.
fn events() -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    let pauses = stream::iter([(2, "first"), (30, "second")]);
    let events = pauses.then(async |(seconds, data)| {
        sleep(SECOND * seconds).await;
        Ok(Event::default().data(data))
    });
    events.chain(stream::once(pending()))
}

fn router() -> Router {
    let comment = || Ok(Event::default().comment("purr"));
    Router::new()
        .route("/", get(move || async move { Sse::new(keep_alive(events(), SECOND * 8, comment)) }))
        .route(
            "/busy",
            get(move || async move {
                let event = || async { Ok::<_, Infallible>(Event::default().data("x")) };
                let events = stream::repeat(()).then(move |()| event());
                Sse::new(keep_alive(events, SECOND, || Ok(Event::default())))
            }),
        )
}

#[test]
fn comments_fill_the_silence_and_a_shutdown_ends_the_events() {
    check(|| async {
        let server = start(router(), |server| server.shutdown(sleep(SECOND * 45)));
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
        let started = now();
        let text = client.rest().await;
        let seconds = (now() - started).as_secs();
        // At 2 s, 10, 18, 26, 32 and 40 s.
        let is_event = |line: &&str| line.starts_with(": ") || line.starts_with("data: ");
        let events: Vec<_> = text.lines().filter(is_event).collect();
        let expected = ["data: first", ": purr", ": purr", ": purr", "data: second", ": purr"];
        assert_eq!(events, expected, "{text}");
        assert!(text.ends_with("\r\n0\r\n\r\n"), "the response is complete: {text}");
        assert!((44..=46).contains(&seconds), "{seconds}");
        assert_eq!(server.join().await.cut, 0);
        Ok(())
    });
}

#[test]
fn a_stream_that_always_has_an_event_does_not_hold_up_a_shutdown() {
    check(|| async {
        let server = start(router(), |server| server.shutdown(sleep(SECOND)));
        let mut client = server.connect().await;
        client.send("GET /busy HTTP/1.1\r\nhost: test\r\n\r\n").await;
        client.head().await;
        // The client does not read, so the stream is only polled again when it does.
        sleep(SECOND * 3).await;
        let text = client.rest().await;
        assert!(text.ends_with("\r\n0\r\n\r\n"));
        assert_eq!(server.join().await.cut, 0);
        Ok(())
    });
}
