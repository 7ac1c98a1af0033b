//! Binds the primitives that this crate is built on: those of std, or those of a model checker.
//!
//! `--cfg loom` and `--cfg shuttle` replace the atomics and the mutex by doubles that explore
//! schedules, so that the models drive the very code that ships. Three things come with it:
//!
//! - [`foreign_call`] stands before each call into a crate that shuttle cannot see into. Shuttle
//!   switches threads at its own operations only, and would otherwise never stop between a check
//!   and the listening that follows it.
//! - [`Patience`] is a choice of the model instead of a count, so that short schedules will do.
//! - [`sabotaged`] leaves out one step that the proof rests on. A model that still passes then
//!   proves nothing, which is why each one runs a second time and has to fail.

#[cfg(loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

#[cfg(all(shuttle, not(loom)))]
mod imp {
    pub(crate) use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
}

#[cfg(not(any(loom, shuttle)))]
mod imp {
    pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use std::sync::{Mutex, MutexGuard};
}

pub(crate) use imp::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, fence};

#[cfg(not(any(loom, shuttle)))]
pub(crate) use shipped::{Patience, foreign_call, sabotaged};

#[cfg(any(loom, shuttle))]
pub(crate) use modelled::{Patience, foreign_call, sabotaged};

/// Defines a constructor that is `const`, except under loom, whose atomics cannot be had so.
macro_rules! const_constructor {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) -> Self $body:block) => {
        $(#[$meta])*
        #[cfg(not(loom))]
        $vis const fn $name($($arg: $ty),*) -> Self $body

        $(#[$meta])*
        #[cfg(loom)]
        $vis fn $name($($arg: $ty),*) -> Self $body
    };
}

pub(crate) use const_constructor;

/// A step that a model can leave out, to show that it would notice.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(any(loom, shuttle)), expect(unreachable_pub, reason = "the models reach it"))]
pub enum Sabotage {
    /// `Lock` does not look again at the mutex once it listens.
    LockWithoutRecheck,
    /// A `Lock` that may not take a free mutex does not see to it that somebody will.
    RefusedLockCallsNobody,
    /// A starved `Lock` that is dropped goes on barring newcomers.
    LockStaysStarved,
    /// A dropped `Lock` keeps the wake-up it got.
    LockKeepsItsCall,
    /// `Wait` unlocks the mutex before it stands in the line.
    UnlockBeforeEnqueue,
    /// A dropped `Wait` keeps the signal it got.
    WaitKeepsItsSignal,
    /// A dropped `Wait` that was called by a broadcast calls somebody else.
    BroadcastIsPassedOn,
    /// A `Wait` that looks whether it was signalled looks for broadcasts before that, not after.
    BroadcastLookedForFirst,
    /// `Pop` and `Push` do not look again at the queue once they listen.
    QueueWithoutRecheck,
    /// A dropped `Pop` or `Push` keeps the call it got.
    TurnKeepsItsCall,
    /// A gate that is opened does not order its look at the waiters after the change.
    GateWithoutFence,
}

#[cfg(not(any(loom, shuttle)))]
mod shipped {
    use super::Sabotage;

    /// How often a queued lock puts up with newcomers that overtake it. A few times, since the
    /// thread that holds a busy lock often takes it again before a sleeper can be up; not often,
    /// since each time costs the sleeper a wake-up in vain.
    const OVERTAKINGS_MAX: u8 = 4;

    /// The patience of one queued lock. Why a count and no clock? The same program with the same
    /// schedule must make the same decisions.
    #[derive(Debug)]
    pub(crate) struct Patience {
        overtakings: u8,
    }

    impl Patience {
        pub(crate) fn start() -> Self {
            Self { overtakings: 0 }
        }

        /// Notes that the lock was overtaken, and returns whether that was once too often.
        pub(crate) fn is_exhausted(&mut self) -> bool {
            self.overtakings = self.overtakings.saturating_add(1);
            self.overtakings > OVERTAKINGS_MAX
        }
    }

    #[inline(always)]
    pub(crate) const fn foreign_call() {}

    #[inline(always)]
    pub(crate) const fn sabotaged(_: Sabotage) -> bool {
        false
    }
}

/// What a model chooses. Thread-local state serves, since both checkers run the threads of a model
/// as coroutines on one system thread, while two models may run at the same time.
#[cfg(any(loom, shuttle))]
pub(crate) mod modelled {
    use std::cell::Cell;

    use super::Sabotage;

    std::thread_local! {
        static IMPATIENT: Cell<bool> = const { Cell::new(false) };
        static SABOTAGE: Cell<Option<Sabotage>> = const { Cell::new(None) };
    }

    /// Runs `model` with locks that are impatient at once, or never.
    pub fn with_impatience<R>(impatient: bool, model: impl FnOnce() -> R) -> R {
        IMPATIENT.set(impatient);
        model()
    }

    /// Runs `model` on code that lacks a step.
    pub fn with_sabotage<R>(step: Sabotage, model: impl FnOnce() -> R) -> R {
        SABOTAGE.set(Some(step));
        model()
    }

    #[derive(Debug)]
    pub(crate) struct Patience;

    impl Patience {
        pub(crate) fn start() -> Self {
            Self
        }

        pub(crate) fn is_exhausted(&mut self) -> bool {
            IMPATIENT.get()
        }
    }

    pub(crate) fn foreign_call() {
        #[cfg(all(shuttle, not(loom)))]
        shuttle::thread::yield_now();
    }

    pub(crate) fn sabotaged(step: Sabotage) -> bool {
        SABOTAGE.get() == Some(step)
    }
}
