//! The look at a server that holds silent connections.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::process::{self, Sample};
use super::server::Kept;

/// How long the connections may take to be made.
pub(super) const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// The time between the last echo and the first look, in which the server goes to sleep.
const SETTLE: Duration = Duration::from_millis(500);

/// How long system calls are counted. Counting stops each thread once, so it has a time of its own.
const COUNTING: Duration = Duration::from_secs(3);

/// What a server did while nothing happened.
#[derive(Debug)]
pub(super) struct IdleReport {
    pub(super) silence: Duration,
    /// Share of one processor, from the time that the threads were on one.
    pub(super) cpu_share: f64,
    /// How often its threads woke and went to sleep again.
    pub(super) voluntary_switches: u64,
    pub(super) threads: u64,
    /// System calls during a further silence, or why they could not be counted.
    pub(super) system_calls: Result<SystemCalls, String>,
    pub(super) resident_kib: u64,
    /// Bytes per connection that came with the connections.
    pub(super) resident_per_connection: u64,
    pub(super) proportional_per_connection: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SystemCalls {
    pub(super) total: u64,
    /// Name and number, the most frequent first.
    pub(super) by_name: Vec<(String, u64)>,
}

/// Watches a server with `connections` silent connections.
pub(super) fn watch(
    pid: u32,
    before: &Sample,
    connections: u64,
    silence: Duration,
    interrupted: &AtomicBool,
) -> Result<IdleReport> {
    pause(SETTLE, interrupted)?;
    let first = process::sample(pid)?;
    let began = Instant::now();
    pause(silence, interrupted)?;
    let last = process::sample(pid)?;
    let elapsed = began.elapsed();
    let on_processor = last.cpu_of_threads.saturating_sub(first.cpu_of_threads);
    let per_connection =
        |now: u64, then: u64| now.saturating_sub(then) * 1_024 / connections.max(1);
    Ok(IdleReport {
        silence: elapsed,
        cpu_share: on_processor.as_secs_f64() / elapsed.as_secs_f64(),
        voluntary_switches: last.voluntary_switches.saturating_sub(first.voluntary_switches),
        threads: last.threads,
        system_calls: count_system_calls(pid, COUNTING, interrupted)
            .map_err(|error| format!("{error:#}")),
        resident_kib: last.resident_kib,
        resident_per_connection: per_connection(last.resident_kib, before.resident_kib),
        proportional_per_connection: per_connection(last.proportional_kib, before.proportional_kib),
    })
}

/// Lets time pass, and stops at once when the program is interrupted.
pub(super) fn pause(time: Duration, interrupted: &AtomicBool) -> Result<()> {
    let deadline = Instant::now() + time;
    loop {
        ensure!(!interrupted.load(SeqCst), "interrupted");
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// Counts the system calls of a process with strace.
fn count_system_calls(pid: u32, time: Duration, interrupted: &AtomicBool) -> Result<SystemCalls> {
    let table = std::env::temp_dir().join(format!("strace-of-{pid}"));
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-p", &pid.to_string(), "-o"]).arg(&table);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut strace = Kept(command.spawn().context("strace cannot be started")?);
    wait_until_attached(&mut strace)?;
    let waited = pause(time, interrupted);
    kill_process(Pid::from_child(&strace.0), Signal::INT).context("failed to stop strace")?;
    strace.0.wait()?;
    waited?;
    let text = fs::read_to_string(&table).context("strace left no table");
    let _ = fs::remove_file(&table);
    parse_strace(&text?).context("strace's table has an unknown form")
}

/// Waits for strace's own word that it attached, and keeps reading its standard error.
fn wait_until_attached(strace: &mut Kept) -> Result<()> {
    let errors = strace.0.stderr.take().context("strace has no standard error")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            // The receiver needs the first line only.
            let _ = sender.send(line);
        }
    });
    let line = receiver
        .recv_timeout(Duration::from_secs(5))
        .context("strace did not attach within 5 s")?;
    ensure!(line.contains("attached"), "{line}");
    Ok(())
}

/// Reads the table of `strace -c`: share, seconds, microseconds per call, calls, errors, name.
fn parse_strace(table: &str) -> Option<SystemCalls> {
    let mut by_name = Vec::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_row = words.first().is_some_and(|word| word.parse::<f64>().is_ok());
        if !is_row {
            continue;
        }
        let name = words.last()?.to_string();
        by_name.push((name, words.get(3)?.parse().ok()?));
    }
    by_name.retain(|(name, _)| name != "total");
    by_name.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
    Some(SystemCalls { total: by_name.iter().map(|(_, calls)| calls).sum(), by_name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read_by_name() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 75.00    0.000030          10         3           epoll_wait
 25.00    0.000010           1        10         2 read
------ ----------- ----------- --------- --------- ----------------
100.00    0.000040           3        13         2 total
";
        let calls = parse_strace(table).expect("it is a table");
        assert_eq!(calls.total, 13);
        assert_eq!(calls.by_name, [("read".to_string(), 10), ("epoll_wait".to_string(), 3)]);
    }

    #[test]
    fn an_empty_table_means_no_system_calls() {
        assert_eq!(parse_strace("").map(|calls| calls.total), Some(0));
    }

    #[test]
    fn the_system_calls_of_a_busy_process_are_counted_where_strace_may_attach() {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do sleep 0.01; done"]);
        let busy = Kept(command.spawn().expect("there is a shell"));
        let never = AtomicBool::new(false);
        match count_system_calls(busy.0.id(), Duration::from_millis(300), &never) {
            Ok(calls) => assert!(calls.total > 0 && !calls.by_name.is_empty()),
            Err(error) => assert!(format!("{error:#}").contains("strace"), "{error:#}"),
        }
    }

    #[test]
    fn an_interrupt_ends_a_pause() {
        let outcome = pause(Duration::from_secs(3_600), &AtomicBool::new(true));
        assert_eq!(outcome.expect_err("it was interrupted").to_string(), "interrupted");
    }
}
