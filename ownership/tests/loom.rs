//! Models of two threads that access one resource at the same time, run by loom under every
//! schedule with few preemptions:
//!
//! ```text
//! export RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3
//! cargo test -p matou-ownership --release --test loom
//! ```
//!
//! Each model runs the code that ships. The comments `// fault: NAME` in that code mark places
//! where an edit must make the model of the same subject fail.

#![cfg(loom)]

mod model {
    mod races;
    mod support;
}
