use std::time::Duration;

use matou_runtime::test::Simulation;

use super::Faults;

/// The most bytes that a connection with an injected reset carries.
const RESET_AFTER_MAX: u64 = 16 << 10;
/// The longest stall.
const STALL_MAX: Duration = Duration::from_secs(1);

/// How late a datagram can be that others overtake.
const REORDERING_MAX: Duration = Duration::from_millis(50);

/// Draws delays and faults from the run's seed.
pub(super) struct FaultRng {
    pub(super) simulation: Simulation,
    pub(super) faults: Faults,
}

impl FaultRng {
    /// Draws how long a segment travels.
    pub(super) fn latency(&self) -> Duration {
        self.up_to(self.faults.delay_max)
    }

    /// Draws how many of `length` bytes are transferred at once: at least one, unless it is 0.
    pub(super) fn split(&self, length: usize) -> usize {
        if !self.faults.segmentation || length < 2 || self.simulation.random_below(2) == 0 {
            return length;
        }
        1 + self.simulation.random_below(length as u64) as usize
    }

    /// Returns `true` with a probability in thousandths.
    pub(super) fn chance(&self, per_mille: u32) -> bool {
        per_mille > 0 && self.simulation.random_below(1000) < u64::from(per_mille)
    }

    /// Draws after how many bytes a new connection is reset, if it is.
    pub(super) fn reset_after(&self) -> Option<u64> {
        self.chance(self.faults.resets).then(|| self.simulation.random_below(RESET_AFTER_MAX))
    }

    /// Draws for how long one direction accepts no bytes, if it stalls.
    pub(super) fn stall(&self) -> Option<Duration> {
        self.chance(self.faults.stalls).then(|| self.up_to(STALL_MAX))
    }

    /// Draws by how much a datagram is late that others overtake.
    pub(super) fn reordering_delay(&self) -> Duration {
        Duration::from_micros(1) + self.up_to(REORDERING_MAX)
    }

    fn up_to(&self, longest: Duration) -> Duration {
        if longest.is_zero() {
            return Duration::ZERO;
        }
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.simulation.random_below(micros + 1))
    }
}
