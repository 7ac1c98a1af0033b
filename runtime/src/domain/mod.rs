//! A domain: a thread's own run queue, tasks, timers and driver, stepped by [`Domain::tick`].
//!
//! Nothing here is shared: other threads reach a domain through its [`RemoteHandle`] alone.

mod adaptive_spin;
mod cancel_reason;
mod children;
mod current;
mod finalize;
mod message_queue;
mod parker;
mod remote;
mod run_queue;
mod shield;
mod tick;
mod time_slice;
mod timer;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use slab::Slab;

pub(crate) use children::{ChildRef, label};
pub(crate) use finalize::PendingFinalizers;
pub(crate) use message_queue::MessageQueue;
pub(crate) use remote::{Message, RemoteHandle, RemoteSpawn};
pub(crate) use timer::{Timer, TimerTarget};

use adaptive_spin::AdaptiveSpin;
use run_queue::RunQueue;
use time_slice::TimeSlice;

use crate::driver::{Driver, Reactor};
use crate::orphans::GroupState;
use crate::random::{Purpose, Random};
use crate::run::Run;
use crate::task::raw::WakerId;
use crate::task::{BlockedOn, WaitSite, WaitTarget};
use crate::task::{Cancelled, IdHasher, LocalFuture, NIL, Slot, TaskDeadline, TaskId, TaskTree};
use crate::test::{Happening, Shared};
use crate::timer_queue::TimerQueue;

/// How many successes of leaf operations a task may have in one poll before it has to yield.
const BUDGET: u32 = 128;

/// A domain, owned by the thread that steps it.
pub(crate) struct Domain {
    pub(crate) run: Arc<Run>,
    remote: Arc<RemoteHandle>,
    index: usize,
    driver: Box<dyn Driver>,

    /// The messages that are being read; kept to use its memory again.
    drained: RefCell<Vec<Message>>,
    /// Tasks to be polled.
    run_queue: RefCell<RunQueue>,
    tree: TaskTree,
    /// Where the tasks are that other domains called here; for their cancellation.
    remote_children: RefCell<HashMap<TaskId, Slot, BuildHasherDefault<IdHasher>>>,
    groups: RefCell<Slab<GroupState>>,
    /// Futures that tasks have deferred to their ends, by the numbers of their resources.
    deferred: RefCell<HashMap<u64, LocalFuture>>,
    timers: RefCell<TimerQueue<TimerTarget>>,
    /// Who is to be woken by the timers that fired; kept to use its memory again.
    expired: RefCell<Vec<TimerTarget>>,

    /// The task that is being polled.
    current: Cell<Slot>,
    /// What its own waker is told by.
    current_waker: Cell<WakerId>,
    /// Whether the current task is to be ended rather than polled, as of the beginning of its poll.
    current_cancelled: Cell<bool>,
    /// The deadline that the present code has to keep.
    deadline: Cell<Option<TaskDeadline>>,
    /// The newest cancellation that was asked for here: who ends many children tells all of them
    /// the same.
    newest_reason: RefCell<Option<Cancelled>>,
    /// What is left of the current task's budget.
    budget: Cell<u32>,
    /// The line of the combinator that is giving up a branch right now, the innermost one.
    abandoning: Cell<Option<&'static Location<'static>>>,

    tasks_created: Cell<u64>,
    /// The next resource id; lent to the ownership ledger during a turn.
    next_resource: Cell<u64>,
    random: Random,
    /// What the domains of a simulated run have in common; `None` on a thread of one's own.
    world: Option<Rc<Shared>>,
    /// Where the next `call` goes, in a circle over the other domains.
    next_target: Cell<usize>,
    /// Whether it pays to wait shortly before sleeping.
    spin: AdaptiveSpin,
    /// Whether turns have to be ended by the clock.
    time_slice: TimeSlice,
    /// Set when the run is over for this domain.
    stopped: Cell<bool>,
}

impl Domain {
    /// Makes the domain `index` of `run` on the present thread.
    pub(crate) fn new(run: Arc<Run>, index: usize, driver: Box<dyn Driver>) -> Domain {
        Domain::simulated(run, index, driver, None)
    }

    /// Makes a domain of a simulated run, if there is a `world`.
    pub(crate) fn simulated(
        run: Arc<Run>,
        index: usize,
        driver: Box<dyn Driver>,
        world: Option<Rc<Shared>>,
    ) -> Domain {
        let remote = Arc::clone(run.remote(index));
        remote.connect(driver.unparker());
        let random = Random::for_domain(run.config.seed, index);
        let (run_queue, timers) = match world {
            None => (RunQueue::fifo(), TimerQueue::default()),
            Some(_) => {
                let ties = Random::for_purpose(run.config.seed, Purpose::Ties, index);
                (RunQueue::random_order(), TimerQueue::with_random_ties(ties))
            }
        };
        Domain {
            remote,
            index,
            driver,
            drained: RefCell::default(),
            run_queue: RefCell::new(run_queue),
            tree: TaskTree::default(),
            remote_children: RefCell::default(),
            groups: RefCell::default(),
            deferred: RefCell::default(),
            timers: RefCell::new(timers),
            expired: RefCell::default(),
            current: Cell::new(NIL),
            current_waker: Cell::new(WakerId::NONE),
            current_cancelled: Cell::new(false),
            deadline: Cell::new(None),
            newest_reason: RefCell::default(),
            budget: Cell::new(BUDGET),
            abandoning: Cell::new(None),
            tasks_created: Cell::new(0),
            next_resource: Cell::new(((index as u64) << 48) + 1),
            next_target: Cell::new(random.below(run.domains())),
            random,
            spin: AdaptiveSpin::for_domains(run.domains()),
            time_slice: TimeSlice::default(),
            world,
            stopped: Cell::new(false),
            run,
        }
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn remote(&self) -> &Arc<RemoteHandle> {
        &self.remote
    }

    pub(crate) fn now(&self) -> Instant {
        self.driver.now()
    }

    #[inline]
    pub(crate) fn timers(&self) -> &RefCell<TimerQueue<TimerTarget>> {
        &self.timers
    }

    pub(crate) fn reactor(&self) -> Option<&Reactor> {
        self.driver.reactor()
    }

    pub(crate) fn random(&self) -> &Random {
        &self.random
    }

    pub(crate) fn groups(&self) -> &RefCell<Slab<GroupState>> {
        &self.groups
    }

    /// Whether `remote` is the outside of this very domain.
    #[inline]
    pub(crate) fn has_handle(&self, remote: &Arc<RemoteHandle>) -> bool {
        Arc::ptr_eq(&self.remote, remote)
    }

    /// Whether this is domain `index` of the run that `remote` belongs to.
    #[inline]
    pub(crate) fn is_domain_of(&self, remote: &RemoteHandle, index: u16) -> bool {
        self.index == usize::from(index) && remote.belongs_to(&self.run)
    }

    #[inline]
    pub(crate) fn set_blocked_on(&self, blocked_on: BlockedOn) {
        let current = self.current.get();
        if current != NIL {
            self.tree[current].blocked_on.set(blocked_on);
        }
    }

    /// Takes one success off the current task's budget, or makes it yield when none is left.
    #[inline]
    pub(crate) fn spend_budget(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.budget.get().checked_sub(1) {
            Some(left) => {
                self.budget.set(left);
                Poll::Ready(())
            }
            None => {
                // fault: budget-unlimited
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Runs `f`, inside which a dropped promise is a cancellation and no fault: the combinator that
    /// was made at line `at` gives up a branch.
    pub(crate) fn abandon<R>(at: &'static Location<'static>, f: impl FnOnce() -> R) -> R {
        struct Undo(Option<&'static Location<'static>>);
        impl Drop for Undo {
            fn drop(&mut self) {
                Domain::try_with(|domain| domain.abandoning.set(self.0));
            }
        }
        let before = Domain::try_with(|domain| domain.abandoning.replace(Some(at)));
        let undo = before.map(Undo);
        let result = f();
        drop(undo);
        result
    }

    pub(crate) fn world(&self) -> Option<&Rc<Shared>> {
        self.world.as_ref()
    }

    /// Tells the world of a simulated run what happens here.
    #[inline]
    fn witness(&self, happening: impl FnOnce(&Domain) -> Happening) {
        if let Some(world) = &self.world {
            world.witness(self.index, happening(self));
        }
    }

    pub(crate) fn stop(&self) {
        self.stopped.set(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Whether a turn would do anything now.
    pub(crate) fn has_work(&self) -> bool {
        !self.is_stopped()
            && (!self.run_queue.borrow().is_empty()
                || !self.remote().is_empty()
                || self.timers.borrow().next_deadline().is_some_and(|first| first <= self.now()))
    }

    /// When a turn will have something to do, if nobody else does anything.
    pub(crate) fn next_event_at(&self) -> Option<Instant> {
        let deadline = self.timers.borrow().next_deadline();
        deadline.into_iter().chain(self.remote().next_arrival()).min()
    }

    /// The tasks that have not ended, in a fixed order, children on other domains left out.
    pub(crate) fn for_each_task(&self, mut f: impl FnMut(&TaskTree, Slot)) {
        let tree = &self.tree;
        let living =
            |&slot: &Slot| tree[slot].remote_domain.get().is_none() && !tree[slot].is_complete();
        tree.slots().filter(living).for_each(|slot| f(tree, slot));
    }

    /// Turns until the run is over.
    pub(crate) fn run_until_stopped(&self) {
        while !self.stopped.get() {
            self.tick();
        }
    }

    fn driver_failed(&self, error: io::Error) {
        self.run.fail(crate::run::Failure::Driver(error));
        // Without a driver there is neither I/O nor a deadline, but the tasks can still be ended.
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

impl BlockedOn {
    /// Records what the current task waits for. Outside a run this does nothing.
    ///
    /// For leaf futures, right before they return `Pending`.
    ///
    /// # Examples
    ///
    /// ```
    /// use matou_runtime::{BlockedOn, WaitSite, WaitTarget};
    ///
    /// BlockedOn::new(WaitSite::here("a reply"), WaitTarget::Unknown).note();
    /// ```
    pub fn note(self) {
        Domain::try_with(|domain| domain.set_blocked_on(self));
    }
}

impl WaitSite {
    /// Records that the current task waits here, for a target that is not known.
    ///
    /// Short for [`BlockedOn::note`] with [`WaitTarget::Unknown`].
    pub fn note(self) {
        BlockedOn::new(self, WaitTarget::Unknown).note();
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        self.remote().close();
        drop(self.remote().take(&mut self.drained.take()));
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain").field("index", &self.index).finish_non_exhaustive()
    }
}
