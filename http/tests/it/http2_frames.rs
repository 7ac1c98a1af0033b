//! HTTP/2 with frames that are made by hand, as no well-behaved client sends them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use matou_http::runtime::{live_tasks, now, sleep, spawn, timeout};
use matou_http::{BodyError, HttpService, Limits, RequestBody, service_fn};

use crate::http2::{END_HEADERS, END_STREAM, GET, HEADERS, RST_STREAM, SETTINGS, frame};
use crate::support::{Client, Server, check, check_seeds, read_body, start, text};

const SECOND: Duration = Duration::from_secs(1);
const DATA: u8 = 0;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const INITIAL_WINDOW_SIZE: u8 = 4;
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
/// `:status: 200` in the static table.
const STATUS_200: u8 = 0x88;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// Begins a connection, with an initial window for the streams.
async fn connect(server: &Server, window: u32) -> Client {
    let mut client = server.connect().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let setting = [&[0, INITIAL_WINDOW_SIZE], window.to_be_bytes().as_slice()].concat();
    client.send(frame(SETTINGS, 0, 0, &setting)).await;
    client
}

/// Receives the next frame that is neither a setting nor a window update; `None` at the end of the
/// connection.
async fn receive(client: &mut Client) -> Option<Frame> {
    loop {
        let head = client.try_bytes(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = client.try_bytes(length as usize).await?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        if ![SETTINGS, WINDOW_UPDATE].contains(&head[3]) {
            return Some(Frame { kind: head[3], flags: head[4], stream, payload });
        }
    }
}

async fn request(client: &mut Client, stream: u32) {
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, GET)).await;
}

async fn open_window(client: &mut Client, stream: u32, bytes: u32) {
    client.send(frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())).await;
}

fn answer(body: &'static str, after: Duration) -> impl HttpService {
    service_fn(move |_| async move {
        sleep(after).await;
        text(body)
    })
}

#[test]
fn a_stream_beyond_the_limit_is_refused() {
    check(|| async {
        let limits = Limits { streams_max: 2, ..Limits::default() };
        let server = start(answer("", SECOND), |server| server.limits(limits));
        let mut client = connect(&server, 1 << 16).await;
        for stream in [1, 3, 5] {
            request(&mut client, stream).await;
        }
        let refused = receive(&mut client).await.unwrap();
        assert_eq!((refused.kind, refused.stream), (RST_STREAM, 5));
        assert_eq!(refused.payload, REFUSED_STREAM);
        for _ in 0..2 {
            let response = receive(&mut client).await.unwrap();
            assert_eq!((response.kind, response.payload[0]), (HEADERS, STATUS_200));
        }
        drop(client);
        server.stop().await;
        Ok(())
    });
}

#[test]
fn a_body_waits_for_the_window_of_its_stream() {
    check(|| async {
        let server = start(answer("0123456789abcdefghij", Duration::ZERO), |server| server);
        let mut client = connect(&server, 8).await;
        request(&mut client, 1).await;
        assert_eq!(receive(&mut client).await.unwrap().kind, HEADERS);
        let mut received = Vec::new();
        for (window, expected) in [(8, 8), (5, 13), (100, 20)] {
            if received.len() == 8 || received.len() == 13 {
                let early = timeout(SECOND, receive(&mut client)).await;
                assert!(early.is_err(), "a frame although the window is shut");
                open_window(&mut client, 1, window).await;
            }
            let data = receive(&mut client).await.unwrap();
            assert_eq!(data.kind, DATA);
            received.extend(data.payload);
            assert_eq!(received.len(), expected);
            assert_eq!(data.flags & END_STREAM != 0, expected == 20);
        }
        assert_eq!(received, b"0123456789abcdefghij");
        drop(client);
        server.stop().await;
        Ok(())
    });
}

#[test]
fn a_stream_whose_window_stays_shut_ends_the_connection() {
    check_seeds(2, || async {
        let server = start(answer("purr purr purr", Duration::ZERO), |server| server);
        // Shut from the beginning, and after a part.
        for window in [0, 4] {
            let mut client = connect(&server, window).await;
            request(&mut client, 1).await;
            let (started, mut pongs) = (now(), 0);
            // It answers everything else.
            while client.stream.write_all(&frame(PING, 0, 0, &[7; 8])).await.is_ok() {
                let Some(answer) = receive(&mut client).await else { break };
                pongs += usize::from(answer.kind == PING && answer.flags == ACK);
                assert!(pongs < 100, "the connection goes on");
                sleep(SECOND).await;
            }
            let elapsed = now() - started;
            assert!(SECOND * 29 < elapsed && elapsed < SECOND * 35, "{elapsed:?}");
            assert!(pongs > 20, "{pongs}");
        }
        let events = server.stop().await;
        assert_eq!(events.len(), 2, "{events:?}");
        assert!(events[0].contains("it receives no more of a response"), "{events:?}");
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_slow_reader_of_a_stream_keeps_the_connection() {
    check_seeds(2, || async {
        let server = start(answer("purr", Duration::ZERO), |server| server);
        let mut client = connect(&server, 0).await;
        request(&mut client, 1).await;
        assert_eq!(receive(&mut client).await.unwrap().kind, HEADERS);
        for byte in b"purr" {
            sleep(SECOND * 20).await;
            open_window(&mut client, 1, 1).await;
            assert_eq!(receive(&mut client).await.unwrap().payload, [*byte]);
        }
        // The time without a request begins only now.
        sleep(SECOND * 50).await;
        request(&mut client, 3).await;
        assert_eq!(receive(&mut client).await.unwrap().kind, HEADERS);
        drop(client);
        assert!(server.stop().await.is_empty());
        Ok(())
    });
}

#[test]
fn a_flood_of_pings_or_settings_is_bounded() {
    check_seeds(2, || async {
        let server = start(answer("purr", Duration::ZERO), |server| server);
        for kind in [PING, SETTINGS] {
            let mut flooder = connect(&server, 1 << 16).await;
            let payload: &[u8] = if kind == PING { &[7; 8] } else { &[] };
            let flood = frame(kind, 0, 0, payload).repeat(1000);
            let mut sent = 0;
            let started = now();
            // It never receives, so at some time the server does not read either.
            while flooder.stream.write_all(&flood).await.is_ok() {
                sent += 1;
                assert!(sent < 1000, "the server reads without an end");
                sleep(Duration::from_millis(1)).await;
            }
            assert!(now() - started < SECOND * 40, "{:?}", now() - started);
            let mut other = server.connect().await;
            assert_eq!(other.get("/").await.1, "purr");
        }
        server.stop().await;
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_client_that_goes_away_receives_the_response_to_its_request() {
    check(|| async {
        let server = start(answer("purr", SECOND * 3), |server| server);
        let mut client = connect(&server, 1 << 16).await;
        request(&mut client, 1).await;
        client.send(frame(GOAWAY, 0, 0, &[0; 8])).await;
        assert_eq!(receive(&mut client).await.unwrap().kind, HEADERS);
        let data = receive(&mut client).await.unwrap();
        assert_eq!((data.kind, data.payload.as_slice()), (DATA, b"purr".as_slice()));
        // Nothing but the server's own farewell follows.
        while let Some(frame) = receive(&mut client).await {
            assert_eq!(frame.kind, GOAWAY);
        }
        assert!(server.stop().await.is_empty());
        Ok(())
    });
}

#[test]
fn a_compressed_head_that_expands_too_much_reaches_no_handler() {
    check(|| async {
        let calls = Rc::new(Cell::new(0));
        let count = Rc::clone(&calls);
        let service = service_fn(move |_| {
            count.set(count.get() + 1);
            async { text("") }
        });
        let server = start(service, |server| server);
        let mut client = connect(&server, 1 << 16).await;
        // A header of 4,000 bytes enters the table, and each further byte repeats it.
        let long = [b"\x40\x01a\x7f\xa1\x1e".as_slice(), &[b'b'; 4000]].concat();
        let bomb = [GET, &long, &[0xbe; 8000]].concat();
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await;
        let refusal = receive(&mut client).await.expect("a refusal");
        assert!(refusal.kind != HEADERS || refusal.payload[0] != STATUS_200);
        assert_eq!(calls.get(), 0);
        drop(client);
        server.stop().await;
        Ok(())
    });
}

#[test]
fn a_stream_with_more_data_than_declared_is_reset() {
    check(|| async {
        let failed = Rc::new(Cell::new(0));
        let count = Rc::clone(&failed);
        let service = service_fn(move |mut request: Request<RequestBody>| {
            let count = Rc::clone(&count);
            async move {
                let result = read_body(request.body_mut()).await;
                count.set(count.get() + usize::from(result.is_err()));
                Ok::<_, BodyError>(Response::new(format!("{}", result?.len())))
            }
        });
        let server = start(service, |server| server);
        let mut client = connect(&server, 1 << 16).await;
        // `content-length: 1`
        let head = [b"\x83\x86\x84\x41\x01x".as_slice(), b"\x0f\x0d\x011"].concat();
        client.send(frame(HEADERS, END_HEADERS, 1, &head)).await;
        client.send(frame(DATA, END_STREAM, 1, b"purr")).await;
        let reset = receive(&mut client).await.unwrap();
        assert_eq!((reset.kind, reset.stream), (RST_STREAM, 1));
        // The connection works.
        let (mut other, pause) = (client, spawn(sleep(SECOND)));
        pause.await?;
        assert!(failed.get() <= 1);
        request(&mut other, 3).await;
        let response = receive(&mut other).await.unwrap();
        assert_eq!((response.kind, response.stream, response.payload[0]), (HEADERS, 3, STATUS_200));
        drop(other);
        server.stop().await;
        Ok(())
    });
}
