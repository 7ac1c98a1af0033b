//! Echo servers, the same in each runtime, and one client for all of them.

mod load;
mod process;
mod servers;
mod strace;

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::figure::{Figure, Kind, Subject};
use crate::means::{self, Means};
use crate::meter::Cost;
use crate::process::{pin, raise_descriptors};
use crate::rounds::{Plan, take_turns};
use load::Load;
use process::Server;

pub(crate) use servers::{Setting, serve};

/// The servers that are measured. The bare loop is the limit: what the system alone takes.
const SERVERS: &[&str] =
    &["epoll", "matou", "echo", "tokio-ct", "tokio-mt", "smol", "monoio", "compio", "threads"];

/// How many connections are silent.
pub(crate) const SILENT: usize = 5000;
/// How long a server is under load in each round, and in a quick one.
const TIME: Duration = Duration::from_millis(1000);
const QUICK: Duration = Duration::from_millis(250);
/// How much longer a measurement may take than its load: for thousands of connections.
const GRACE: Duration = Duration::from_secs(60);

/// A kind of work for servers.
struct Work {
    kind: Kind,
    name: &'static str,
    about: &'static str,
    load: Load,
    setting: Setting,
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

const HOGGED: Setting = Setting { hogs: 4, ..Setting::PLAIN };
const BOTH: Setting = Setting { cores: 2, ..Setting::PLAIN };
const LABOUR: Setting = Setting { labour: true, ..Setting::PLAIN };
const LABOUR_BOTH: Setting = Setting { labour: true, ..BOTH };
const CROWD: Load = Load::PingPong { clients: 64, bytes: 64 };

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
        "1 connection that does not wait for its echo, for 4 KiB",
        Load::Stream { clients: 1 },
        Setting::PLAIN,
    ),
    work(
        Kind::Echo,
        "echo-stream-8",
        "8 connections that do not wait for their echo, for 4 KiB",
        Load::Stream { clients: 8 },
        Setting::PLAIN,
    ),
    work(
        Kind::Silence,
        "echo-idle",
        "5,000 silent connections (ours: `echo`), then one echo each",
        Load::Idle { clients: SILENT },
        Setting::PLAIN,
    ),
    work(
        Kind::Hogged,
        "echo-mixed",
        "32 connections, 64 B, beside 4 tasks that compute for 100 us and yield",
        Load::PingPong { clients: 32, bytes: 64 },
        HOGGED,
    ),
    work(Kind::Cores, "echo-both", "64 connections, 64 B, on both cores", CROWD, BOTH),
    work(Kind::Cores, "labour-one", "64 connections, 200 us of computing, one core", CROWD, LABOUR),
    work(Kind::Cores, "labour-both", "the same on both cores", CROWD, LABOUR_BOTH),
];

/// Measures the servers. Wall time is that between two echoes, CPU time the server's alone.
pub(crate) fn measure(plan: &Plan, means: &Means) -> Vec<Figure> {
    let mut figures = Vec::new();
    for work in WORKS.iter().filter(|work| plan.wants(work.name)) {
        let rivals: Vec<_> =
            SERVERS.iter().copied().filter(|server| plan.wants_runtime(server)).collect();
        let time = if plan.quick { QUICK } else { TIME };
        let turns = take_turns(plan.rounds, rivals.len(), |index| {
            under_load(work, rivals[index], time, means)
        });
        for (server, turns) in rivals.iter().zip(turns) {
            let subject = Subject::new(work.kind, work.name, work.about, server);
            let calls = match &turns {
                Ok(_) if plan.system_calls => system_calls(work, server, means),
                _ => None,
            };
            figures.push(Figure::of(subject, turns, calls));
        }
        eprintln!("{}", work.name);
    }
    figures
}

/// What counts in a work.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    WORKS.iter().find(|work| work.name == name).map(|work| work.kind)
}

/// The costs of one work under two servers in turns, for comparisons.
pub(crate) fn pair(name: &str, servers: [&str; 2], rounds: usize) -> Result<[Vec<Cost>; 2]> {
    let work = WORKS.iter().find(|work| work.name == name).context("there is no such work")?;
    let means = means::find();
    let mut turns =
        take_turns(rounds, 2, |index| under_load(work, servers[index], TIME / 2, &means));
    let (second, first) = (turns.pop(), turns.pop());
    Ok([first.context("there are two")??, second.context("there are two")??])
}

fn under_load(work: &Work, server: &str, time: Duration, means: &Means) -> Result<Cost> {
    check_possible(work, server, means)?;
    let (server, mut probe) = Server::start(server, &work.setting)?;
    let (address, load, cores) = (server.address, work.load, work.setting.cores);
    with_client(server, time, cores, move || load::drive(address, load, time, &mut probe))
}

/// How many system calls an operation takes, on a run of its own, which they make slow.
fn system_calls(work: &Work, server: &str, means: &Means) -> Option<f64> {
    if !means.strace || matches!(work.load, Load::Idle { .. }) || work.setting != Setting::PLAIN {
        return None;
    }
    let (server, probe) = Server::start(server, &work.setting).ok()?;
    let (address, load) = (server.address, work.load);
    let count = with_client(server, QUICK, 1, move || strace::count(address, load, QUICK, probe));
    // What it cannot say is shown as a dash.
    count.ok()
}

/// What is known beforehand not to work.
fn check_possible(work: &Work, server: &str, means: &Means) -> Result<()> {
    means.check_runtime(server)?;
    if let (true, "echo") = (work.setting.labour, server) {
        bail!(means::Lacking("it only echoes".into()));
    }
    let (Load::PingPong { clients, .. } | Load::Stream { clients } | Load::Idle { clients }) =
        work.load
    else {
        return Ok(());
    };
    let wanted = clients as u64 + 100;
    let allowed = raise_descriptors();
    if allowed < wanted {
        let lack = format!("needs {wanted} descriptors, {allowed} are allowed");
        bail!(means::Lacking(lack));
    }
    Ok(())
}

/// Runs the client on a processor beside those of the server, or on any if there is none.
fn with_client<T: Send + 'static>(
    server: Server,
    time: Duration,
    cores: usize,
    client: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        if std::thread::available_parallelism().is_ok_and(|there_are| there_are.get() > cores) {
            pin(cores, cores);
        }
        // Nobody listens if it took too long.
        let _ = sender.send(client());
    })?;
    let result = receiver.recv_timeout(time * 2 + GRACE);
    // If the client still waits for the server, that ends its waiting.
    drop(server);
    ensure!(thread.join().is_ok(), "the client panicked");
    result.context("the client was not done in time")?
}
