//! A server whose handlers have children, under thousands of clients that reset their connections
//! at random moments of a request, over HTTP/1.1 and HTTP/2, beside clients that verify every
//! response.
//!
//! `cargo run --release -p matou-http --example http_resets -- [RESETS [GAP_MAX_MS]]`
//!
//! The status is 0 if each response was right and no task or descriptor is left. The longest time
//! that a client waited is asserted only if a limit is given, because it depends on the machine.

use std::cell::Cell;
use std::error::Error;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use matou_http::net::{TcpListener, TcpStream};
use matou_http::runtime::{
    Builder, MainError, Promise, RunError, live_tasks, sleep, spawn, timeout, try_spawn,
};
use matou_http::{RequestBody, Served, serve, service_fn};

/// How many clients verify their responses, and how many reset their connection at a time.
const SENTINELS: usize = 50;
const ATTACKERS: usize = 8;

/// Answers with the path, many times. It is prepared by a child while another one waits, and a
/// reset ends all three.
async fn handle(request: Request<RequestBody>) -> io::Result<Response<String>> {
    let watchdog: Promise<()> = spawn(sleep(Duration::from_secs(3600)));
    let path = request.uri().path().to_owned();
    let prepared = try_spawn(async move {
        sleep(Duration::from_micros(50)).await;
        Ok::<_, io::Error>(path.repeat(100))
    });
    let response = prepared.await.map_err(io::Error::other)?;
    // A handler that ends in good order must end its children.
    watchdog.cancel().await;
    Ok(Response::new(response))
}

/// The observations of the clients and of the process.
#[derive(Debug)]
pub struct Report {
    /// Connections that were reset.
    pub resets: usize,
    /// Responses that the sentinels received and verified.
    pub verified: u64,
    /// The fewest responses that one sentinel received.
    pub responses_min: u64,
    /// The longest time that a sentinel waited for a response.
    pub longest_gap: Duration,
    /// What the server has done.
    pub served: Served,
    /// Tasks of the server's run at its end, beside `main`.
    pub tasks_left: usize,
    /// Descriptors that were opened and not closed.
    pub descriptors_left: isize,
}

/// Frames of HTTP/2: the preface with empty settings, then requests on the streams 1 and 3.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01x\
    \0\0\x06\x01\x05\0\0\0\x03\x82\x86\x84\x41\x01x";
const HTTP1: &[u8] = b"GET /a HTTP/1.1\r\nhost: test\r\n\r\nGET /b HTTP/1.1\r\nhost: test\r\n\r\n";

/// Resets that many connections at random moments, every second one of HTTP/2.
async fn attack(address: SocketAddr, resets: usize, mut random: u64) -> io::Result<()> {
    let mut draw = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    for index in 0..resets {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_linger(Some(Duration::ZERO))?;
        let bytes = if index % 2 == 0 { HTTP1 } else { HTTP2 };
        // The requests, or a part of them.
        let count = if draw(2) == 0 { bytes.len() } else { draw(bytes.len() as u64) as usize };
        stream.write_all(&bytes[..count]).await?;
        let mut buf = [0; 100];
        match draw(3) {
            0 => {}
            1 if count == bytes.len() => drop(stream.read(&mut buf).await),
            _ => drop(timeout(Duration::from_micros(draw(300)), stream.read(&mut buf)).await),
        }
    }
    Ok(())
}

/// Verifies responses until `stop`. Returns how many there were, and the longest wait.
async fn verify(
    address: SocketAddr,
    index: usize,
    stop: &Cell<bool>,
) -> io::Result<(u64, Duration)> {
    let mut stream = TcpStream::connect(address).await?;
    let (mut responses, mut longest) = (0_u64, Duration::ZERO);
    while !stop.get() {
        let path = format!("/{index}-{responses}");
        let expected = path.repeat(100);
        let begun = Instant::now();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let (mut received, mut buf) = (Vec::new(), [0; 4096]);
        let body = loop {
            let count = stream.read(&mut buf).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received.extend_from_slice(&buf[..count]);
            let Some(head) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            if received.len() >= head + 4 + expected.len() {
                break &received[head + 4..];
            }
        };
        assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n"), "the status is not 200");
        assert_eq!(body, expected.as_bytes(), "a response is not that of its request");
        longest = longest.max(begun.elapsed());
        responses += 1;
        sleep(Duration::from_millis(2)).await;
    }
    Ok((responses, longest))
}

/// All clients, on one domain.
async fn clients(address: SocketAddr, resets: usize) -> Result<Report, MainError> {
    let stop = Rc::new(Cell::new(false));
    let sentinels: Vec<_> = (0..SENTINELS)
        .map(|index| {
            let stop = Rc::clone(&stop);
            try_spawn(async move { verify(address, index, &stop).await })
        })
        .collect();
    let each = resets.div_ceil(ATTACKERS);
    let attackers: Vec<_> =
        (0..ATTACKERS).map(|index| try_spawn(attack(address, each, index as u64))).collect();
    for attacker in attackers {
        attacker.await?;
    }
    stop.set(true);
    let mut report = Report {
        resets: each * ATTACKERS,
        verified: 0,
        responses_min: u64::MAX,
        longest_gap: Duration::ZERO,
        served: Served::default(),
        tasks_left: 0,
        descriptors_left: 0,
    };
    for sentinel in sentinels {
        let (responses, longest) = sentinel.await?;
        report.verified += responses;
        report.responses_min = report.responses_min.min(responses);
        report.longest_gap = report.longest_gap.max(longest);
    }
    Ok(report)
}

fn descriptors() -> isize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as isize
}

/// Runs the server in this thread, and the clients in another one.
pub fn run(resets: usize) -> Result<Report, RunError> {
    let before = descriptors();
    let (send_address, address) = mpsc::channel();
    let clients = std::thread::spawn(move || {
        let address = address.recv().expect("the server's address");
        Builder::new().domains(1).run(clients(address, resets))
    });
    let server = Builder::new().domains(1).run(async move {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        send_address.send(listener.local_addr()?)?;
        let clients = Rc::new(clients);
        let running = Rc::clone(&clients);
        let end = async move {
            while !running.is_finished() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let served = serve(listener, service_fn(handle)).shutdown(end).await?;
        let clients = Rc::into_inner(clients).expect("the shutdown has ended");
        Ok::<_, MainError>((served, live_tasks() - 1, clients))
    });
    let (served, tasks_left, clients) = server?;
    let report = clients.join().expect("the thread of the clients panicked")?;
    Ok(Report { served, tasks_left, descriptors_left: descriptors() - before, ..report })
}

impl Report {
    /// The differences from what is expected, if any.
    fn faults(&self, resets: usize, gap_max: Option<Duration>) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |is_right: bool, fault: String| {
            if !is_right {
                faults.push(fault);
            }
        };
        check(self.resets >= resets, format!("{} of {resets} resets were made", self.resets));
        check(self.responses_min > 0, "a client received no response".to_owned());
        check(self.served.cancelled > 0, "no handler was cancelled".to_owned());
        let (failed, cut) = (self.served.failed, self.served.cut);
        check(failed == 0, format!("{failed} handlers failed"));
        check(cut == 0, format!("{cut} connections exceeded the drain timeout"));
        check(self.tasks_left == 0, format!("{} tasks are left", self.tasks_left));
        let left = self.descriptors_left;
        check(left == 0, format!("{left} descriptors are left"));
        if let Some(limit) = gap_max {
            let gap = self.longest_gap;
            check(gap <= limit, format!("a client waited {gap:?}, at most {limit:?} is allowed"));
        }
        faults
    }
}

#[allow(clippy::print_stdout, reason = "the example prints its result")]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let resets = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let gap_max = arguments.next().map(|text| text.parse().map(Duration::from_millis));
    let report = run(resets)?;
    println!("{report:#?}");
    let faults = report.faults(resets, gap_max.transpose()?);
    for fault in &faults {
        eprintln!("error: {fault}");
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
