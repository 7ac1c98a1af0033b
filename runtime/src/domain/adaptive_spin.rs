//! Spinning before parking.
//!
//! Parking and being unparked takes two system calls and two context switches, ten to twenty
//! microseconds; the answer of a running domain takes one. So an idle domain checks its queue for a
//! while before it parks, but only if that pays off: each unsuccessful spin doubles the number of
//! parks without one, so that a domain that waits for I/O or timers hardly ever spins. The spin is
//! longer than it takes to unpark another domain. Otherwise two domains that exchange messages
//! would never find each other running.

use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::OnceLock;

/// How often a spin checks the queue: about 40 us, since a pause instruction takes about 40 ns.
const SPINS: u32 = 1000;
/// At most `2.pow(MISSES_MAX) - 1` parks follow an unsuccessful spin before the next one. So
/// unsuccessful spins add less than 0.1 us to a park on average.
const MISSES_MAX: u32 = 9;

/// Whether it pays off for a domain to spin.
#[derive(Debug, Default)]
pub(super) struct AdaptiveSpin {
    /// How many parks are left until the next spin.
    backoff: Cell<u32>,
    /// How many spins in a row were unsuccessful, up to the limit.
    misses: Cell<u32>,
    /// There are more domains than processors, so spinning would take time from the domain that
    /// answers.
    oversubscribed: bool,
}

/// Returns the number of processors that this process may use. The first call asks the system,
/// which opens several files.
fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

impl AdaptiveSpin {
    pub(super) fn for_domains(domains: usize) -> AdaptiveSpin {
        let processors = processors();
        AdaptiveSpin {
            oversubscribed: domains > processors || processors == 1,
            ..AdaptiveSpin::default()
        }
    }

    /// Spins until `arrived` returns `true`, if that has paid off lately. Returns whether it did.
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

    fn checks_in(parks: u32, spin: &AdaptiveSpin) -> u32 {
        let checks = Cell::new(0);
        for _ in 0..parks {
            let before = checks.get();
            spin.spin_until(|| {
                checks.set(before + 1);
                false
            });
        }
        checks.get()
    }

    #[test]
    fn unsuccessful_spins_become_rare() {
        let spin = AdaptiveSpin::default();
        assert!(checks_in(10_000, &spin) < 35);
        assert_eq!(checks_in(512, &spin), 1);
    }

    #[test]
    fn a_successful_spin_is_repeated_at_once() {
        let spin = AdaptiveSpin::default();
        checks_in(10_000, &spin);
        while !spin.spin_until(|| true) {}
        assert!(spin.spin_until(|| true));
        assert!(!spin.spin_until(|| false));
        assert!(!spin.spin_until(|| true), "one park without a spin");
        assert!(spin.spin_until(|| true));
    }

    #[test]
    fn oversubscribed_domains_do_not_spin() {
        let spin = AdaptiveSpin::for_domains(100_000);
        assert!(!spin.spin_until(|| true));
    }
}
