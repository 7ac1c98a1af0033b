//! Models of the mutex, the condition and the queue, run by loom under every schedule with few
//! preemptions:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p matou-sync --release --test loom
//! ```
//!
//! Each model runs the code that ships. It is run again with one step of that code left out, and
//! has to fail: a model that cannot fail proves nothing. What is shared between futures that are
//! polled once and then dropped elsewhere is owned by them, as loom has no scoped threads.

#![cfg(loom)]

mod support {
    pub(crate) mod loom;
}

mod model {
    mod condition;
    mod mutex;
    mod queue;
}
