//! A short wait before a long one.
//!
//! To fall asleep and be interrupted takes two system calls and two switches between threads, ten
//! to twenty microseconds; the answer of a domain that is awake takes one. So a domain that has
//! nothing to do looks into its inbox for a while before it sleeps, but only where that pays: each
//! look in vain doubles the number of sleeps without one, so that a domain which waits for the
//! system, or for nobody, spends next to nothing on it. The while is longer than it takes to wake
//! another domain up: two that talk to each other would otherwise never catch each other awake.

use std::cell::Cell;
use std::hint::spin_loop;

/// How often it looks: some 40 us, as a pause of the processor takes some 40 ns.
const SPINS: u32 = 1000;
/// How many sleeps come without a look at most: 2 to the power of this, less one. So a look in vain
/// costs a sleep less than 0.1 us in the mean.
const MISSES_MAX: u32 = 9;

/// What a domain has learned of waiting shortly.
#[derive(Debug, Default)]
pub(super) struct AdaptiveSpin {
    /// How many sleeps are to come without a look.
    backoff: Cell<u32>,
    /// How many looks in a row were in vain, up to the limit.
    misses: Cell<u32>,
    /// More domains than processors: whoever spins takes the time of the one he waits for.
    oversubscribed: bool,
}

impl AdaptiveSpin {
    pub(super) fn for_domains(domains: usize) -> AdaptiveSpin {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        AdaptiveSpin {
            oversubscribed: domains > processors || processors == 1,
            ..AdaptiveSpin::default()
        }
    }

    /// Waits shortly, if that is worth a try. Returns whether something has `arrived`.
    pub(super) fn spin_until(&self, arrived: impl Fn() -> bool) -> bool {
        if self.oversubscribed {
            return false;
        }
        if let Some(backoff) = self.backoff.get().checked_sub(1) {
            self.backoff.set(backoff);
            return false;
        }
        for _ in 0..SPINS {
            if arrived() {
                self.misses.set(0);
                return true;
            }
            spin_loop();
        }
        let misses = (self.misses.get() + 1).min(MISSES_MAX);
        self.misses.set(misses);
        self.backoff.set((1 << misses) - 1);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks_among(sleeps: u32, spin: &AdaptiveSpin) -> u32 {
        let looked = Cell::new(0);
        for _ in 0..sleeps {
            let before = looked.get();
            spin.spin_until(|| {
                looked.set(before + 1);
                false
            });
        }
        looked.get()
    }

    #[test]
    fn looks_in_vain_become_rare() {
        let spin = AdaptiveSpin::default();
        assert!(looks_among(10_000, &spin) < 35);
        assert_eq!(looks_among(512, &spin), 1);
    }

    #[test]
    fn a_look_that_pays_is_taken_again_at_once() {
        let spin = AdaptiveSpin::default();
        looks_among(10_000, &spin);
        while !spin.spin_until(|| true) {}
        assert!(spin.spin_until(|| true));
        assert!(!spin.spin_until(|| false));
        assert!(!spin.spin_until(|| true), "now it sleeps once without a look");
        assert!(spin.spin_until(|| true));
    }

    #[test]
    fn nobody_spins_in_a_crowd() {
        let spin = AdaptiveSpin::for_domains(100_000);
        assert!(!spin.spin_until(|| true));
    }
}
