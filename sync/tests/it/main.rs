//! Tests of the public interface.
//!
//! A prefix m1 to m15 names the scenario that a test covers. Most tests poll futures by hand with
//! wakers that count, so that each test determines the order of events. The others run under two
//! executors and on threads, with a deadline that turns a hang into a failure. Two scenarios have
//! no test here: m9 is covered by the `compile_fail` examples of the types, and m11 concerns
//! durations, which this crate does not take. The reports to a host are tested in `tests/hooks.rs`.

#![cfg(not(any(loom, shuttle)))]

mod alloc;
mod barrier;
mod computation;
mod condition;
mod executors;
mod mutex;
mod once;
mod queue;
mod queue_streams;
mod reentrant;
mod rwlock;
mod semaphore;
mod support;
mod trigger;
