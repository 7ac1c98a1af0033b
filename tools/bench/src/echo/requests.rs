//! Clients of HTTP/1.1: one thread, one epoll instance, connections that are kept alive. Each
//! client sends one request at a time, and verifies the length of each response and the status
//! line.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use matou_loadgen::{Interrupted, interrupted};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:3000\r\nUser-Agent: matou-bench\r\n\
    Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip\r\n\r\n";

/// How long the clients may wait for the server without any response.
const STALL_LIMIT: Duration = Duration::from_secs(10);
const LATENCY_MAX: u64 = 3_600_000_000_000;

struct Client {
    stream: TcpStream,
    received: usize,
    sent_at: Instant,
    responses: u64,
}

/// The clients of one server.
pub(super) struct Requests {
    epoll: std::os::fd::OwnedFd,
    clients: Vec<Client>,
    /// The length of each response: only the date in it changes.
    length: usize,
    events: Vec<epoll::Event>,
    pub(super) responses: u64,
    /// Each client sends no further request when it has received this many responses.
    each_max: u64,
    pub(super) latencies: Histogram<u64>,
}

/// Sends this many requests, and prints how long they took.
pub(crate) fn send_requests(address: SocketAddr, clients: usize, requests: u64) -> Result<()> {
    let mut generator = Requests::new(address, clients)?;
    let started = Instant::now();
    generator.run_until(requests)?;
    println!("{} responses in {:?}", generator.responses, started.elapsed());
    Ok(())
}

impl Requests {
    /// Connects the clients, and learns the length of a response with the first one.
    pub(super) fn new(address: SocketAddr, clients: usize) -> Result<Requests> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connected = Vec::with_capacity(clients);
        let mut length = 0;
        for index in 0..clients {
            let mut stream = TcpStream::connect(address).context("failed to connect")?;
            stream.set_nodelay(true)?;
            if index == 0 {
                length = response_length(&mut stream)?;
            }
            stream.set_nonblocking(true)?;
            let data = EventData::new_u64(index as u64);
            epoll::add(&epoll, &stream, data, EventFlags::IN)?;
            connected.push(Client { stream, received: 0, sent_at: Instant::now(), responses: 0 });
        }
        Ok(Requests {
            epoll,
            clients: connected,
            length,
            events: Vec::with_capacity(256),
            responses: 0,
            each_max: 0,
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX, 3)?,
        })
    }

    pub(super) fn run_for(&mut self, time: Duration) -> Result<()> {
        let started = Instant::now();
        self.each_max = u64::MAX;
        self.start()?;
        while started.elapsed() < time {
            self.step()?;
        }
        self.finish()
    }

    /// Sends requests until there were `count` responses, rounded up to the same number for each
    /// client.
    pub(super) fn run_until(&mut self, count: u64) -> Result<()> {
        self.each_max = count.div_ceil(self.clients.len() as u64);
        self.start()?;
        self.finish()
    }

    /// Sends one more request on each connection.
    pub(super) fn run_round(&mut self) -> Result<()> {
        self.each_max = self.clients[0].responses + 1;
        self.start()?;
        self.finish()
    }

    fn start(&mut self) -> Result<()> {
        self.clients.iter_mut().try_for_each(Client::send)
    }

    /// Receives the responses to all requests that were sent, but sends no further ones unless each
    /// client must make a number of them.
    fn finish(&mut self) -> Result<()> {
        let is_timed = self.each_max == u64::MAX;
        if is_timed {
            self.each_max = 0;
        }
        while self.clients.iter().any(|client| client.received != usize::MAX) {
            self.step()?;
        }
        Ok(())
    }

    /// Waits for responses, and sends the next requests.
    fn step(&mut self) -> Result<()> {
        if interrupted() {
            return Err(Interrupted.into());
        }
        self.events.clear();
        let limit = Timespec { tv_sec: STALL_LIMIT.as_secs() as i64, tv_nsec: 0 };
        epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&limit))?;
        ensure!(!self.events.is_empty(), "the server does not respond");
        let mut buf = [0; 4096];
        for event in &self.events {
            let client = &mut self.clients[event.data.u64() as usize];
            let count = match client.stream.read(&mut buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                count => count?,
            };
            ensure!(count > 0, "the server has closed a connection");
            let is_first = client.received == 0;
            ensure!(!is_first || buf.starts_with(b"HTTP/1.1 200 OK\r\n"), "not the status 200");
            client.received += count;
            ensure!(client.received <= self.length, "a response is too long");
            if client.received < self.length {
                continue;
            }
            self.latencies.saturating_record(client.sent_at.elapsed().as_nanos() as u64);
            self.responses += 1;
            client.responses += 1;
            client.received = usize::MAX;
            if client.responses < self.each_max {
                client.send()?;
            }
        }
        Ok(())
    }
}

impl Client {
    fn send(&mut self) -> Result<()> {
        self.received = 0;
        self.sent_at = Instant::now();
        let count = self.stream.write(REQUEST)?;
        ensure!(count == REQUEST.len(), "the request does not fit into the socket's buffer");
        Ok(())
    }
}

/// Sends one request, and returns the length of the response.
fn response_length(stream: &mut TcpStream) -> Result<usize> {
    stream.set_read_timeout(Some(STALL_LIMIT))?;
    stream.write_all(REQUEST)?;
    let (mut response, mut buf) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buf).context("no response")?;
        ensure!(count > 0, "the server has closed the connection");
        response.extend_from_slice(&buf[..count]);
        let text = String::from_utf8_lossy(&response);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let declared = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let declared: usize = declared.context("no content-length")?.parse()?;
        if body.len() >= declared {
            return Ok(response.len());
        }
    }
}
