//! Runs commands, starts those that fail again, and gives up when one fails too often:
//! `cargo run -p matou-os --example supervisor -- 'sleep 5; exit 1' 'exec python3 -m http.server'`
//!
//! - A command that exits with status 0 is done. When all are done, so is the supervisor.
//! - A command that fails is started again after a pause, which doubles with each restart of the
//!   last minute. After five restarts in a minute the supervisor gives up: it ends the other
//!   commands, and its own status is 1.
//! - SIGTERM and SIGINT end all commands: SIGTERM first, SIGKILL three seconds later. The
//!   supervisor ends when the last process is reaped. A second signal kills it at once.
//!
//! `supervise` knows nothing about processes: a worker is any future. It is a task of its own, so a
//! panic in it and a violation of the rules are failures like any other, and its sockets, children
//! and guards are gone before it is started again.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use matou_os::process::Command;
use matou_os::runtime::{
    MainError, RunError, Task, TaskError, now, run, select, signal, sleep, task_scope,
};

/// How a worker that fails is started again.
#[derive(Clone, Copy, Debug)]
pub struct Restarts {
    /// The most restarts in any period of the length of `window`.
    pub limit: usize,
    /// The length of the period.
    pub window: Duration,
    /// The first pause.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Restarts {
    /// The pause before the next restart, if there were `count` in the last window.
    fn pause(&self, count: usize) -> Duration {
        let factor = 1_u32.checked_shl(count as u32).unwrap_or(u32::MAX);
        self.pause.saturating_mul(factor).min(self.pause_max)
    }
}

/// A worker has failed too often.
#[derive(Debug)]
pub struct GaveUp {
    worker: String,
    restarts: usize,
    last: TaskError<io::Error>,
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GaveUp { worker, restarts, last } = self;
        write!(f, "gave up `{worker}` after {restarts} restarts: {last}")
    }
}

impl Error for GaveUp {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.last)
    }
}

/// Runs a worker until it returns `Ok`, and starts it again when it fails.
pub async fn supervise<F>(
    name: String,
    restarts: Restarts,
    worker: impl Fn() -> F,
) -> Result<(), GaveUp>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    // The moments of the restarts in the last window.
    let mut recent = VecDeque::new();
    loop {
        let ended = Task::new().name(name.as_str()).try_spawn(worker()).await;
        let Err(failure) = ended else { return Ok(()) };
        let is_recent = |&restart: &_| now() - restart < restarts.window;
        while recent.front().is_some_and(|restart| !is_recent(restart)) {
            recent.pop_front();
        }
        if recent.len() >= restarts.limit {
            return Err(GaveUp { worker: name, restarts: recent.len(), last: failure });
        }
        let pause = restarts.pause(recent.len());
        eprintln!("{failure}; next start in {pause:?}");
        sleep(pause).await;
        recent.push_back(now());
    }
}

/// Runs a command of the shell. The processes that it starts end with it.
async fn run_command(command: String) -> io::Result<()> {
    let status = Command::new("sh").arg("-c").arg(command).process_group().status().await?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

async fn supervise_commands(commands: Vec<String>) -> Result<(), MainError> {
    let restarts = Restarts {
        limit: 5,
        window: Duration::from_secs(60),
        pause: Duration::from_millis(10),
        pause_max: Duration::from_secs(10),
    };
    let termination = signal::termination()?;
    // The first worker that is given up ends the scope, and with it the other ones.
    let all = task_scope(|group| async move {
        for command in commands {
            let worker = command.clone();
            group.try_spawn(supervise(command, restarts, move || run_command(worker.clone())));
        }
        Ok(())
    });
    select! {
        result = all => result?,
        signal = termination => eprintln!("{signal:?}: ending the commands"),
    }
    Ok(())
}

fn main() -> Result<(), RunError> {
    run(supervise_commands(std::env::args().skip(1).collect()))
}
