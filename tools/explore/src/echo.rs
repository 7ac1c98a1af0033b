//! The echo server, unchanged, over a rough network: every byte is right, and every drain ends.

use std::io;
use std::net::{Shutdown as Direction, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use matou_echo::{Level, Limits, Listeners, Log, Shutdown, Stats, run};
use matou_net::TcpStream;
use matou_net::test::{Counters, Faults, counters, set_faults};
use matou_runtime::test::{Check, simulation};
use matou_runtime::{
    MainError, Outcome, Promise, await_all, now, sleep, timeout, try_call, try_spawn,
};

use crate::coverage::Shown;
use crate::trial::{Finding, Passed, conclude};

/// How many clients come.
const CLIENTS: u64 = 100;
/// How many of them are served at a time: fewer than come.
const SERVED_MAX: usize = 40;
/// How much of a client's tape is the most.
const LENGTH_MAX: u64 = 12_000;
/// How long the clients may take in virtual time.
const PATIENCE: Duration = Duration::from_secs(3600);
/// What the end of the server may take besides its drain timeout: some messages between domains.
const DRAIN_SLACK: Duration = Duration::from_millis(100);

/// Runs the server and its clients under a seed, on one domain or on three.
pub(crate) fn explore(seed: u64) -> Result<Passed, Finding> {
    let domains = if seed.is_multiple_of(2) { 1 } else { 3 };
    let check = Check::simulated().domains(domains).max_ticks(10_000_000);
    let trial = catch_unwind(AssertUnwindSafe(|| check.trial(seed, serve(domains))));
    let mut shown = Shown::default();
    let passed = conclude(trial, |trial| match &trial.outcome {
        Ok(of_this_run) => {
            shown = *of_this_run;
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    });
    passed.map(|passed| Passed { shown, ..passed })
}

async fn serve(domains: usize) -> Result<Shown, MainError> {
    set_faults(Faults::all());
    let simulation = simulation().ok_or("it is a simulated run")?;
    let listeners = Listeners::bind(&["10.0.0.1:7".parse()?], domains)?;
    let address = listeners.addresses()[0];
    let limits = Limits { connections_max: SERVED_MAX, ..Limits::default() };
    let shutdown = Arc::new(Shutdown::new());
    let log = Arc::new(Log::new(Level::Off));
    let served = run(listeners, limits, Arc::clone(&shutdown), log);
    let server = try_spawn(async move { served.await.map(|served| (served, now())) });

    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(client(number, address, domains, simulation.random_below(LENGTH_MAX)));
    }
    // Most servers outlive their clients.
    let mut told_at = None;
    if simulation.random_below(4) == 0 {
        sleep(Duration::from_millis(simulation.random_below(1000))).await;
        told_at = Some(now());
        shutdown.begin().await;
    }
    let outcomes = timeout(PATIENCE, await_all(clients)).await?;
    let ends_at = told_at.unwrap_or_else(now);
    shutdown.begin().await;
    let (served, ended_at) = timeout(PATIENCE, server).await??;
    let drain = ended_at.saturating_duration_since(ends_at);
    if drain > limits.drain_timeout + DRAIN_SLACK {
        return Err(format!("the drain took {drain:?}").into());
    }
    let clients = Clients::of(outcomes, told_at)?;
    judge(&clients, served, told_at.is_some())
}

/// How the clients ended.
#[derive(Debug, Default)]
struct Clients {
    bytes: u64,
    /// How many failed, before the server was told to end if it was told early.
    failed: u64,
    /// How many did after it was told to.
    failed_late: u64,
}

impl Clients {
    fn of(
        outcomes: Vec<Outcome<u64, Failed>>,
        told_at: Option<Instant>,
    ) -> Result<Clients, MainError> {
        let mut clients = Clients::default();
        for outcome in outcomes {
            match outcome {
                Ok(count) => clients.bytes += count,
                Err(error) => match error.into_failure() {
                    Some(Failed(at)) if told_at.is_none_or(|told_at| at < told_at) => {
                        clients.failed += 1;
                    }
                    Some(Failed(_)) => clients.failed_late += 1,
                    None => return Err("a client has found a wrong byte".into()),
                },
            }
        }
        Ok(clients)
    }
}

/// Before its end a server fails no client but for a fault that cost the connection.
fn judge(clients: &Clients, served: Stats, early: bool) -> Result<Shown, MainError> {
    let counters = counters();
    let Counters { connections, refusals, resets, accepts_aborted, .. } = counters;
    let excused = clients.failed <= refusals + resets + accepts_aborted;
    let counted = served.connections <= connections && served.bytes >= clients.bytes;
    if !excused || !counted {
        return Err(format!("{clients:?}, {served:?}, {counters:?}").into());
    }
    let shown = [
        refusals > 0,
        resets > 0,
        counters.accept_errors > 0,
        accepts_aborted > 0,
        counters.stalls > 0,
        clients.failed > 0,
        early,
        clients.failed_late > 0,
    ];
    Ok(shown.into_iter().collect())
}

/// A client could not talk to the end, since this moment.
struct Failed(Instant);

fn client(number: u64, address: SocketAddr, domains: usize, length: u64) -> Promise<u64, Failed> {
    let tape: Vec<u8> = (0..length).map(|index| (number + index * 7 + index / 251) as u8).collect();
    if domains > 1 && number.is_multiple_of(2) {
        return try_call(move || try_to_talk(address, tape)).expect("there are other domains");
    }
    try_spawn(try_to_talk(address, tape))
}

async fn try_to_talk(address: SocketAddr, tape: Vec<u8>) -> Result<u64, Failed> {
    talk(address, tape).await.map_err(|_| Failed(now()))
}

/// Sends a tape in messages, and waits for the echo of each. Returns how many bytes came back.
async fn talk(address: SocketAddr, tape: Vec<u8>) -> io::Result<u64> {
    let simulation = simulation().expect("it is a simulated run");
    sleep(Duration::from_millis(simulation.random_below(500))).await;
    let mut stream = TcpStream::connect(address).await?;
    let mut buffer = [0; 2048];
    let mut done = 0;
    while done < tape.len() {
        let length = 1 + simulation.random_below(4000) as usize;
        let message = &tape[done..tape.len().min(done + length)];
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
