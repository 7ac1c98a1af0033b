//! The cost of an operation: wall time, CPU time of the process, allocations, memory.

use std::alloc::System;
use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use matou_loadgen::process::{CpuTime, field};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
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
    /// Bytes allocated and not freed, where memory is measured.
    pub(crate) bytes: Option<f64>,
    /// Bytes of anonymous memory that became resident, where memory is measured.
    pub(crate) resident: Option<f64>,
    /// 99th percentile of the latency of an echo or of the lateness of a timer.
    pub(crate) p99_us: Option<f64>,
}

impl Cost {
    pub(crate) fn cpu_ns(&self) -> f64 {
        self.user_ns + self.system_ns
    }
}

/// Measures from its creation to its stop.
pub(crate) struct Meter {
    region: Region<'static, System>,
    cpu: CpuTime,
    started: Instant,
}

impl Meter {
    pub(crate) fn start() -> Meter {
        Meter { region: Region::new(ALLOCATOR), cpu: cpu_time(), started: Instant::now() }
    }

    pub(crate) fn stop(self, operations: u64) -> Cost {
        if let Some(percent) = SLOWDOWN.get() {
            burn(self.started.elapsed() * *percent / 100);
        }
        let wall = self.started.elapsed();
        let (user_ns, system_ns) = cpu_time().since(&self.cpu, operations);
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

/// The CPU time of this process, whose parts are known to the microsecond.
fn cpu_time() -> CpuTime {
    let total = ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map(Duration::from);
    let usage = getrusage(UsageWho::RUSAGE_SELF);
    let micros = |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs());
    // Neither can fail for the process itself.
    CpuTime {
        total: total.unwrap_or_default(),
        user: usage.map_or(Duration::ZERO, |usage| micros(usage.user_time())),
        system: usage.map_or(Duration::ZERO, |usage| micros(usage.system_time())),
    }
}

/// Measures, in addition, the memory that remains allocated.
pub(crate) struct MemoryMeter {
    meter: Meter,
    resident: Option<u64>,
}

impl MemoryMeter {
    pub(crate) fn start() -> MemoryMeter {
        MemoryMeter { resident: resident("self"), meter: Meter::start() }
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

/// The number of allocations of this process so far.
pub(crate) fn allocations() -> usize {
    ALLOCATOR.stats().allocations
}

/// The bytes of resident anonymous memory of a process.
pub(crate) fn resident(process: &str) -> Option<u64> {
    // The sum over all mappings is exact, where `status` may lag by some pages.
    Some(field(process, "smaps_rollup", "Anonymous:")? << 10)
}

/// Percentage by which the process is slowed down on purpose.
static SLOWDOWN: OnceLock<u32> = OnceLock::new();

/// Slows matou down by the percentage in `MATOU_BENCH_SLOWDOWN`, if that is set, to show that
/// `--check` finds a slowdown. Has no effect in the processes of other runtimes.
pub(crate) fn apply_slowdown(runtime: &str) {
    let percent = std::env::var("MATOU_BENCH_SLOWDOWN").ok().and_then(|text| text.parse().ok());
    if let (Some(percent), "matou" | "echo") = (percent, runtime) {
        SLOWDOWN.get_or_init(|| percent);
    }
}

/// Slows a server down: a thread uses its share of the CPU time that the process uses.
pub(crate) fn slow_server_down() {
    let Some(&percent) = SLOWDOWN.get() else { return };
    std::thread::spawn(move || {
        let mut last = cpu_time().total;
        loop {
            std::thread::sleep(Duration::from_millis(2));
            burn((cpu_time().total - last) * percent / 100);
            last = cpu_time().total;
        }
    });
}

fn burn(time: Duration) {
    let started = Instant::now();
    while started.elapsed() < time {
        black_box(started);
    }
}
