//! The client and its pool, against servers of this crate and against servers that misbehave.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use matou_http::client::ClientErrorKind::{
    Body, Connect, Exchange, InvalidRequest, TimedOut, TooLong,
};
use matou_http::client::{Client, RequestContent};
use matou_http::runtime::{Orphans, Promise, live_tasks, now, sleep, spawn, try_spawn};
use matou_http::{RequestBody, peer_addr, serve, service_fn};
use matou_net::{TcpListener, TcpStream, UnixListener};

use crate::support::{Guard, Log, check, start, text};

const SECOND: Duration = Duration::from_secs(1);

/// The addresses of the clients that a server has seen.
type Peers = Rc<RefCell<BTreeSet<SocketAddr>>>;

/// Answers with the path, after a while.
async fn answer(
    request: Request<RequestBody>,
    peers: Peers,
) -> Result<Response<String>, std::convert::Infallible> {
    peers.borrow_mut().insert(peer_addr().unwrap().tcp().unwrap());
    sleep(SECOND / 100).await;
    text(request.uri().path().repeat(50))
}

#[test]
fn requests_one_after_another_share_a_connection() {
    check(|| async {
        let peers = Peers::default();
        let seen = Rc::clone(&peers);
        let server = start(service_fn(move |it| answer(it, Rc::clone(&seen))), |it| it);
        let client = Client::new();
        for number in 0..10 {
            let response = client.get(&format!("http://{}/{number}", server.address)).await?;
            let expected = format!("/{number}").repeat(50);
            assert_eq!(response.into_body().text(1000).await?, expected);
        }
        assert_eq!(peers.borrow().len(), 1);
        // A body that is not read costs its connection.
        let url = format!("http://{}/", server.address);
        drop(client.get(&url).await?);
        let error = client.get(&url).await?.into_body().collect(49).await.unwrap_err();
        assert_eq!(error.kind(), TooLong);
        assert_eq!(client.get(&url).await?.into_body().collect(50).await?.len(), 50);
        assert_eq!(peers.borrow().len(), 2);
        client.close().await;
        server.stop().await;
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn requests_wait_in_line_for_the_connections_of_a_host() {
    check(|| async {
        let peers = Peers::default();
        let seen = Rc::clone(&peers);
        let server = start(service_fn(move |it| answer(it, Rc::clone(&seen))), |it| it);
        let client = Client::builder().connections_max(3).build();
        let tasks: Vec<_> = (0..12)
            .map(|number| {
                let (client, url) =
                    (client.handle(), format!("http://{}/{number}", server.address));
                spawn(async move {
                    let body = client.get(&url).await.unwrap().into_body();
                    assert_eq!(body.text(1000).await.unwrap(), format!("/{number}").repeat(50));
                })
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        assert!((1..=3).contains(&peers.borrow().len()), "{peers:?}");
        drop(client);
        server.stop().await;
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn requests_of_http2_share_a_connection_and_end_alone() {
    check(|| async {
        let (peers, log) = (Peers::default(), Log::default());
        let (seen, guards) = (Rc::clone(&peers), Rc::clone(&log));
        let service = service_fn(move |request: Request<RequestBody>| {
            let (seen, guards) = (Rc::clone(&seen), Rc::clone(&guards));
            async move {
                if request.uri().path() == "/never" {
                    let _guard = Guard("handler", guards);
                    pending::<()>().await;
                }
                answer(request, seen).await
            }
        });
        let server = start(service, |server| server);
        let client = Client::builder().http2_only(true).build();
        let url = format!("http://{}", server.address);
        let (handle, never) = (client.handle(), format!("{url}/never"));
        let given_up = spawn(async move { drop(handle.get(&never).await) });
        let tasks: Vec<_> = (0..8)
            .map(|number| {
                let (client, url) = (client.handle(), format!("{url}/{number}"));
                spawn(async move {
                    let body = client.get(&url).await.unwrap().into_body();
                    assert_eq!(body.text(1000).await.unwrap(), format!("/{number}").repeat(50));
                })
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        given_up.cancel().await;
        assert!(client.get(&url).await?.into_body().collect(50).await.is_ok());
        // Far more than the reset needs.
        sleep(SECOND).await;
        assert_eq!(log.take(), ["handler"]);
        assert_eq!(peers.borrow().len(), 1);
        client.close().await;
        server.stop().await;
        Ok(())
    });
}

#[test]
fn a_request_with_a_body_is_echoed() {
    check(|| async {
        let router =
            axum::Router::new().route("/", axum::routing::post(|body: String| async move { body }));
        let server = start(router, |server| server);
        let client = Client::new();
        let url = format!("http://user@{}/", server.address);
        for content in ["", "purr"] {
            let response = client.post(&url, content).await?;
            assert_eq!(response.into_body().text(100).await?, content);
        }
        let stream = RequestContent::stream(OnePart(Some("a stream".to_owned())));
        let request = Request::post(&url).body(stream)?;
        assert_eq!(client.request(request).await?.into_body().text(100).await?, "a stream");
        client.close().await;
        server.stop().await;
        Ok(())
    });
}

/// A body of one part, as a stream.
struct OnePart(Option<String>);

impl http_body::Body for OnePart {
    type Data = bytes::Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, io::Error>>> {
        let part = self.0.take().map(|text| Ok(http_body::Frame::data(text.into())));
        std::task::Poll::Ready(part)
    }
}

/// A server that writes an answer to each connection, counts requests, and does not look at them.
struct Raw {
    url: String,
    requests: Rc<Cell<usize>>,
    task: Promise<(), io::Error>,
}

impl Raw {
    /// The answers of each connection, one for each request; then it is closed.
    fn start(connections: &'static [&'static [&'static str]]) -> Raw {
        let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Rc::<Cell<usize>>::default();
        let count = Rc::clone(&requests);
        let task = try_spawn(async move {
            let handlers = Orphans::new().discarding();
            for answers in connections.iter().cycle() {
                let (stream, _) = listener.accept().await?;
                handlers.spawn(Raw::handle(stream, answers, Rc::clone(&count)));
            }
            Ok(())
        });
        Raw { url, requests, task }
    }

    async fn handle(mut stream: TcpStream, answers: &[&str], count: Rc<Cell<usize>>) {
        for answer in answers {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut buf = [0; 1024];
                match stream.read(&mut buf).await {
                    Ok(0) | Err(_) => return,
                    Ok(length) => request.extend_from_slice(&buf[..length]),
                }
            }
            count.set(count.get() + 1);
            if *answer == "silence" {
                sleep(3600 * SECOND).await;
            }
            drop(stream.write_all(answer.as_bytes()).await);
        }
    }
}

#[test]
fn servers_that_misbehave_are_errors_of_their_step() {
    const CASES: &[(&[&[&str]], matou_http::client::ClientErrorKind)] = &[
        (&[&[]], Exchange),
        (&[&["garbage\r\n\r\n"]], Exchange),
        (&[&["HTTP/1.1 200 OK\r\n"]], Exchange),
        (&[&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npurr"]], Body),
        (&[&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npurr\r\n"]], Body),
        (&[&["silence"]], TimedOut),
    ];
    check(|| async {
        for (connections, kind) in CASES {
            let server = Raw::start(connections);
            let client = Client::builder().response_timeout(5 * SECOND).build();
            let error = match client.get(&server.url).await {
                Ok(response) => response.into_body().collect(100).await.unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error.kind(), *kind, "{connections:?}: {error}");
            // A failure on a new connection says that the server is at fault.
            assert!(server.requests.get() <= 1, "{connections:?}");
            client.close().await;
            server.task.cancel().await;
        }
        Ok(())
    });
}

#[test]
fn an_answer_after_informational_ones_is_the_response() {
    check(|| async {
        let server = Raw::start(&[&["HTTP/1.1 103 Early Hints\r\n\r\n\
              HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\npurr"]]);
        let client = Client::new();
        let response = client.get(&server.url).await?;
        assert_eq!(response.status(), 404);
        assert_eq!(response.into_body().text(4).await?, "purr");
        client.close().await;
        server.task.cancel().await;
        Ok(())
    });
}

/// The server closes a connection that the client has kept, when the next request arrives.
#[test]
fn a_request_on_a_connection_that_has_ended_is_repeated_once_if_it_may_be() {
    const PURR: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npurr";
    check(|| async {
        let server = Raw::start(&[&[PURR, ""], &[""]]);
        let client = Client::new();
        assert_eq!(client.get(&server.url).await?.into_body().text(4).await?, "purr");
        // The second connection does not answer either: then there is no third one.
        let error = client.get(&server.url).await.unwrap_err();
        assert_eq!(error.kind(), Exchange, "{error}");
        assert_eq!(server.requests.get(), 3);
        client.close().await;
        server.task.cancel().await;

        let server = Raw::start(&[&[PURR, ""]]);
        let client = Client::new();
        for _ in 0..3 {
            assert_eq!(client.get(&server.url).await?.into_body().text(4).await?, "purr");
        }
        // It may have been processed.
        let error = client.post(&server.url, "").await.unwrap_err();
        assert_eq!(error.kind(), Exchange, "{error}");
        client.close().await;
        server.task.cancel().await;
        Ok(())
    });
}

#[test]
fn a_connection_without_requests_is_closed() {
    check(|| async {
        let server = start(service_fn(|_| async { text("purr") }), |server| server);
        let client = Client::builder().idle_timeout(5 * SECOND).build();
        let url = format!("http://{}/", server.address);
        sleep(SECOND).await;
        let tasks = live_tasks();
        let begun = now();
        while now() - begun < 12 * SECOND {
            client.get(&url).await?.into_body().text(4).await?;
            sleep(2 * SECOND).await;
        }
        assert!(live_tasks() > tasks, "the connection is kept while it is used");
        sleep(11 * SECOND).await;
        assert_eq!(live_tasks(), tasks);
        client.get(&url).await?.into_body().text(4).await?;
        client.close().await;
        server.stop().await;
        Ok(())
    });
}

#[test]
fn the_end_of_a_client_ends_its_connections_and_requests() {
    check(|| async {
        let server =
            start(service_fn(|_| pending::<Result<Response<String>, io::Error>>()), |it| it);
        let client = Client::new();
        let (handle, url) = (client.handle(), format!("http://{}/", server.address));
        let waiting = spawn(async move { handle.get(&url).await.map(drop) });
        sleep(SECOND).await;
        drop(client);
        let error = waiting.await?.unwrap_err();
        assert_eq!(error.kind(), Exchange, "{error}");
        server.stop().await;
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn requests_that_cannot_be_sent_say_why() {
    check(|| async {
        let refused = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let client = Client::new();
        for (url, kind, text) in [
            ("/path", InvalidRequest, "`/path` is not absolute"),
            ("ftp://cat.example/", InvalidRequest, "the scheme `ftp`"),
            ("http://", InvalidRequest, ""),
            ("https://127.0.0.1/", Connect, ""),
            ("http://no-such.example/", Connect, "no-such.example"),
            (&format!("http://{refused}/"), Connect, "refused"),
        ] {
            let error = client.get(url).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{url}: {error}");
            assert!(error.to_string().contains(text), "{error}");
        }
        client.close().await;
        Ok(())
    });
}

#[test]
fn a_server_on_a_unix_socket_is_reached() {
    check(|| async {
        let listener = UnixListener::bind("/cats")?;
        let server = serve(listener, service_fn(|_| async { text("purr") })).on_event(|_| {});
        let server = try_spawn(std::future::IntoFuture::into_future(server));
        let client = Client::builder().unix_socket("/cats").build();
        let response = client.get("http://localhost/").await?;
        assert_eq!(response.into_body().text(4).await?, "purr");
        client.close().await;
        server.cancel().await;
        Ok(())
    });
}
