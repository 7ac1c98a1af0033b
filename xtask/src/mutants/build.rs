//! The programs that checks run, and the commands of cargo that build them.
//!
//! One command builds all programs that have the same flags, so that cargo compiles each dependency
//! once, with the features that all of them need together.

use std::collections::{BTreeMap, BTreeSet};

use super::By;
use super::table::{Fault, Model};
use crate::workspace::Workspace;

/// The target of the integration tests of each package.
const TESTS: &str = "it";

/// The name of the explorer's package and program.
const EXPLORER: &str = "matou-explore";

/// One command of cargo.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Build {
    /// The arguments, separated by spaces.
    pub(super) words: String,
    /// The model checker that the programs are for.
    pub(super) checker: Option<String>,
    pub(super) programs: BTreeSet<Key>,
}

/// The name of a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) package: String,
    pub(super) target: String,
}

impl Key {
    fn new(package: impl Into<String>, target: &str) -> Key {
        Key { package: package.into(), target: target.to_owned() }
    }

    /// The program that runs this kind of check for the fault, and its model checker.
    pub(super) fn of(by: By, fault: &Fault) -> (Key, Option<&str>) {
        match (by, &fault.model) {
            (By::Models, Some(Model { library, checker, .. })) => {
                (Key::new(format!("matou-{library}"), checker), Some(checker))
            }
            (By::Explorer, _) => (Key::new(EXPLORER, EXPLORER), None),
            _ => (Key::new(&fault.package, TESTS), None),
        }
    }
}

impl Build {
    /// The builds of the programs that check the chosen faults. If these are all faults, the
    /// programs with the models of the other libraries are among them.
    pub(super) fn list(
        workspace: &Workspace,
        chosen: &[(By, Vec<&Fault>)],
        all: bool,
    ) -> Vec<Build> {
        let mut programs = BTreeMap::<Option<&str>, BTreeSet<Key>>::new();
        for (by, faults) in chosen {
            for fault in faults {
                let (program, checker) = Key::of(*by, fault);
                programs.entry(checker).or_default().insert(program);
            }
        }
        for (checker, programs) in &mut programs {
            if let (true, Some(checker)) = (all, checker) {
                let packages = workspace.packages_with_test(checker);
                programs.extend(packages.map(|package| Key::new(package, checker)));
            }
        }
        let build = |(checker, programs)| Build::of(checker, programs, all);
        programs.into_iter().map(build).collect()
    }

    fn of(checker: Option<&str>, programs: BTreeSet<Key>, all: bool) -> Build {
        let mut words = "build".to_owned();
        if checker.is_some() {
            words += " --release";
        }
        if all && checker.is_none() {
            // With the features of `cargo test`, whose dependencies are compiled already.
            words += " --workspace";
        } else {
            let packages: BTreeSet<&str> = programs.iter().map(|it| it.package.as_str()).collect();
            packages.iter().for_each(|package| words += &format!(" --package {package}"));
        }
        let targets: BTreeSet<&str> = programs.iter().map(|it| it.target.as_str()).collect();
        for target in targets {
            let kind = if target == EXPLORER { "bin" } else { "test" };
            words += &format!(" --{kind} {target}");
        }
        Build { words, checker: checker.map(str::to_owned), programs }
    }

    /// The folder of the copy that is built. CI checks the models at the same time as the rest.
    pub(super) fn copy(&self) -> &'static str {
        if self.checker.is_some() { "models" } else { "sandbox" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_with_the_same_flags_are_built_by_one_command() {
        let keys = [("matou-net", TESTS), ("matou-sync", TESTS), (EXPLORER, EXPLORER)];
        let words = |keys: &[(&str, &str)], checker, all| {
            let programs = keys.iter().map(|(package, target)| Key::new(*package, target));
            Build::of(checker, programs.collect(), all).words
        };
        let packages = "--package matou-explore --package matou-net --package matou-sync";
        let targets = "--test it --bin matou-explore";
        assert_eq!(words(&keys, None, false), format!("build {packages} {targets}"));
        assert_eq!(words(&keys, None, true), format!("build --workspace {targets}"));
        let models = words(&[("matou-sync", "loom")], Some("loom"), true);
        assert_eq!(models, "build --release --package matou-sync --test loom");
    }
}
