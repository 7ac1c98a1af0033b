//! The servers: one task per connection, a buffer of 4 KiB, `TCP_NODELAY`, echo until the end of
//! the stream.

#[cfg(feature = "peers")]
mod compio;
mod epoll;
mod http;
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
use matou_loadgen::process::raise_descriptor_limit;
use rustix::process::{PTracer, set_ptracer};
use socket2::{Domain, Socket, Type};

use crate::cost::{allocations, apply_slowdown, slow_server_down};
use crate::process::{end_with_parent, pin};

const BUFFER: usize = 4096;
/// Iterations of a task that uses the CPU before it yields: about 100 us.
const HOG_STEPS: u64 = 40_000;
/// Iterations of the CPU work per message: about 200 us.
const CPU_WORK_STEPS: u64 = 80_000;

/// How a server is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Setting {
    /// The processors that it serves on, with one thread on each.
    #[arg(long, default_value_t = 1)]
    pub(crate) cores: usize,
    /// Tasks that use the CPU and yield forever, beside the connections.
    #[arg(long, default_value_t = 0)]
    pub(crate) cpu_hogs: usize,
    /// Whether it uses the CPU before each answer.
    #[arg(long)]
    pub(crate) cpu_work: bool,
    /// The protocol that it speaks, and the library that it is made with.
    #[arg(long, value_enum, default_value = "echo")]
    pub(crate) protocol: Protocol,
}

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// Sends back the bytes that it receives.
    Echo,
    /// HTTP/1.1 with hyper, in a task per connection.
    Hyper,
    /// HTTP/1.1 with a router of axum, as its users serve it: `matou_http::serve`, `axum::serve`.
    Axum,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Echo => "echo",
            Protocol::Hyper => "hyper",
            Protocol::Axum => "axum",
        }
    }
}

impl Setting {
    pub(crate) const PLAIN: Setting =
        Setting { cores: 1, cpu_hogs: 0, cpu_work: false, protocol: Protocol::Echo };

    /// The CPU work for each message, before its echo.
    fn work(&self) {
        if self.cpu_work {
            compute(CPU_WORK_STEPS);
        }
    }
}

/// Serves in one runtime until the standard input ends. Prints its port, and its number of
/// allocations for each line that it reads.
pub(crate) fn serve(runtime: &str, setting: Setting) -> Result<()> {
    end_with_parent()?;
    // Allows strace, which is not the parent, to attach. Fails on systems that do not require it.
    let _ = set_ptracer(PTracer::Any);
    raise_descriptor_limit();
    // Threads that are started later inherit it.
    pin(0, setting.cores - 1);
    apply_slowdown(runtime);
    slow_server_down();
    if runtime == "echo" {
        return matou::echo(setting);
    }
    // These have a single listener, the others one per thread.
    let has_one_listener = ["tokio-mt", "smol", "threads"].contains(&runtime);
    let listeners = open(if has_one_listener { 1 } else { setting.cores })?;
    announce(listeners[0].local_addr()?)?;
    if setting.protocol != Protocol::Echo {
        return http::serve(runtime, listeners, setting);
    }
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

/// Binds `count` listeners to one address, so that each thread has its own accept queue.
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
    writeln!(output, "{}", address.port())?;
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

/// Runs `serve` on a thread for each listener, the first of them on this thread.
fn on_each(
    mut listeners: Vec<TcpListener>,
    setting: Setting,
    serve: fn(TcpListener, Setting) -> Result<()>,
) -> Result<()> {
    let first = listeners.remove(0);
    let others = Setting { cpu_hogs: 0, ..setting };
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

/// Defines the task of a connection, for streams that borrow their buffers.
macro_rules! echo_with {
    ($stream:ty) => {
        async fn echo_one(mut stream: $stream, setting: Setting) {
            let mut buffer = [0; super::BUFFER];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                setting.work();
                if stream.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
            }
        }
    };
}
use echo_with;

/// A task that uses the CPU and yields forever.
async fn cpu_hog<Y: Future<Output = ()>>(yield_now: impl Fn() -> Y) {
    loop {
        compute(HOG_STEPS);
        yield_now().await;
    }
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
