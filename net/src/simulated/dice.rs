use std::time::Duration;

use matou_runtime::test::Simulation;

use super::Faults;

/// How many bytes a connection that is to break carries at most.
const RESET_AFTER_MAX: u64 = 16 << 10;
/// How long a stall lasts at most.
const STALL_MAX: Duration = Duration::from_secs(1);

/// Draws what the network does.
pub(super) struct Dice {
    pub(super) simulation: Simulation,
    pub(super) faults: Faults,
}

impl Dice {
    /// How long something travels.
    pub(super) fn delay(&self) -> Duration {
        self.up_to(self.faults.delay_max)
    }

    /// How many of so many bytes go at once: at least one.
    pub(super) fn cut(&self, length: usize) -> usize {
        if !self.faults.segmentation || length < 2 || self.simulation.random_below(2) == 0 {
            return length;
        }
        1 + self.simulation.random_below(length as u64) as usize
    }

    /// Whether something with this chance happens.
    pub(super) fn hit(&self, per_mille: u32) -> bool {
        per_mille > 0 && self.simulation.random_below(1000) < u64::from(per_mille)
    }

    /// After how many bytes a new connection breaks, if it does.
    pub(super) fn reset_after(&self) -> Option<u64> {
        self.hit(self.faults.resets).then(|| self.simulation.random_below(RESET_AFTER_MAX))
    }

    /// For how long a direction takes nothing, if it stalls.
    pub(super) fn stall(&self) -> Option<Duration> {
        self.hit(self.faults.stalls).then(|| self.up_to(STALL_MAX))
    }

    fn up_to(&self, longest: Duration) -> Duration {
        if longest.is_zero() {
            return Duration::ZERO;
        }
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.simulation.random_below(micros + 1))
    }
}
