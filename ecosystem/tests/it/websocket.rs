//! WebSockets by async-tungstenite, in handlers of axum.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::CloseFrame;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::{WebSocketStream, client_async};
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use matou_http::net::{TcpListener, TcpStream};
use matou_http::runtime::test::Check;
use matou_http::runtime::{Promise, Violations, live_tasks, race, sleep, spawn, try_spawn};
use matou_http::websocket::{self, WebSocket};
use matou_http::{Served, serve, shutting_down};
use matou_sync::Queue;

use crate::support::{TestResult, not_run, output, run_test};

/// Sends each message back, in capital letters. A reader and a writer are two tasks, with a queue
/// in between. At the shutdown of the server the client is told to leave.
async fn shout(socket: WebSocket) {
    let end = shutting_down();
    let (mut sink, mut stream) = socket.split();
    let queue = std::rc::Rc::new(Queue::bounded(8));
    let answers = std::rc::Rc::clone(&queue);
    let writer = spawn(async move {
        while let Ok(message) = answers.pop().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let frame = CloseFrame { code: CloseCode::Away, reason: "the server ends".into() };
        drop(sink.send(Message::Close(Some(frame))).await);
    });
    let read = async {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Text(text) = message
                && queue.push(Message::text(text.to_uppercase())).await.is_err()
            {
                return;
            }
        }
    };
    race(read, end).await;
    queue.close();
    drop(writer.await);
}

async fn handler(mut request: Request) -> Response {
    match websocket::accept(&mut request, None, shout) {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

fn start() -> (SocketAddr, Promise<Served, std::io::Error>) {
    let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/shout", get(handler));
    (address, try_spawn(serve(listener, router).on_event(|_| {}).into_future()))
}

async fn connect(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    client_async(format!("ws://{address}/shout"), stream).await.unwrap().0
}

/// In simulated runs, whose network is faulty. The keys of clients are random.
fn check<F: Future<Output = TestResult> + 'static>(body: fn() -> F) {
    let check = Check::simulated().repeatable(false).violations(Violations::FailTask);
    check.on_report(|_| {}).run(0..32, body);
}

#[test]
fn messages_are_answered_in_order() {
    check(|| async {
        let (address, server) = start();
        let clients: Vec<_> = (0..3)
            .map(|client| {
                spawn(async move {
                    let mut socket = connect(address).await;
                    for number in 0..20 {
                        socket.send(Message::text(format!("cat {client} {number}"))).await.unwrap();
                        socket.send(Message::Ping(vec![7].into())).await.unwrap();
                    }
                    let mut number = 0;
                    while number < 20 {
                        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
                            assert_eq!(text, format!("CAT {client} {number}"));
                            number += 1;
                        }
                    }
                    socket.close(None).await.unwrap();
                    while let Some(Ok(_)) = socket.next().await {}
                })
            })
            .collect();
        for client in clients {
            client.await?;
        }
        server.cancel().await;
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_client_is_told_that_the_server_ends() {
    check(|| async {
        let (address, server) = start();
        let mut socket = connect(address).await;
        socket.send(Message::text("meow")).await?;
        assert_eq!(socket.next().await.unwrap()?, Message::text("MEOW"));
        let goodbye = async {
            let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else { panic!() };
            while let Some(Ok(_)) = socket.next().await {}
            frame.code
        };
        assert_eq!(futures::join!(server.cancel(), goodbye).1, CloseCode::Away);
        Ok(())
    });
}

#[test]
fn a_client_that_vanishes_ends_both_tasks() {
    check(|| async {
        let (address, server) = start();
        sleep(Duration::from_millis(5)).await;
        let idle = live_tasks();
        for _ in 0..5 {
            let mut socket = connect(address).await;
            socket.send(Message::text("meow")).await?;
            drop(socket);
        }
        // Far more than the server needs to notice.
        for _ in 0..1000 {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(live_tasks(), idle);
        server.cancel().await;
        Ok(())
    });
}

#[test]
fn other_requests_are_refused() {
    check(|| async {
        let (address, server) = start();
        for (headers, reason) in [
            ("", "does not ask for a WebSocket"),
            ("connection: upgrade\r\nupgrade: purr\r\n", "does not ask for a WebSocket"),
            ("connection: upgrade\r\nupgrade: websocket\r\n", "version"),
            (
                "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n",
                "Sec-WebSocket-Key",
            ),
        ] {
            let mut stream = TcpStream::connect(address).await?;
            let request = format!("GET /shout HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
            AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await?;
            let mut answer = String::new();
            while !answer.contains(reason) {
                let mut buf = [0; 1000];
                let count = AsyncReadExt::read(&mut stream, &mut buf).await?;
                assert!(count > 0, "{answer}");
                answer += std::str::from_utf8(&buf[..count])?;
            }
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }
        server.cancel().await;
        Ok(())
    });
}

const PYTHON: &str = "
import asyncio, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1]) as socket:
        for number in range(100):
            await socket.send('meow %d' % number)
            assert await socket.recv() == 'MEOW %d' % number
        await (await socket.ping())
asyncio.run(main())
print('done')
";

#[test]
fn a_client_in_python_is_served() {
    let found = Command::new("python3").args(["-c", "import websockets"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        return not_run("python3 has no package `websockets`");
    }
    run_test(async {
        let (address, server) = start();
        let mut python = Command::new("python3");
        python.args(["-c", PYTHON]).arg(format!("ws://{address}/shout"));
        let out = output(python, "").await;
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "done", "{out:?}");
        server.cancel().await;
        Ok(())
    });
}
