//! Choices, from one seed split per domain.

use std::cell::Cell;

/// A small generator (SplitMix64, by Steele, Lea and Flood, 2014): good enough to choose among
/// equals, cheap, and one number of state.
#[derive(Debug)]
pub(crate) struct Random {
    state: Cell<u64>,
}

/// What a simulated run draws beside the choices of its domains.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Whose turn it is.
    Turns = 1,
    /// When a message arrives.
    Arrivals,
    /// The order of timers with equal deadlines.
    Ties,
    /// What other crates ask for.
    Leaves,
}

impl Random {
    /// The stream of domain `index`; streams of different domains do not overlap in practice.
    pub(crate) fn for_domain(seed: u64, index: usize) -> Random {
        let random = Random { state: Cell::new(seed ^ (index as u64 + 1).rotate_left(32)) };
        random.next();
        random
    }

    /// Another stream of the same seed, told apart by what it is for.
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

    /// A number below `bound`; 0 if the bound is 0.
    pub(crate) fn below(&self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }
}
