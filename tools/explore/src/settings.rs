//! The settings of the run of a random program.

use matou_runtime::test::Check;
use matou_runtime::{Forgotten, Leaks, Violations};

/// The settings of a run. Half of the runs have each value of each setting.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// Whether a job that returns a value violates a rule if it has forgotten a child or leaves a
    /// resource behind.
    pub(crate) is_strict: bool,
    /// Whether a violation ends the run, and not only its task.
    pub(crate) fails_run: bool,
    domains: usize,
}

impl Settings {
    /// Returns the settings of the program with this seed.
    pub(crate) fn of(seed: u64) -> Settings {
        Settings {
            is_strict: seed.is_multiple_of(2),
            // At least three: with two, no other domain is available to a task of domain 1 (R9).
            domains: 3 + (seed / 2 % 2) as usize,
            fails_run: (seed / 4).is_multiple_of(2),
        }
    }

    pub(crate) fn check(self) -> Check {
        let check = Check::simulated().domains(self.domains);
        let check = if self.is_strict {
            check
        } else {
            check.forgotten(Forgotten::Report).leaks(Leaks::AtRunEnd)
        };
        if self.fails_run { check } else { check.violations(Violations::FailTask) }
    }
}
