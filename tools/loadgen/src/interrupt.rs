//! Ctrl-C, as a flag that every wait of this crate checks.

use std::fmt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Sets the flag on SIGINT, SIGTERM and SIGHUP instead of ending the process, so that servers can
/// be shut down and the partial result printed.
///
/// # Errors
///
/// If the handler cannot be installed, or was installed before.
pub fn catch_interrupts() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, SeqCst)).context("failed to handle Ctrl-C")
}

/// Returns `true` once the process has received one of these signals.
pub fn interrupted() -> bool {
    INTERRUPTED.load(SeqCst)
}

/// Sleeps, but returns early if the process is interrupted.
///
/// # Errors
///
/// [`Interrupted`].
pub fn pause(time: Duration) -> Result<()> {
    let deadline = Instant::now() + time;
    loop {
        if interrupted() {
            bail!(Interrupted);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(20)));
    }
}

/// Prints an error, and returns the exit code: 130 after an interrupt, as shells report it.
pub fn exit_code(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) if interrupted() => ExitCode::from(130),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if interrupted() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

/// The process was interrupted while it waited.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}
