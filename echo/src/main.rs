//! The command line of the echo server.

#![forbid(unsafe_code)]

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use matou_echo::{
    Level, Limits, Listeners, Log, Shutdown, Stats, open_descriptors, raise_descriptor_limit, run,
};
use matou_runtime::{Builder, RunError, signal, signal::Signal};

/// Descriptors that clients cannot have: standard streams, signals, and room for surprises.
const RESERVE_MIN: usize = 32;
/// Descriptors of a domain: its event queue, and what wakes it.
const DESCRIPTORS_PER_DOMAIN: usize = 4;
/// The most clients unless more are asked for.
const CLIENTS_DEFAULT_MAX: usize = 65_536;

/// Sends back whatever it gets, to many clients at a time.
#[derive(Debug, Parser)]
#[command(name = "echo", version)]
struct Options {
    /// Address to listen on; may be given several times. Port 0 lets the system choose one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: Vec<SocketAddr>,

    /// Threads that serve, in all [default: the cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    domains: Option<u16>,

    /// Clients at a time; further ones wait [default: what the limit of descriptors allows].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_clients: Option<u32>,

    /// How long a client may be silent.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = patience)]
    idle_timeout: Duration,

    /// How long a client may take nothing of what it is owed.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = patience)]
    write_timeout: Duration,

    /// How long clients may go on when the server ends.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = humantime::parse_duration)]
    drain_timeout: Duration,

    /// What to tell on standard error: off, error, warn, info or debug.
    #[arg(long, value_name = "LEVEL", default_value_t = Level::Info)]
    log: Level,

    /// Tell nothing but errors, on neither output.
    #[arg(long, conflicts_with = "log")]
    quiet: bool,
}

fn patience(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("it must be longer than zero".to_owned());
    }
    Ok(duration)
}

impl Options {
    fn domains(&self) -> usize {
        match self.domains {
            Some(domains) => domains.into(),
            None => thread::available_parallelism().map_or(1, |cores| cores.get().min(1024)),
        }
    }

    fn level(&self) -> Level {
        if self.quiet { Level::Error } else { self.log }
    }

    /// Finds out how many clients there are descriptors for.
    fn limits(&self) -> Result<Limits> {
        let allowed =
            usize::try_from(raise_descriptor_limit().context("failed to ask for the limits")?)
                .unwrap_or(usize::MAX);
        let per_domain = DESCRIPTORS_PER_DOMAIN + self.listen.len();
        let reserve = (RESERVE_MIN / 2 + self.domains() * per_domain).max(RESERVE_MIN);
        let room = allowed.saturating_sub(reserve);
        let wanted = self.max_clients.map(|max| max as usize);
        if room < wanted.unwrap_or(1) {
            bail!(
                "too few descriptors: {} clients and {reserve} in reserve need {}, and the limit \
                 is {allowed}; raise it (ulimit -n), or lower --max-clients or --domains",
                wanted.unwrap_or(1),
                reserve.saturating_add(wanted.unwrap_or(1)),
            );
        }
        Ok(Limits {
            connections_max: wanted.unwrap_or(room.min(CLIENTS_DEFAULT_MAX)),
            idle_timeout: self.idle_timeout,
            write_timeout: self.write_timeout,
            drain_timeout: self.drain_timeout,
            ..Limits::default()
        })
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match start(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<()> {
    let limits = options.limits()?;
    // What watches for signals belongs to the process and stays, so it is there before the count.
    run_on(1, async { Ok(watch_signals(&Arc::default())?) })?;
    let before = open_descriptors();
    let served = run_on(options.domains(), {
        let domains = options.domains();
        let (listen, level, quiet) = (options.listen.clone(), options.level(), options.quiet);
        async move { serve(&listen, domains, limits, level, quiet).await }
    })?;
    // The run has returned, so all its tasks have ended: it would have failed otherwise.
    let tasks_left = 0;
    let descriptors_left = match (before, open_descriptors()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        // This system does not tell.
        _ => 0,
    };
    if !options.quiet {
        say(format_args!(
            "served {} connections, {} bytes, tasks left {tasks_left}, descriptors left \
             {descriptors_left}",
            served.connections, served.bytes,
        ));
    }
    Ok(())
}

/// Runs `main`, and turns what went wrong into one line.
fn run_on<T: 'static>(
    domains: usize,
    main: impl Future<Output = Result<T>> + 'static,
) -> Result<T> {
    Builder::new().domains(domains).run(main).map_err(|error| match error {
        RunError::Failed(error) => error,
        other => anyhow::anyhow!("{other}"),
    })
}

fn watch_signals(shutdown: &Arc<Shutdown>) -> io::Result<()> {
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let shutdown = Arc::clone(shutdown);
        signal::on(signal, move || {
            let shutdown = Arc::clone(&shutdown);
            async move { shutdown.begin().await }
        })?;
    }
    Ok(())
}

async fn serve(
    listen: &[SocketAddr],
    domains: usize,
    limits: Limits,
    level: Level,
    quiet: bool,
) -> Result<Stats> {
    let shutdown = Arc::new(Shutdown::new());
    let log = Arc::new(Log::new(level));
    // A server that may have no client would leave those that come to its door waiting.
    let servers = domains.min(limits.connections_max);
    let listeners = Listeners::bind(listen, servers)?;
    watch_signals(&shutdown)?;
    if !quiet {
        for address in listeners.addresses() {
            say(format_args!("listening on {address}"));
        }
    }
    let clients = limits.connections_max;
    let line = format!("{clients} clients at most, on {servers} domains");
    log.line(Level::Info, format_args!("{line}")).await;
    let served = run(listeners, limits, shutdown, log).await?;
    Ok(served)
}

/// Writes a line on standard output, where programs read it.
fn say(line: std::fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    // If nobody listens any more, that is no reason not to serve.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
