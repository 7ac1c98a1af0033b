//! A server whose handlers have children, under thousands of clients that reset their connections
//! at random moments, over HTTP/1.1 and HTTP/2, beside clients that verify every response.
//!
//! `cargo run --release -p matou-http --example resets -- [RESETS [GAP_MAX_MS]]`
//!
//! The status is 0 if each response was right and no task or descriptor is left. The longest time
//! that a client waited is asserted only if a limit is given, because it depends on the machine.

use std::cell::Cell;
use std::error::Error;
use std::fs;
use std::future::{IntoFuture, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body::Body;
use hyper::client::conn::{http1, http2};
use matou_http::runtime::{
    Builder, MainError, Orphans, RunError, live_tasks, sleep, spawn, timeout, try_spawn, yield_now,
};
use matou_http::{HyperIo, LocalExecutor, RequestBody, Timer, serve, service_fn};
use matou_net::{TcpListener, TcpStream};

/// How many clients verify their responses, and how many reset their connection at a time. Half of
/// them speak HTTP/1.1, the others HTTP/2.
const SENTINELS: usize = 50;
const ATTACKERS: usize = 8;

type Sent = Request<String>;

fn request(path: u64) -> Sent {
    let request = Request::get(format!("http://cat.example/{path}"));
    request.header("host", "cat.example").body(String::new()).expect("a valid request")
}

/// The body of the response to a request for a path.
fn expected(path: &str) -> String {
    format!("purr {path} ").repeat(40)
}

/// Answers after two children have ended, while a third one waits.
async fn handle(request: Request<RequestBody>) -> Result<Response<String>, MainError> {
    let watchdog = spawn(sleep(Duration::from_secs(3600)));
    let (one, two) = (spawn(yield_now()), spawn(sleep(Duration::from_micros(50))));
    one.await?;
    two.await?;
    watchdog.cancel().await;
    Ok(Response::new(expected(&request.uri().path()[1..])))
}

/// A client of either version, whose connection is a child of the current task.
enum Client {
    Http1(http1::SendRequest<String>),
    Http2(http2::SendRequest<String>),
}

impl Client {
    async fn connect(
        address: SocketAddr,
        is_http2: bool,
        linger: Option<Duration>,
        tasks: &Orphans<()>,
    ) -> Result<Client, MainError> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_linger(linger)?;
        stream.set_nodelay(true)?;
        let io = HyperIo::new(stream);
        if is_http2 {
            let executor = LocalExecutor::new(tasks.spawner());
            let mut builder = http2::Builder::new(executor);
            let (client, connection) = builder.timer(Timer).handshake(io).await?;
            tasks.spawn(async move { drop(connection.await) });
            return Ok(Client::Http2(client));
        }
        let (client, connection) = http1::handshake(io).await?;
        tasks.spawn(async move { drop(connection.await) });
        Ok(Client::Http1(client))
    }

    async fn get(&mut self, path: u64) -> Result<String, MainError> {
        let response = match self {
            Client::Http1(client) => {
                client.ready().await?;
                client.send_request(request(path)).await?
            }
            Client::Http2(client) => {
                client.ready().await?;
                client.send_request(request(path)).await?
            }
        };
        if response.status() != 200 {
            return Err(format!("the status {}", response.status()).into());
        }
        let (mut body, mut text) = (response.into_body(), Vec::new());
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            text.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| data));
        }
        Ok(String::from_utf8(text)?)
    }
}

/// Resets that many connections at random moments of a request.
async fn attack(
    address: SocketAddr,
    resets: usize,
    is_http2: bool,
    mut random: u64,
) -> Result<(), MainError> {
    let mut draw = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    for _ in 0..resets {
        let tasks = Orphans::new().discarding();
        let client = Client::connect(address, is_http2, Some(Duration::ZERO), &tasks).await;
        let (count, pause, limit) = (draw(4), draw(100), draw(400));
        let requests = async {
            let mut client = client?;
            for path in 0..count {
                client.get(path).await?;
            }
            sleep(Duration::from_micros(pause)).await;
            Ok::<_, MainError>(())
        };
        // A response that arrives is not looked at.
        drop(timeout(Duration::from_micros(limit), requests).await);
        tasks.cancel_all();
        tasks.next().await;
    }
    Ok(())
}

/// The observations of one client.
#[derive(Clone, Copy, Debug, Default)]
struct Observed {
    responses: u64,
    longest: Duration,
}

/// Verifies responses until `stop`.
async fn verify(
    address: SocketAddr,
    is_http2: bool,
    stop: &Cell<bool>,
) -> Result<Observed, MainError> {
    let tasks = Orphans::new().discarding();
    let mut client = Client::connect(address, is_http2, None, &tasks).await?;
    let mut observed = Observed::default();
    while !stop.get() {
        let begun = Instant::now();
        let body = client.get(observed.responses).await?;
        observed.longest = observed.longest.max(begun.elapsed());
        if body != expected(&observed.responses.to_string()) {
            return Err(format!("a wrong body: {body}").into());
        }
        observed.responses += 1;
        sleep(Duration::from_millis(2)).await;
    }
    drop(client);
    tasks.next().await;
    Ok(observed)
}

/// The observations of all sentinels and of the process.
#[derive(Debug)]
struct Report {
    resets: usize,
    responses: u64,
    fewest_responses: u64,
    longest_gap: Duration,
    tasks_left: usize,
    descriptors_left: isize,
}

/// All clients, on one domain.
async fn clients(address: SocketAddr, resets: usize) -> Result<Report, MainError> {
    let stop = Rc::new(Cell::new(false));
    let sentinels: Vec<_> = (0..SENTINELS)
        .map(|index| {
            let stop = Rc::clone(&stop);
            try_spawn(async move { verify(address, index % 2 == 0, &stop).await })
        })
        .collect();
    let each = resets.div_ceil(ATTACKERS);
    let attack = |index| try_spawn(attack(address, each, index % 2 == 0, index as u64));
    let attackers: Vec<_> = (0..ATTACKERS).map(attack).collect();
    for attacker in attackers {
        attacker.await?;
    }
    stop.set(true);
    let mut report = Report {
        resets: each * ATTACKERS,
        responses: 0,
        fewest_responses: u64::MAX,
        longest_gap: Duration::ZERO,
        tasks_left: 0,
        descriptors_left: 0,
    };
    for sentinel in sentinels {
        let observed = sentinel.await?;
        report.responses += observed.responses;
        report.fewest_responses = report.fewest_responses.min(observed.responses);
        report.longest_gap = report.longest_gap.max(observed.longest);
    }
    Ok(report)
}

fn descriptors() -> isize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as isize
}

/// Runs the server in this thread, and the clients in another one.
fn run(resets: usize) -> Result<Report, RunError> {
    let before = descriptors();
    let (send_address, address) = mpsc::channel();
    let clients = std::thread::spawn(move || {
        let address = address.recv().expect("the server's address");
        Builder::new().domains(1).run(clients(address, resets))
    });
    let served = Builder::new().domains(1).run(async move {
        let mut listener = TcpListener::bind("127.0.0.1:0")?;
        send_address.send(listener.local_addr()?)?;
        let server = serve(listener, service_fn(handle)).on_event(|event| eprintln!("{event}"));
        let server = try_spawn(server.into_future());
        while !clients.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
        server.cancel().await;
        Ok::<_, MainError>((live_tasks() - 1, clients))
    });
    let (tasks_left, clients) = served?;
    let report = clients.join().expect("the thread of the clients panicked")?;
    Ok(Report { tasks_left, descriptors_left: descriptors() - before, ..report })
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
        check(self.fewest_responses > 0, "a client received no response".to_owned());
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
