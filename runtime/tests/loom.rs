//! Models of the protocols between domains. Loom runs each of them under every interleaving with
//! few preemptions:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p matou-runtime --release --test loom
//! ```
//!
//! The models run the shipped types, and twins of them with a flaw, which must fail: a model that
//! cannot fail proves nothing.

#![cfg(loom)]

mod model {
    mod completion;
    mod parking;
    mod ref_counts;
    mod support;
    mod wakes;
}
