use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::node::{NONE, Slot};
use crate::run::Run;

/// Where a task lives; kept in the task's own allocation.
pub(crate) struct Address {
    pub(crate) run: Arc<Run>,
    domain: u16,
    /// The node's place in its domain's tree. Written once by the domain, before the first poll;
    /// read by the domain alone, hence relaxed.
    slot: AtomicU32,
}

impl Address {
    pub(crate) fn new(run: Arc<Run>, domain: usize) -> Address {
        let domain = u16::try_from(domain).expect("a run has 65,536 domains at most");
        Address { run, domain, slot: AtomicU32::new(NONE) }
    }

    pub(crate) fn domain(&self) -> usize {
        usize::from(self.domain)
    }

    pub(crate) fn slot(&self) -> Slot {
        self.slot.load(Ordering::Relaxed)
    }

    pub(crate) fn settle_at(&self, slot: Slot) {
        self.slot.store(slot, Ordering::Relaxed);
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("domain", &self.domain)
            .field("slot", &self.slot())
            .finish_non_exhaustive()
    }
}
