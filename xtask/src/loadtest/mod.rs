//! `cargo xtask loadtest`: many clients at a time against a server, and a look at what it cost.

mod client;
mod failure;
mod generator;
mod idle;
mod patterns;
mod process;
mod report;
mod server;
mod tape;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::generator::{Counts, Load, Stagehand, generate};
use self::idle::IdleReport;
use self::patterns::Pattern;
use self::process::Sample;
use self::report::{Report, ServerReport};
use self::server::Server;
use crate::workspace::Workspace;

/// What a server may take beyond its drain timeout, on a machine that is busy with other things.
const END_MARGIN: Duration = Duration::from_secs(5);

/// Descriptors beside those of the connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// Puts a server under load, compares every byte, and checks that the server ends well.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// A server that runs already; by default `echo` is built and started on a free port.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["example", "kill_in_the_middle"])]
    addr: Option<String>,
    /// The manner of the clients.
    #[arg(long, value_enum, default_value_t = Pattern::Churn)]
    pattern: Pattern,
    /// Clients at a time [default: 100; 5000 if idle].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    clients: Option<u32>,
    /// For how long new messages are begun; for the idle pattern: how long the silence is.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Bytes per message [default: 64; 16384 for stream; 1 for slow].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64 << 20))]
    size: Option<u32>,
    /// The pause between two messages of a slow client.
    #[arg(long, default_value = "100ms", value_parser = humantime::parse_duration)]
    pause: Duration,
    /// Domains of the server, dom0 included.
    #[arg(long)]
    domains: Option<u32>,
    /// The build of the server.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// An example of the echo package instead of `echo`; it prints no summary.
    #[arg(long, value_name = "NAME")]
    example: Option<String>,
    /// Sends SIGINT at half time, while the clients are busy.
    #[arg(long)]
    kill_in_the_middle: bool,
    /// How long the server may finish what it has begun when it ends.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    drain_timeout: Duration,
    /// How long a client may wait for the server without any progress.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    stuck_limit: Duration,
    /// Prints one JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// Further arguments for the server.
    #[arg(last = true)]
    server_args: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    Release,
    Debug,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let clients = options.clients.map_or(options.pattern.default_clients(), |n| n as usize);
    let needed = clients as u64 + SPARE_DESCRIPTORS;
    raise_descriptor_limit(needed)?;
    let interrupted = watch_signals()?;
    let server = match &options.addr {
        Some(_) => None,
        None => Some(Server::start(server_command(options)?)?),
    };
    let address = match (&server, &options.addr) {
        (Some(server), _) => server.address(),
        (None, Some(address)) => resolve(address)?,
        (None, None) => unreachable!("a server is started unless an address is given"),
    };
    let size = options.size.map_or(options.pattern.default_size(), |n| n as usize);
    let load = Load {
        address,
        plan: options.pattern.plan(size, options.pause),
        clients,
        threads: 2.min(clients),
        duration: Duration::from_secs(options.seconds),
        stuck_limit: options.stuck_limit,
    };
    let report = Run::new(options, &load, server, interrupted)?.perform(size)?;
    print(options, &report)?;
    let problems = report.problems();
    ensure!(problems.is_empty(), "the load test failed:\n  {}", problems.join("\n  "));
    Ok(())
}

/// A run with the things that are at work in it.
struct Run<'a> {
    options: &'a Options,
    load: &'a Load,
    server: Option<Server>,
    before: Sample,
    overflows_before: u64,
    /// The last look at the server, and what was counted by then.
    after: Option<(Sample, Counts)>,
    idle: Option<IdleReport>,
    in_second_act: bool,
    started: Instant,
    progress: ProgressBar,
    interrupted: Arc<AtomicBool>,
}

impl<'a> Run<'a> {
    fn new(
        options: &'a Options,
        load: &'a Load,
        server: Option<Server>,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Run<'a>> {
        Ok(Run {
            options,
            load,
            before: server.as_ref().map_or(Ok(Sample::default()), Server::sample)?,
            overflows_before: process::backlog_overflows(),
            server,
            after: None,
            idle: None,
            in_second_act: false,
            started: Instant::now(),
            progress: progress_bar(options),
            interrupted,
        })
    }

    fn perform(mut self, message_bytes: usize) -> Result<Report> {
        let outcome = generate(self.load, |stagehand| self.watch(stagehand));
        self.progress.finish_and_clear();
        let tally = match (outcome, self.server.take()) {
            (Ok(tally), server) => {
                self.server = server;
                tally
            }
            (Err(error), Some(server)) => {
                bail!("the load test was given up: {error:#}{}", server.last_words());
            }
            (Err(error), None) => return Err(error),
        };
        let server = match self.server.take() {
            Some(server) => Some(self.end(server, tally.counts)?),
            None => None,
        };
        Ok(Report {
            pattern: self.options.pattern,
            clients: self.load.clients,
            message_bytes,
            tally,
            backlog_overflows: process::backlog_overflows().saturating_sub(self.overflows_before),
            server,
            idle: self.idle,
        })
    }

    /// Looks after the run every few milliseconds.
    fn watch(&mut self, stagehand: &Stagehand) -> Result<()> {
        ensure!(!self.interrupted.load(SeqCst), "interrupted");
        self.show_progress(stagehand.counters.read());
        let is_half_time = self.started.elapsed() >= self.load.duration / 2;
        if let Some(server) = &mut self.server {
            if !server.is_told() {
                ensure!(!server.has_ended()?, "the server ended in the middle of the run");
            }
            if self.options.kill_in_the_middle && is_half_time && !server.is_told() {
                self.after = Some((server.sample()?, stagehand.counters.read()));
                stagehand.expect_cuts();
                server.interrupt()?;
            }
        }
        if self.load.plan.hold && !self.in_second_act {
            self.watch_silence(stagehand)?;
        }
        Ok(())
    }

    fn watch_silence(&mut self, stagehand: &Stagehand) -> Result<()> {
        let holding = stagehand.holding();
        if holding < self.load.clients {
            let is_late = self.started.elapsed() > idle::OPEN_LIMIT;
            let clients = self.load.clients;
            ensure!(!is_late, "only {holding} of {clients} connections echoed in time");
            return Ok(());
        }
        let silence = self.load.duration;
        match &self.server {
            Some(server) => {
                let connections = stagehand.counters.read().messages;
                let report = idle::watch(
                    server.pid(),
                    &self.before,
                    connections,
                    silence,
                    &self.interrupted,
                )?;
                self.idle = Some(report);
            }
            None => idle::pause(silence, &self.interrupted)?,
        }
        self.in_second_act = true;
        stagehand.begin_second_act();
        Ok(())
    }

    fn end(&mut self, mut server: Server, counts: Counts) -> Result<ServerReport> {
        if !server.is_told() {
            self.after = Some((server.sample()?, counts));
            server.interrupt()?;
        }
        let (after, counts_after) = self.after.context("the server was never looked at")?;
        let limit = self.options.drain_timeout + END_MARGIN;
        let ending = server.wait(limit, &self.interrupted)?;
        Ok(ServerReport {
            name: if self.options.example.is_some() { "example" } else { "echo" },
            before: self.before,
            after,
            counts_after,
            ending,
            summarizes: self.options.example.is_none(),
        })
    }

    fn show_progress(&self, counts: Counts) {
        let elapsed = self.started.elapsed().min(self.load.duration);
        self.progress.set_position(elapsed.as_millis() as u64);
        let Counts { connections, messages, .. } = counts;
        self.progress.set_message(format!("{connections} connections, {messages} messages"));
    }
}

fn server_command(options: &Options) -> Result<Command> {
    let workspace = Workspace::load()?;
    let profile = match options.profile {
        Profile::Release => "release",
        Profile::Debug => "dev",
    };
    let mut command = match &options.example {
        Some(name) => Command::new(workspace.build("matou-echo", profile, "--example", name)?),
        None => Command::new(workspace.build("matou-echo", profile, "--bin", "echo")?),
    };
    if options.example.is_some() {
        // The example takes its address and its number of domains as bare arguments.
        command.arg("127.0.0.1:0").args(options.domains.map(|n| n.to_string()));
    } else {
        command.args(["--listen", "127.0.0.1:0", "--log", "warn", "--drain-timeout"]);
        command.arg(humantime::format_duration(options.drain_timeout).to_string().replace(' ', ""));
        if let Some(domains) = options.domains {
            command.args(["--domains", &domains.to_string()]);
        }
        if options.pattern == Pattern::Idle {
            // The silence is what this pattern is about, so the server must not end it.
            command.args(["--idle-timeout", &format!("{}s", options.seconds + 120)]);
        }
    }
    command.args(&options.server_args);
    Ok(command)
}

fn resolve(address: &str) -> Result<SocketAddr> {
    let mut addresses =
        address.to_socket_addrs().with_context(|| format!("{address} is no address"))?;
    addresses.next().with_context(|| format!("{address} has no address"))
}

/// Raises the soft limit on descriptors when the clients need it; the server inherits it.
fn raise_descriptor_limit(needed: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        let maximum = limit.maximum.unwrap_or_default();
        bail!(
            "these clients need {needed} descriptors, but the hard limit is {maximum}: \
             take fewer with --clients, or raise it (ulimit -Hn)"
        );
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("failed to raise the limit on descriptors")
}

/// Turns Ctrl-C into a flag, so that the server is ended before this program is.
fn watch_signals() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .context("failed to register for a signal")?;
    }
    Ok(interrupted)
}

fn progress_bar(options: &Options) -> ProgressBar {
    if options.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {elapsed} {msg}")
        .expect("the template is a constant");
    ProgressBar::new(options.seconds * 1_000).with_style(style)
}

fn print(options: &Options, report: &Report) -> Result<()> {
    if options.json {
        println!("{}", serde_json::to_string(&report.json())?);
    } else {
        print!("{}", report.table());
    }
    Ok(())
}
