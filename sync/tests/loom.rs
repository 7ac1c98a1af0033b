//! Models of the primitives, run by loom under all schedules with few
//! preemptions:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p matou-sync --release --test loom
//! ```
//!
//! The models run the code that ships, with one constant reduced: a waiter of a mutex is starved
//! after two lost races instead of five. Futures own what they use, since loom has no scoped
//! threads.

#![cfg(loom)]

mod support {
    pub(crate) mod host;
    pub(crate) mod loom;
}

mod model {
    mod computation;
    mod condition;
    mod mutex;
    mod offers;
    mod once;
    mod queue;
    mod rwlock;
    mod semaphore;
    mod trigger;
}
