//! The synchronization primitives of this crate: those of std, or those of loom.
//!
//! Under `--cfg loom` the locks of tickets and ledgers, the owner words and the thread-locals are
//! loom's, so the models run the code that ships. Reference counts remain those of std, because
//! `Arc<dyn Resource>` is part of the public interface.

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

    /// Defines a thread-local with a constant initial value.
    macro_rules! local {
        ($(#[$meta:meta])* static $name:ident: $type:ty = $init:expr;) => {
            std::thread_local! { $(#[$meta])* static $name: $type = const { $init }; }
        };
    }

    pub(crate) use local;
}

pub(crate) use imp::{AtomicUsize, Mutex, MutexGuard, Ordering, local};
