//! Runs a check no longer than needed: until one of its tests fails, or until it hangs.
//!
//! A check hangs if its processes use no CPU for a while, or much more CPU than without a fault.
//! Neither depends on how busy the machine is, as a limit on the time would.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// A check that uses no CPU for this long waits forever. No test sleeps that long.
const IDLE: Duration = Duration::from_secs(4);

/// How often the CPU time is read.
const INTERVAL: Duration = Duration::from_millis(100);

/// How a check ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Exited(ExitStatus),
    /// The name of the first test that failed. The others did not run to their ends.
    TestFailed(String),
    /// It used no CPU for a while.
    Hangs,
    /// It used more CPU than permitted.
    Spins,
}

/// A check that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ending: Ending,
    /// The CPU time that it used.
    pub(super) cpu: Duration,
    /// The lines that it printed.
    pub(super) output: String,
}

/// Runs a check in a process group of its own, and kills the group as soon as a test fails or the
/// group hangs.
pub(super) fn run(command: &mut Command, cpu_limit: Duration) -> Result<Ended> {
    command.process_group(0).stdout(Stdio::piped());
    let mut child = command.spawn().context("failed to start a check")?;
    let group = Pid::from_child(&child);
    let (sender, failures) = mpsc::channel();
    let stdout = child.stdout.take().context("stdout is piped")?;
    let reader = thread::spawn(move || {
        let mut output = String::new();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // An error means that the first failure was enough.
            failed_test(&line).map(|name| sender.send(name));
            output += &line;
            output.push('\n');
        }
        output
    });
    let mut usage = Usage::new();
    let stopped = loop {
        match failures.recv_timeout(INTERVAL) {
            Ok(name) => break Some(Ending::TestFailed(name)),
            // The program has closed its output, so it is about to end.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(INTERVAL / 10),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if child.try_wait()?.is_some() {
            break None;
        }
        usage.update(cpu_time(group));
        if usage.idle_since.elapsed() >= IDLE {
            break Some(Ending::Hangs);
        }
        if usage.cpu > cpu_limit {
            break Some(Ending::Spins);
        }
    };
    // The group may have ended in the meantime.
    let _ = kill_process_group(group, Signal::KILL);
    let status = child.wait()?;
    let output = reader.join().unwrap_or_default();
    Ok(Ended { ending: stopped.unwrap_or(Ending::Exited(status)), cpu: usage.cpu, output })
}

/// The name in a line `test NAME ... FAILED`.
fn failed_test(line: &str) -> Option<String> {
    Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned())
}

/// The CPU time of a process group, and when it last grew.
struct Usage {
    cpu: Duration,
    idle_since: Instant,
}

impl Usage {
    fn new() -> Usage {
        Usage { cpu: Duration::ZERO, idle_since: Instant::now() }
    }

    fn update(&mut self, cpu: Option<Duration>) {
        // Without a number, the time limit of the command has to do.
        if cpu.is_none_or(|cpu| cpu != self.cpu) {
            self.idle_since = Instant::now();
        }
        self.cpu = cpu.unwrap_or_default();
    }
}

/// The CPU time of the live processes of a group and of the children that they have waited for.
/// `None` on systems without `/proc`.
fn cpu_time(group: Pid) -> Option<Duration> {
    let stats = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        // A process may end in the meantime.
        fs::read_to_string(entry.path().join("stat")).ok()
    });
    let group = group.as_raw_nonzero().get();
    let ticks: u64 = stats.filter_map(|stat| ticks_in_group(&stat, group)).sum();
    Some(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).ok()?)
}

/// The CPU time in ticks, from `/proc/PID/stat`, if the process is in the group.
fn ticks_in_group(stat: &str, group: i32) -> Option<u64> {
    // The second field is the name in parentheses, which may contain spaces and parentheses. The
    // first field behind it is field 3 of proc(5), the group is field 5, and the times of the
    // process and of its children are the fields 14 to 17.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    (fields.get(2)?.parse() == Ok(group)).then_some(())?;
    fields.get(11..15)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_shell(script: &str, cpu_limit: Duration) -> Ending {
        super::run(Command::new("sh").args(["-c", script]), cpu_limit)
            .expect("there is a shell")
            .ending
    }

    #[test]
    fn a_check_ends_at_its_first_failure() {
        let script = "echo 'test a ... ok'; echo 'test b ... FAILED'; sleep 600; exit 1";
        let ending = run_shell(script, Duration::from_secs(60));
        assert_eq!(ending, Ending::TestFailed("b".to_owned()));
    }

    #[test]
    fn a_check_that_spins_or_waits_forever_hangs() {
        assert_eq!(run_shell("while :; do :; done", Duration::from_millis(50)), Ending::Spins);
        assert_eq!(run_shell("sleep 600", Duration::from_secs(60)), Ending::Hangs);
    }

    #[test]
    fn a_check_that_ends_has_its_status() {
        let Ending::Exited(status) = run_shell("exit 3", Duration::from_secs(60)) else {
            panic!("it exits");
        };
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn the_ticks_of_a_group_are_read_behind_a_name_with_parentheses() {
        let stat = "7 (a) b (c)) S 1 5 7 0 -1 4194560 100 0 0 0 120 30 7 8 20 0 3 0 100 0 0";
        assert_eq!(ticks_in_group(stat, 5), Some(165));
        assert_eq!(ticks_in_group(stat, 6), None);
    }
}
