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

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};

pub(crate) use self::check::model_environment;
use self::check::{Verdict, check_tests, explore, run_model, run_tests};
use self::sandbox::Sandbox;
use self::table::Fault;
use crate::workspace::Workspace;

/// Applies faults to a copy of the workspace and shows that the checks find them.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only the faults of these names.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only the faults of this rule, such as `R5`. Can be repeated.
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<String>,
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

impl By {
    fn checks(self, fault: &Fault) -> bool {
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
    run_checks(&workspace, &chosen, options.by)
}

/// Shows that the explorer finds the faults meant for it.
pub(crate) fn run_explorer(workspace: &Workspace) -> Result<()> {
    let faults = table::read(workspace.root())?;
    let chosen: Vec<&Fault> = faults.iter().filter(|fault| fault.explorer).collect();
    run_checks(workspace, &chosen, By::Explorer)
}

fn run_checks(workspace: &Workspace, faults: &[&Fault], by: By) -> Result<()> {
    let began = Instant::now();
    let sandbox = Sandbox::prepare(workspace)?;
    let unedited = match by {
        By::Tests => {
            check_unedited_tests(&sandbox, faults)?;
            None
        }
        By::Models => None,
        By::Explorer => Some(check::copy_of_explorer(&sandbox)?),
    };
    let mut missed = 0;
    for fault in faults {
        let began = Instant::now();
        let verdict = sandbox.with_fault(fault, |sandbox| match (&unedited, &fault.model) {
            (Some(unedited), _) => explore(sandbox, unedited),
            (None, Some(model)) if by == By::Models => run_model(sandbox, model),
            _ => run_tests(sandbox, &fault.package, &fault.tests),
        });
        missed += usize::from(matches!(verdict, Ok(Verdict::Missed) | Err(_)));
        let verdict = verdict.map_or_else(|error| format!("ERROR: {error:#}"), |v| v.to_string());
        let rule = fault.rule.as_deref().unwrap_or("-");
        let seconds = began.elapsed().as_secs_f64();
        println!("{rule:4}{seconds:>6.1} s  {}: {}\n{:14}{verdict}", fault.name, fault.about, "");
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{} faults, {missed} not shown to be found, {seconds:.1} s", faults.len());
    ensure!(missed == 0, "{missed} faults were not shown to be found");
    Ok(())
}

/// The faults that the options select, or an error that lists the alternatives.
fn choose<'a>(faults: &'a [Fault], options: &Options) -> Result<Vec<&'a Fault>> {
    let faults = faults.iter().filter(|fault| options.by.checks(fault));
    let rules = faults.clone().filter_map(|fault| fault.rule.as_deref()).collect();
    let names = faults.clone().map(|fault| fault.name.as_str()).collect();
    ensure_known("rule", &options.rules, rules)?;
    ensure_known("fault", &options.names, names)?;
    let is_chosen = |fault: &&Fault| {
        let has_rule = |rule: &String| fault.rule.as_ref() == Some(rule);
        (options.rules.is_empty() || options.rules.iter().any(has_rule))
            && (options.names.is_empty() || options.names.contains(&fault.name))
    };
    Ok(faults.filter(is_chosen).collect())
}

fn ensure_known(kind: &str, wanted: &[String], known: BTreeSet<&str>) -> Result<()> {
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name.as_str())) {
        let known = Vec::from_iter(known).join(", ");
        bail!("invalid {kind} `{unknown}`, expected one of {known}");
    }
    Ok(())
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

    fn fault(name: &str, rule: &str) -> Fault {
        let text = format!(
            "name = '{name}'\nrule = '{rule}'\nabout = ''\ntests = ['x']\nedit = {{ delete = 1 }}"
        );
        toml::from_str(&text).expect("a fault")
    }

    #[test]
    fn faults_are_chosen_by_rule_and_name() {
        let table = [fault("a", "R1"), fault("b", "R10"), fault("c", "R1")];
        let choose = |rules: &[&str], names: &[&str]| {
            let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
            choose(&table, &Options { names: words(names), rules: words(rules), by: By::Tests })
                .map(|faults| faults.len())
                .map_err(|error| error.to_string())
        };
        assert_eq!(choose(&[], &[]), Ok(3));
        assert_eq!(choose(&["R1"], &[]), Ok(2));
        assert_eq!(choose(&["R1"], &["c"]), Ok(1));
        assert_eq!(choose(&["R2"], &[]), Err("invalid rule `R2`, expected one of R1, R10".into()));
        assert_eq!(choose(&[], &["d"]), Err("invalid fault `d`, expected one of a, b, c".into()));
    }
}
