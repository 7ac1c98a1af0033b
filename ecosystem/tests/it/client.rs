//! The client of `matou-http`, against its server and against servers that misbehave.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response, Version};
use matou_http::client::{Client, ClientError, ClientErrorKind};
use matou_http::net::{TcpListener, TcpStream, UnixListener};
use matou_http::runtime::test::Check;
use matou_http::runtime::{
    MainError, Promise, Violations, await_all, live_tasks, now, run, sleep, spawn, timeout,
    try_spawn,
};
use matou_http::tls::client_config;
use matou_http::{Limits, Served, serve, service_fn};

use crate::support::{Identity, TlsServer};

const SECOND: Duration = Duration::from_secs(1);

fn check<F: Future<Output = Result<(), MainError>> + 'static>(body: fn() -> F) {
    Check::simulated().violations(Violations::FailTask).on_report(|_| {}).run(0..8, body);
}

/// A server that answers with the version and the path of the request, after one second if the
/// path is `/slow`.
struct Server {
    address: SocketAddr,
    promise: Promise<Served, io::Error>,
    stop: Rc<Cell<bool>>,
}

async fn answer<B>(request: Request<B>) -> Result<Response<String>, Infallible> {
    if request.uri().path() == "/slow" {
        sleep(SECOND).await;
    }
    Ok(Response::new(format!("{:?} {}", request.version(), request.uri().path())))
}

fn start() -> Server {
    let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Rc::<Cell<bool>>::default();
    let is_stopped = Rc::clone(&stop);
    let shutdown = async move {
        while !is_stopped.get() {
            sleep(SECOND / 100).await;
        }
    };
    let server = serve(listener, service_fn(answer)).on_event(|_| {}).shutdown(shutdown);
    Server { address, promise: try_spawn(server.into_future()), stop }
}

impl Server {
    fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Ends the server by a shutdown and returns what it has done.
    async fn stop(self) -> Served {
        self.stop.set(true);
        self.promise.await.unwrap()
    }
}

async fn get(client: &Client, uri: &str) -> Result<String, ClientError> {
    let body = client.get(uri).await?.into_body().collect(100_000).await?;
    Ok(String::from_utf8(body).unwrap())
}

fn kind<T>(result: Result<T, ClientError>) -> Option<ClientErrorKind> {
    result.err().map(|error| error.kind())
}

#[derive(Clone, Copy)]
enum Step {
    /// Reads the head of a request and answers.
    Answer(&'static str),
    /// Reads the head of a request only.
    Ignore,
    Sleep(Duration),
}

/// A server that follows a script, which depends on the number of the connection.
struct Raw {
    address: SocketAddr,
    connections: Rc<Cell<usize>>,
    requests: Rc<Cell<usize>>,
    /// The numbers of the connections that their client has closed.
    closed: Rc<RefCell<Vec<usize>>>,
    promise: Promise<(), io::Error>,
}

/// With `waits` the server waits for the client's end after the script, and else closes.
fn raw(script: fn(usize) -> Vec<Step>, waits: bool) -> Raw {
    let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, requests) = (Rc::<Cell<usize>>::default(), Rc::<Cell<usize>>::default());
    let closed = Rc::<RefCell<Vec<usize>>>::default();
    let (all, heads, ends) = (connections.clone(), requests.clone(), closed.clone());
    let promise = try_spawn(async move {
        let group = matou_http::runtime::Orphans::new().discarding();
        loop {
            let (mut stream, _) = listener.accept().await?;
            let number = all.get();
            all.set(number + 1);
            let (heads, ends) = (heads.clone(), ends.clone());
            group.spawn(async move {
                let steps = script(number);
                for step in steps {
                    match step {
                        Step::Sleep(duration) => sleep(duration).await,
                        Step::Answer(_) | Step::Ignore => {
                            if !read_head(&mut stream).await {
                                ends.borrow_mut().push(number);
                                return;
                            }
                            heads.set(heads.get() + 1);
                            if let Step::Answer(text) = step {
                                drop(stream.write_all(text.as_bytes()).await);
                            }
                        }
                    }
                }
                if waits {
                    while stream.read(&mut [0; 100]).await.is_ok_and(|count| count > 0) {}
                    ends.borrow_mut().push(number);
                }
            });
        }
    });
    Raw { address, connections, requests, closed, promise }
}

async fn read_head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !stream.read(&mut byte).await.is_ok_and(|count| count > 0) {
            return false;
        }
        head.extend_from_slice(&byte);
    }
    true
}

const OK: Step = Step::Answer("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npurr");

impl Raw {
    fn uri(&self) -> String {
        format!("http://{}/", self.address)
    }

    async fn stop(self) -> (usize, usize) {
        self.promise.cancel().await;
        (self.connections.get(), self.requests.get())
    }
}

#[test]
fn requests_in_sequence_share_a_connection() {
    check(|| async {
        let server = start();
        let client = Client::new();
        for path in ["/a", "/b", "/c"] {
            assert_eq!(get(&client, &server.uri(path)).await?, format!("HTTP/1.1 {path}"));
        }
        drop(client);
        let served = server.stop().await;
        assert_eq!((served.connections, served.requests), (1, 3));
        Ok(())
    });
}

#[test]
fn at_most_so_many_connections_serve_concurrent_requests() {
    check(|| async {
        let server = start();
        let client = Client::builder().connections_max(2).build();
        let uri = server.uri("/slow");
        let begun = now();
        let tasks = (0..6).map(|_| {
            let (client, uri) = (client.clone(), uri.clone());
            spawn(async move { get(&client, &uri).await.unwrap() })
        });
        for outcome in await_all(tasks.collect::<Vec<_>>()).await {
            assert_eq!(outcome?, "HTTP/1.1 /slow");
        }
        let waited = now() - begun;
        assert!(waited >= SECOND * 3 && waited < SECOND * 4, "{waited:?}");
        drop(client);
        assert_eq!(server.stop().await.connections, 2);
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_stale_connection_is_replaced_once() {
    check(|| async {
        // The first connection ends with the second request on it.
        let script = |number| if number == 0 { vec![OK, Step::Ignore] } else { vec![OK] };
        let server = raw(script, false);
        let client = Client::new();
        assert_eq!(get(&client, &server.uri()).await?, "purr");
        assert_eq!(get(&client, &server.uri()).await?, "purr");
        assert_eq!(server.stop().await, (2, 3));

        // A server that has closed the connection in silence.
        let server = raw(|_| vec![OK, Step::Sleep(SECOND)], false);
        assert_eq!(get(&client, &server.uri()).await?, "purr");
        sleep(SECOND * 2).await;
        let request = Request::post(server.uri()).body("a body".to_owned())?;
        let response = client.request(request).await?;
        assert_eq!(response.into_body().collect(4).await?, b"purr");
        assert_eq!(server.stop().await, (2, 2));

        // The second connection ends as well.
        let script = |number| if number == 0 { vec![OK, Step::Ignore] } else { vec![Step::Ignore] };
        let server = raw(script, false);
        assert_eq!(get(&client, &server.uri()).await?, "purr");
        let second = get(&client, &server.uri()).await;
        assert_eq!(kind(second), Some(ClientErrorKind::Request));
        assert_eq!(server.stop().await, (2, 3));
        Ok(())
    });
}

#[test]
fn a_request_that_is_not_repeatable_is_sent_once() {
    check(|| async {
        for body in ["", "a body"] {
            let server = raw(|_| vec![OK, Step::Ignore], false);
            let client = Client::new();
            assert_eq!(get(&client, &server.uri()).await?, "purr");
            let request = Request::post(server.uri()).body(body.to_owned())?;
            let result = client.request(request).await;
            assert_eq!(kind(result), Some(ClientErrorKind::Request));
            assert_eq!(server.stop().await, (1, 2));
        }
        Ok(())
    });
}

#[test]
fn misbehaving_servers_are_errors_with_a_kind() {
    check(|| async {
        type Script = fn(usize) -> Vec<Step>;
        let scripts: [(Script, ClientErrorKind); 6] = [
            (|_| vec![], ClientErrorKind::Request),
            (|_| vec![Step::Ignore], ClientErrorKind::Request),
            (|_| vec![Step::Answer("miaow\r\n\r\n")], ClientErrorKind::Request),
            (|_| vec![Step::Answer("HTTP/1.1 200 OK\r\nx: ")], ClientErrorKind::Request),
            (
                |_| vec![Step::Answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npurr")],
                ClientErrorKind::Body,
            ),
            (
                |_| {
                    vec![Step::Answer(
                        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npu",
                    )]
                },
                ClientErrorKind::Body,
            ),
        ];
        let client = Client::new();
        for (index, (script, expected)) in scripts.into_iter().enumerate() {
            let server = raw(script, false);
            let result = get(&client, &server.uri()).await;
            assert_eq!(kind(result), Some(expected), "script {index}");
            assert_eq!(server.stop().await.0, 1);
        }
        // Interim responses are not responses.
        let server = raw(
            |_| {
                vec![Step::Answer(
                    "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\
                     content-length: 4\r\n\r\npurr",
                )]
            },
            true,
        );
        assert_eq!(get(&client, &server.uri()).await?, "purr");
        server.stop().await;
        Ok(())
    });
}

#[test]
fn slow_servers_exceed_the_time_limit() {
    check(|| async {
        let client = Client::builder().timeout(SECOND * 3).build();
        let scripts: [fn(usize) -> Vec<Step>; 2] = [
            |_| vec![Step::Ignore],
            |_| vec![Step::Answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npurr")],
        ];
        for script in scripts {
            let server = raw(script, true);
            let begun = now();
            let result = get(&client, &server.uri()).await;
            assert_eq!(kind(result), Some(ClientErrorKind::TimedOut));
            let waited = now() - begun;
            assert!(waited >= SECOND * 3 && waited < SECOND * 4, "{waited:?}");
            sleep(SECOND).await;
            assert_eq!(*server.closed.borrow(), [0], "the connection is closed");
            server.stop().await;
        }
        Ok(())
    });
}

#[test]
fn a_body_over_the_limit_is_an_error_and_its_connection_is_not_reused() {
    check(|| async {
        let server = start();
        let client = Client::new();
        let response = client.get(server.uri("/a")).await?;
        let result = response.into_body().collect(10).await;
        assert_eq!(kind(result), Some(ClientErrorKind::BodyTooLarge));
        let response = client.get(server.uri("/a")).await?;
        assert_eq!(response.into_body().collect(11).await?.len(), 11);
        // Without a length in the head.
        let raw =
            raw(|_| vec![Step::Answer("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\npurr")], false);
        let result = client.get(raw.uri()).await?.into_body().collect(3).await;
        assert_eq!(kind(result), Some(ClientErrorKind::BodyTooLarge));
        raw.stop().await;
        drop(client);
        assert_eq!(server.stop().await.connections, 2);
        Ok(())
    });
}

#[test]
fn a_request_that_is_dropped_closes_the_connection_of_http1() {
    check(|| async {
        let server = raw(|_| vec![Step::Ignore], true);
        let client = Client::new();
        assert!(timeout(SECOND, client.get(server.uri())).await.is_err());
        sleep(SECOND).await;
        assert_eq!(*server.closed.borrow(), [0]);
        server.stop().await;
        Ok(())
    });
}

#[test]
fn idle_connections_are_closed_after_their_time() {
    check(|| async {
        let server = raw(|_| vec![OK, OK], true);
        let client = Client::builder().idle_timeout(SECOND * 5).build();
        assert_eq!(get(&client, &server.uri()).await?, "purr");
        sleep(SECOND * 4).await;
        assert_eq!(get(&client, &server.uri()).await?, "purr");
        sleep(SECOND * 4).await;
        assert_eq!(*server.closed.borrow(), [0; 0]);
        sleep(SECOND * 2).await;
        assert_eq!(*server.closed.borrow(), [0]);
        server.stop().await;
        Ok(())
    });
}

#[test]
fn the_client_ends_with_its_last_handle_or_with_its_maker() {
    check(|| async {
        let server = raw(|_| vec![OK, Step::Ignore], true);
        let tasks = live_tasks();
        let client = Client::new();
        let response = client.get(server.uri()).await?;
        drop(client);
        // The body keeps the client.
        assert_eq!(response.into_body().collect(4).await?, b"purr");
        sleep(SECOND).await;
        assert_eq!(*server.closed.borrow(), [0]);
        assert_eq!(live_tasks(), tasks);

        // The client goes to another task than that of its maker.
        let slot = Rc::<RefCell<Option<Client>>>::default();
        let given = Rc::clone(&slot);
        let maker = spawn(async move {
            *given.borrow_mut() = Some(Client::new());
            sleep(SECOND * 3).await;
        });
        sleep(SECOND).await;
        let client = slot.take().unwrap();
        assert_eq!(get(&client, &server.uri()).await?, "purr");
        let result = get(&client, &server.uri()).await;
        assert_eq!(kind(result), Some(ClientErrorKind::Closed));
        assert_eq!(kind(get(&client, &server.uri()).await), Some(ClientErrorKind::Closed));
        maker.await?;
        server.stop().await;
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn requests_of_http2_share_one_connection() {
    check(|| async {
        let server = start();
        let client = Client::builder().http2_only().build();
        let uri = server.uri("/slow");
        let begun = now();
        let tasks = (0..20).map(|_| {
            let (client, uri) = (client.clone(), uri.clone());
            spawn(async move { get(&client, &uri).await.unwrap() })
        });
        let tasks = tasks.collect::<Vec<_>>();
        // A request that is dropped resets its stream only.
        assert!(timeout(SECOND / 2, client.get(server.uri("/slow"))).await.is_err());
        for outcome in await_all(tasks).await {
            assert_eq!(outcome?, "HTTP/2.0 /slow");
        }
        assert!(now() - begun < SECOND * 2, "{:?}", now() - begun);
        drop(client);
        let served = server.stop().await;
        assert_eq!((served.connections, served.requests, served.cancelled), (1, 21, 1));
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_goaway_lets_requests_end_and_later_ones_connect_again() {
    check(|| async {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shutdown = sleep(SECOND / 2);
        let server = serve(listener, service_fn(answer)).shutdown(shutdown);
        let server = try_spawn(server.into_future());
        let client = Client::builder().http2_only().build();
        let uri = format!("http://{address}/slow");
        assert_eq!(get(&client, &uri).await?, "HTTP/2.0 /slow");
        assert_eq!(server.await?.connections, 1);

        let listener = TcpListener::bind(address)?;
        let server = try_spawn(serve(listener, service_fn(answer)).into_future());
        assert_eq!(get(&client, &uri).await?, "HTTP/2.0 /slow");
        server.cancel().await;
        assert_eq!(kind(get(&client, &uri).await), Some(ClientErrorKind::Connect));
        Ok(())
    });
}

#[test]
fn requests_that_cannot_be_sent_are_errors() {
    check(|| async {
        let client = Client::new();
        for uri in ["/path", "ftp://localhost/", "http://a b/", "https://localhost/"] {
            let result = client.get(uri).await;
            assert_eq!(kind(result), Some(ClientErrorKind::InvalidRequest), "{uri}");
        }
        assert_eq!(
            kind(get(&client, "http://no.such.host/").await),
            Some(ClientErrorKind::Resolve)
        );
        let closed = get(&client, "http://127.0.0.1:9/").await;
        assert_eq!(kind(closed), Some(ClientErrorKind::Connect));
        Ok(())
    });
}

#[test]
fn a_unix_socket_serves_all_hosts() {
    run(async {
        let path = std::env::temp_dir().join(format!("matou-client-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let listener = UnixListener::bind(&path)?;
        let server = try_spawn(serve(listener, service_fn(answer)).into_future());
        let client = Client::builder().unix_socket(&path).build();
        assert_eq!(get(&client, "http://any/cat").await?, "HTTP/1.1 /cat");
        drop(client);
        server.cancel().await;
        assert_eq!(live_tasks(), 1);
        drop(std::fs::remove_file(&path));
        Ok::<_, MainError>(())
    })
    .unwrap();
}

#[test]
fn real_sockets_leave_no_task() {
    run(async {
        let server = start();
        let client = Client::new();
        assert_eq!(get(&client, &server.uri("/a")).await?, "HTTP/1.1 /a");
        let response = client.get(server.uri("/slow")).await?;
        assert_eq!(response.version(), Version::HTTP_11);
        // The body is dropped unread.
        drop(response);
        drop(client);
        let served = server.stop().await;
        assert_eq!((served.connections, served.requests), (1, 2));
        assert_eq!(live_tasks(), 1);
        Ok::<_, MainError>(())
    })
    .unwrap();
}

#[test]
fn tls_negotiates_the_version_and_checks_the_certificate() {
    let check = Check::simulated().repeatable(false).violations(Violations::FailTask);
    check.on_report(|_| {}).run(0..8, || async {
        let identity = Identity::new();
        let server = TlsServer::start(&identity, service_fn(answer), Limits::default());
        let uri = format!("https://localhost:{}/cat", server.address.port());
        let trusting = |identity: &Identity| client_config(identity.certificate.as_bytes());
        let mut http1_only = trusting(&identity)?;
        http1_only.alpn_protocols = vec![b"http/1.1".to_vec()];
        let configs = [(http1_only, "HTTP/1.1 /cat"), (trusting(&identity)?, "HTTP/2.0 /cat")];
        for (config, expected) in configs {
            let client = Client::builder().tls(config).build();
            let requests = (0..5).map(|_| {
                let (client, uri) = (client.clone(), uri.clone());
                spawn(async move { get(&client, &uri).await.unwrap() })
            });
            for outcome in await_all(requests.collect::<Vec<_>>()).await {
                assert_eq!(outcome?, expected);
            }
        }
        let client = Client::builder().tls(trusting(&Identity::new())?).build();
        assert_eq!(kind(get(&client, &uri).await), Some(ClientErrorKind::Tls));
        drop(client);
        server.stop().await;
        assert_eq!(live_tasks(), 1);
        Ok::<_, MainError>(())
    });
}
