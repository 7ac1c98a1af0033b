//! Starts processes and cancels them, some at a time, and shows that nothing is left of them:
//! `cargo run -p matou-os --example processes -- 10000 100`. Without arguments there are 100, 25 at
//! a time.

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::error::Error;
use std::process::ExitCode;

use futures::future::{join_all, try_join_all};
use matou_os::process::{Child, Command};
use matou_os::runtime::Builder;
use rustix::process::{Pid, WaitOptions, test_kill_process, wait};

/// The threads that start processes.
const THREADS: usize = 8;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let result = Builder::new().blocking_threads(THREADS).run(async {
        let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
        let count = arguments.next().unwrap_or(Ok(100))?;
        let at_once = arguments.next().unwrap_or(Ok(25))?.max(1);
        start_and_cancel(count, at_once).await
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn start_and_cancel(count: usize, at_once: usize) -> Result<()> {
    // The first processes make the domain open a few descriptors.
    round(at_once).await?;
    let before = (open_descriptors()?, threads());
    for first in (0..count).step_by(at_once) {
        round(at_once.min(count - first)).await?;
    }
    let after = (open_descriptors()?, threads());
    println!("{count} processes started and cancelled, {at_once} at a time");
    println!(
        "descriptors: {}, then {}; threads: {}, then {}",
        before.0, after.0, before.1, after.1
    );
    if after.0 > before.0 {
        return Err("descriptors are left".into());
    }
    if after.1 > before.1 + THREADS {
        return Err("threads are left".into());
    }
    // Fails as there is no child process, neither running nor waiting to be reaped.
    match wait(WaitOptions::NOHANG) {
        Err(_) => Ok(()),
        Ok(_) => Err("a process is left".into()),
    }
}

async fn round(count: usize) -> Result<()> {
    let starts = (0..count).map(|_| Command::new("sleep").arg("1000").spawn());
    let children = try_join_all(starts).await?;
    let ids: Vec<_> = children.iter().map(Child::id).collect();
    let ends = join_all(children.into_iter().map(Child::cancel)).await;
    if ends.iter().any(Option::is_some) {
        return Err("a process has ended by itself".into());
    }
    let is_left = |&id: &u32| {
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| test_kill_process(pid).is_ok())
    };
    match ids.iter().find(|id| is_left(id)) {
        Some(id) => Err(format!("process {id} is left").into()),
        None => Ok(()),
    }
}

fn open_descriptors() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/dev/fd")?.count())
}

/// The threads of this process; 0 where the system does not list them.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}
