//! `cargo xtask mutants`: shows that each check fails without the code that it checks.
//!
//! The table `xtask/faults.toml` describes small edits, each keyed by a marker comment in the
//! sources. Each edit is applied to a copy of the workspace, and its checks are run there:
//!
//! - integration tests, of which one must fail, crash or hang;
//! - a model of loom or shuttle, which must fail;
//! - the explorer, which must find a seed that fails, fail with the same seed again, and pass with
//!   that seed without the edit.
//!
//! An edit that does not compile or does not apply is an error, as are tests that fail without it.

mod check;
mod edit;
mod sandbox;
pub(crate) mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

pub(crate) use self::check::model_environment;
use self::check::{check_tests, copy_of_explorer, explore, run_model, run_tests};
use self::sandbox::Sandbox;
use self::table::Fault;
use crate::workspace::Workspace;

/// Applies faults to a copy of the workspace and shows that the checks find them.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only the faults of these names or rules, such as `R5`.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only checks of this kind. The default is every kind that a fault has.
    #[arg(long, value_enum)]
    by: Option<By>,
}

/// A kind of check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    Tests,
    Models,
    Explorer,
}

impl By {
    /// Returns `true` if the fault has a check of this kind.
    fn applies_to(self, fault: &Fault) -> bool {
        match self {
            By::Tests => !fault.tests.is_empty(),
            By::Models => fault.model.is_some(),
            By::Explorer => fault.explorer,
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let faults = table::read(workspace.root())?;
    let chosen = choose(&faults, options)?;
    let sandbox = Sandbox::prepare(&workspace)?;
    let began = Instant::now();
    let (mut checks, mut missed) = (0, 0);
    for (by, faults) in chosen {
        checks += faults.len();
        missed += check_faults(&sandbox, by, &faults)?;
    }
    println!("{checks} checks, {missed} found no fault, {:.1} s", began.elapsed().as_secs_f64());
    ensure!(missed == 0, "{missed} checks found no fault");
    Ok(())
}

/// Runs one kind of check for each fault. Returns how many faults were not found.
fn check_faults(sandbox: &Sandbox, by: By, faults: &[&Fault]) -> Result<usize> {
    Ok(match by {
        By::Tests => {
            check_unedited_tests(sandbox, faults)?;
            try_each(sandbox, faults, |fault| run_tests(sandbox, &fault.package, &fault.tests))
        }
        By::Models => {
            let run = |fault: &Fault| match &fault.model {
                Some(model) => run_model(sandbox, model),
                None => Ok(None),
            };
            try_each(sandbox, faults, run)
        }
        By::Explorer => {
            let unedited = copy_of_explorer(sandbox)?;
            try_each(sandbox, faults, |_| explore(sandbox, &unedited))
        }
    })
}

/// Shows that the explorer finds the faults meant for it.
pub(crate) fn run_explorer() -> Result<()> {
    run(&Options { names: Vec::new(), by: Some(By::Explorer) })
}

/// The kinds of checks to run, each with its faults, restricted to those that the options name.
fn choose<'a>(faults: &'a [Fault], options: &Options) -> Result<Vec<(By, Vec<&'a Fault>)>> {
    let has =
        |fault: &Fault, name: &String| fault.name == *name || fault.rule.as_ref() == Some(name);
    let is_chosen = |fault: &Fault| {
        options.names.is_empty() || options.names.iter().any(|name| has(fault, name))
    };
    let kinds: Vec<By> =
        options.by.map_or_else(|| By::value_variants().to_vec(), |by| Vec::from([by]));
    for name in &options.names {
        let mut named = faults.iter().filter(|fault| has(fault, name)).peekable();
        ensure!(named.peek().is_some(), "no fault has the name or rule {name}");
        let has_check = named.any(|fault| kinds.iter().any(|by| by.applies_to(fault)));
        ensure!(has_check, "no fault of the name or rule {name} has a check of this kind");
    }
    let faults_of = |by: By| faults.iter().filter(move |fault| by.applies_to(fault));
    let chosen = |by: By| (by, faults_of(by).filter(|fault| is_chosen(fault)).collect::<Vec<_>>());
    Ok(kinds.into_iter().map(chosen).filter(|(_, faults)| !faults.is_empty()).collect())
}

/// Applies each fault, and prints how the check found it. Returns how many were not found.
fn try_each(
    sandbox: &Sandbox,
    faults: &[&Fault],
    check: impl Fn(&Fault) -> Result<Option<String>>,
) -> usize {
    let mut missed = 0;
    for fault in faults {
        let began = Instant::now();
        let verdict = sandbox.with_fault(fault, || check(fault));
        missed += usize::from(!matches!(verdict, Ok(Some(_))));
        let verdict = match verdict {
            Ok(found) => found.unwrap_or_else(|| "NOT FOUND".to_owned()),
            Err(error) => format!("ERROR: {error:#}"),
        };
        let Fault { name, about, rule, .. } = fault;
        let rule = rule.as_deref().unwrap_or("-");
        let seconds = began.elapsed().as_secs_f64();
        println!("{rule:4}{seconds:>6.1} s  {name}: {about}\n{:14}{verdict}", "");
    }
    missed
}

/// Shows that each filter names tests, and that they pass without any edit.
fn check_unedited_tests(sandbox: &Sandbox, faults: &[&Fault]) -> Result<()> {
    let mut filters = BTreeMap::<&str, BTreeSet<String>>::new();
    for fault in faults {
        filters.entry(&fault.package).or_default().extend(fault.tests.iter().cloned());
    }
    for (package, filters) in filters {
        check_tests(sandbox, package, &Vec::from_iter(filters))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(name: &str, rule: &str, checks: &str) -> Fault {
        let fields = format!("name = '{name}'\nrule = '{rule}'\nabout = ''\n{checks}");
        toml::from_str(&format!("{fields}\nedit = {{ delete = 1 }}")).expect("a fault")
    }

    /// Chooses from three faults and counts the checks of each kind.
    fn choose(names: &[&str], by: Option<By>) -> Option<Vec<(By, usize)>> {
        let model = "model = { library = '', checker = '', test = '' }";
        let table = [
            fault("a", "R1", "tests = ['x']\nexplorer = true"),
            fault("b", "R10", model),
            fault("c", "R1", "tests = ['x']"),
        ];
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let chosen = super::choose(&table, &Options { names, by }).ok()?;
        Some(chosen.into_iter().map(|(by, faults)| (by, faults.len())).collect())
    }

    #[test]
    fn faults_are_chosen_by_name_or_rule() {
        assert_eq!(choose(&["R1"], Some(By::Tests)), Some(vec![(By::Tests, 2)]));
        assert_eq!(choose(&["R10", "c"], Some(By::Models)), None, "c has no model");
        assert_eq!(choose(&["R2"], None), None);
    }

    #[test]
    fn every_kind_of_check_that_a_fault_has_is_chosen() {
        assert_eq!(choose(&["a"], None), Some(vec![(By::Tests, 1), (By::Explorer, 1)]));
        assert_eq!(choose(&["b"], None), Some(vec![(By::Models, 1)]));
        let all = vec![(By::Tests, 2), (By::Models, 1), (By::Explorer, 1)];
        assert_eq!(choose(&[], None), Some(all));
    }
}
