//! `cargo xtask mutants`: shows that the tests of each rule fail without the code that upholds it.
//!
//! Method: the table `xtask/mutants.json` names small edits, each of which takes away the code
//! behind one of the rules R1 to R12. Each is applied to a copy of the workspace, on which the
//! tests of that rule are run. A test that fails, a crash and a hang kill the mutant. An edit that
//! does not compile proves nothing, nor does one whose text is no longer in the source exactly
//! once, nor a filter that names no test or tests that fail anyway: all these are errors.

mod bench;
mod table;

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use clap::Args;

use self::bench::{Bench, Verdict};
use self::table::Mutant;
use crate::workspace::Workspace;

/// Shows that the tests of each rule fail without the code that upholds it.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only the mutants of this rule, such as `R5`; may be given several times.
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    let workspace = Workspace::load()?;
    let mutants = choose(table::read(workspace.root())?, &options.rules)?;
    let bench = Bench::prepare(&workspace)?;
    check_unchanged(&bench, &mutants)?;
    let mut survivors = 0;
    for mutant in &mutants {
        let began = Instant::now();
        let verdict = bench.judge(mutant)?;
        survivors += usize::from(matches!(verdict, Verdict::Survived));
        let seconds = began.elapsed().as_secs_f64();
        println!("{:4}{seconds:>6.1} s  {}\n{:14}{verdict}", mutant.rule, mutant.why, "");
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{} mutants, {survivors} survived, {seconds:.1} s", mutants.len());
    ensure!(survivors == 0, "{survivors} mutants survived: those rules are not shown by tests");
    Ok(())
}

/// The mutants of the rules that were asked for, or all.
fn choose(mutants: Vec<Mutant>, rules: &[String]) -> Result<Vec<Mutant>> {
    for rule in rules {
        if !mutants.iter().any(|mutant| mutant.rule == *rule) {
            let known: BTreeSet<&str> = mutants.iter().map(|m| m.rule.as_str()).collect();
            let known = Vec::from_iter(known).join(", ");
            bail!("there is no mutant of a rule {rule}; the rules are {known}");
        }
    }
    let is_chosen = |mutant: &Mutant| rules.is_empty() || rules.contains(&mutant.rule);
    Ok(mutants.into_iter().filter(is_chosen).collect())
}

/// Without any edit each filter names tests, and they pass.
fn check_unchanged(bench: &Bench, mutants: &[Mutant]) -> Result<()> {
    let packages: BTreeSet<&str> = mutants.iter().map(|m| m.package.as_str()).collect();
    for package in packages {
        let of_package = mutants.iter().filter(|mutant| mutant.package == package);
        let filters: BTreeSet<&str> = of_package.map(|mutant| mutant.test.as_str()).collect();
        bench.check_unchanged(package, &Vec::from_iter(filters))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(rule: &str) -> Mutant {
        Mutant { rule: rule.into(), ..Mutant::default() }
    }

    #[test]
    fn the_mutants_of_a_rule_are_chosen_and_an_unknown_rule_is_an_error() {
        let table = || vec![mutant("R1"), mutant("R10"), mutant("R1")];
        assert_eq!(choose(table(), &["R1".into()]).expect("it is there").len(), 2);
        assert_eq!(choose(table(), &[]).expect("all").len(), 3);
        let error = choose(table(), &["R2".into()]).expect_err("there is none");
        assert!(error.to_string().ends_with("the rules are R1, R10"), "{error}");
    }
}
