//! Echo servers, the same in each runtime: one task for each connection, a buffer of 4 KiB, small
//! writes sent at once, until the end of the stream. One client for all of them, which none of the
//! runtimes had a hand in.

mod epoll;
mod load;
mod servers;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::RunOptions;
use crate::meter::{Cost, pin, raise_descriptors};
use crate::rounds::{Figure, figure};

pub(crate) use servers::serve;

/// The servers that are measured. The bare loop is the limit: what the system alone takes.
const SERVERS: &[&str] = &["epoll", "matou", "tokio-ct", "smol", "monoio", "threads"];

/// How long a server is under load in each round.
const LOAD: Duration = Duration::from_millis(1500);

/// A kind of load.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// So many clients send messages of so many bytes, and each waits for its echo.
    PingPong { clients: usize, bytes: usize },
    /// Connect, one echo of 64 bytes, close.
    Churn,
}

const LOADS: &[(&str, Load)] = &[
    ("echo-1-64", Load::PingPong { clients: 1, bytes: 64 }),
    ("echo-64-64", Load::PingPong { clients: 64, bytes: 64 }),
    ("echo-1000-64", Load::PingPong { clients: 1000, bytes: 64 }),
    ("echo-1-4096", Load::PingPong { clients: 1, bytes: 4096 }),
    ("echo-64-4096", Load::PingPong { clients: 64, bytes: 4096 }),
    ("echo-1000-4096", Load::PingPong { clients: 1000, bytes: 4096 }),
    ("churn", Load::Churn),
];

/// Measures the servers. Wall time is that between two echoes, CPU time the server's alone.
pub(crate) fn measure(options: &RunOptions) -> Result<Vec<Figure>> {
    raise_descriptors();
    let mut figures = Vec::new();
    for (name, load) in LOADS.iter().filter(|(name, _)| name.contains(&options.only)) {
        let time = if options.quick { LOAD / 5 } else { LOAD };
        // The time of threads that have ended is not to be had.
        let servers = match load {
            Load::Churn => &SERVERS[..SERVERS.len() - 1],
            Load::PingPong { .. } => SERVERS,
        };
        let mut costs = vec![Vec::new(); servers.len()];
        for round in 0..options.rounds {
            for step in 0..servers.len() {
                let index = (round + step) % servers.len();
                costs[index].push(under_load(servers[index], *load, time)?);
            }
        }
        let about = match load {
            Load::PingPong { clients, bytes } => {
                format!(
                    "{clients} clients, messages of {bytes} bytes; server and client on a core each"
                )
            }
            Load::Churn => "connect, echo 64 bytes, close".into(),
        };
        for (server, costs) in servers.iter().zip(costs) {
            figures.push(figure(name, &about, server, &costs, None));
        }
        eprintln!("{name}");
    }
    Ok(figures)
}

/// A server's process, which is ended when this is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn under_load(server: &str, load: Load, time: Duration) -> Result<Cost> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["server", server]).stdout(Stdio::piped());
    let mut server = Server(command.spawn().context("failed to start a server")?);
    let output = server.0.stdout.take().context("it has a standard output")?;
    let mut port = String::new();
    BufReader::new(output).read_line(&mut port)?;
    let address = ([127, 0, 0, 1], port.trim().parse::<u16>()?).into();
    let pid = server.0.id();
    let client = std::thread::spawn(move || {
        pin(1);
        load::drive(address, load, time, || cpu_time_of(pid))
    });
    let result = client.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    Ok(Cost {
        operations: result.operations,
        wall_ns: result.time.as_nanos() as f64 / result.operations as f64,
        cpu_ns: result.server_cpu.as_nanos() as f64 / result.operations as f64,
        late_us: result.p99_us,
        ..Cost::default()
    })
}

/// The CPU time of another process: of all its threads, to the nanosecond.
fn cpu_time_of(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(of_task).sum())
}
