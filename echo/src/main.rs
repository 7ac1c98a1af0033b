//! The command line of the echo server.

#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use matou_echo::{
    Level, Limits, LineWriter, Listeners, Log, Shutdown, Stats, open_descriptors,
    raise_descriptor_limit, run,
};
use matou_runtime::{Builder, Diagnostic, RunError, live_tasks, signal, signal::Signal};

/// Descriptors that are not available to clients: standard streams, signals, and a margin.
const RESERVED_MIN: usize = 32;
/// Descriptors of each domain, for its event queue and its wake-ups.
const DESCRIPTORS_PER_DOMAIN: usize = 4;
/// How long the end of the process waits for a reader of its last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// The default of `--max-clients`, if the descriptors suffice.
const CLIENTS_DEFAULT_MAX: usize = 65_536;

/// Sends back the bytes that it receives, to many clients concurrently.
#[derive(Clone, Debug, Parser)]
#[command(name = "echo", version)]
struct Options {
    /// Address to listen on; may be given several times. Port 0 chooses a free port.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: Vec<SocketAddr>,

    /// Number of worker threads [default: number of cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    domains: Option<u16>,

    /// Maximum number of concurrent clients; further ones wait [default: as many as the limit of
    /// open descriptors permits].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_clients: Option<u32>,

    /// Disconnect a client that sends nothing for this long.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_timeout)]
    idle_timeout: Duration,

    /// Disconnect a client that receives none of its pending bytes for this long.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_timeout)]
    write_timeout: Duration,

    /// Time for clients to finish after a signal to stop.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = humantime::parse_duration)]
    drain_timeout: Duration,

    /// Highest level of the log on standard error: off, error, warn, info or debug.
    #[arg(long, value_name = "LEVEL", default_value_t = Level::Info)]
    log: Level,

    /// Print nothing but errors.
    #[arg(long, conflicts_with = "log")]
    quiet: bool,
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("expected a duration longer than zero".to_owned());
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

    /// Returns the limits of the server. Fails if there are not enough descriptors.
    fn limits(&self) -> Result<Limits> {
        let limit = usize::try_from(raise_descriptor_limit()).unwrap_or(usize::MAX);
        let per_domain = DESCRIPTORS_PER_DOMAIN + self.listen.len();
        let reserved = (RESERVED_MIN / 2 + self.domains() * per_domain).max(RESERVED_MIN);
        let available = limit.saturating_sub(reserved);
        let wanted = self.max_clients.map(|max| max as usize);
        if available < wanted.unwrap_or(1) {
            bail!(
                "too few descriptors: {} clients and {reserved} in reserve need {}, and the limit \
                 is {limit}; raise it (ulimit -n), or lower --max-clients or --domains",
                wanted.unwrap_or(1),
                reserved.saturating_add(wanted.unwrap_or(1)),
            );
        }
        Ok(Limits {
            connections_max: wanted.unwrap_or(available.min(CLIENTS_DEFAULT_MAX)),
            idle_timeout: self.idle_timeout,
            write_timeout: self.write_timeout,
            drain_timeout: self.drain_timeout,
            ..Limits::default()
        })
    }
}

/// The standard streams. No line blocks the server, also if no process reads it.
struct Streams {
    output: LineWriter,
    errors: LineWriter,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let streams = Streams {
        output: LineWriter::new("echo-out", io::stdout()),
        errors: LineWriter::new("echo-log", io::stderr()),
    };
    let status = match start(&options, &streams) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            streams.errors.line(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    };
    // If a line cannot be written, there is nowhere to report that.
    let _ = streams.output.flush(FLUSH_TIMEOUT);
    let _ = streams.errors.flush(FLUSH_TIMEOUT);
    status
}

fn start(options: &Options, streams: &Streams) -> Result<()> {
    let limits = options.limits()?;
    let before = open_descriptors();
    let log = Arc::new(Log::to(streams.errors.clone(), options.level()));
    let Served { stats, tasks_left, descriptors_kept } = run_on(options.domains(), &log, {
        let (options, output, log) = (options.clone(), streams.output.clone(), Arc::clone(&log));
        async move { serve(&options, limits, output, log).await }
    })?;
    let descriptors_left = match (before, descriptors_kept, open_descriptors()) {
        (Some(before), Some(kept), Some(after)) => after.saturating_sub(before + kept).to_string(),
        _ => "unknown".to_owned(),
    };
    if !options.quiet {
        streams.output.line(format!(
            "served {} connections, {} bytes, tasks left {tasks_left}, descriptors left \
             {descriptors_left}",
            stats.connections, stats.bytes,
        ));
    }
    Ok(())
}

/// Runs `main`, and reduces an error of the run to one line. The log receives what the runtime
/// reports: by default it would wait for standard error.
fn run_on<T: 'static>(
    domains: usize,
    log: &Arc<Log>,
    main: impl Future<Output = Result<T>> + 'static,
) -> Result<T> {
    let log = Arc::clone(log);
    let report = move |diagnostic: &Diagnostic| {
        let level = match diagnostic {
            Diagnostic::Violation(_) => Level::Error,
            _ => Level::Warn,
        };
        log.line(level, format_args!("{diagnostic}"));
    };
    Builder::new().domains(domains).on_report(report).run(main).map_err(|error| match error {
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

/// The work of the server, and the tasks and descriptors that it left.
struct Served {
    stats: Stats,
    tasks_left: usize,
    /// The descriptors by which the process receives signals, which it never closes.
    descriptors_kept: Option<usize>,
}

async fn serve(
    options: &Options,
    limits: Limits,
    output: LineWriter,
    log: Arc<Log>,
) -> Result<Served> {
    // First the signals: until then, they terminate the process.
    let shutdown = Arc::new(Shutdown::new());
    let before = open_descriptors();
    watch_signals(&shutdown).context("failed to watch for signals")?;
    let after = open_descriptors();
    let descriptors_kept = after.zip(before).map(|(after, before)| after.saturating_sub(before));
    // A server without room for a client would never accept the connections in its queue.
    let servers = options.domains().min(limits.connections_max);
    let listeners = Listeners::bind(&options.listen, servers)?;
    if !options.quiet {
        for address in listeners.addresses() {
            output.line(format!("listening on {address}"));
        }
    }
    let clients = limits.connections_max;
    log.line(Level::Info, format_args!("serving at most {clients} clients on {servers} domains"));
    let stats = run(listeners, limits, shutdown, log).await?;
    Ok(Served { stats, tasks_left: tasks_left(), descriptors_kept })
}

/// Returns the number of live tasks besides the main task, which calls this function.
fn tasks_left() -> usize {
    live_tasks().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use matou_runtime::spawn;

    use super::*;

    #[test]
    fn a_task_that_is_left_is_counted() {
        let log = Arc::new(Log::new(Level::Off));
        let counts = run_on(1, &log, async {
            let before = tasks_left();
            let task = spawn(pending::<()>());
            let during = tasks_left();
            task.cancel().await;
            Ok((before, during, tasks_left()))
        });
        assert_eq!(counts.unwrap(), (0, 1, 0));
    }
}
