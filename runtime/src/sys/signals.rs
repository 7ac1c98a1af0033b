//! Signals, through the crate `signal-hook`. (`ctrlc` is not sufficient: it neither distinguishes
//! SIGINT from SIGTERM nor restores the default behaviour of a signal.)

use std::io;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

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
        thread.spawn(move || signals.forever().for_each(deliver))?;
        Ok(SignalWatcher { handle })
    }

    /// Also watches `signal`.
    pub(crate) fn add(&self, signal: i32) -> io::Result<()> {
        self.handle.add_signal(signal)
    }
}

/// Terminates the process by `signal`, as the system does by default.
pub(crate) fn terminate_by(signal: i32) {
    // It fails only for signals whose default is not to terminate.
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}
