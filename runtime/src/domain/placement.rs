//! On which domain a `call` spawns its task.

use std::cell::Cell;

use crate::random::Random;

/// The domain of a `call`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CallTarget {
    /// Each of the domains in turn.
    #[default]
    InTurn,
    /// This one.
    Pinned(usize),
    /// The one on which the fewest tasks live.
    LeastLoaded,
}

/// Distributes calls over the other domains.
pub(super) struct Placement {
    /// The domain from which the next search starts.
    next: Cell<usize>,
    /// Whether domain 0 takes part.
    calls_to_domain_0: bool,
}

impl Placement {
    /// Starts at a random one of `domains` domains.
    pub(super) fn new(domains: usize, calls_to_domain_0: bool, random: &Random) -> Placement {
        Placement { next: Cell::new(random.below(domains)), calls_to_domain_0 }
    }

    /// Picks a domain other than `own`, and other than domain 0 unless that is permitted. Returns
    /// `None` if there is none. `load` returns the load of a domain.
    pub(super) fn pick(
        &self,
        own: usize,
        domains: usize,
        target: CallTarget,
        load: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        let zero = !self.calls_to_domain_0;
        // fault: call-to-domain-zero
        // fault: call-to-own-domain
        let eligible =
            |&target: &usize| !(zero && target == 0) && target != own && target < domains;
        let start = self.next.get();
        let mut in_turn = (0..domains).map(|step| (start + step) % domains).filter(eligible);
        let target = match target {
            CallTarget::Pinned(pinned) => return Some(pinned).filter(eligible),
            CallTarget::InTurn => in_turn.next()?,
            // fault: load-ignored
            CallTarget::LeastLoaded => in_turn.min_by_key(|&domain| load(domain))?,
        };
        self.next.set(target + 1);
        Some(target)
    }

    /// Draws the domain from which the next search starts.
    pub(super) fn shuffle(&self, domains: usize, random: &Random) {
        self.next.set(random.below(domains));
    }
}
