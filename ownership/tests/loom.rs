//! Models of what happens to a young value when two threads get at it, run by loom under every
//! schedule with few preemptions:
//!
//! ```text
//! export RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3
//! cargo test -p matou-ownership --release --test loom
//! ```
//!
//! Each model runs the code that ships. It is run again with one step of that code left out, and
//! has to fail: a model that cannot fail proves nothing.

#![cfg(loom)]

mod model {
    mod support;
    mod young;
}
