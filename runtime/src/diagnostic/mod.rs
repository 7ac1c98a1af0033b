//! The reports of the runtime about a program: violations of the rules, and findings, as data and
//! as text.
//!
//! | file | contains |
//! | --- | --- |
//! | `violation` | broken rules, each of which ends its task |
//! | `finding` | suspicious facts that end nothing |
//! | `info`, `text` | the tasks that both name; parts of their text |
//! | `wait_cycle` | the tasks of a circle of waits |
//! | `report` | the violations of a task or of a run |
//! | `reporter` | how both reach the user: the hook of a run, or standard error |

mod finding;
mod info;
mod report;
mod reporter;
mod text;
mod violation;
mod wait_cycle;

use std::fmt;

pub use finding::{DroppedWhen, Finding};
pub use info::{Ancestor, ChildInfo, ChildState, TaskInfo};
pub use report::Report;
pub use violation::Violation;
pub use wait_cycle::CycleMember;

pub(crate) use info::CompletedChild;
pub(crate) use reporter::{Hook, Reporter};

/// A message of the runtime about the program, as [`Builder::on_report`](crate::Builder::on_report)
/// receives it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Diagnostic {
    /// A task broke a rule and is ended.
    Violation(Violation),
    /// Something is suspicious. It ends nothing.
    Finding(Finding),
}

impl Diagnostic {
    /// Returns the name of the violation or finding: `"NotOwner"`, `"Forgotten"`, ..
    pub fn name(&self) -> &'static str {
        match self {
            Diagnostic::Violation(violation) => violation.name(),
            Diagnostic::Finding(finding) => finding.name(),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Diagnostic::Violation(violation) => fmt::Display::fmt(violation, f),
            Diagnostic::Finding(finding) => fmt::Display::fmt(finding, f),
        }
    }
}
