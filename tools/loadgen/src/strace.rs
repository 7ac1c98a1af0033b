//! System calls of a running process, counted by strace.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::process::{ChildGuard, field, read_all, threads};

/// How long strace may take to attach, and to detach.
const LIMIT: Duration = Duration::from_secs(5);

/// A strace that counts the system calls of a process.
#[derive(Debug)]
pub struct SystemCallCounter(ChildGuard);

impl SystemCallCounter {
    /// Attaches to all threads of a process. Attaching restarts up to one system call per thread.
    ///
    /// # Errors
    ///
    /// If there is no strace, or it may not attach.
    pub fn attach(pid: u32) -> Result<SystemCallCounter> {
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-U", "calls,name", "-p", &pid.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut strace = ChildGuard::start(&mut command)?;
        let began = Instant::now();
        while !is_traced(pid)? {
            ensure!(began.elapsed() < LIMIT, "strace did not attach within {LIMIT:?}");
            if strace.child().try_wait()?.is_some() {
                let stderr = strace.child().stderr.take().map(read_all);
                let words = stderr.and_then(|reader| reader.join().ok()).unwrap_or_default();
                bail!("strace cannot attach: {}", words.trim());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(SystemCallCounter(strace))
    }

    /// Detaches, and returns what was counted.
    ///
    /// # Errors
    ///
    /// If strace does not print its table.
    pub fn finish(mut self) -> Result<SystemCalls> {
        self.0.signal(Signal::INT)?;
        let stderr = self.0.child().stderr.take().context("strace has no standard error")?;
        let stderr = read_all(stderr);
        self.0.wait(LIMIT)?;
        Ok(SystemCalls::parse(&stderr.join().unwrap_or_default()))
    }
}

/// Returns `true` if all threads of the process are traced.
fn is_traced(pid: u32) -> Result<bool> {
    let tracer = |thread: &String| field(thread, "status", "TracerPid:").unwrap_or(0);
    Ok(threads(pid)?.iter().all(|thread| tracer(thread) != 0))
}

/// Numbers of system calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemCalls {
    /// All of them.
    pub total: u64,
    /// Name and number, the most frequent first.
    pub by_name: Vec<(String, u64)>,
}

impl SystemCalls {
    /// Reads the table of `strace -c -U calls,name`: a number and a name per line.
    pub fn parse(table: &str) -> SystemCalls {
        let row = |line: &str| {
            let (calls, name) = line.trim().split_once(char::is_whitespace)?;
            Some((name.trim().to_string(), calls.parse().ok()?))
        };
        let mut by_name: Vec<(String, u64)> = table.lines().filter_map(row).collect();
        by_name.retain(|(name, _)| name != "total");
        by_name.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
        SystemCalls { total: by_name.iter().map(|(_, calls)| calls).sum(), by_name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read_by_name() {
        let table = "strace: Process 7 attached
    calls syscall
--------- ----------------
        3 epoll_wait
       10 read
--------- ----------------
       13 total
";
        let calls = SystemCalls::parse(table);
        assert_eq!(calls.total, 13);
        assert_eq!(calls.by_name, [("read".to_string(), 10), ("epoll_wait".to_string(), 3)]);
        assert_eq!(SystemCalls::parse(""), SystemCalls::default());
    }

    #[test]
    fn system_calls_of_a_busy_process_are_counted_where_strace_may_attach() {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do sleep 0.01; done"]);
        let busy = ChildGuard::start(&mut command).expect("there is a shell");
        match SystemCallCounter::attach(busy.id()) {
            Ok(counter) => {
                std::thread::sleep(Duration::from_millis(200));
                assert!(counter.finish().expect("it prints a table").total > 0);
            }
            Err(error) => assert!(format!("{error:#}").contains("strace"), "{error:#}"),
        }
    }
}
