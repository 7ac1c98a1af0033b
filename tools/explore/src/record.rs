//! The events of a random program, in the order in which they happened.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use matou_runtime::{Diagnostic, now, test};

use crate::event::{Event, Report};

/// An event, and the virtual time since the first event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: Duration,
    pub(crate) event: Event,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {:?}", self.event, self.at)
    }
}

/// The events of a run. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    started_at: Option<Instant>,
    entries: Vec<Entry>,
}

impl Record {
    pub(crate) fn add(&self, event: Event) {
        // A value that is dropped after the run has no clock: it gets the time of the last event.
        let now = test::simulation().map(|_| now());
        let mut all = self.lock();
        let at = match (all.started_at.or(now), now) {
            (Some(started_at), Some(now)) => {
                all.started_at = Some(started_at);
                now - started_at
            }
            _ => all.entries.last().map_or(Duration::ZERO, |last| last.at),
        };
        all.entries.push(Entry { at, event });
    }

    /// Adds a diagnostic of the runtime.
    pub(crate) fn add_diagnostic(&self, diagnostic: &Diagnostic) {
        Report::of(diagnostic).into_iter().for_each(|report| self.add(Event::Reported(report)));
    }

    /// The time of a moment in the record.
    pub(crate) fn time_of(&self, moment: Instant) -> Duration {
        self.lock().started_at.map_or(Duration::ZERO, |started_at| moment - started_at)
    }

    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.lock().entries)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Record")
    }
}
