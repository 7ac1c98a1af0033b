//! Signals, through the crate `signal-hook`. (`ctrlc` is not sufficient: it neither distinguishes
//! SIGINT from SIGTERM nor restores the default behaviour of a signal.)

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{process, thread};

use signal_hook::consts::{
    FORBIDDEN, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU,
    SIGURG, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level;

use super::Process;
use crate::panics;

pub(crate) const INTERRUPT: i32 = SIGINT;
pub(crate) const TERMINATE: i32 = SIGTERM;
pub(crate) const HANGUP: i32 = SIGHUP;
pub(crate) const QUIT: i32 = SIGQUIT;
pub(crate) const USER1: i32 = SIGUSR1;
pub(crate) const USER2: i32 = SIGUSR2;
pub(crate) const CHILD: i32 = SIGCHLD;
pub(crate) const WINDOW_CHANGE: i32 = SIGWINCH;

/// The signals whose default is not to terminate the process: it is ignored, stopped or continued.
const NOT_TERMINATING: [i32; 7] = [SIGCHLD, SIGURG, SIGWINCH, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU];

/// The highest number of a signal; SIGRTMAX on Linux.
const SIGNAL_MAX: i32 = 64;

/// Refuses signals that no program can handle.
pub(crate) fn check_signal(signal: i32) -> io::Result<()> {
    // fault: forbidden-signal-accepted
    if FORBIDDEN.contains(&signal) || !(1..=SIGNAL_MAX).contains(&signal) {
        let text = format!("signal {signal} cannot be handled");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

/// Does what the system does by default when the process receives `signal`.
pub(crate) fn default_action(signal: i32) {
    if NOT_TERMINATING.contains(&signal) {
        // It fails only for unknown signals.
        let _ = low_level::emulate_default_handler(signal);
        return;
    }
    terminate_by(signal)
}

/// The id of the process in which a thread waits for signals.
static WATCHED: AtomicU32 = AtomicU32::new(0);

/// A thread that waits for signals. It never stops, but it does not exist in a forked process.
pub(crate) struct SignalWatcher {
    handle: Handle,
    process: Process,
    watched: Vec<i32>,
}

impl SignalWatcher {
    /// Starts a thread that calls `deliver` with the number of each signal that it watches, at
    /// first `signal` only.
    pub(crate) fn start(signal: i32, deliver: fn(i32)) -> io::Result<SignalWatcher> {
        // First: from now on the signal is kept until the thread receives it.
        let mut signals = Signals::new([signal])?;
        terminate_forked_by(signal)?;
        let handle = signals.handle();
        let thread = thread::Builder::new().name("matou-signals".to_owned());
        thread.spawn(move || {
            // A panic of one delivery must not end the delivery of all later signals.
            signals.forever().for_each(|signal| panics::ignore(|| deliver(signal)));
        })?;
        WATCHED.store(process::id(), Ordering::SeqCst);
        Ok(SignalWatcher { handle, process: Process::current(), watched: vec![signal] })
    }

    /// Also watches `signal`.
    pub(crate) fn add(&mut self, signal: i32) -> io::Result<()> {
        if self.watched.contains(&signal) {
            return Ok(());
        }
        self.handle.add_signal(signal)?;
        terminate_forked_by(signal)?;
        self.watched.push(signal);
        Ok(())
    }

    /// Returns whether the thread exists in this process.
    pub(crate) fn is_alive(&self) -> bool {
        !self.process.is_forked()
    }
}

/// Makes a process that was forked from this one terminate by `signal`, as it does by default,
/// until it starts a watcher of its own. Otherwise the inherited handler would swallow the signal.
fn terminate_forked_by(signal: i32) -> io::Result<()> {
    if NOT_TERMINATING.contains(&signal) {
        return Ok(());
    }
    let terminate_if_forked = move || {
        // The process ids are compared, because the signal may arrive before any other code of a
        // new process runs. (0: the thread is being started.)
        // fault: forked-process-swallows-signals
        if ![0, process::id()].contains(&WATCHED.load(Ordering::SeqCst)) {
            terminate_by(signal);
        }
    };
    // SAFETY: the action reads an atomic and calls `getpid` and `emulate_default_handler`, which
    // are async-signal-safe.
    unsafe { low_level::register(signal, terminate_if_forked) }?;
    Ok(())
}

/// Terminates the process by `signal`, as the system does by default.
///
/// The system ignores the default of process 1 (of a container, for example), so that process exits
/// by itself, with the status that a shell reports for a process that the signal has terminated.
pub(crate) fn terminate_by(signal: i32) -> ! {
    // fault: process-one-aborts
    if process::id() != 1 {
        // It fails only for signals whose default is not to terminate.
        let _ = low_level::emulate_default_handler(signal);
    }
    low_level::exit(128 + signal)
}
