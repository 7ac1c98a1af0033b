//! The findings of a random program about forgotten children (R1).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use matou_runtime::{Diagnostic, Finding, TaskId};

use crate::record::{Entry, Event, OutcomeKind};

/// The forgotten children that a run has reported: the first one of each report, and how many it
/// counted.
#[derive(Clone, Default)]
pub(crate) struct Reported(Arc<Mutex<Vec<(TaskId, usize)>>>);

impl Reported {
    pub(crate) fn add(&self, diagnostic: &Diagnostic) {
        if let Diagnostic::Finding(Finding::Forgotten { child, count, .. }) = diagnostic {
            let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            reported.push((child.id, *count));
        }
    }

    /// Checks the reports of a run. With `strictly`, forgetting is a violation instead, and nothing
    /// is reported.
    ///
    /// # Errors
    ///
    /// If a child is reported that was not forgotten, or a forgotten child of a job that returned a
    /// value is missing.
    pub(crate) fn check(&self, events: &[Entry], strictly: bool) -> Result<(), String> {
        let reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if strictly {
            return ensure(reported.is_empty(), "R1: a strict run has reported a finding");
        }
        let all = || events.iter().map(|entry| entry.event);
        let forgotten: BTreeSet<usize> =
            all().filter_map(forgotten_by).map(|(_, job)| job).collect();
        let tasks: BTreeSet<TaskId> =
            all().filter_map(|event| task_of(event, &forgotten)).collect();
        let is_known = reported.iter().all(|(task, _)| tasks.contains(task));
        ensure(is_known, "R1: a child that was not forgotten is reported")?;
        let count: usize = reported.iter().map(|(_, count)| count).sum();
        ensure(count <= forgotten.len(), "R1: a forgotten child is reported twice")?;
        // A job that fails gives up the children that it forgets in the same poll.
        let returned: BTreeSet<usize> = all().filter_map(returned_value).collect();
        let certain = all().filter_map(forgotten_by);
        let certain = certain.filter(|(parent, _)| returned.contains(parent)).count();
        let violated = all().any(|event| matches!(event, Event::Violated { .. }));
        ensure(violated || count >= certain, "R1: a forgotten child is not reported")
    }
}

fn forgotten_by(event: Event) -> Option<(usize, usize)> {
    match event {
        Event::Forgotten { parent, child } => Some((parent, child)),
        _ => None,
    }
}

fn task_of(event: Event, jobs: &BTreeSet<usize>) -> Option<TaskId> {
    match event {
        Event::Spawned { child, task, .. } if jobs.contains(&child) => task,
        _ => None,
    }
}

fn returned_value(event: Event) -> Option<usize> {
    match event {
        Event::Returned { job, outcome: OutcomeKind::Value } => Some(job),
        _ => None,
    }
}

fn ensure(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}
