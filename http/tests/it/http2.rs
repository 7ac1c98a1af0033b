//! HTTP/2.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::client::conn::http2::{self, SendRequest};
use matou_http::runtime::{Orphans, Promise, live_tasks, now, shield, sleep, spawn};
use matou_http::{
    BodyError, BoxError, HyperIo, Limits, LocalExecutor, RequestBody, Timer, service_fn,
};
use matou_net::TcpStream;

use crate::support::{Client, Guard, Log, Server, check, read_body, start, text};

const SECOND: Duration = Duration::from_secs(1);

/// Connects with hyper's client. The promise is that of the task of the connection.
pub(crate) async fn connect<B>(server: &Server) -> (SendRequest<B>, Promise<()>)
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + 'static,
{
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (give, sender) = futures_oneshot();
    let task = spawn(async move {
        let children = Orphans::new().discarding();
        let mut builder = http2::Builder::new(LocalExecutor::new(children.spawner()));
        let handshake = builder.timer(Timer).handshake(HyperIo::new(stream)).await;
        let (sender, connection) = handshake.unwrap();
        give.set(Some(sender));
        // An error says that the server has ended the connection. hyper's own task ends after this
        // future is dropped.
        drop(connection.await);
        children.next().await;
    });
    let sender = loop {
        if let Some(sender) = sender.take() {
            break sender;
        }
        sleep(Duration::from_millis(1)).await;
    };
    (sender, task)
}

type Slot<T> = Rc<std::cell::Cell<Option<T>>>;

fn futures_oneshot<T>() -> (Slot<T>, Slot<T>) {
    let slot = Rc::new(std::cell::Cell::new(None));
    (Rc::clone(&slot), slot)
}

async fn get(sender: &mut SendRequest<String>, path: &str) -> Result<(u16, String), hyper::Error> {
    sender.ready().await?;
    let request = Request::get(format!("http://test{path}")).body(String::new()).unwrap();
    let mut response = sender.send_request(request).await?;
    let body = read_body(response.body_mut()).await?;
    Ok((response.status().as_u16(), String::from_utf8(body).unwrap()))
}

#[test]
fn requests_of_one_connection_run_concurrently() {
    check(|| async {
        let service = service_fn(|mut request: Request<RequestBody>| async move {
            sleep(SECOND).await;
            let path = request.uri().path().to_owned();
            let body = read_body(request.body_mut()).await?;
            Ok::<_, BodyError>(Response::new(format!("{path}{}", body.len())))
        });
        let server = start(service, |server| server);
        let (sender, connection) = connect(&server).await;
        let started = now();
        let mut requests = Vec::new();
        for n in 0..20 {
            let mut sender = sender.clone();
            requests.push(spawn(async move { get(&mut sender, &format!("/{n}")).await.unwrap() }));
        }
        for (n, request) in requests.into_iter().enumerate() {
            assert_eq!(request.await?, (200, format!("/{n}0")));
        }
        assert!(now() - started < SECOND * 3);
        drop(sender);
        connection.await?;
        assert!(server.stop().await.is_empty());
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_stream_that_is_reset_cancels_its_handler_children_first() {
    check(|| async {
        let log = Log::default();
        let handler_log = Rc::clone(&log);
        let service = service_fn(move |_| {
            let guard = Guard("handler", Rc::clone(&handler_log));
            let child = Guard("child", Rc::clone(&handler_log));
            async move {
                let _guard = guard;
                let child = spawn(async move {
                    let _child = child;
                    sleep(SECOND * 50).await;
                });
                child.await.unwrap();
                text("")
            }
        });
        let server = start(service, |server| server);
        let (mut sender, connection) = connect(&server).await;
        let mut second = sender.clone();
        let request = spawn(async move { drop(get(&mut second, "/").await) });
        sleep(SECOND).await;
        request.cancel().await;
        sleep(SECOND).await;
        assert_eq!(log.take(), ["child", "handler"]);

        // The whole connection ends.
        let request = spawn(async move { drop(get(&mut sender, "/").await) });
        sleep(SECOND).await;
        connection.cancel().await;
        sleep(SECOND).await;
        assert_eq!(log.take(), ["child", "handler"]);
        request.cancel().await;
        assert!(server.stop().await.is_empty());
        Ok(())
    });
}

#[test]
fn a_shutdown_completes_the_streams_in_progress() {
    check(|| async {
        let slow = service_fn(|_| async {
            sleep(SECOND * 3).await;
            text("purr")
        });
        let server = start(slow, |server| server.shutdown(sleep(SECOND)));
        let (mut sender, connection) = connect(&server).await;
        let (mut idle, idle_connection) = connect(&server).await;
        assert_eq!(get(&mut sender, "/").await?, (200, "purr".into()));
        assert!(get(&mut sender, "/").await.is_err());
        assert!(get(&mut idle, "/").await.is_err());
        connection.await?;
        idle_connection.await?;
        let served = server.join().await;
        assert_eq!((served.requests, served.cut), (1, 0));
        Ok(())
    });
}

/// A frame: its type, flags, stream and payload.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// `GET http://x/`, compressed with the static table.
pub(crate) const GET: &[u8] = b"\x82\x86\x84\x41\x01x";

async fn raw(server: &Server) -> Client {
    let mut client = server.connect().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(frame(SETTINGS, 0, 0, &[])).await;
    client
}

#[test]
fn a_flood_of_resets_ends_the_connection() {
    check(|| async {
        // A handler that cannot end at once when it is cancelled.
        let stubborn = service_fn(|_| async {
            drop(shield(sleep(SECOND * 3)).await);
            text("")
        });
        let limits = Limits { streams_max: 5, ..Limits::default() };
        let server = start(stubborn, |server| server.limits(limits));
        let mut client = raw(&server).await;
        for stream in 0..200 {
            let id = 2 * stream + 1;
            let request = frame(HEADERS, END_HEADERS | END_STREAM, id, GET);
            let reset = frame(RST_STREAM, 0, id, &8_u32.to_be_bytes());
            if client.stream.write_all(&[request, reset].concat()).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(5)).await;
            assert!(live_tasks() < 60, "{} tasks", live_tasks());
        }
        while client.receive().await {}
        let mut other = server.connect().await;
        other.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
        assert_eq!(other.response().await.0, 200);
        drop(other);
        server.stop().await;
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_flood_of_continuations_ends_the_connection() {
    check(|| async {
        let server = start(service_fn(|_| async { text("") }), |server| server);
        let mut client = raw(&server).await;
        client.send(frame(HEADERS, END_STREAM, 1, GET)).await;
        let header = [b"\x00\x01a\x7f\x81\x01".as_slice(), &[b'b'; 256]].concat();
        let more = Bytes::from(frame(CONTINUATION, 0, 1, &header));
        for _ in 0..100 {
            drop(client.stream.write_all(&more).await);
        }
        let started = now();
        while client.receive().await {}
        assert!(now() - started < SECOND, "{:?}", now() - started);
        drop(client);
        server.stop().await;
        Ok(())
    });
}
