//! The behaviour of the runtime, one module per question. Modules `r01` to `r12` test the rules R1
//! to R12; tests with other prefixes (`t1`, `w7`, `x3`, ..) test the scenarios of `docs/scenarios.md`.

mod cancel_reasons;
mod deadlines;
mod deadlocks;
mod deferred;
mod edge_cases;
mod live_tasks;
mod miou_parity;
mod panicking_wakers;
mod r01_children_are_awaited;
mod r02_only_the_parent;
mod r03_ended_after_its_descendants;
mod r04_abnormal_ends;
mod r05_children_first;
mod r05_scale;
mod r06_cancel_waits;
mod r07_leaks;
mod r07_one_owner;
mod r08_finalizers;
mod r09_calls;
mod r10_violations;
mod r11_availability;
mod r12_signal_handlers;
mod replay;
mod scheduling;
mod shields;
mod shutdown;
mod shutdown_process;
mod simulated;
mod support;
mod task_drops;
mod task_size;
mod tasks;
mod timers;
mod waker_retention;
mod wakers;
