//! The servers: each with one task for each connection, a buffer of 4 KiB, small writes sent at
//! once, until the end of the stream.

#[cfg(feature = "peers")]
mod compio;
mod epoll;
mod matou;
#[cfg(feature = "peers")]
mod monoio;
#[cfg(feature = "peers")]
mod smol;
mod threads;
#[cfg(feature = "peers")]
mod tokio;

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result, bail};
use rustix::process::{PTracer, set_ptracer};
use socket2::{Domain, Socket, Type};

use crate::meter::allocations;
use crate::process::{end_with_parent, pin, raise_descriptors};

const BUFFER: usize = 4096;
/// How many steps of computing a task makes before it yields: about 100 us.
const HOG_STEPS: u64 = 40_000;
/// How many steps of computing a message costs where the client must not be the limit: about
/// 200 us.
const LABOUR_STEPS: u64 = 80_000;

/// How a server is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Setting {
    /// The processors that it serves on: one thread on each.
    #[arg(long, default_value_t = 1)]
    pub(crate) cores: usize,
    /// Tasks that compute and yield, for ever, beside the connections.
    #[arg(long, default_value_t = 0)]
    pub(crate) hogs: usize,
    /// Whether it computes before it answers.
    #[arg(long)]
    pub(crate) labour: bool,
}

impl Setting {
    pub(crate) const PLAIN: Setting = Setting { cores: 1, hogs: 0, labour: false };

    /// What a message costs beside its echo.
    fn labour(&self) {
        if self.labour {
            compute(LABOUR_STEPS);
        }
    }
}

/// Serves in one runtime until the standard input ends. Tells its port and its process, and how
/// often it has allocated whenever it gets a line.
pub(crate) fn serve(runtime: &str, setting: Setting) -> Result<()> {
    end_with_parent()?;
    // So that its system calls can be counted by a process that is not its parent. Where the system
    // does not ask for that, it knows no such call.
    let _ = set_ptracer(PTracer::Any);
    raise_descriptors();
    // Threads that are made later stay there as well.
    pin(0, setting.cores - 1);
    if runtime == "echo" {
        return matou::echo(setting);
    }
    // These have one place where connections come in, the others one for each thread.
    let has_one_door = ["tokio-mt", "smol", "threads"].contains(&runtime);
    let listeners = open(if has_one_door { 1 } else { setting.cores })?;
    announce(listeners[0].local_addr()?)?;
    match runtime {
        "epoll" => epoll::serve(listeners, setting),
        "matou" => matou::serve(listeners, setting),
        "threads" => threads::serve(listeners, setting),
        #[cfg(feature = "peers")]
        "tokio-ct" => tokio::current_thread(listeners, setting),
        #[cfg(feature = "peers")]
        "tokio-mt" => tokio::multi_thread(listeners, setting),
        #[cfg(feature = "peers")]
        "smol" => smol::serve(listeners, setting),
        #[cfg(feature = "peers")]
        "monoio" => monoio::serve(listeners, setting),
        #[cfg(feature = "peers")]
        "compio" => compio::serve(listeners, setting),
        other => bail!("there is no server of {other}"),
    }
}

/// Listens on one address, with a queue of connections for each thread.
fn open(count: usize) -> Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_port(count > 1)?;
        let address = match listeners.first() {
            Some(first) => first.local_addr()?,
            None => SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        socket.bind(&address.into()).context("failed to bind")?;
        socket.listen(4096)?;
        listeners.push(socket.into());
    }
    Ok(listeners)
}

fn announce(address: SocketAddr) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{} {}", address.port(), std::process::id())?;
    output.flush()?;
    std::thread::spawn(|| {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || writeln!(std::io::stdout(), "{}", allocations()).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    Ok(())
}

/// Runs `serve` on a thread for each listener, one of which is this one.
fn on_each(
    mut listeners: Vec<TcpListener>,
    setting: Setting,
    serve: fn(TcpListener, Setting) -> Result<()>,
) -> Result<()> {
    let first = listeners.remove(0);
    let others = Setting { hogs: 0, ..setting };
    for listener in listeners {
        std::thread::Builder::new().spawn(move || match serve(listener, others) {
            Ok(()) => std::process::exit(0),
            Err(error) => {
                eprintln!("error: {error:#}");
                std::process::exit(1);
            }
        })?;
    }
    serve(first, setting)
}

fn compute(steps: u64) {
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..steps {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
}
