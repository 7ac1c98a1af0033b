//! A run: its domains, its settings, its end.

mod builder;
mod error;
mod live_tasks;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

pub use builder::{Builder, run};
pub use error::{MainError, RunError};
pub use live_tasks::live_tasks;

pub(crate) use error::verdict;

use crate::domain::{Message, MessageQueue, RemoteHandle};
use crate::random::{Purpose, Random};
use crate::signal::Registry;
use crate::task::{CancelKind, CancelReason, Cancelled, Panic};
use crate::test::{Clock, Deadlock};
use crate::violation::{Report, Violation};

/// How many violations a report keeps: the first ones tell most.
const VIOLATIONS_MAX: usize = 64;

/// What a dropped promise means (R1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forgotten {
    /// The child is cancelled, and its parent's normal end reports it, unless the drop belongs to
    /// an abandonment.
    #[default]
    Violation,
    /// The child is cancelled, as if by [`Promise::cancel`](crate::Promise::cancel). For programs
    /// that live with foreign `select!`s.
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

/// What the domains of a run share.
#[derive(Debug)]
pub(crate) struct Run {
    remotes: Box<[Arc<RemoteHandle>]>,
    pub(crate) config: Config,
    record: Mutex<Record>,
    pub(crate) signals: Registry,
}

/// What went wrong so far.
#[derive(Debug, Default)]
struct Record {
    violations: Vec<Violation>,
    more: usize,
    failure: Option<Failure>,
    /// Whether the run got nowhere before any rule was broken: then the failure is told, and not
    /// what its forced end brought about.
    stuck_first: bool,
}

/// Why a run cannot go on although no rule was broken.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A driver could not wait.
    Driver(io::Error),
    /// A signal's handler panicked; it has no parent that could look at its outcome.
    SignalHandler(Panic),
    /// Nothing could ever run again.
    Deadlock(Deadlock),
    /// It took more turns than it was given.
    TickLimit(u64),
}

impl Run {
    pub(crate) fn new(domains: usize, config: Config) -> Arc<Run> {
        Run::with_remotes(domains, config, |run, _| {
            RemoteHandle::new(run, MessageQueue::immediate())
        })
    }

    /// A run all of whose domains live on the present thread, in virtual time.
    pub(crate) fn simulated(domains: usize, config: Config, clock: &Arc<Clock>) -> Arc<Run> {
        let seed = config.seed;
        Run::with_remotes(domains, config, |run, index| {
            let arrivals = Random::for_purpose(seed, Purpose::Arrivals, index);
            RemoteHandle::new(run, MessageQueue::delayed(Arc::clone(clock), arrivals))
        })
    }

    fn with_remotes(
        domains: usize,
        config: Config,
        make: impl Fn(Weak<Run>, usize) -> RemoteHandle,
    ) -> Arc<Run> {
        Arc::new_cyclic(|run| {
            let remote = |index| Arc::new(make(Weak::clone(run), index));
            let (record, signals) = (Mutex::default(), Registry::default());
            Run { remotes: (0..domains).map(remote).collect(), config, record, signals }
        })
    }

    pub(crate) fn domains(&self) -> usize {
        self.remotes.len()
    }

    pub(crate) fn remote(&self, domain: usize) -> &Arc<RemoteHandle> {
        &self.remotes[domain]
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a violation, at once, so that nothing can hide it, and ends the root (R10).
    pub(crate) fn raise(&self, violation: Violation) {
        let cancelled = Cancelled::new(violation.reason());
        let mut record = self.record();
        if record.violations.len() < VIOLATIONS_MAX {
            // fault: violation-not-recorded
            record.violations.push(violation);
        } else {
            record.more += 1;
        }
        drop(record);
        // fault: violation-spares-root
        self.remote(0).send(Message::CancelRoot(cancelled));
    }

    /// Records why the run cannot go on, and ends the root. The first failure counts.
    pub(crate) fn fail(&self, failure: Failure) {
        let mut record = self.record();
        if record.failure.is_none() {
            let stuck = matches!(failure, Failure::Deadlock(_) | Failure::TickLimit(_));
            record.stuck_first = stuck && record.violations.is_empty();
            record.failure = Some(failure);
        }
        drop(record);
        self.remote(0)
            .send(Message::CancelRoot(Cancelled::new(CancelReason::new(CancelKind::RunFailed))));
    }

    /// Records a failure that says more than what was recorded before, broken rules included.
    pub(crate) fn overrule(&self, failure: Failure) {
        let mut record = self.record();
        *record = Record { failure: Some(failure), ..Record::default() };
    }

    /// Tells the other domains that the run is over.
    pub(crate) fn stop(&self) {
        for remote in &self.remotes[1..] {
            remote.send(Message::Stop);
        }
    }

    /// Takes what went wrong: the broken rules, unless they were broken in the forced end of a run
    /// that got nowhere.
    pub(crate) fn take_error<E>(&self) -> Option<RunError<E>> {
        let record = std::mem::take(&mut *self.record());
        let Record { violations, more, failure, stuck_first } = record;
        if !violations.is_empty() && !stuck_first {
            return Some(RunError::Violated(Report { violations, more }));
        }
        Some(match failure? {
            Failure::Driver(error) => RunError::Driver(error),
            Failure::SignalHandler(panic) => RunError::Panicked(panic),
            Failure::Deadlock(deadlock) => RunError::Deadlock(deadlock),
            Failure::TickLimit(turns) => RunError::TickLimit(turns),
        })
    }
}
