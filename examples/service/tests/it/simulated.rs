//! The whole service in simulated runs: seeded schedules, virtual time, a faulty network.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use async_tungstenite::client_async;
use async_tungstenite::tungstenite::Message;
use clap::Parser;
use futures::StreamExt;
use futures::channel::oneshot;
use matou_http::net::TcpStream;
use matou_http::net::test::{Faults, counters, set_faults};
use matou_http::runtime::signal::Signal;
use matou_http::runtime::test::{Check, send_signal};
use matou_http::runtime::{MainError, Violations, live_tasks, sleep, spawn, try_spawn};
use serde_json::Value;
use service::{Config, Note};

/// A connection that ends with the first fault.
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr) -> io::Result<Client> {
        Ok(Client { stream: TcpStream::connect(address).await?, received: Vec::new() })
    }

    async fn receive(&mut self) -> io::Result<()> {
        let mut buf = [0; 1024];
        match self.stream.read(&mut buf).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.received.extend_from_slice(&buf[..count]);
                Ok(())
            }
        }
    }

    /// Sends a request, and returns the status and the body of the response.
    async fn request(&mut self, line: &str, body: &str) -> io::Result<(u16, String)> {
        let len = body.len();
        let head = format!("{line} HTTP/1.1\r\nhost: test\r\ncontent-length: {len}\r\n\r\n");
        self.stream.write_all(format!("{head}{body}").as_bytes()).await?;
        let end = loop {
            match self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.receive().await?,
            }
        };
        let head = String::from_utf8(self.received.drain(..end).collect()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        while self.received.len() < length {
            self.receive().await?;
        }
        let body = String::from_utf8(self.received.drain(..length).collect()).unwrap();
        Ok((head["HTTP/1.1 ".len()..][..3].parse().unwrap(), body))
    }
}

/// What the clients of one run have seen.
#[derive(Default)]
struct Seen {
    answers: Cell<u32>,
    updates: Cell<u32>,
    errors: Cell<u32>,
    is_over: Cell<bool>,
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

fn words(number: u32) -> usize {
    number as usize * 100
}

/// Adds, reads and deletes notes until an error, and checks every answer.
async fn session(address: SocketAddr, name: u32, seen: &Seen) -> io::Result<()> {
    let mut client = Client::connect(address).await?;
    for number in 0..4 {
        let text = format!("note {number} of {name}{}", " word".repeat(words(number)));
        let (status, body) = client.request("POST /notes", &text).await?;
        assert_eq!(status, 201, "{body}");
        let note: Note = serde_json::from_str(&body).unwrap();
        assert_eq!((&note.text, note.words), (&text, None));
        count(&seen.answers);
        sleep(Duration::from_millis(30)).await;

        let path = format!("/notes/{}", note.id);
        let (status, body) = client.request(&format!("GET {path}"), "").await?;
        assert_eq!(status, 200, "{body}");
        let read: Note = serde_json::from_str(&body).unwrap();
        assert_eq!((&read.text, read.id), (&text, note.id));
        let counted = 4 + words(number) as i64;
        assert!(read.words.is_none_or(|words| words == counted), "{read:?}");
        count(&seen.answers);

        if number % 2 == 0 {
            let (status, _) = client.request(&format!("DELETE {path}"), "").await?;
            assert_eq!(status, 204);
            let (status, _) = client.request(&format!("GET {path}"), "").await?;
            assert_eq!(status, 404);
            count(&seen.answers);
        }
    }
    Ok(())
}

/// Watches until an error or the close of the service, and checks every update.
async fn watch(address: SocketAddr, seen: &Seen) -> Result<(), MainError> {
    let stream = TcpStream::connect(address).await?;
    let (mut socket, _) = client_async("ws://test/live", stream).await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let update: Value = serde_json::from_str(&text).unwrap();
        let words = update["note"]["text"].as_str().map(|text| text.split(' ').count());
        match update["event"].as_str().unwrap() {
            "added" => assert!(update["note"]["words"].is_null(), "{text}"),
            "counted" => assert_eq!(update["note"]["words"], words.unwrap(), "{text}"),
            event => assert_eq!(event, "deleted", "{text}"),
        }
        count(&seen.updates);
    }
    Ok(())
}

/// Uses the service with clients, of which each begins again after a fault, until a signal.
async fn body(seen: Rc<Seen>) -> Result<(), MainError> {
    set_faults(Faults::default().resets(500).refusals(50).stalls(5).accept_errors(50));
    let config = Config::parse_from(["service", "--listen", "127.0.0.1:0"]);
    let (ready, address) = oneshot::channel();
    let service = try_spawn(service::run(config, |address| ready.send(address).unwrap()));
    let address = address.await?;
    let mut clients = Vec::new();
    for name in 0..6 {
        let seen = Rc::clone(&seen);
        clients.push(spawn(async move {
            while !seen.is_over.get() {
                let ended = match name {
                    0 | 1 => watch(address, &seen).await.is_ok(),
                    _ => session(address, name, &seen).await.is_ok(),
                };
                if !ended {
                    count(&seen.errors);
                }
                sleep(Duration::from_millis(50)).await;
            }
        }));
    }
    sleep(Duration::from_millis(1500)).await;
    assert!(send_signal(Signal::Terminate));
    let served = service.await?;
    seen.is_over.set(true);
    assert!(served.connections > 0);
    assert_eq!((served.failed, served.timed_out), (0, 0));
    for client in clients {
        client.await?;
    }
    assert_eq!(live_tasks(), 1);
    Ok(())
}

#[test]
fn every_answer_is_right_on_a_faulty_network() {
    // CI runs more.
    let seeds = std::env::var("SERVICE_SEEDS").map_or(100, |seeds| seeds.parse().unwrap());
    thread_local! {
        static TOTAL: Cell<[u64; 4]> = const { Cell::new([0; 4]) };
    }
    let check = Check::simulated().violations(Violations::FailRun);
    check.run(0..seeds, || async {
        let seen = Rc::new(Seen::default());
        body(Rc::clone(&seen)).await?;
        let [answers, updates, errors, resets] = TOTAL.get();
        TOTAL.set([
            answers + u64::from(seen.answers.get()),
            updates + u64::from(seen.updates.get()),
            errors + u64::from(seen.errors.get()),
            resets + counters().resets,
        ]);
        Ok::<_, MainError>(())
    });
    let [answers, updates, errors, resets] = TOTAL.get();
    eprintln!("{answers} answers, {updates} updates, {errors} errors, {resets} resets");
    // The faults happened, and most of the work was done nevertheless.
    assert!(resets >= seeds && errors >= seeds, "{resets} resets, {errors} errors");
    assert!(answers >= 10 * seeds && updates >= 10 * seeds, "{answers} answers, {updates} updates");
}
