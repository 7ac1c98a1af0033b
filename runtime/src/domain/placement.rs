//! On which domain a `call` spawns its task.

use std::cell::Cell;

use crate::random::Random;

/// Distributes calls over the other domains in turn.
pub(super) struct Placement {
    /// The domain from which the next search starts.
    next: Cell<usize>,
}

impl Placement {
    /// Starts at a random one of `domains` domains.
    pub(super) fn new(domains: usize, random: &Random) -> Placement {
        Placement { next: Cell::new(random.below(domains)) }
    }

    /// Picks a domain other than `own` and domain 0, or returns `pinned` if that is one. Returns
    /// `None` if there is none.
    pub(super) fn pick(&self, own: usize, domains: usize, pinned: Option<usize>) -> Option<usize> {
        // fault: call-to-domain-zero
        // fault: call-to-own-domain
        let eligible = |&target: &usize| target != 0 && target != own && target < domains;
        if let Some(pinned) = pinned {
            return Some(pinned).filter(eligible);
        }
        let start = self.next.get();
        let target = (0..domains).map(|step| (start + step) % domains).find(eligible)?;
        self.next.set(target + 1);
        Some(target)
    }

    /// Draws the domain from which the next search starts.
    pub(super) fn shuffle(&self, domains: usize, random: &Random) {
        self.next.set(random.below(domains));
    }
}
