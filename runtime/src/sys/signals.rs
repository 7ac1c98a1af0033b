//! Signals, through the crate `signal-hook`. (`ctrlc` is not sufficient: it neither distinguishes
//! SIGINT from SIGTERM nor restores the default behaviour of a signal.)

use std::io;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::panics;

pub(crate) const INTERRUPT: i32 = SIGINT;
pub(crate) const TERMINATE: i32 = SIGTERM;

/// A thread that waits for signals. It never stops.
pub(crate) struct SignalWatcher {
    handle: Handle,
}

impl SignalWatcher {
    /// Starts a thread that calls `deliver` with the number of each signal that it watches, at
    /// first `signal` only.
    pub(crate) fn start(signal: i32, deliver: fn(i32)) -> io::Result<SignalWatcher> {
        let mut signals = Signals::new([signal])?;
        let handle = signals.handle();
        let thread = thread::Builder::new().name("matou-signals".to_owned());
        thread.spawn(move || {
            // A panic of one delivery must not end the delivery of all later signals.
            signals.forever().for_each(|signal| panics::ignore(|| deliver(signal)));
        })?;
        Ok(SignalWatcher { handle })
    }

    /// Also watches `signal`.
    pub(crate) fn add(&self, signal: i32) -> io::Result<()> {
        self.handle.add_signal(signal)
    }
}

/// Terminates the process by `signal`, as the system does by default.
///
/// The system ignores the default of process 1 (of a container, for example), so that process exits
/// by itself, with the status that a shell reports for a process that the signal has terminated.
pub(crate) fn terminate_by(signal: i32) -> ! {
    // fault: process-one-aborts
    if std::process::id() != 1 {
        // It fails only for signals whose default is not to terminate.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    signal_hook::low_level::exit(128 + signal)
}
