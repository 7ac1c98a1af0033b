//! What `matou-sync` promises, asked from outside.
//!
//! The names begin with the scenario that they answer, m1 to m15. Futures are mostly polled by
//! hand with wakers that count, so that a test decides who runs when; the rest runs under two
//! executors and on threads, with a deadline that turns a hang into a failure. Two scenarios have
//! no test here: m9 is a set of `compile_fail` examples beside the types, and m11 asks for
//! durations, which nothing in this crate takes.

#![cfg(not(any(loom, shuttle)))]

mod alloc;
mod condition;
mod executors;
mod mutex;
mod queue;
mod self_deadlock;
mod support;
