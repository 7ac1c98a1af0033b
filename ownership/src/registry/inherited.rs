//! How many resources a task has inherited from each line of the program.

use std::collections::HashMap;
use std::panic::Location;

/// The number of living resources of one line from which on they have accumulated.
const MANY: u32 = 1000;

/// The inherited resources of a ledger, counted by the line that made them.
#[derive(Debug, Default)]
pub(super) struct InheritedCounts {
    counts: HashMap<&'static Location<'static>, Count>,
}

#[derive(Debug, Default)]
struct Count {
    living: u32,
    /// Whether the limit was exceeded before.
    reported: bool,
}

impl InheritedCounts {
    /// Counts a resource. Returns `true` if its line exceeds the limit for the first time.
    pub(super) fn add(&mut self, made_at: &'static Location<'static>) -> bool {
        let count = self.counts.entry(made_at).or_default();
        count.living += 1;
        // fault: accumulation-ignored
        let exceeds = count.living > MANY && !count.reported;
        count.reported |= exceeds;
        exceeds
    }

    /// Stops counting a resource.
    pub(super) fn remove(&mut self, made_at: &'static Location<'static>) {
        let Some(count) = self.counts.get_mut(made_at) else { return };
        count.living = count.living.saturating_sub(1);
        if count.living == 0 && !count.reported {
            self.counts.remove(made_at);
        }
    }
}
