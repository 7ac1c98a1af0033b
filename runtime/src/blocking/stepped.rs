//! Jobs of simulated runs. A job has a thread of its own, but either this thread runs or the
//! simulated one, never both: so the run is the same whenever the seed is the same.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Stop, run_job};
use crate::outcome::Panic;

/// How many of the first looks at the stop flag each let the simulated run go on. Of later ones
/// only every 1,024th does, because a thread is switched for it twice.
const FIRST_LOOKS: u64 = 64;

/// A job of a simulated run.
pub(crate) struct SteppedJob<T> {
    thread: Option<JoinHandle<Result<T, Panic>>>,
    resume: Sender<()>,
    steps: Receiver<Step>,
}

/// How a step of a job has ended, as its thread reports it.
enum Step {
    /// The job waits on its stop flag, up to a time limit if there is one.
    Paused(Option<Duration>),
    Ended,
}

/// The result of [`SteppedJob::step`].
pub(crate) enum Stepped<T> {
    Paused(Option<Duration>),
    Ended(Result<T, Panic>),
}

/// The job's end of the channels.
struct Pauser {
    resumed: Receiver<()>,
    steps: Sender<Step>,
}

thread_local! {
    static PAUSER: RefCell<Option<Pauser>> = const { RefCell::new(None) };
    static LOOKS: Cell<u64> = const { Cell::new(0) };
}

impl<T: Send + 'static> SteppedJob<T> {
    /// Creates the thread of a job, which begins with the first step.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(crate) fn start<F>(stop: Stop, job: F) -> io::Result<SteppedJob<T>>
    where
        F: FnOnce(Stop) -> T + Send + 'static,
    {
        let (resume, resumed) = channel();
        let (sender, steps) = channel();
        let thread = thread::Builder::new().name("matou-blocking".to_owned());
        let thread = thread.spawn(move || {
            let _ = resumed.recv();
            PAUSER.set(Some(Pauser { resumed, steps: sender.clone() }));
            let result = run_job(move || job(stop));
            // Without a pauser the drop of the result does not pause either.
            PAUSER.set(None);
            let _ = sender.send(Step::Ended);
            result
        })?;
        Ok(SteppedJob { thread: Some(thread), resume, steps })
    }

    /// Lets the job run until it looks at its stop flag or ends.
    pub(crate) fn step(&mut self) -> Stepped<T> {
        let _ = self.resume.send(());
        if let Ok(Step::Paused(limit)) = self.steps.recv() {
            return Stepped::Paused(limit);
        }
        let thread = self.thread.take().expect("a job ends once");
        let result = thread.join().unwrap_or_else(|payload| Err(Panic::caught(payload)));
        Stepped::Ended(result)
    }
}

/// Called by a job that looks at its stop flag, or waits for it up to `limit`: in a simulated run,
/// lets the run go on. Returns whether this is one, so that a wait is over.
pub(super) fn pause(limit: Option<Duration>) -> bool {
    PAUSER.with_borrow_mut(|place| {
        let Some(pauser) = place else { return false };
        let looks = LOOKS.get();
        LOOKS.set(looks + 1);
        if limit.is_none() && looks >= FIRST_LOOKS && !looks.is_multiple_of(1024) {
            return true;
        }
        let sent = pauser.steps.send(Step::Paused(limit));
        if sent.is_err() || pauser.resumed.recv().is_err() {
            // The job was left behind: it runs freely from here on.
            *place = None;
        }
        true
    })
}
