//! What an operation costs: wall time, CPU time of the process, allocations, memory.

use std::alloc::System;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::ClockId;
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The cost of one operation, as the mean over a run of many.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Cost {
    pub(crate) operations: u64,
    pub(crate) wall_ns: f64,
    /// CPU time of all threads in the program.
    pub(crate) user_ns: f64,
    /// CPU time of all threads in the system.
    pub(crate) system_ns: f64,
    pub(crate) allocations: f64,
    /// Bytes that were allocated and not freed; for those that measure memory.
    pub(crate) bytes: Option<f64>,
    /// Bytes of memory that the process has touched and keeps; for those that measure memory.
    pub(crate) resident: Option<f64>,
    /// How late something came, at the 99th percentile: an echo, or a timer.
    pub(crate) p99_us: Option<f64>,
}

impl Cost {
    pub(crate) fn cpu_ns(&self) -> f64 {
        self.user_ns + self.system_ns
    }
}

/// CPU time that was used: how much, to the nanosecond, and how it is divided, to the tick.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    pub(crate) total: Duration,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl CpuTime {
    fn now() -> CpuTime {
        let total = ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map(Duration::from);
        let usage = getrusage(UsageWho::RUSAGE_SELF);
        let micros = |time: nix::sys::time::TimeVal| {
            Duration::from_micros(time.num_microseconds().unsigned_abs())
        };
        // Neither can fail on a system that has them, as all systems with epoll do.
        CpuTime {
            total: total.unwrap_or_default(),
            user: usage.map_or(Duration::ZERO, |usage| micros(usage.user_time())),
            system: usage.map_or(Duration::ZERO, |usage| micros(usage.system_time())),
        }
    }

    /// The nanoseconds of each operation since `before`: in the program, and in the system.
    pub(crate) fn each_since(&self, before: &CpuTime, operations: u64) -> (f64, f64) {
        let total = self.total.saturating_sub(before.total).as_nanos() as f64;
        let user = self.user.saturating_sub(before.user).as_nanos() as f64;
        let system = self.system.saturating_sub(before.system).as_nanos() as f64;
        let share = if user + system > 0.0 { user / (user + system) } else { 1.0 };
        let each = total / operations as f64;
        (each * share, each * (1.0 - share))
    }
}

/// Measures from its making to its stop.
pub(crate) struct Meter {
    region: Region<'static, System>,
    cpu: CpuTime,
    begun: Instant,
}

impl Meter {
    pub(crate) fn start() -> Meter {
        Meter { region: Region::new(ALLOCATOR), cpu: CpuTime::now(), begun: Instant::now() }
    }

    pub(crate) fn stop(self, operations: u64) -> Cost {
        let wall = self.begun.elapsed();
        let (user_ns, system_ns) = CpuTime::now().each_since(&self.cpu, operations);
        let change = self.region.change();
        Cost {
            operations,
            wall_ns: wall.as_nanos() as f64 / operations as f64,
            user_ns,
            system_ns,
            allocations: change.allocations as f64 / operations as f64,
            ..Cost::default()
        }
    }
}

/// Measures what is kept in memory from its making to its stop.
pub(crate) struct Scales {
    meter: Meter,
    resident: Option<u64>,
}

impl Scales {
    pub(crate) fn start() -> Scales {
        Scales { resident: resident("self"), meter: Meter::start() }
    }

    pub(crate) fn stop(self, operations: u64) -> Cost {
        let change = self.meter.region.change();
        let kept = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
        let cost = self.meter.stop(operations);
        let resident = self.resident.zip(resident("self"));
        let each = |bytes: f64| bytes / operations as f64;
        Cost {
            bytes: Some(each(kept)),
            resident: resident.map(|(before, now)| each(now as f64 - before as f64)),
            ..cost
        }
    }
}

/// How often this process has allocated.
pub(crate) fn allocations() -> usize {
    ALLOCATOR.stats().allocations
}

/// The bytes of user-space memory that a process has touched and keeps; of its own, not of files.
pub(crate) fn resident(process: &str) -> Option<u64> {
    // The sum over all mappings is exact, where `status` may be some pages behind.
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}
