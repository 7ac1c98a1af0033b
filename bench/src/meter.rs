//! What an operation costs: wall time, CPU time of the process, allocations.

use std::alloc::System;
use std::time::Instant;

use cpu_time::ProcessTime;
use rustix::process::{self, Resource};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The cost of one operation, as the mean over a run of many.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Cost {
    pub(crate) operations: u64,
    pub(crate) wall_ns: f64,
    /// User and system time together, of all threads.
    pub(crate) cpu_ns: f64,
    pub(crate) allocations: f64,
    /// Bytes that were allocated and not freed; for those that measure memory.
    pub(crate) bytes: f64,
    /// How late timers fired, at the 99th percentile; for those that measure it.
    pub(crate) late_us: f64,
}

/// Measures from its making to its stop.
pub(crate) struct Meter {
    region: Region<'static, System>,
    cpu: ProcessTime,
    begun: Instant,
}

impl Meter {
    pub(crate) fn start() -> Meter {
        Meter { region: Region::new(ALLOCATOR), cpu: ProcessTime::now(), begun: Instant::now() }
    }

    pub(crate) fn stop(self, operations: u64) -> Cost {
        let wall = self.begun.elapsed();
        let cpu = self.cpu.elapsed();
        let change = self.region.change();
        let each = |total: f64| total / operations as f64;
        Cost {
            operations,
            wall_ns: each(wall.as_nanos() as f64),
            cpu_ns: each(cpu.as_nanos() as f64),
            allocations: each(change.allocations as f64),
            bytes: each(change.bytes_allocated as f64 - change.bytes_deallocated as f64),
            late_us: 0.0,
        }
    }
}

/// Puts this process on one processor, if there is one with that number.
pub(crate) fn pin(processor: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor);
    // A machine with one processor only, or a container that forbids it: then it stays where it is.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Raises the limit of open descriptors as far as it goes.
pub(crate) fn raise_descriptors() {
    let limit = process::getrlimit(Resource::Nofile);
    let raised = process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = process::setrlimit(Resource::Nofile, raised);
}
