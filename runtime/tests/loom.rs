//! Models of what domains say to each other, run by loom under every schedule with few preemptions:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p matou-runtime --release --test loom
//! ```
//!
//! Each model has wrong twins that must fail: a model that cannot fail proves nothing.

#![cfg(loom)]

mod model {
    mod counting;
    mod ending;
    mod sleep;
    mod support;
    mod waking;
}
