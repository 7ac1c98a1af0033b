//! A domain: a thread's own run queue, tasks, timers and driver, stepped by [`Domain::turn`].
//!
//! Nothing here is shared: other threads reach a domain through its [`Port`] alone.

mod bell;
mod current;
mod kin;
mod port;
mod settlement;
#[cfg(test)]
mod stepping;
mod turn;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use async_task::Runnable;
use slab::Slab;

pub(crate) use kin::{ChildRef, label_of};
pub(crate) use port::{Birth, Message, Port, schedule};
pub(crate) use settlement::Settlement;

use crate::driver::{Driver, Reactor};
use crate::orphans::Collector;
use crate::random::Random;
use crate::run::Run;
use crate::task::address::Address;
use crate::task::{Cancelled, NONE, Slot, TaskId, Tree};
use crate::wait::Wait;

/// How many successes of leaf operations a task may have in one poll before it has to yield.
const BUDGET: u32 = 128;

/// A domain, owned by the thread that steps it.
pub(crate) struct Domain {
    pub(crate) run: Arc<Run>,
    index: usize,
    driver: Box<dyn Driver>,

    /// Tasks to be polled, in the order of their waking.
    ready: RefCell<VecDeque<Runnable<Address>>>,
    tree: RefCell<Tree>,
    /// Where the tasks are that other domains called here; for their cancellation.
    called: RefCell<HashMap<TaskId, Slot>>,
    collectors: RefCell<Slab<Collector>>,
    /// Wakers of the timers that fired; kept to use its memory again.
    expired: RefCell<Vec<Waker>>,

    /// The task that is being polled.
    current: Cell<Slot>,
    /// Whether the current task is to be ended rather than polled.
    current_cancelled: Cell<Option<Cancelled>>,
    /// What is left of the current task's budget.
    budget: Cell<u32>,
    /// Depth of combinators that are giving up a branch right now.
    abandoning: Cell<u32>,

    tasks_made: Cell<u64>,
    /// The next resource id; lent to the ownership ledger during a turn.
    next_resource: Cell<u64>,
    random: Random,
    /// Where the next `call` goes, in a circle over the other domains.
    next_target: Cell<usize>,
    /// Set when the run is over for this domain.
    stopped: Cell<bool>,
}

impl Domain {
    /// Makes the domain `index` of `run` on the present thread.
    pub(crate) fn new(run: Arc<Run>, index: usize, driver: Box<dyn Driver>) -> Domain {
        run.port(index).connect(driver.interrupter());
        let random = Random::for_domain(run.config.seed, index);
        Domain {
            index,
            driver,
            ready: RefCell::default(),
            tree: RefCell::default(),
            called: RefCell::default(),
            collectors: RefCell::default(),
            expired: RefCell::default(),
            current: Cell::new(NONE),
            current_cancelled: Cell::new(None),
            budget: Cell::new(BUDGET),
            abandoning: Cell::new(0),
            tasks_made: Cell::new(0),
            next_resource: Cell::new(((index as u64) << 48) + 1),
            next_target: Cell::new(random.below(run.domains())),
            random,
            stopped: Cell::new(false),
            run,
        }
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn port(&self) -> &Port {
        self.run.port(self.index)
    }

    pub(crate) fn now(&self) -> Instant {
        self.driver.now()
    }

    pub(crate) fn reactor(&self) -> Option<&Reactor> {
        self.driver.reactor()
    }

    pub(crate) fn random(&self) -> &Random {
        &self.random
    }

    pub(crate) fn collectors(&self) -> &RefCell<Slab<Collector>> {
        &self.collectors
    }

    /// Whether `other` is this very domain.
    pub(crate) fn is(&self, run: &Arc<Run>, index: usize) -> bool {
        self.index == index && Arc::ptr_eq(&self.run, run)
    }

    pub(crate) fn note_wait(&self, wait: Wait) {
        let current = self.current.get();
        if current != NONE {
            self.tree.borrow_mut()[current].wait = wait;
        }
    }

    /// Takes one success off the current task's budget, or makes it yield when none is left.
    pub(crate) fn spend(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.budget.get().checked_sub(1) {
            Some(left) => {
                self.budget.set(left);
                Poll::Ready(())
            }
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Runs `f`, inside which a dropped promise is a cancellation and no fault.
    pub(crate) fn abandon<R>(f: impl FnOnce() -> R) -> R {
        struct Undo;
        impl Drop for Undo {
            fn drop(&mut self) {
                Domain::try_with(|domain| domain.abandoning.set(domain.abandoning.get() - 1));
            }
        }
        let inside = Domain::try_with(|domain| domain.abandoning.set(domain.abandoning.get() + 1));
        let undo = inside.map(|()| Undo);
        let result = f();
        drop(undo);
        result
    }

    pub(crate) fn stop(&self) {
        self.stopped.set(true);
    }

    /// Turns until the run is over.
    pub(crate) fn run_to_end(&self) {
        while !self.stopped.get() {
            self.turn();
        }
    }

    fn wait_failed(&self, error: io::Error) {
        self.run.fail(crate::run::Failure::Driver(error));
        // Without a driver there is neither I/O nor a deadline, but the tasks can still be ended.
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        self.port().close();
        while self.port().receive().is_some() {}
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain").field("index", &self.index).finish_non_exhaustive()
    }
}
