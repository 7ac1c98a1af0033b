//! A domain: one worker thread with its run queue, task tree, timers and driver.
//!
//! A domain runs [`Domain::tick`] in a loop. Everything in a [`Domain`] is accessed only by its own
//! thread, without locks and atomic operations; other threads reach it through its
//! [`RemoteHandle`].
//!
//! The state is divided into parts, each with its own type:
//!
//! | part | files |
//! | --- | --- |
//! | [`Scheduler`]: run queue, current task, budget | `scheduler`, `run_queue`, `time_slice` |
//! | [`PollClock`]: the reads of the clock and the polls in between | `poll_clock` |
//! | [`Mailbox`]: messages | `mailbox`, `message_queue`, `adaptive_spin` |
//! | [`RemoteHandle`]: the thread-safe half | `remote`, `parker`, `current_poll` |
//! | [`Watches`] of other domains | `stuck` |
//! | [`Timers`] | `timers`, `timer` |
//! | [`Tree`]: the tasks | `task::tree` |
//! | [`Groups`]: the children in `Orphans` | `groups` |
//! | [`ForgottenChildren`]: promises dropped in the current poll | `forgotten` |
//! | [`CancelContext`]: deadline of the running code, newest reason | `cancel_context` |
//! | [`Placement`] of calls | `placement` |
//! | [`TaskCount`]: the number of live tasks | `task_count` |
//! | [`Offenders`]: the violations of tasks that are not complete | `violations` |
//! | [`PendingDiagnostics`]: reports that the user has not received yet | `diagnostics` |
//!
//! An operation on several parts is a method of `Domain`, in a file for each subject: `tick` (an
//! iteration, a poll), `messages`, `children`, `completion`, `finalize`, `cancel`, `shield`,
//! `violations`, `waits`, `wait_cycles`, `slow_polls`, `offers`. `current` has the thread-local
//! pointer to the domain.

mod adaptive_spin;
mod cancel;
mod cancel_context;
mod children;
mod completion;
mod current;
mod current_poll;
mod diagnostics;
mod discarded;
mod error_log;
mod finalize;
mod forgotten;
mod given_up;
mod groups;
mod inheritance;
mod locals;
mod mailbox;
mod message_queue;
mod messages;
pub(crate) mod offers;
mod parker;
mod placement;
mod poll_clock;
mod remote;
mod run;
mod run_queue;
mod scheduler;
mod shield;
mod slow_polls;
mod stuck;
mod task_count;
mod tick;
mod tick_hooks;
mod time_slice;
mod timer;
mod timers;
mod violations;
mod wait_cycles;
mod waits;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use children::{ChildRef, assert_parent};
pub(crate) use completion::owner_info;
pub(crate) use discarded::DiscardedChildren;
pub(crate) use error_log::{RecordedError, RunFailure};
pub(crate) use finalize::PendingFinalizers;
pub(crate) use given_up::GivenUp;
pub(crate) use groups::{GroupEvent, Intake};
pub(crate) use message_queue::MessageQueue;
pub(crate) use messages::{Message, RemoteSpawn};
pub(crate) use placement::CallTarget;
pub(crate) use remote::RemoteHandle;
pub(crate) use run::{Config, DomainHook, Run};
pub use run::{Forgotten, Leaks, Violations};
pub(crate) use shield::CancelWait;
pub(crate) use timer::{Timer, TimerTarget};

use cancel_context::CancelContext;
use children::RemoteChildren;
use diagnostics::PendingDiagnostics;
use finalize::DeferredFutures;
use forgotten::ForgottenChildren;
use groups::Groups;
use mailbox::Mailbox;
use placement::Placement;
use poll_clock::PollClock;
use run_queue::RunQueue;
use scheduler::{PollKind, Scheduler};
use stuck::Watches;
use task_count::TaskCount;
use tick_hooks::TickHooks;
use timers::Timers;
use violations::Offenders;

use crate::driver::{Driver, Poller};
use crate::outcome::{Outcome, Panic};
use crate::panics;
use crate::random::{Purpose, Random};
use crate::simulation::{EventKind, SimulationState};
use crate::sys::Process;
use crate::task::probe::Probe;
use crate::task::wait_targets::WaitTargets;
use crate::task::{self, BlockedOn, KeyBase, NIL, NodeKey, Slot, TaskId, raw};
use crate::timer_queue::TimerQueue;

/// A domain's own reference to one of its tasks.
pub(crate) type OwnerRef = raw::OwnerRef<RemoteHandle>;
/// A promise's reference to its task.
pub(crate) type OutcomeHandle<T, E> = raw::OutcomeRef<Outcome<T, E>, RemoteHandle>;
/// A task in a domain's tree.
pub(crate) type Node = task::Node<OwnerRef>;
/// The tasks of a domain.
pub(crate) type Tree = task::TaskTree<OwnerRef>;

/// A domain, owned by its thread.
pub(crate) struct Domain {
    pub(crate) run: Arc<Run>,
    index: usize,
    /// The common part of the keys by which primitives refer to tasks.
    keys: KeyBase,
    driver: Box<dyn Driver>,
    /// The poller that sources of I/O register with.
    poller: Option<Arc<dyn Poller>>,
    mailbox: Mailbox,
    scheduler: Scheduler,
    poll_clock: PollClock,
    /// The domains that have not handled a cancel request yet.
    watches: Watches,
    timers: Timers,
    tree: Tree,
    remote_children: RemoteChildren,
    deferred: DeferredFutures,
    groups: Groups,
    forgotten: ForgottenChildren,
    cancel: CancelContext,
    placement: Placement,
    task_count: TaskCount,
    /// The primitives that tasks wait for; in a simulated run, those of `simulation` are used.
    wait_targets: RefCell<WaitTargets>,
    offenders: Offenders,
    diagnostics: PendingDiagnostics,
    /// Whether a task of this domain has waited for something that a task holds.
    has_waited_for_holder: Cell<bool>,
    /// The probe that the current poll is, once it has polled the task.
    probe: RefCell<Option<Probe>>,
    /// The next resource id; lent to the ownership ledger during a tick.
    next_resource: Cell<u64>,
    random: Random,
    /// The state that the domains of a simulated run share; `None` in a run on real threads.
    simulation: Option<Rc<SimulationState>>,
    tick_hooks: TickHooks,
    /// Set when the run is over for this domain.
    stopped: Cell<bool>,
    /// The process that the domain belongs to.
    process: Process,
}

impl Domain {
    /// Creates domain `index` of `run` on the current thread.
    pub(crate) fn new(run: Arc<Run>, index: usize, driver: Box<dyn Driver>) -> Domain {
        Domain::with_simulation(run, index, driver, None)
    }

    /// Creates a domain, of a simulated run if `simulation` is set.
    pub(crate) fn with_simulation(
        run: Arc<Run>,
        index: usize,
        driver: Box<dyn Driver>,
        simulation: Option<Rc<SimulationState>>,
    ) -> Domain {
        let remote = Arc::clone(run.remote(index));
        remote.connect(driver.unparker());
        let random = Random::for_domain(run.config.seed, index);
        let (run_queue, timers) = match simulation {
            None => (RunQueue::fifo(), TimerQueue::default()),
            Some(_) => {
                let ties = Random::for_purpose(run.config.seed, Purpose::TimerOrder, index);
                (RunQueue::random_order(), TimerQueue::with_random_ties(ties))
            }
        };
        if let Some(on_start) = &run.config.on_start {
            on_start(index);
        }
        Domain {
            index,
            keys: match run.config.is_host {
                true => KeyBase::new(run.number(), index),
                false => KeyBase::WITHOUT_KEYS,
            },
            poller: driver.poller(),
            driver,
            mailbox: Mailbox::new(remote, run.domains()),
            scheduler: Scheduler::new(run_queue),
            poll_clock: PollClock::new(run.config.slow_poll),
            watches: Watches::default(),
            timers: Timers::new(timers),
            tree: Tree::default(),
            remote_children: RemoteChildren::default(),
            deferred: DeferredFutures::default(),
            groups: Groups::default(),
            forgotten: ForgottenChildren::new(),
            cancel: CancelContext::default(),
            placement: Placement::new(run.domains(), run.config.calls_to_domain_0, &random),
            task_count: TaskCount::default(),
            wait_targets: RefCell::default(),
            offenders: Offenders::default(),
            diagnostics: PendingDiagnostics::default(),
            has_waited_for_holder: Cell::new(false),
            probe: RefCell::default(),
            next_resource: Cell::new(((index as u64) << 48) + 1),
            random,
            simulation,
            tick_hooks: TickHooks::default(),
            stopped: Cell::new(false),
            process: Process::current(),
            run,
        }
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    #[inline]
    pub(crate) fn remote(&self) -> &Arc<RemoteHandle> {
        self.mailbox.remote()
    }

    /// Returns whether `remote` is the handle of this domain.
    #[inline]
    pub(crate) fn has_handle(&self, remote: &RemoteHandle) -> bool {
        std::ptr::eq(&raw const **self.remote(), remote)
    }

    /// Returns whether this is domain `index` of the run that `remote` belongs to.
    #[inline]
    pub(crate) fn is_domain_of(&self, remote: &RemoteHandle, index: u16) -> bool {
        self.index == usize::from(index) && remote.belongs_to(&self.run)
    }

    /// Reads the clock of the driver, which may be a user's. A panic there is an error of the
    /// driver; then the system's clock is read, so that the run can end.
    pub(crate) fn now(&self) -> Instant {
        // fault: clock-panic-unwinds
        Panic::catch(|| self.driver.now()).unwrap_or_else(|panic| self.clock_failed(panic))
    }

    #[cold]
    fn clock_failed(&self, panic: Panic) -> Instant {
        self.fail_by_driver(driver_panicked(panic));
        // The next read says nothing about the time that passed since the last one.
        self.poll_clock.record_park();
        Instant::now()
    }

    #[inline]
    pub(crate) fn timers(&self) -> &RefCell<TimerQueue<TimerTarget>> {
        self.timers.queue()
    }

    /// Returns the poller of the driver. `Driver::poller` is called once.
    #[inline]
    pub(crate) fn poller(&self) -> Option<&Arc<dyn Poller>> {
        self.poller.as_ref()
    }

    pub(crate) fn random(&self) -> &Random {
        &self.random
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(crate) fn deferred(&self) -> &DeferredFutures {
        &self.deferred
    }

    pub(crate) fn simulation(&self) -> Option<&Rc<SimulationState>> {
        self.simulation.as_ref()
    }

    /// Records an event of a simulated run.
    #[inline]
    fn record_event(&self, event: impl FnOnce(&Domain) -> EventKind) {
        if let Some(simulation) = &self.simulation {
            simulation.record(self.index, event(self));
        }
    }

    /// Records an error of the driver as that of the run, which ends.
    fn fail_by_driver(&self, error: io::Error) {
        // The first error is the run's error; the driver probably repeats it.
        let repeated = self.run.fail(RunFailure::Driver(error));
        panics::ignore(|| drop(repeated));
    }

    /// Handles an error of a wait in the driver.
    fn driver_failed(&self, error: io::Error) {
        self.fail_by_driver(error);
        // Without a driver there is neither I/O nor time, but the tasks can still be cancelled. The
        // pause keeps this loop from using a whole processor.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns a panic in a driver as an error.
fn driver_panicked(panic: Panic) -> io::Error {
    io::Error::other(format!("the driver panicked: {}", panic.into_text()))
}

/// The current task.
impl Domain {
    /// Returns whether a task is being polled.
    pub(crate) fn has_current(&self) -> bool {
        self.scheduler.current() != NIL
    }

    #[inline]
    pub(crate) fn current_node(&self) -> &Node {
        &self.tree[self.scheduler.current()]
    }

    pub(crate) fn current_key(&self) -> NodeKey {
        let slot = self.scheduler.current();
        let id = if slot == NIL { TaskId::NONE } else { self.tree[slot].id.get() };
        NodeKey { slot, id }
    }

    /// Returns whether the current task had been cancelled when its poll began. Then its body is
    /// not polled any more.
    #[inline]
    pub(crate) fn current_cancelled(&self) -> bool {
        self.scheduler.poll_kind() == PollKind::Cancelled
    }

    /// Returns whether this poll is a usual one of a body.
    #[inline]
    pub(crate) fn polls_body(&self) -> bool {
        self.scheduler.poll_kind() == PollKind::Usual
    }

    /// Returns whether `waker` is the own waker of the current task.
    #[inline]
    pub(crate) fn is_current_waker(&self, waker: &Waker) -> bool {
        self.scheduler.is_current_waker(waker)
    }

    /// Records what the current task waits for.
    #[inline]
    pub(crate) fn set_blocked_on(&self, blocked_on: BlockedOn) {
        let current = self.scheduler.current();
        if current != NIL {
            self.tree[current].blocked_on.set(blocked_on);
        }
    }

    /// Wakes the task at `slot`, unless it is `NIL`.
    #[inline]
    pub(super) fn wake(&self, slot: Slot) {
        if slot != NIL {
            self.scheduler.wake(slot, &self.tree[slot]);
        }
    }

    /// Wakes a task, unless its node was freed.
    pub(super) fn wake_key(&self, key: NodeKey) {
        if let Some(node) = self.tree.get(key) {
            self.scheduler.wake(key.slot, node);
        }
    }
}

/// The loop, and queries for the stepper of a simulated run.
impl Domain {
    /// Runs ticks until the run is over.
    pub(crate) fn run_until_stopped(&self) {
        while !self.stopped.get() {
            self.tick();
        }
    }

    pub(crate) fn stop(&self) {
        self.stopped.set(true);
    }

    /// Returns whether the current process was forked inside the run, and has a copy of the domain
    /// only.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.process.is_forked()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Returns whether a tick would do anything now.
    pub(crate) fn has_work(&self) -> bool {
        !self.is_stopped()
            && (self.scheduler.has_ready()
                || !self.remote().is_empty()
                || self.timers.next_deadline().is_some_and(|first| first <= self.now()))
    }

    /// Returns when a tick will have something to do if no other domain acts.
    pub(crate) fn next_event_at(&self) -> Option<Instant> {
        let deadline = self.timers.next_deadline();
        deadline.into_iter().chain(self.remote().next_arrival()).min()
    }

    /// Calls `f` with each task that is not complete, in a fixed order. Proxies are left out.
    pub(crate) fn for_each_task(&self, mut f: impl FnMut(&Tree, Slot)) {
        let tree = &self.tree;
        let is_task =
            |&slot: &Slot| tree[slot].remote_domain.get().is_none() && !tree[slot].is_complete();
        tree.slots().filter(is_task).for_each(|slot| f(tree, slot));
    }
}

impl Drop for Domain {
    /// Nothing that is left may keep the run from returning its result: a destructor of a user's
    /// value or of a foreign waker may panic.
    fn drop(&mut self) {
        for message in self.mailbox.close() {
            match message {
                Message::Diagnostic(diagnostic) => self.report(*diagnostic),
                Message::Offer(offer) => offers::decline_at_once(*offer),
                message => panics::ignore(|| drop(message)),
            }
        }
        self.timers.clear();
        self.groups.clear();
        self.deferred.clear();
        self.tick_hooks.clear();
        self.flush_diagnostics();
        if let Some(on_stop) = &self.run.config.on_stop {
            panics::ignore(|| on_stop(self.index));
        }
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain").field("index", &self.index).finish_non_exhaustive()
    }
}
