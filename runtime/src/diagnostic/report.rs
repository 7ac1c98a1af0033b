use std::fmt;

use super::Violation;
use crate::task::{Cause, TaskIdentity};

/// The most violations that a report contains. The first ones are the most useful.
const VIOLATIONS_MAX: usize = 64;

/// The violations of a task or of a run, in the order in which they were recorded.
// Boxed, because every outcome has room for one and hardly any has one.
#[derive(Clone, Debug, Default)]
pub struct Report(Box<Contents>);

#[derive(Clone, Debug, Default)]
struct Contents {
    violations: Vec<Violation>,
    /// The number of further violations.
    more: usize,
    further_causes: Vec<Cause>,
    task: Option<TaskIdentity>,
}

impl Report {
    /// Returns the violations: at least one, at most the first 64.
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// Returns the other causes of the same end: panics, and the error that the task returned.
    pub fn further_causes(&self) -> &[Cause] {
        &self.0.further_causes
    }

    /// Returns the task that violated the rules, if the report is the outcome of a task.
    pub fn task(&self) -> Option<&TaskIdentity> {
        self.0.task.as_ref()
    }

    pub(crate) fn set_task(&mut self, task: Option<TaskIdentity>) {
        self.0.task = task;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.violations.is_empty()
    }

    pub(crate) fn push(&mut self, violation: Violation) {
        if self.0.violations.len() < VIOLATIONS_MAX {
            // fault: violation-not-recorded
            self.0.violations.push(violation);
        } else {
            self.0.more += 1;
        }
    }

    /// Adds the violations and causes of another report.
    pub(crate) fn append(&mut self, other: Report) {
        let Contents { violations, more, further_causes, .. } = *other.0;
        violations.into_iter().for_each(|violation| self.push(violation));
        self.0.more += more;
        self.add_causes(further_causes);
    }

    pub(crate) fn add_causes(&mut self, causes: impl IntoIterator<Item = Cause>) {
        self.0.further_causes.extend(causes);
    }

    pub(crate) fn into_further_causes(self) -> Vec<Cause> {
        self.0.further_causes
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.violations().iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            fmt::Display::fmt(violation, f)?;
        }
        match self.0.more {
            0 => {}
            more => write!(f, "\n\n.. and {more} more violations")?,
        }
        self.further_causes().iter().try_for_each(|cause| write!(f, "\n  = also: {cause}"))
    }
}
