//! `cargo xtask mutants`: shows that each check fails without the code that it checks.
//!
//! The table `xtask/faults.toml` describes small edits, each keyed by a marker comment in the
//! sources. A copy of the workspace contains them all, each behind a switch (see `switch.rs`), so
//! that one build serves all faults. For each, its checks are run there:
//!
//! - integration tests, of which one must fail, crash or hang;
//! - a model of loom or shuttle, which must fail, while all models pass without a fault;
//! - the explorer, which must find a seed that fails, fail with the same seed again, and pass with
//!   that seed without the edit.
//!
//! An edit that does not compile or does not apply is an error, as are tests that fail without it.

mod build;
mod check;
mod edit;
mod sandbox;
mod switch;
pub(crate) mod table;
mod watch;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};

use self::build::{Build, Key};
pub(crate) use self::check::model_environment;
use self::sandbox::{Program, Sandbox};
use self::table::Fault;
use crate::workspace::Workspace;

/// Applies faults to a copy of the workspace and shows that the checks find them.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only the faults of these names or rules, such as `R5`.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only checks of these kinds. The default is every kind that a fault has.
    #[arg(long, value_enum)]
    by: Vec<By>,
}

/// Checks that run at a time. Each waits much: for the ends of threads, and in tests that hang.
const LANES: usize = 8;

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
    let began = Instant::now();
    let (mut checks, mut missed) = (0, 0);
    let all = options.names.is_empty();
    for build in Build::list(&workspace, &chosen, all) {
        let mut sandbox = Sandbox::prepare(&workspace, build.copy(), &faults)?;
        for program in sandbox.build(&build)? {
            for (by, faults) in checked_by(&program, &chosen) {
                check::passes_without_faults(&program, by, &faults, all)?;
                checks += faults.len();
                missed += try_each(&faults, |fault| match sandbox.error_of(fault) {
                    Some(error) => bail!("the edit does not compile:\n{error}"),
                    None => check::run(by, fault, &program),
                });
            }
        }
    }
    println!("{checks} checks, {missed} found no fault, {:.1} s", began.elapsed().as_secs_f64());
    ensure!(missed == 0, "{missed} checks found no fault");
    Ok(())
}

/// The faults that the program checks, by the kind of check.
fn checked_by<'a>(
    program: &Program,
    chosen: &[(By, Vec<&'a Fault>)],
) -> impl Iterator<Item = (By, Vec<&'a Fault>)> {
    chosen.iter().map(|(by, faults)| {
        let is_checked = |fault: &&&Fault| Key::of(*by, fault).0 == program.key;
        (*by, faults.iter().filter(is_checked).copied().collect())
    })
}

/// The kinds of checks to run, each with its faults, restricted to those that the options name.
fn choose<'a>(faults: &'a [Fault], options: &Options) -> Result<Vec<(By, Vec<&'a Fault>)>> {
    let has =
        |fault: &Fault, name: &String| fault.name == *name || fault.rule.as_ref() == Some(name);
    let is_chosen = |fault: &Fault| {
        options.names.is_empty() || options.names.iter().any(|name| has(fault, name))
    };
    let kinds = if options.by.is_empty() { By::value_variants() } else { &options.by };
    for name in &options.names {
        let mut named = faults.iter().filter(|fault| has(fault, name)).peekable();
        ensure!(named.peek().is_some(), "no fault has the name or rule {name}");
        let has_check = named.any(|fault| kinds.iter().any(|by| by.applies_to(fault)));
        ensure!(has_check, "no fault of the name or rule {name} has a check of this kind");
    }
    let faults_of = |by: By| faults.iter().filter(move |fault| by.applies_to(fault));
    let chosen = |by: By| (by, faults_of(by).filter(|fault| is_chosen(fault)).collect::<Vec<_>>());
    Ok(kinds.iter().copied().map(chosen).filter(|(_, faults)| !faults.is_empty()).collect())
}

/// Checks the faults in several lanes, and prints how each was found. Returns how many were not.
fn try_each(faults: &[&Fault], check: impl Fn(&Fault) -> Result<Option<String>> + Sync) -> usize {
    let (next, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let run_lane = || {
        while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            let verdict = check(fault);
            missed.fetch_add(usize::from(!matches!(verdict, Ok(Some(_)))), Ordering::Relaxed);
            let verdict = match verdict {
                Ok(found) => found.unwrap_or_else(|| "NOT FOUND".to_owned()),
                Err(error) => format!("ERROR: {error:#}"),
            };
            let Fault { name, about, rule, .. } = fault;
            let rule = rule.as_deref().unwrap_or("-");
            let seconds = began.elapsed().as_secs_f64();
            println!("{rule:4}{seconds:>6.1} s  {name}: {about}\n{:14}{verdict}", "");
        }
    };
    thread::scope(|scope| (0..LANES).for_each(|_| drop(scope.spawn(run_lane))));
    missed.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(name: &str, rule: &str, checks: &str) -> Fault {
        let fields = format!("name = '{name}'\nrule = '{rule}'\nabout = ''\n{checks}");
        toml::from_str(&format!("{fields}\nedit = {{ delete = 1 }}")).expect("a fault")
    }

    /// Chooses from three faults and counts the checks of each kind.
    fn choose(names: &[&str], by: &[By]) -> Option<Vec<(By, usize)>> {
        let model = "model = { library = '', checker = '', test = '' }";
        let table = [
            fault("a", "R1", "tests = ['x']\nexplorer = true"),
            fault("b", "R10", model),
            fault("c", "R1", "tests = ['x']"),
        ];
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let chosen = super::choose(&table, &Options { names, by: by.to_vec() }).ok()?;
        Some(chosen.into_iter().map(|(by, faults)| (by, faults.len())).collect())
    }

    #[test]
    fn faults_are_chosen_by_name_or_rule() {
        assert_eq!(choose(&["R1"], &[By::Tests]), Some(vec![(By::Tests, 2)]));
        assert_eq!(choose(&["R10", "c"], &[By::Models]), None, "c has no model");
        assert_eq!(choose(&["R2"], &[]), None);
    }

    #[test]
    fn every_kind_of_check_that_a_fault_has_is_chosen() {
        assert_eq!(choose(&["a"], &[]), Some(vec![(By::Tests, 1), (By::Explorer, 1)]));
        assert_eq!(choose(&["b"], &[]), Some(vec![(By::Models, 1)]));
        let all = vec![(By::Tests, 2), (By::Models, 1), (By::Explorer, 1)];
        assert_eq!(choose(&[], &[]), Some(all));
    }
}
