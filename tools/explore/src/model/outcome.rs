//! R10: the outcome of the run is that of main, or a report of exactly the violations.

use std::fmt::Display;

use matou_runtime::{RunError, Violation};

use super::{CheckResult, Model, ensure};
use crate::record::{OutcomeKind, ViolationKind};

impl Model {
    pub(super) fn check_outcome<T, E: Display>(
        &self,
        outcome: &Result<T, RunError<E>>,
    ) -> CheckResult {
        let expected = self.jobs[&0].returned;
        match outcome {
            Err(RunError::Violated(report)) => self.check_report(report.violations()),
            _ if !self.violations.is_empty() => {
                Err(format!("R10: {:?} missing from the report", self.violations))
            }
            Ok(_) if expected == Some(OutcomeKind::Value) => Ok(()),
            Err(RunError::Failed(_)) if expected == Some(OutcomeKind::Error) => Ok(()),
            Err(RunError::Panicked(_)) if expected == Some(OutcomeKind::Panic) => Ok(()),
            Ok(_) => Err(format!("main ended with {expected:?}, the run without an error")),
            Err(error) => Err(format!("main ended with {expected:?}, the run with: {error}")),
        }
    }

    fn check_report(&self, reported: &[Violation]) -> CheckResult {
        // Main is the only job whose task id the model does not know.
        let is = |job: &usize, task| self.jobs[job].id.is_none_or(|id| id == task);
        let same = |(job, kind): &(usize, ViolationKind), violation: &Violation| {
            kind.name() == violation.name() && is(job, violation.task().id)
        };
        for violation in reported {
            let known = self.violations.iter().any(|expected| same(expected, violation));
            ensure(known, || format!("R10: no job committed this violation: {violation}"))?;
        }
        for expected in &self.violations {
            let found = reported.iter().any(|violation| same(expected, violation));
            ensure(found, || format!("R10: not in the report: {expected:?}"))?;
        }
        Ok(())
    }
}
