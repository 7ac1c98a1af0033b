//! Binds the primitives that this crate is built on: those of std, or those of a model checker.
//!
//! `--cfg loom` replaces what tickets and ledgers are locked by, and the thread-locals, by doubles
//! that explore schedules, so that the models drive the very code that ships. The reference counts
//! stay those of std: an `Arc<dyn Resource>` is part of the interface.

#[cfg(loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};

    macro_rules! local {
        ($(#[$meta:meta])* static $name:ident: $type:ty = $init:expr;) => {
            loom::thread_local! { $(#[$meta])* static $name: $type = $init; }
        };
    }

    pub(crate) use local;
}

#[cfg(not(loom))]
mod imp {
    pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
    pub(crate) use std::sync::{Mutex, MutexGuard};

    /// Defines a thread-local that needs neither initialization nor drop.
    macro_rules! local {
        ($(#[$meta:meta])* static $name:ident: $type:ty = $init:expr;) => {
            std::thread_local! { $(#[$meta])* static $name: $type = const { $init }; }
        };
    }

    pub(crate) use local;
}

pub(crate) use imp::{AtomicUsize, Mutex, MutexGuard, Ordering, local};

/// A step that a model can leave out, to show that it would notice.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(loom), expect(unreachable_pub, reason = "the models reach it"))]
pub enum Sabotage {
    /// The drop of a young value does not ask whether others know the value as well.
    YoungThoughtAlone,
    /// What was young is listed under another lock than it was found young.
    ListedUnderTwoLocks,
}

#[cfg(not(loom))]
#[inline(always)]
pub(crate) const fn sabotaged(_: Sabotage) -> bool {
    false
}

#[cfg(loom)]
pub(crate) use modelled::sabotaged;

/// What a model chooses. Thread-local state of std serves, since loom runs the threads of a model
/// as coroutines on one system thread, while two models may run at the same time.
#[cfg(loom)]
pub(crate) mod modelled {
    use std::cell::Cell;

    use super::Sabotage;

    std::thread_local! {
        static SABOTAGE: Cell<Option<Sabotage>> = const { Cell::new(None) };
    }

    /// Runs `model` on code that lacks a step.
    pub fn with_sabotage<R>(step: Sabotage, model: impl FnOnce() -> R) -> R {
        SABOTAGE.set(Some(step));
        model()
    }

    pub(crate) fn sabotaged(step: Sabotage) -> bool {
        SABOTAGE.get() == Some(step)
    }
}
