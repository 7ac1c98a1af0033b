//! WebSocket connections of `matou-http`, with the client of async-tungstenite in simulated runs.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use async_tungstenite::tungstenite::client::IntoClientRequest;
use async_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use async_tungstenite::tungstenite::{Bytes, Error, Message};
use async_tungstenite::{WebSocketStream, client_async};
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use futures::StreamExt;
use matou_http::net::{TcpListener, TcpStream};
use matou_http::runtime::test::Check;
use matou_http::runtime::{
    MainError, Promise, Violations, live_tasks, now, sleep, spawn, try_spawn,
};
use matou_http::websocket::{Socket, WebSocketUpgrade};
use matou_http::{Served, peer_addr, serve};

const SECOND: Duration = Duration::from_secs(1);

/// Main, and the tasks of a server without connections.
const IDLE_TASKS: usize = 4;

thread_local! {
    /// How often the handler of `/push` has come to its end.
    static PUSHED: Cell<u32> = const { Cell::new(0) };
}

async fn echo(mut socket: Socket) {
    while let Some(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
}

/// A reader and a writer in two tasks.
async fn push(socket: Socket) {
    let (sender, mut receiver) = socket.split();
    assert!(peer_addr().is_some());
    let writer = spawn(async move {
        let mut number = 0;
        while sender.send(format!("{number}")).await.is_ok() {
            number += 1;
            sleep(SECOND).await;
        }
    });
    while receiver.recv().await.is_some() {}
    writer.await.unwrap();
    PUSHED.set(PUSHED.get() + 1);
}

fn router() -> Router {
    let upgrade = |upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(echo) as Response };
    Router::new()
        .route("/echo", get(upgrade))
        .route(
            "/small",
            get(|upgrade: WebSocketUpgrade| async {
                upgrade.message_bytes_max(10).protocols(["b", "a"]).on_upgrade(echo) as Response
            }),
        )
        .route(
            "/push",
            get(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(push) as Response }),
        )
        .route(
            "/panic",
            get(|upgrade: WebSocketUpgrade| async {
                upgrade.on_upgrade(async |_| panic!("a mistake")) as Response
            }),
        )
        .route(
            "/deaf",
            get(|upgrade: WebSocketUpgrade| async {
                upgrade.on_upgrade(async |_socket| sleep(SECOND * 3000).await) as Response
            }),
        )
}

struct Server {
    address: SocketAddr,
    promise: Promise<Served, std::io::Error>,
    events: Rc<RefCell<Vec<String>>>,
}

fn start(after: Duration) -> Server {
    let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let events = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&events);
    let server = serve(listener, router())
        .on_event(move |event| log.borrow_mut().push(event.to_string()))
        .shutdown(sleep(after));
    Server { address, promise: try_spawn(server.into_future()), events }
}

impl Server {
    async fn connect(&self, path: &str) -> WebSocketStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        client_async(format!("ws://test{path}"), stream).await.unwrap().0
    }
}

fn check<F: Future<Output = Result<(), MainError>> + 'static>(body: fn() -> F) {
    Check::simulated().violations(Violations::FailTask).on_report(|_| {}).run(0..8, body);
}

/// Receives the next message, and the close code at the end.
async fn next(socket: &mut WebSocketStream<TcpStream>) -> Result<String, Option<CloseCode>> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code)),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
    }
}

#[test]
fn messages_are_echoed_and_either_side_can_close() {
    check(|| async {
        let server = start(SECOND * 100);
        let mut client = server.connect("/echo").await;
        for message in ["purr", "", &"long ".repeat(20_000)] {
            client.send(message.into()).await?;
            assert_eq!(next(&mut client).await.as_deref(), Ok(message));
        }
        client.send(Message::Ping(Bytes::from_static(b"?"))).await?;
        let Some(Ok(Message::Pong(pong))) = client.next().await else { panic!("no pong") };
        assert_eq!(pong, "?");
        let frame = CloseFrame { code: CloseCode::Library(4001), reason: "enough".into() };
        client.close(Some(frame)).await?;
        assert_eq!(next(&mut client).await, Err(Some(CloseCode::Library(4001))));
        let begun = now();
        assert!(client.next().await.is_none());
        drop(client);
        sleep(SECOND).await;
        assert!(now() - begun < SECOND * 2, "the server ends the connection at once");
        assert_eq!(live_tasks(), IDLE_TASKS);

        // The handler ends first, by a panic.
        let mut client = server.connect("/panic").await;
        assert_eq!(next(&mut client).await, Err(Some(CloseCode::Error)));
        drop(client);
        sleep(SECOND).await;
        assert!(server.events.borrow()[0].contains("websocket /panic"));
        assert_eq!(live_tasks(), IDLE_TASKS);
        server.promise.cancel().await;
        Ok(())
    });
}

#[test]
fn a_message_over_the_limit_is_the_code_1009() {
    check(|| async {
        let server = start(SECOND * 100);
        let mut request = "ws://test/small".into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", "x, a,b".parse()?);
        let stream = TcpStream::connect(server.address).await?;
        let (mut client, response) = client_async(request, stream).await?;
        assert_eq!(response.headers()["sec-websocket-protocol"], "b");
        client.send("0123456789".into()).await?;
        assert_eq!(next(&mut client).await.as_deref(), Ok("0123456789"));
        client.send("0123456789a".into()).await?;
        assert_eq!(next(&mut client).await, Err(Some(CloseCode::Size)));
        drop(client);
        server.promise.cancel().await;
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_shutdown_sends_the_code_1001_behind_the_messages() {
    check(|| async {
        PUSHED.set(0);
        let server = start(Duration::from_millis(4500));
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = server.connect("/push").await;
            clients.push(spawn(async move {
                let mut received = 0;
                let code = loop {
                    match next(&mut client).await {
                        Ok(text) => assert_eq!(text, format!("{received}")),
                        Err(code) => break code,
                    }
                    received += 1;
                };
                assert!(client.next().await.is_none());
                (received, code)
            }));
        }
        let mut silent = server.connect("/push").await; // never answers the close
        for client in clients {
            assert_eq!(client.await?, (5, Some(CloseCode::Away)));
        }
        let begun = now();
        let served = server.promise.await?;
        assert!(now() - begun < SECOND * 8, "the silent client has 5 s");
        assert_eq!((served.cut, served.failed, PUSHED.get()), (0, 0, 4));
        assert_eq!(next(&mut silent).await.as_deref(), Ok("0"));
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_client_that_vanishes_is_noticed_by_pings_and_its_handler_is_ended() {
    check(|| async {
        let server = start(SECOND * 3600);
        // One that does not read: the pings arrive, but are not answered.
        let mute = server.connect("/deaf").await;
        let mut alive = server.connect("/push").await;
        let reader = spawn(async move { while next(&mut alive).await.is_ok() {} });
        sleep(SECOND * 20).await;
        let tasks = live_tasks();
        sleep(SECOND * 60).await;
        // The connection, the upgraded protocol and the handler.
        assert_eq!(live_tasks(), tasks - 3);
        sleep(SECOND * 200).await;
        assert_eq!(live_tasks(), tasks - 3, "a client that answers stays");
        drop(mute);
        reader.cancel().await;
        server.promise.cancel().await;
        Ok(())
    });
}

#[test]
fn what_is_no_request_for_a_websocket_is_refused() {
    check(|| async {
        let server = start(SECOND * 100);
        let connection = "connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n";
        let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let cases = [
            (String::new(), "426"),
            (format!("{connection}{key}sec-websocket-version: 8\r\n"), "426"),
            (format!("{connection}sec-websocket-version: 13\r\n"), "400"),
            (format!("{connection}{key}sec-websocket-version: 13\r\n"), "101"),
        ];
        for (headers, status) in cases {
            let mut stream = TcpStream::connect(server.address).await?;
            let request = format!("GET /echo HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut buf = [0; 1024];
            let mut count = 0;
            while !buf[..count].windows(4).any(|window| window == b"\r\n\r\n") {
                count += stream.read(&mut buf[count..]).await?;
            }
            let head = String::from_utf8_lossy(&buf[..count]);
            assert_eq!(&head[9..12], status, "{head}");
            let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
            assert_eq!(head.contains(accept), status == "101", "{head}");
        }
        let stream = TcpStream::connect(server.address).await?;
        let refused = client_async("ws://test/nowhere", stream).await;
        assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 404));
        server.promise.cancel().await;
        Ok(())
    });
}
