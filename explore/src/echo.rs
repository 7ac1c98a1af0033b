//! The echo server, unchanged, over a rough network: every byte is right, and every drain ends.

use std::io;
use std::net::{Shutdown as Direction, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use matou_echo::{Doors, Level, Limits, Log, Shutdown, run};
use matou_net::TcpStream;
use matou_net::test::{Counters, Faults, counters, faults};
use matou_runtime::test::{Check, world};
use matou_runtime::{MainError, Promise, await_all, sleep, timeout, try_call, try_spawn};

use crate::trial::{Finding, Passed, conclude};

/// How many clients come.
const CLIENTS: u64 = 100;
/// How many of them are served at a time: fewer than come.
const SERVED_MAX: usize = 40;
/// How much of a client's tape is the most.
const LENGTH_MAX: u64 = 12_000;
/// How long all of it may take in virtual time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Runs the server and its clients under a seed, on one domain or on three.
pub(crate) fn explore(seed: u64) -> Result<Passed, Finding> {
    let domains = if seed.is_multiple_of(2) { 1 } else { 3 };
    let check = Check::simulated().domains(domains).turns_max(10_000_000);
    let trial = catch_unwind(AssertUnwindSafe(|| check.trial(seed, serve(domains))));
    conclude(trial, |trial| match &trial.outcome {
        Ok(()) => Ok(()),
        Err(error) => Err(error.to_string()),
    })
}

async fn serve(domains: usize) -> Result<(), MainError> {
    faults(Faults::all());
    let world = world().ok_or("it is a simulated run")?;
    let doors = Doors::open(&["10.0.0.1:7".parse()?], domains)?;
    let address = doors.addresses()[0];
    let limits = Limits { connections_max: SERVED_MAX, ..Limits::default() };
    let shutdown = Arc::new(Shutdown::new());
    let log = Arc::new(Log::new(Level::Off));
    let server = try_spawn(run(doors, limits, Arc::clone(&shutdown), log));

    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(client(number, address, domains, world.below(LENGTH_MAX)));
    }
    // Most servers outlive their clients.
    let early = world.below(4) == 0;
    if early {
        sleep(Duration::from_millis(world.below(1000))).await;
        shutdown.begin().await;
    }
    let outcomes = timeout(PATIENCE, await_all(clients)).await?;
    shutdown.begin().await;
    let served = timeout(PATIENCE, server).await??;

    let (mut failed, mut bytes) = (0, 0);
    for outcome in outcomes {
        match outcome {
            Ok(count) => bytes += count,
            Err(error) => match error.into_failure() {
                Some(_) => failed += 1,
                None => return Err("a client has found a wrong byte".into()),
            },
        }
    }
    let Counters { connections, refusals, resets, accept_errors, .. } = counters();
    let excused = early || failed <= refusals + resets + accept_errors;
    let counted = served.connections <= connections && served.bytes >= bytes;
    if !excused || !counted {
        return Err(format!("{failed} failed, {bytes} bytes, {served:?}, {:?}", counters()).into());
    }
    Ok(())
}

fn client(
    number: u64,
    address: SocketAddr,
    domains: usize,
    length: u64,
) -> Promise<u64, io::Error> {
    let tape: Vec<u8> = (0..length).map(|index| (number + index * 7 + index / 251) as u8).collect();
    if domains > 1 && number.is_multiple_of(2) {
        return try_call(move || talk(address, tape)).expect("there are other domains");
    }
    try_spawn(talk(address, tape))
}

/// Sends a tape in messages, and waits for the echo of each. Returns how many bytes came back.
async fn talk(address: SocketAddr, tape: Vec<u8>) -> io::Result<u64> {
    let world = world().expect("it is a simulated run");
    sleep(Duration::from_millis(world.below(500))).await;
    let mut stream = TcpStream::connect(address).await?;
    let mut buffer = [0; 2048];
    let mut done = 0;
    while done < tape.len() {
        let length = 1 + world.below(4000) as usize;
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
