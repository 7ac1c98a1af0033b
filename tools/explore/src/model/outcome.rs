//! R10: the outcome of the run is that of main, or a report of exactly the violations.

use std::fmt::Display;

use matou_runtime::{RunError, Violation};

use super::{CheckResult, Model, ensure};
use crate::event::{OutcomeKind, ViolationKind, task_id};

impl Model {
    pub(super) fn check_outcome<T, E: Display + 'static>(
        &self,
        outcome: &Result<T, RunError<E>>,
    ) -> CheckResult {
        let expected = self.jobs[&0].returned;
        // Otherwise a violation is the outcome of its task.
        let ends_run = |(job, _): &&(usize, _)| self.settings.fails_run || *job == 0;
        let violations: Vec<_> = self.violations.iter().filter(ends_run).copied().collect();
        match outcome {
            Err(RunError::Violated(report)) => check_report(self, report.violations(), &violations),
            _ if !violations.is_empty() => {
                Err(format!("R10: {violations:?} missing from the error of the run"))
            }
            Ok(_) if expected == Some(OutcomeKind::Value) => Ok(()),
            Err(RunError::Failed(_)) if expected == Some(OutcomeKind::Error) => Ok(()),
            Err(RunError::Panicked(_)) if expected == Some(OutcomeKind::Panic) => Ok(()),
            Ok(_) => Err(format!("main ended with {expected:?}, the run without an error")),
            Err(error) => Err(format!("main ended with {expected:?}, the run with: {error}")),
        }
    }
}

fn check_report(
    model: &Model,
    reported: &[Violation],
    expected: &[(usize, ViolationKind)],
) -> CheckResult {
    let same = |(job, kind): &(usize, ViolationKind), violation: &Violation| {
        ViolationKind::of(violation) == Some(*kind)
            && model.jobs[job].id == task_id(violation.task())
    };
    for violation in reported {
        let known = expected.iter().any(|expected| same(expected, violation));
        ensure(known, || format!("R10: no job committed this violation: {violation}"))?;
    }
    for expected in expected {
        let found = reported.iter().any(|violation| same(expected, violation));
        ensure(found, || format!("R10: not in the report: {expected:?}"))?;
    }
    Ok(())
}
