//! Processes that are measured. None outlives its measurement, whatever happens.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{self, Resource, Signal};

/// A process that is ended when this is dropped.
pub(crate) struct Kept(pub(crate) Child);

impl Kept {
    pub(crate) fn start(command: &mut Command) -> Result<Kept> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Kept(command.spawn().with_context(|| format!("failed to start {name}"))?))
    }

    /// Waits for its end, for so long.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            ensure!(begun.elapsed() < limit, "it was not done after {limit:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Of one that has ended already nothing is left to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process said on its standard output and its standard error.
pub(crate) struct Said {
    pub(crate) output: String,
    pub(crate) error: String,
}

/// Runs a command to its end, which must be a good one and come in time.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Said> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Kept::start(command)?;
    let output = child.0.stdout.take().map(listen);
    let error = child.0.stderr.take().map(listen);
    let status = child.wait(limit);
    // Its end, or that of `child`, closes both.
    drop(child);
    let text = |listener: Option<JoinHandle<String>>| {
        listener.and_then(|listener| listener.join().ok()).unwrap_or_default()
    };
    let said = Said { output: text(output), error: text(error) };
    let status = status?;
    if !status.success() {
        bail!("it ended with {status}: {}", said.error.trim());
    }
    Ok(said)
}

fn listen(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error still tells more than nothing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Has the system end this process when its parent is gone, even if that was killed.
pub(crate) fn end_with_parent() -> Result<()> {
    process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Puts this process on the processors from `first` to `last`, as far as there are such.
pub(crate) fn pin(first: usize, last: usize) {
    let mut set = rustix::thread::CpuSet::new();
    (first..=last).for_each(|processor| set.set(processor));
    // A machine with one processor only, or a container that forbids it: then it stays where it is.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Raises the limit of open descriptors as far as it goes, and returns it.
pub(crate) fn raise_descriptors() -> u64 {
    let limit = process::getrlimit(Resource::Nofile);
    let raised = process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if process::setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    now.current.unwrap_or(u64::MAX)
}
