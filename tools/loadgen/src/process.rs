//! Child processes that do not outlive their handle, and the resource use of processes according to
//! `/proc`.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::time::ClockId;
use nix::unistd::{Pid as NixPid, SysconfVar, sysconf};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::interrupt::{Interrupted, interrupted};

/// A child process that is terminated when this is dropped: with SIGTERM, and with SIGKILL if it
/// still runs after its grace.
#[derive(Debug)]
pub struct ChildGuard {
    child: Child,
    grace: Duration,
}

impl ChildGuard {
    /// Starts a process without grace, in a process group of its own: Ctrl-C in a terminal then
    /// reaches only this process, which decides in which order its children end.
    ///
    /// # Errors
    ///
    /// If the program cannot be started.
    pub fn start(command: &mut Command) -> Result<ChildGuard> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("failed to start {name}"))?;
        Ok(ChildGuard { child, grace: Duration::ZERO })
    }

    /// Sets how long the process may take to shut down after SIGTERM.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> ChildGuard {
        self.grace = grace;
        self
    }

    /// The process, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. Does nothing if the process has ended.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // An exited child keeps its number until it is waited for, so no other process is hit.
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), signal)?;
        }
        Ok(())
    }

    /// Waits for the end of the process, for at most `limit`.
    ///
    /// # Errors
    ///
    /// If it runs longer, and [`Interrupted`].
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if interrupted() {
                bail!(Interrupted);
            }
            ensure!(began.elapsed() < limit, "the process did not end within {limit:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        let deadline = Instant::now() + self.grace;
        if !self.grace.is_zero() && self.signal(Signal::TERM).is_ok() {
            while self.child.try_wait().is_ok_and(|ended| ended.is_none())
                && Instant::now() < deadline
            {
                thread::sleep(Duration::from_millis(5));
            }
        }
        // Both do nothing to a child that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The standard output and the standard error of a process.
#[derive(Debug)]
#[allow(missing_docs, reason = "described above")]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
///
/// # Errors
///
/// If it fails, runs longer than `limit`, or this process is interrupted.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ChildGuard::start(command)?;
    let stdout = child.child().stdout.take().map(read_all);
    let stderr = child.child().stderr.take().map(read_all);
    let status = child.wait(limit);
    // Both pipes are closed once the process has ended.
    drop(child);
    let text = |reader: Option<JoinHandle<String>>| {
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    };
    let output = Output { stdout: text(stdout), stderr: text(stderr) };
    let status = status?;
    ensure!(status.success(), "ended with {status}: {}", output.stderr.trim());
    Ok(output)
}

/// Reads a pipe to its end on a thread, so that the process never blocks on a full one.
pub(crate) fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // If reading fails, the part before is still useful.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Raises the soft limit on open descriptors to the hard limit, which it returns. Children inherit
/// it.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    limit.current.unwrap_or(u64::MAX)
}

/// CPU time of a process, of its live and its ended threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// Exact to the nanosecond.
    pub total: Duration,
    /// The part in the program, exact to the kernel's tick (10 ms).
    pub user: Duration,
    /// The part in the system, likewise.
    pub system: Duration,
}

impl CpuTime {
    /// The CPU time of a process so far.
    ///
    /// # Errors
    ///
    /// If there is no such process.
    pub fn of(pid: u32) -> Result<CpuTime> {
        let clock: ClockId = nix::time::clock_getcpuclockid(NixPid::from_raw(pid.try_into()?))?;
        let total = Duration::from(clock.now()?);
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the clock has no ticks")?;
        let (user, system) = ticks(&stat).context("/proc/PID/stat has an unknown form")?;
        let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / per_second as f64);
        Ok(CpuTime { total, user: time(user), system: time(system) })
    }

    /// Nanoseconds since `before`, divided by `operations`: in the program, and in the system.
    pub fn since(&self, before: &CpuTime, operations: u64) -> (f64, f64) {
        let total = self.total.saturating_sub(before.total).as_nanos() as f64;
        let user = self.user.saturating_sub(before.user).as_nanos() as f64;
        let system = self.system.saturating_sub(before.system).as_nanos() as f64;
        let share = if user + system > 0.0 { user / (user + system) } else { 1.0 };
        let each = total / operations as f64;
        (each * share, each * (1.0 - share))
    }
}

/// User and system time in ticks, from `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    // The second field is the name in parentheses, which may contain spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    // Fields 14 and 15 of proc(5); the first one behind the name is field 3.
    let mut times = fields.split_whitespace().skip(11).map(str::parse);
    Some((times.next()?.ok()?, times.next()?.ok()?))
}

/// A number from a file in `/proc/PROCESS`: the one behind `name` at the start of a line.
pub fn field(process: &str, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/{file}")).ok()?;
    number(&text, name)
}

fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Names of the threads' folders in `/proc`.
pub(crate) fn threads(pid: u32) -> Result<Vec<String>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
    Ok(threads.map(|it| format!("{pid}/task/{}", it.file_name().to_string_lossy())).collect())
}

/// The resources that a process uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// CPU time so far.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_kib: u64,
    /// Its proportional share: shared pages are divided by the number of their users.
    pub proportional_kib: u64,
    /// The maximum of the resident memory so far.
    pub peak_kib: u64,
    /// Number of live threads.
    pub threads: u64,
    /// Number of open descriptors.
    pub descriptors: u64,
    /// How often the live threads blocked.
    pub voluntary_switches: u64,
}

impl Sample {
    /// Reads the resources of a process.
    ///
    /// # Errors
    ///
    /// If there is no such process.
    pub fn of(pid: u32) -> Result<Sample> {
        let threads = threads(pid)?;
        let process = pid.to_string();
        let value = |file, name| field(&process, file, name).unwrap_or(0);
        // A thread may end between the listing and the reading.
        let switches = |thread: &String| field(thread, "status", "voluntary_ctxt_switches:");
        Ok(Sample {
            cpu: CpuTime::of(pid)?.total,
            resident_kib: value("status", "VmRSS:"),
            proportional_kib: value("smaps_rollup", "Pss:"),
            peak_kib: value("status", "VmHWM:"),
            threads: threads.len() as u64,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) as u64,
            voluntary_switches: threads.iter().filter_map(switches).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_parentheses() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 120 30 0 0 20 0 3 0 100 0 0";
        assert_eq!(ticks(stat), Some((120, 30)));
        assert_eq!(ticks("nothing"), None);
    }

    #[test]
    fn a_field_is_found_only_at_the_start_of_a_line() {
        let text = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\nVmRSS:\t  12 kB\n";
        assert_eq!(number(text, "voluntary_ctxt_switches:"), Some(3));
        assert_eq!((number(text, "VmRSS:"), number(text, "VmHWM:")), (Some(12), None));
    }

    #[test]
    fn this_process_can_be_sampled() {
        let sample = Sample::of(std::process::id()).expect("this process exists");
        assert!(sample.resident_kib > 0 && sample.peak_kib > 0);
        assert!(sample.threads >= 1 && sample.descriptors >= 3);
        assert!(sample.cpu > Duration::ZERO);
    }

    #[test]
    fn a_guard_ends_its_child_gracefully_or_kills_it() {
        for (trap, graceful) in [("trap 'exit 0' TERM", true), ("trap '' TERM", false)] {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{trap}; echo; while :; do sleep 0.01; done")]);
            command.stdout(Stdio::piped());
            let mut guard = ChildGuard::start(&mut command).expect("there is a shell");
            let mut stdout = guard.child().stdout.take().expect("it is piped");
            // The trap is set once a line was written.
            stdout.read_exact(&mut [0]).expect("a line is written");
            let (pid, began) = (guard.id(), Instant::now());
            let grace = Duration::from_secs(if graceful { 60 } else { 0 });
            drop(guard.with_grace(grace.max(Duration::from_millis(50))));
            assert!(began.elapsed() < Duration::from_secs(30));
            assert!(!fs::exists(format!("/proc/{pid}")).expect("/proc can be read"));
        }
    }
}
