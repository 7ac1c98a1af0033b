//! The unmodified echo server over a faulty network: every byte is correct, and every drain
//! completes in time.

use std::io;
use std::net::{Shutdown as Direction, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use matou_echo::{Level, Limits, Listeners, Log, Shutdown, Stats, run as run_server};
use matou_net::TcpStream;
use matou_net::test::{Counters, Faults, counters, set_faults};
use matou_runtime::test::{Check, simulation};
use matou_runtime::{
    MainError, Outcome, Promise, await_all, now, sleep, timeout, try_call, try_spawn,
};

use crate::coverage::Covered;
use crate::suite::{Failure, Passed, check_trial};

const CLIENTS: u64 = 100;
/// The most connections that the server serves at a time: fewer than there are clients.
const CONNECTIONS_MAX: usize = 40;
/// The most bytes that a client sends.
const PAYLOAD_MAX: u64 = 12_000;
/// The virtual time after which the clients or the server count as hanging.
const HANG_TIMEOUT: Duration = Duration::from_secs(3600);
/// The time of a shutdown in addition to the drain timeout, for messages between domains.
const DRAIN_SLACK: Duration = Duration::from_millis(100);

/// Runs the server and its clients under a seed, on one domain or on three.
pub(crate) fn run(seed: u64) -> Result<Passed, Failure> {
    let domains = if seed.is_multiple_of(2) { 1 } else { 3 };
    let check = Check::simulated().domains(domains).max_ticks(10_000_000);
    let trial = catch_unwind(AssertUnwindSafe(|| check.trial(seed, serve(domains))));
    let mut covered = Covered::default();
    let passed = check_trial(trial, |trial| match &trial.outcome {
        Ok(of_this_run) => {
            covered = *of_this_run;
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    });
    passed.map(|passed| Passed { covered, ..passed })
}

async fn serve(domains: usize) -> Result<Covered, MainError> {
    set_faults(Faults::all());
    let simulation = simulation().ok_or("the run is not simulated")?;
    let listeners = Listeners::bind(&["10.0.0.1:7".parse()?], domains)?;
    let address = listeners.addresses()[0];
    let limits = Limits { connections_max: CONNECTIONS_MAX, ..Limits::default() };
    let shutdown = Arc::new(Shutdown::new());
    let log = Arc::new(Log::new(Level::Off));
    let server = run_server(listeners, limits, Arc::clone(&shutdown), log);
    let server = try_spawn(async move { server.await.map(|stats| (stats, now())) });

    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(client(number, address, domains, simulation.random_below(PAYLOAD_MAX)));
    }
    // In most runs the shutdown begins after the last client has completed.
    let mut early_shutdown_at = None;
    if simulation.random_below(4) == 0 {
        sleep(Duration::from_millis(simulation.random_below(1000))).await;
        early_shutdown_at = Some(now());
        shutdown.begin().await;
    }
    let outcomes = timeout(HANG_TIMEOUT, await_all(clients)).await?;
    let shutdown_at = early_shutdown_at.unwrap_or_else(now);
    shutdown.begin().await;
    let (stats, completed_at) = timeout(HANG_TIMEOUT, server).await??;
    let drain = completed_at.saturating_duration_since(shutdown_at);
    if drain > limits.drain_timeout + DRAIN_SLACK {
        return Err(format!("the drain took {drain:?}").into());
    }
    let clients = ClientStats::of(outcomes, early_shutdown_at)?;
    check_stats(&clients, stats, early_shutdown_at.is_some())
}

/// The sum of the clients' outcomes.
#[derive(Debug, Default)]
struct ClientStats {
    bytes: u64,
    /// The number of clients that failed before an early shutdown, or without one.
    failed: u64,
    /// The number of clients that failed after the beginning of an early shutdown.
    failed_in_shutdown: u64,
}

impl ClientStats {
    fn of(
        outcomes: Vec<Outcome<u64, ConnectionFailed>>,
        early_shutdown_at: Option<Instant>,
    ) -> Result<ClientStats, MainError> {
        let mut stats = ClientStats::default();
        for outcome in outcomes {
            let error = match outcome {
                Ok(count) => {
                    stats.bytes += count;
                    continue;
                }
                Err(error) => error,
            };
            match error.into_failure() {
                Some(ConnectionFailed(at)) if early_shutdown_at.is_none_or(|begin| at < begin) => {
                    stats.failed += 1;
                }
                Some(ConnectionFailed(_)) => stats.failed_in_shutdown += 1,
                None => return Err("a client received a wrong byte".into()),
            }
        }
        Ok(stats)
    }
}

/// Checks that each failure before a shutdown has a network fault as its cause, and that the server
/// counted all connections and bytes.
fn check_stats(clients: &ClientStats, server: Stats, early: bool) -> Result<Covered, MainError> {
    let counters = counters();
    let Counters { connections, refusals, resets, accepts_aborted, .. } = counters;
    let have_causes = clients.failed <= refusals + resets + accepts_aborted;
    let counted = server.connections <= connections && server.bytes >= clients.bytes;
    if !have_causes || !counted {
        return Err(format!("{clients:?}, {server:?}, {counters:?}").into());
    }
    let covered = [
        refusals > 0,
        resets > 0,
        counters.accept_errors > 0,
        accepts_aborted > 0,
        counters.stalls > 0,
        clients.failed > 0,
        early,
        clients.failed_in_shutdown > 0,
    ];
    Ok(covered.into_iter().collect())
}

/// The connection of a client failed at this moment.
struct ConnectionFailed(Instant);

/// Spawns a client, half of them on another domain if there is one.
fn client(
    number: u64,
    address: SocketAddr,
    domains: usize,
    length: u64,
) -> Promise<u64, ConnectionFailed> {
    let payload = (0..length).map(|index| (number + index * 7 + index / 251) as u8).collect();
    if domains > 1 && number.is_multiple_of(2) {
        return try_call(move || exchange(address, payload)).expect("there are other domains");
    }
    try_spawn(exchange(address, payload))
}

async fn exchange(address: SocketAddr, payload: Vec<u8>) -> Result<u64, ConnectionFailed> {
    send_and_compare(address, payload).await.map_err(|_| ConnectionFailed(now()))
}

/// Sends the payload in messages, and awaits the echo of each. Returns the number of echoed bytes.
async fn send_and_compare(address: SocketAddr, payload: Vec<u8>) -> io::Result<u64> {
    let simulation = simulation().expect("the run is simulated");
    sleep(Duration::from_millis(simulation.random_below(500))).await;
    let mut stream = TcpStream::connect(address).await?;
    let mut buffer = [0; 2048];
    let mut done = 0;
    while done < payload.len() {
        let length = 1 + simulation.random_below(4000) as usize;
        let message = &payload[done..payload.len().min(done + length)];
        stream.write_all(message).await?;
        let mut echoed = 0;
        while echoed < message.len() {
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            assert_eq!(buffer[..count], message[echoed..][..count], "wrong bytes");
            echoed += count;
        }
        done += echoed;
    }
    stream.shutdown(Direction::Write)?;
    match stream.read(&mut buffer).await? {
        0 => Ok(done as u64),
        more => panic!("{more} bytes too many"),
    }
}
