//! The state that the domains of a run share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::error_log::{ErrorLog, RunFailure};
use super::{Message, MessageQueue, RemoteHandle};
use crate::blocking::Pool;
use crate::diagnostic::{Diagnostic, Finding, Hook, Report, Reporter};
use crate::locks::{Guard, lock};
use crate::random::{Purpose, Random};
use crate::signal_table::SignalTable;
use crate::simulation::VirtualClock;
use crate::task::{CancelKind, CancelReason, Cancelled};

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// The runs of the process, by their numbers, so that a thread outside a run can reach its domains.
static RUNS: Mutex<BTreeMap<u64, Weak<Run>>> = Mutex::new(BTreeMap::new());

fn runs() -> Guard<'static, BTreeMap<u64, Weak<Run>>> {
    lock(&RUNS)
}

/// The effect of dropping the promise of an unjoined child (R1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forgotten {
    /// The child is cancelled. If the promise was forgotten rather than given up, that is the
    /// finding [`Forgotten`](crate::Finding::Forgotten); see [`Promise`](crate::Promise).
    #[default]
    Report,
    /// The child is cancelled, and the normal end of its parent is the violation
    /// [`StillHasChildren`](crate::Violation::StillHasChildren), unless a combinator of this crate,
    /// a panic, or a task that ends abnormally has dropped the promise.
    Strict,
    /// The child is cancelled, as by [`Promise::cancel`](crate::Promise::cancel), and nothing is
    /// reported.
    Cancel,
}

/// The effect of a violation on the run (R10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Violations {
    /// The task that committed the violation ends, and its parent receives
    /// [`TaskError::Violation`](crate::TaskError::Violation), as it would receive a panic. Other
    /// tasks go on. If no task can receive it, because the root, a signal handler, or code outside
    /// any task committed the violation, it is the error of the run.
    #[default]
    FailTask,
    /// In addition the root is cancelled, and `run` returns
    /// [`RunError::Violated`](crate::RunError::Violated) with all violations of the run.
    FailRun,
}

/// When a resource that was not released counts as leaked (R7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaks {
    /// When it is still alive at the end of the run: that is the finding
    /// [`ResourceAlive`](crate::Finding::ResourceAlive). A resource whose handle outlives its owner
    /// passes to the owner's parent, and the next task that uses it becomes its owner.
    #[default]
    AtRunEnd,
    /// When its owner ends normally: that is the violation
    /// [`ResourceLeaked`](crate::Violation::ResourceLeaked). The end of a task finalizes what it
    /// owns, even if a handle is alive elsewhere.
    AtTaskEnd,
}

/// A function that is called on the thread of each domain, with the number of the domain.
pub(crate) type DomainHook = Arc<dyn Fn(usize) + Send + Sync>;

/// The settings of a run.
pub(crate) struct Config {
    pub(crate) seed: u64,
    pub(crate) quantum: usize,
    pub(crate) grace: Duration,
    pub(crate) slow_poll: Duration,
    pub(crate) violations: Violations,
    pub(crate) forgotten: Forgotten,
    pub(crate) leaks: Leaks,
    pub(crate) blocking_threads: usize,
    pub(crate) calls_to_domain_0: bool,
    pub(crate) on_start: Option<DomainHook>,
    pub(crate) on_stop: Option<DomainHook>,
    /// Receives the diagnostics; `None` to print them. Taken when the run is created.
    pub(crate) hook: Option<Hook>,
    /// Whether the runtime is the host of the synchronization primitives of this process.
    pub(crate) is_host: bool,
}

/// The state that the domains of a run share.
pub(crate) struct Run {
    /// Counts the runs of the process.
    number: u64,
    remotes: Box<[Arc<RemoteHandle>]>,
    pub(crate) config: Config,
    errors: ErrorLog,
    reporter: Reporter,
    pub(crate) signals: SignalTable,
    pool: Arc<Pool>,
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
        mut config: Config,
        new_remote: impl Fn(Weak<Run>, usize) -> RemoteHandle,
    ) -> Arc<Run> {
        let prints_violations = config.violations == Violations::FailTask;
        let reporter = Reporter::new(config.hook.take(), prints_violations);
        let run = Arc::new_cyclic(|run| {
            let remote = |index| Arc::new(new_remote(Weak::clone(run), index));
            let remotes = (0..domains).map(remote).collect();
            Run {
                number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
                remotes,
                pool: Pool::new(config.blocking_threads),
                config,
                errors: ErrorLog::default(),
                reporter,
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

    /// Returns the threads for blocking jobs.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(crate) fn errors(&self) -> &ErrorLog {
        &self.errors
    }

    pub(crate) fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Returns whether each violation fails the run.
    pub(crate) fn is_failed_by_violations(&self) -> bool {
        self.config.violations == Violations::FailRun
    }

    /// Records violations as the error of the run, and cancels the root (R10).
    pub(crate) fn fail_by(&self, report: Report) {
        let first = report.violations().first();
        let reason = first.expect("a report contains a violation").reason();
        self.errors.append(report);
        // fault: violation-spares-root
        self.remote(0).send(Message::CancelRoot(Cancelled::new(reason)));
    }

    /// Records why the run cannot go on, and cancels the root. The first failure counts; a later
    /// one is returned.
    pub(crate) fn fail(&self, failure: RunFailure) -> Option<RunFailure> {
        let rejected = self.errors.set_failure(failure);
        let reason = CancelReason::new(CancelKind::RunFailed);
        self.remote(0).send(Message::CancelRoot(Cancelled::new(reason)));
        rejected
    }

    /// Hands a finding to the user on this thread, after the end of the run.
    pub(crate) fn report_now(&self, finding: Finding) {
        if self.reporter.count(&finding) {
            self.reporter.report(&Diagnostic::Finding(finding));
        }
    }

    /// Reports a finding from a thread that is running no domain of this run. Domain 0 hands it to
    /// the user, or this thread if the run is over.
    pub(crate) fn report_finding(&self, finding: Finding) {
        if self.reporter.count(&finding) {
            let diagnostic = Box::new(Diagnostic::Finding(finding));
            self.remote(0).send(Message::Diagnostic(diagnostic));
        }
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

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("domains", &self.domains()).finish_non_exhaustive()
    }
}
