//! Pseudo-random choices, from one seed that is split by domain and purpose.

use std::cell::Cell;

/// A generator of pseudo-random numbers: SplitMix64 (Steele, Lea and Flood, 2014).
///
/// It is fast, has one word of state, and is good enough to choose among equals; it is not for
/// cryptography.
#[derive(Debug)]
pub(crate) struct Random {
    state: Cell<u64>,
}

/// The uses of random numbers in a simulated run, in addition to the choices of its domains.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The domain that runs the next tick.
    DomainChoice = 1,
    /// The delay of a message.
    MessageDelay,
    /// The order of timers with equal deadlines.
    TimerOrder,
    /// Choices of leaf futures of other crates.
    LeafChoice,
}

impl Random {
    /// Returns the stream of domain `index`. The streams of different domains do not overlap in
    /// practice.
    pub(crate) fn for_domain(seed: u64, index: usize) -> Random {
        let random = Random { state: Cell::new(seed ^ (index as u64 + 1).rotate_left(32)) };
        random.next();
        random
    }

    /// Returns a separate stream of domain `index` for `purpose`.
    pub(crate) fn for_purpose(seed: u64, purpose: Purpose, index: usize) -> Random {
        Random::for_domain(seed ^ ((purpose as u64) << 56), index)
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, or 0 if `bound` is 0.
    pub(crate) fn below(&self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }
}
