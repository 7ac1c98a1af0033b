//! System calls of a server, counted by strace while it serves.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::load::{Load, drive_between};
use super::process::Probe;
use crate::meter::Cost;
use crate::process::Kept;

/// How long strace may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counts from the end of the warming up to the end of the load.
pub(super) fn count(
    address: SocketAddr,
    load: Load,
    time: Duration,
    mut probe: Probe,
) -> Result<f64> {
    let mut strace = None;
    let pid = probe.pid;
    let cost: Cost = drive_between(address, load, time, &mut probe, || {
        strace = Some(attach(pid)?);
        Ok(())
    })?;
    let mut strace = strace.context("the load was not begun")?;
    let id = Pid::from_raw(strace.0.id().try_into()?).context("it has a number")?;
    kill_process(id, Signal::INT)?;
    let errors = strace.0.stderr.take().context("it has a standard error")?;
    let text = std::io::read_to_string(errors)?;
    strace.wait(PATIENCE)?;
    let total = text.lines().find(|line| line.trim_end().ends_with("total"));
    let total = total.context("strace said something unknown")?;
    let total: f64 = total.split_whitespace().next().context("it has words")?.parse()?;
    Ok(total / cost.operations as f64)
}

fn attach(pid: u32) -> Result<Kept> {
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-U", "calls,name", "-p", &pid.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut strace = Kept::start(&mut command)?;
    let begun = Instant::now();
    while !is_traced(pid)? {
        ensure!(begun.elapsed() < PATIENCE, "strace does not begin");
        ensure!(strace.0.try_wait()?.is_none(), "strace may not look at the server");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(strace)
}

/// Whether all threads of a process are traced.
fn is_traced(pid: u32) -> Result<bool> {
    let mut all = true;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        all &= tracer.is_some_and(|tracer| tracer.trim() != "0");
    }
    Ok(all)
}
