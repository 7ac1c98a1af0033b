//! `cargo xtask loadtest`: many clients at a time against a server, and the cost for the server.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command line tool prints to its standard output")]

mod report;
mod server;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use matou_loadgen::process::{Sample, raise_descriptor_limit};
use matou_loadgen::{
    Counts, Generator, Load, Pattern, SystemCallCounter, SystemCalls, catch_interrupts, exit_code,
    interrupted, pause,
};
use rustix::process::Signal;

use self::report::{IdleReport, Report, ServerReport};
use self::server::{Server, quote};

/// The time that a server may take beyond its drain timeout, on a busy machine.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(5);

/// Descriptors beside those of the connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// How long the clients of the idle pattern may take until all are connected.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

/// The time between the last echo and the first sample, in which the server goes to sleep.
const IDLE_DELAY: Duration = Duration::from_millis(500);

/// How long the system calls of an idle server are counted.
const COUNTING: Duration = Duration::from_secs(3);

/// Loads a server, compares every byte, and checks that the server shuts down cleanly.
///
/// Ctrl-C stops the load, shuts the server down, and prints the result so far.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask loadtest")]
struct Options {
    /// A running server. By default, `echo` is built and started on a free port.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["example", "server"])]
    addr: Option<String>,
    /// Start this program instead of `echo`, with the arguments behind `--`. It must print
    /// `listening on ADDR`.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "example")]
    server: Option<String>,
    /// Start an example of the echo package instead of `echo`.
    #[arg(long, value_name = "NAME")]
    example: Option<String>,
    /// The kind of load.
    #[arg(long, value_enum, default_value_t = Pattern::Churn)]
    pattern: Pattern,
    /// Clients at a time [default: 100; 5000 for idle].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    clients: Option<u32>,
    /// For how long messages are sent; for the idle pattern, the length of the silence.
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
    /// Send SIGINT to the server at half time, under load.
    #[arg(long, conflicts_with = "addr")]
    kill_in_the_middle: bool,
    /// How long the server may drain its connections when it shuts down.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    drain_timeout: Duration,
    /// How long a client may wait for the server without any progress.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    stall_limit: Duration,
    /// Further arguments for the server.
    #[arg(last = true)]
    server_args: Vec<String>,
}

fn main() -> ExitCode {
    exit_code(run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    let clients = options.clients.map_or(options.pattern.default_clients(), |n| n as usize);
    let (needed, allowed) = (clients as u64 + SPARE_DESCRIPTORS, raise_descriptor_limit());
    ensure!(
        needed <= allowed,
        "{clients} clients need {needed} descriptors, but the hard limit is {allowed}: \
         use fewer with --clients, or raise it (ulimit -Hn)"
    );
    catch_interrupts()?;
    let (server, address) = match &options.addr {
        Some(address) => (None, resolve(address)?),
        None => {
            let grace = options.drain_timeout + SHUTDOWN_MARGIN;
            let server = Server::start(server_command(options)?, grace)?;
            let address = server.address();
            (Some(server), address)
        }
    };
    let size = options.size.map_or(options.pattern.default_size(), |n| n as usize);
    let plan = options.pattern.plan(size, options.pause);
    let load = Load { address, plan, clients, stall_limit: options.stall_limit };
    let report = LoadTest::new(options, load, server)?.run()?;
    print!("{}", report.table());
    let problems = report.problems();
    ensure!(problems.is_empty(), "the load test failed:\n  {}", problems.join("\n  "));
    Ok(())
}

/// A load test in progress.
struct LoadTest<'a> {
    options: &'a Options,
    load: Load,
    generator: Generator,
    server: Option<Server>,
    before: Sample,
    /// The last sample of the server, and the counts at that time.
    after: Option<(Sample, Counts)>,
    idle: Option<IdleReport>,
    is_released: bool,
    started: Instant,
    progress: ProgressBar,
}

impl<'a> LoadTest<'a> {
    fn new(options: &'a Options, load: Load, server: Option<Server>) -> Result<LoadTest<'a>> {
        Ok(LoadTest {
            options,
            generator: Generator::new(load.clone())?,
            load,
            before: server.as_ref().map_or(Ok(Sample::default()), |it| Sample::of(it.id()))?,
            server,
            after: None,
            idle: None,
            is_released: false,
            started: Instant::now(),
            progress: progress_bar(options),
        })
    }

    fn run(mut self) -> Result<Report> {
        let outcome = self.generate();
        let elapsed = self.started.elapsed();
        self.progress.finish_and_clear();
        if let Err(error) = outcome {
            let words = self.server.map(Server::kill).unwrap_or_default();
            bail!("the load test was aborted: {error:#}{words}");
        }
        let server = match self.server.take() {
            Some(server) => Some(self.shut_down(server)?),
            None => None,
        };
        Ok(Report {
            pattern: self.options.pattern,
            clients: self.load.clients,
            message_bytes: self.load.plan.message_bytes,
            totals: self.generator.finish(),
            elapsed,
            server,
            idle: self.idle,
        })
    }

    /// Runs the load until all clients are done, or until Ctrl-C.
    fn generate(&mut self) -> Result<()> {
        let duration = Duration::from_secs(self.options.seconds);
        while self.generator.step()? && !interrupted() {
            self.show_progress();
            self.watch_server(duration)?;
            if self.load.plan.hold {
                self.watch_silence(duration)?;
            } else if self.started.elapsed() >= duration {
                self.generator.stop();
            }
        }
        Ok(())
    }

    fn watch_server(&mut self, duration: Duration) -> Result<()> {
        let Some(server) = &mut self.server else { return Ok(()) };
        if server.was_signalled() {
            return Ok(());
        }
        ensure!(!server.has_ended()?, "the server ended under load");
        if self.options.kill_in_the_middle && self.started.elapsed() >= duration / 2 {
            self.after = Some((Sample::of(server.id())?, self.generator.counts()));
            self.generator.expect_disconnects();
            server.signal(Signal::INT)?;
        }
        Ok(())
    }

    /// Once all clients are silent, observes the server for a while, then releases them.
    fn watch_silence(&mut self, silence: Duration) -> Result<()> {
        let (holding, clients) = (self.generator.holding(), self.load.clients);
        if holding < clients {
            let is_late = self.started.elapsed() > CONNECT_LIMIT;
            ensure!(!is_late, "only {holding} of {clients} connections echoed in time");
        } else if !self.is_released {
            let observed = match &self.server {
                Some(server) => self.observe_idle(server.id(), silence).map(Some),
                None => pause(silence).map(|()| None),
            };
            // An interrupted observation leaves no result.
            self.idle = if interrupted() { None } else { observed? };
            self.is_released = true;
            self.generator.release();
        }
        Ok(())
    }

    fn observe_idle(&self, pid: u32, silence: Duration) -> Result<IdleReport> {
        pause(IDLE_DELAY)?;
        let (first, began) = (Sample::of(pid)?, Instant::now());
        pause(silence)?;
        let (last, elapsed) = (Sample::of(pid)?, began.elapsed());
        let connections = self.generator.counts().messages.max(1);
        let per_connection =
            |now: u64, before: u64| now.saturating_sub(before) * 1_024 / connections;
        Ok(IdleReport {
            silence: elapsed,
            cpu_share: (last.cpu - first.cpu).as_secs_f64() / elapsed.as_secs_f64(),
            voluntary_switches: last.voluntary_switches.saturating_sub(first.voluntary_switches),
            threads: last.threads,
            system_calls: count_system_calls(pid).map_err(|error| format!("{error:#}")),
            resident_kib: last.resident_kib,
            resident_per_connection: per_connection(last.resident_kib, self.before.resident_kib),
            proportional_per_connection: per_connection(
                last.proportional_kib,
                self.before.proportional_kib,
            ),
        })
    }

    fn shut_down(&mut self, mut server: Server) -> Result<ServerReport> {
        if !server.was_signalled() {
            self.after = Some((Sample::of(server.id())?, self.generator.counts()));
            // After Ctrl-C, connections are left that the server would have to drain.
            self.generator.abort();
            server.signal(if interrupted() { Signal::TERM } else { Signal::INT })?;
        }
        let margin = if interrupted() { Duration::from_secs(1) } else { SHUTDOWN_MARGIN };
        let (after, counts_after) = self.after.context("the server was never sampled")?;
        Ok(ServerReport {
            cpu: after.cpu.saturating_sub(self.before.cpu),
            after,
            counts_after,
            ending: server.wait(self.options.drain_timeout + margin)?,
            prints_summary: self.options.example.is_none() && self.options.server.is_none(),
        })
    }

    fn show_progress(&self) {
        let Counts { connections, messages, .. } = self.generator.counts();
        self.progress.set_position(self.started.elapsed().as_millis() as u64);
        self.progress.set_message(format!("{connections} connections, {messages} messages"));
    }
}

fn count_system_calls(pid: u32) -> Result<SystemCalls> {
    let counter = SystemCallCounter::attach(pid)?;
    pause(COUNTING)?;
    counter.finish()
}

fn server_command(options: &Options) -> Result<Command> {
    let mut command = match (&options.server, &options.example) {
        (Some(program), _) => Command::new(program),
        (None, Some(example)) => {
            // Examples take their address and their number of domains as positional arguments.
            let mut command = Command::new(build("--example", example)?);
            command.arg("127.0.0.1:0").args(options.domains.map(|n| n.to_string()));
            command
        }
        (None, None) => echo_command(options)?,
    };
    command.args(&options.server_args);
    Ok(command)
}

fn echo_command(options: &Options) -> Result<Command> {
    let mut command = Command::new(build("--bin", "echo")?);
    command.args(["--listen", "127.0.0.1:0", "--log", "warn", "--drain-timeout"]);
    command.arg(humantime::format_duration(options.drain_timeout).to_string().replace(' ', ""));
    command.args(options.domains.iter().flat_map(|n| ["--domains".into(), n.to_string()]));
    if options.pattern == Pattern::Idle {
        // The server must not close the silent connections.
        command.args(["--idle-timeout", &format!("{}s", options.seconds + 120)]);
    }
    Ok(command)
}

/// Builds a program of the echo package in release mode, and returns its path as cargo reports it.
fn build(kind: &str, name: &str) -> Result<String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdout(Stdio::piped());
    command.args(["build", "--release", "--package", "matou-echo", kind, name]);
    command.args(["--message-format", "json-render-diagnostics"]);
    let mut cargo = command.spawn().context("failed to run cargo")?;
    let messages = BufReader::new(cargo.stdout.take().context("cargo has no standard output")?);
    let mut path = None;
    for line in messages.lines() {
        let message: serde_json::Value = serde_json::from_str(&line?).unwrap_or_default();
        if message["target"]["name"] == name && message["executable"].is_string() {
            path = message["executable"].as_str().map(String::from);
        }
    }
    let status = cargo.wait()?;
    ensure!(status.success(), "cargo build {kind} {name} ended with {status}");
    path.with_context(|| format!("cargo reported no path of {name}"))
}

fn resolve(address: &str) -> Result<SocketAddr> {
    let mut addresses =
        address.to_socket_addrs().with_context(|| format!("invalid address {address}"))?;
    addresses.next().with_context(|| format!("{address} has no address"))
}

/// A bar on standard error, if that is a terminal.
fn progress_bar(options: &Options) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {elapsed} {msg}")
        .expect("the template is a constant");
    ProgressBar::new(options.seconds * 1_000).with_style(style)
}
