//! The behaviour of the runtime, one module per question. Modules `r01` to `r14` test the rules R1
//! to R14; tests with other prefixes (`t1`, `w7`, `x3`, ..) test the scenarios of
//! `docs/scenarios.md`.
//!
//! The build with AddressSanitizer takes minutes, so it leaves out the modules about reports, times
//! and signals (`cfg(sanitized)`): memory is managed there as in the other modules.

#![cfg_attr(sanitized, allow(dead_code, unused_imports))]

mod blocking;
#[cfg(not(sanitized))]
mod cancel_reasons;
mod combinators;
mod daemons;
#[cfg(not(sanitized))]
mod deadlines;
mod deadlocks;
mod deferred;
mod destructors;
mod domains;
mod edge_cases;
#[cfg(not(sanitized))]
mod error_chains;
mod f08_panics;
mod forked_processes;
mod groups;
#[cfg(not(sanitized))]
mod live_tasks;
mod many_waiters;
#[cfg(not(sanitized))]
mod miou_parity;
#[cfg(not(sanitized))]
mod misuse;
mod outside;
#[cfg(not(sanitized))]
mod panic_lines;
mod panicking_wakers;
mod r01_children_are_awaited;
mod r01_forgetting;
mod r01_giving_up;
mod r01_leaked_handles;
#[cfg(not(sanitized))]
mod r02_only_the_parent;
mod r03_ended_after_its_descendants;
mod r04_abnormal_ends;
mod r05_children_first;
#[cfg(not(sanitized))]
mod r05_scale;
mod r06_cancel_waits;
mod r07_inherited_finalizers;
mod r07_leaks;
mod r07_one_owner;
mod r07_outlived_owners;
mod r08_finalizers;
mod r09_calls;
#[cfg(not(sanitized))]
mod r10_contained;
#[cfg(not(sanitized))]
mod r10_findings;
#[cfg(not(sanitized))]
mod r10_violations;
#[cfg(not(sanitized))]
mod r11_availability;
#[cfg(not(sanitized))]
mod r11_clock;
#[cfg(not(sanitized))]
mod r11_slow_polls;
mod r11_stuck_domains;
#[cfg(not(sanitized))]
mod r12_any_signal;
#[cfg(not(sanitized))]
mod r12_lost_signals;
#[cfg(not(sanitized))]
mod r12_signal_handlers;
mod r13_cancelled_waiters;
mod r13_offers;
mod r13_sets_of_futures;
#[cfg(not(sanitized))]
mod r14_wait_cycles;
#[cfg(not(sanitized))]
mod replay;
#[cfg(not(sanitized))]
mod scheduling;
mod shields;
mod shutdown;
#[cfg(not(sanitized))]
mod shutdown_process;
#[cfg(not(sanitized))]
mod simulated;
#[cfg(not(sanitized))]
mod source_lines;
mod sources;
mod spawners;
mod support;
mod task_drops;
mod task_locals;
mod task_scopes;
#[cfg(not(sanitized))]
mod task_size;
mod tasks;
#[cfg(not(sanitized))]
mod timers;
mod waker_retention;
mod wakers;
