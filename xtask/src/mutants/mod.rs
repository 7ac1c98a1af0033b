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
    /// The check that must find the faults.
    #[arg(long, value_enum, default_value_t = By::Tests)]
    by: By,
}

/// A kind of check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    Tests,
    Models,
    Explorer,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let faults = table::read(workspace.root())?;
    let chosen = choose(&faults, options)?;
    let sandbox = Sandbox::prepare(&workspace)?;
    let began = Instant::now();
    let missed = match options.by {
        By::Tests => {
            check_unedited_tests(&sandbox, &chosen)?;
            try_each(&sandbox, &chosen, |fault| run_tests(&sandbox, &fault.package, &fault.tests))
        }
        By::Models => {
            let run = |fault: &Fault| match &fault.model {
                Some(model) => run_model(&sandbox, model),
                None => Ok(None),
            };
            try_each(&sandbox, &chosen, run)
        }
        By::Explorer => {
            let unedited = copy_of_explorer(&sandbox)?;
            try_each(&sandbox, &chosen, |_| explore(&sandbox, &unedited))
        }
    };
    println!("{} faults, {missed} not found, {:.1} s", chosen.len(), began.elapsed().as_secs_f64());
    ensure!(missed == 0, "{missed} faults were not found");
    Ok(())
}

/// Shows that the explorer finds the faults meant for it.
pub(crate) fn run_explorer() -> Result<()> {
    run(&Options { names: Vec::new(), by: By::Explorer })
}

/// The faults for the check, restricted to those that the options name.
fn choose<'a>(faults: &'a [Fault], options: &Options) -> Result<Vec<&'a Fault>> {
    let is_checked = |fault: &&Fault| match options.by {
        By::Tests => !fault.tests.is_empty(),
        By::Models => fault.model.is_some(),
        By::Explorer => fault.explorer,
    };
    let faults: Vec<&Fault> = faults.iter().filter(is_checked).collect();
    let has =
        |fault: &Fault, name: &String| fault.name == *name || fault.rule.as_ref() == Some(name);
    for name in &options.names {
        ensure!(
            faults.iter().any(|fault| has(fault, name)),
            "no fault has the name or rule {name}"
        );
    }
    let is_named = |fault: &&Fault| options.names.iter().any(|name| has(fault, name));
    let all = options.names.is_empty();
    Ok(faults.into_iter().filter(|fault| all || is_named(fault)).collect())
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

    #[test]
    fn faults_are_chosen_by_name_or_rule() {
        let fault = |name: &str, rule: &str| -> Fault {
            let fields = format!("name = '{name}'\nrule = '{rule}'\nabout = ''\ntests = ['x']");
            toml::from_str(&format!("{fields}\nedit = {{ delete = 1 }}")).expect("a fault")
        };
        let table = [fault("a", "R1"), fault("b", "R10"), fault("c", "R1")];
        let choose = |names: &[&str], by| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            choose(&table, &Options { names, by }).ok().map(|faults| faults.len())
        };
        assert_eq!(choose(&[], By::Tests), Some(3));
        assert_eq!(choose(&["R1", "b"], By::Tests), Some(3));
        assert_eq!(choose(&["R10"], By::Tests), Some(1));
        assert_eq!(choose(&["R2"], By::Tests), None);
        assert_eq!(choose(&[], By::Models), Some(0));
    }
}
