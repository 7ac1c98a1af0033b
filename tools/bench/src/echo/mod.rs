//! Servers of echoes and of HTTP, the same in each runtime, under the same load.

mod load;
mod requests;
mod server;
mod servers;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use matou_loadgen::process::raise_descriptor_limit;

use crate::capabilities::{Capabilities, Unsupported};
use crate::cost::Cost;
use crate::figure::{Figure, Kind, Subject};
use crate::interleave::{Plan, interleave};
use crate::process::pin;
use load::Load;
use server::Server;

pub(crate) use requests::send_requests;
pub(crate) use servers::{Protocol, Setting, serve};

/// The servers that are measured. `epoll` is the lower bound: the cost of the system calls alone.
const SERVERS: &[&str] =
    &["epoll", "matou", "echo", "tokio-ct", "tokio-mt", "smol", "monoio", "compio", "threads"];

/// The runtimes whose servers of HTTP are measured.
const HTTP_SERVERS: &[&str] = &["matou", "tokio-ct"];

/// Number of silent connections.
const SILENT_CONNECTIONS: usize = 5000;
/// How long a server is under load in each round, and in a quick one.
const TIME: Duration = Duration::from_millis(1000);
const QUICK: Duration = Duration::from_millis(250);

/// A workload for servers.
struct Work {
    kind: Kind,
    name: &'static str,
    about: &'static str,
    load: Load,
    setting: Setting,
}

impl Work {
    fn servers(&self) -> &'static [&'static str] {
        if self.load.is_http() { HTTP_SERVERS } else { SERVERS }
    }
}

const fn work(
    kind: Kind,
    name: &'static str,
    about: &'static str,
    load: Load,
    setting: Setting,
) -> Work {
    Work { kind, name, about, load, setting }
}

const fn ping_pong(name: &'static str, about: &'static str, clients: usize, bytes: usize) -> Work {
    work(Kind::Echo, name, about, Load::PingPong { clients, bytes }, Setting::PLAIN)
}

/// A server of HTTP/1.1: `GET /` with the headers of a browser's request, answered with 13 bytes.
const fn http(name: &'static str, about: &'static str, protocol: Protocol, clients: usize) -> Work {
    let setting = Setting { protocol, ..Setting::PLAIN };
    work(Kind::Http, name, about, Load::Requests { clients }, setting)
}

const fn http_idle(name: &'static str, about: &'static str, protocol: Protocol) -> Work {
    let load = Load::IdleRequests { clients: SILENT_CONNECTIONS };
    work(Kind::HttpSilent, name, about, load, Setting { protocol, ..Setting::PLAIN })
}

const CPU_HOGS: Setting = Setting { cpu_hogs: 4, ..Setting::PLAIN };
const BOTH: Setting = Setting { cores: 2, ..Setting::PLAIN };
const CPU_WORK: Setting = Setting { cpu_work: true, ..Setting::PLAIN };
const CPU_WORK_BOTH: Setting = Setting { cpu_work: true, ..BOTH };
const CLIENTS_64: Load = Load::PingPong { clients: 64, bytes: 64 };

const WORKS: &[Work] = &[
    ping_pong("echo-1-64", "1 connection, messages of 64 B", 1, 64),
    ping_pong("echo-32-64", "32 connections, messages of 64 B", 32, 64),
    ping_pong("echo-64-64", "64 connections, messages of 64 B", 64, 64),
    ping_pong("echo-256-64", "256 connections, messages of 64 B", 256, 64),
    ping_pong("echo-1000-64", "1,000 connections, messages of 64 B", 1000, 64),
    ping_pong("echo-1-4096", "1 connection, messages of 4 KiB", 1, 4096),
    ping_pong("echo-32-4096", "32 connections, messages of 4 KiB", 32, 4096),
    ping_pong("echo-64-4096", "64 connections, messages of 4 KiB", 64, 4096),
    ping_pong("echo-256-4096", "256 connections, messages of 4 KiB", 256, 4096),
    ping_pong("echo-1000-4096", "1,000 connections, messages of 4 KiB", 1000, 4096),
    work(Kind::Echo, "echo-churn", "connect, echo 64 B, close", Load::Churn, Setting::PLAIN),
    work(
        Kind::Echo,
        "echo-stream-1",
        "1 connection that does not wait for its echo, per 4 KiB",
        Load::Stream { clients: 1 },
        Setting::PLAIN,
    ),
    work(
        Kind::Echo,
        "echo-stream-8",
        "8 connections that do not wait for their echo, per 4 KiB",
        Load::Stream { clients: 8 },
        Setting::PLAIN,
    ),
    work(
        Kind::Silent,
        "echo-idle",
        "5,000 silent connections (ours: `echo`), then one echo each",
        Load::Idle { clients: SILENT_CONNECTIONS },
        Setting::PLAIN,
    ),
    work(
        Kind::Mixed,
        "echo-mixed",
        "32 connections, 64 B, beside 4 tasks that use the CPU for 100 us and yield",
        Load::PingPong { clients: 32, bytes: 64 },
        CPU_HOGS,
    ),
    work(Kind::Cores, "echo-both", "64 connections, 64 B, on both cores", CLIENTS_64, BOTH),
    work(
        Kind::Cores,
        "cpu-work-one",
        "64 connections, 200 us of CPU each, one core",
        CLIENTS_64,
        CPU_WORK,
    ),
    work(Kind::Cores, "cpu-work-both", "the same on both cores", CLIENTS_64, CPU_WORK_BOTH),
    http("http-hyper-32", "HTTP/1.1, hyper by hand, 32 connections", Protocol::Hyper, 32),
    http("http-hyper-500", "HTTP/1.1, hyper by hand, 500 connections", Protocol::Hyper, 500),
    http("http-axum-32", "HTTP/1.1, `serve` with axum, 32 connections", Protocol::Axum, 32),
    http("http-axum-500", "HTTP/1.1, `serve` with axum, 500 connections", Protocol::Axum, 500),
    http_idle("http-hyper-idle", "5,000 idle connections, hyper by hand", Protocol::Hyper),
    http_idle("http-axum-idle", "5,000 idle connections, `serve` with axum", Protocol::Axum),
];

/// Measures the servers. Wall time is the time between two echoes, CPU time that of the server.
pub(crate) fn measure(plan: &Plan, capabilities: &Capabilities) -> Vec<Figure> {
    let mut figures = Vec::new();
    for work in WORKS.iter().filter(|work| plan.includes(work.name)) {
        let servers: Vec<_> =
            work.servers().iter().copied().filter(|it| plan.includes_runtime(it)).collect();
        let time = if plan.quick { QUICK } else { TIME };
        let results = interleave(plan.rounds, servers.len(), |index| {
            under_load(work, servers[index], time, capabilities)
        });
        for (server, result) in servers.iter().zip(results) {
            let count_calls = plan.system_calls && capabilities.strace && result.is_ok();
            let calls = count_calls.then(|| system_calls(work, server)).flatten();
            figures.push(Figure::of(Subject::new(work.name, server), result, calls));
        }
        eprintln!("{}", work.name);
    }
    figures
}

/// The kind of a workload, and its description.
pub(crate) fn describe(name: &str) -> Option<(Kind, &'static str)> {
    WORKS.iter().find(|work| work.name == name).map(|work| (work.kind, work.about))
}

/// The costs of one workload under two servers alternately.
pub(crate) fn pair(
    name: &str,
    servers: [&str; 2],
    rounds: usize,
) -> Result<Vec<Result<Vec<Cost>>>> {
    let work = WORKS.iter().find(|work| work.name == name).context("there is no such work")?;
    let capabilities = Capabilities::detect();
    let under_load = |index: usize| under_load(work, servers[index], TIME / 2, &capabilities);
    Ok(interleave(rounds, 2, under_load))
}

fn under_load(
    work: &Work,
    server: &str,
    time: Duration,
    capabilities: &Capabilities,
) -> Result<Cost> {
    check_supported(work, server, capabilities)?;
    let (server, mut probe) = Server::start(server, &work.setting)?;
    beside_server(work.setting.cores, || load::measure(server.address, work.load, time, &mut probe))
}

/// The number of system calls per operation. `None`, if they cannot be counted.
fn system_calls(work: &Work, server: &str) -> Option<f64> {
    let is_plain = work.setting == Setting::PLAIN || work.load.is_http();
    if matches!(work.load, Load::Idle { .. } | Load::IdleRequests { .. }) || !is_plain {
        return None;
    }
    let (server, probe) = Server::start(server, &work.setting).ok()?;
    let count = || load::count_system_calls(server.address, work.load, QUICK, probe.pid);
    beside_server(work.setting.cores, count).ok()
}

fn check_supported(work: &Work, server: &str, capabilities: &Capabilities) -> Result<()> {
    capabilities.check_runtime(server)?;
    if work.setting.cpu_work && server == "echo" {
        bail!(Unsupported("it only echoes".into()));
    }
    let (needed, allowed) = (work.load.clients() as u64 + 100, raise_descriptor_limit());
    if allowed < needed {
        bail!(Unsupported(format!("needs {needed} descriptors, {allowed} are allowed")));
    }
    Ok(())
}

/// Runs the client on a thread, which has a processor beside those of the server, if there is one.
fn beside_server<T: Send>(
    server_cores: usize,
    client: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let client = || {
        if cores > server_cores {
            pin(server_cores, server_cores);
        }
        client()
    };
    std::thread::scope(|scope| scope.spawn(client).join()).expect("the client does not panic")
}
