//! The state that the domains of a run share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::error_log::{ErrorLog, RunFailure};
use super::{Message, MessageQueue, RemoteHandle};
use crate::random::{Purpose, Random};
use crate::signal_table::SignalTable;
use crate::simulation::VirtualClock;
use crate::task::{CancelKind, CancelReason, Cancelled};
use crate::violation::Violation;

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// The runs of the process, by their numbers, so that a thread outside a run can reach its domains.
static RUNS: Mutex<BTreeMap<u64, Weak<Run>>> = Mutex::new(BTreeMap::new());

fn runs() -> MutexGuard<'static, BTreeMap<u64, Weak<Run>>> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The effect of dropping the promise of an unjoined child (R1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forgotten {
    /// The child is cancelled, and the normal end of its parent reports it, unless the drop belongs
    /// to an abandoned branch.
    #[default]
    Violation,
    /// The child is cancelled, as by [`Promise::cancel`](crate::Promise::cancel). For programs that
    /// use `select!` macros of other crates.
    Cancel,
}

/// The settings of a run.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) seed: u64,
    pub(crate) quantum: usize,
    pub(crate) grace: Duration,
    pub(crate) forgotten: Forgotten,
}

/// The state that the domains of a run share.
#[derive(Debug)]
pub(crate) struct Run {
    /// Counts the runs of the process.
    number: u64,
    remotes: Box<[Arc<RemoteHandle>]>,
    pub(crate) config: Config,
    errors: ErrorLog,
    pub(crate) signals: SignalTable,
}

impl Run {
    /// Creates a run on real threads.
    pub(crate) fn new(domains: usize, config: Config) -> Arc<Run> {
        Run::with_remotes(domains, config, |run, _| {
            RemoteHandle::new(run, MessageQueue::immediate())
        })
    }

    /// Creates a run whose domains all belong to the current thread, in virtual time.
    pub(crate) fn simulated(domains: usize, config: Config, clock: &Arc<VirtualClock>) -> Arc<Run> {
        let seed = config.seed;
        Run::with_remotes(domains, config, |run, index| {
            let delays = Random::for_purpose(seed, Purpose::MessageDelay, index);
            RemoteHandle::new(run, MessageQueue::delayed(Arc::clone(clock), delays))
        })
    }

    fn with_remotes(
        domains: usize,
        config: Config,
        new_remote: impl Fn(Weak<Run>, usize) -> RemoteHandle,
    ) -> Arc<Run> {
        let run = Arc::new_cyclic(|run| {
            let remote = |index| Arc::new(new_remote(Weak::clone(run), index));
            let remotes = (0..domains).map(remote).collect();
            Run {
                number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
                remotes,
                config,
                errors: ErrorLog::default(),
                signals: SignalTable::default(),
            }
        });
        runs().insert(run.number, Arc::downgrade(&run));
        run
    }

    /// Returns the run with this number, unless its memory is freed.
    pub(crate) fn find(number: u64) -> Option<Arc<Run>> {
        runs().get(&number)?.upgrade()
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn domains(&self) -> usize {
        self.remotes.len()
    }

    pub(crate) fn remote(&self, domain: usize) -> &Arc<RemoteHandle> {
        &self.remotes[domain]
    }

    pub(crate) fn errors(&self) -> &ErrorLog {
        &self.errors
    }

    /// Records a violation at once, so that nothing can hide it, and cancels the root (R10).
    pub(crate) fn raise(&self, violation: Violation) {
        let cancelled = Cancelled::new(violation.reason());
        self.errors.push(violation);
        // fault: violation-spares-root
        self.remote(0).send(Message::CancelRoot(cancelled));
    }

    /// Records why the run cannot go on, and cancels the root. The first failure counts.
    pub(crate) fn fail(&self, failure: RunFailure) {
        self.errors.set_failure(failure);
        let reason = CancelReason::new(CancelKind::RunFailed);
        self.remote(0).send(Message::CancelRoot(Cancelled::new(reason)));
    }

    /// Stops the domains other than domain 0.
    pub(crate) fn stop(&self) {
        for remote in &self.remotes[1..] {
            remote.send(Message::Stop);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        runs().remove(&self.number);
    }
}
