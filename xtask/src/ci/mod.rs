//! `cargo xtask ci`: everything that CI checks, in timed sections that can be run alone.
//!
//! The first sections run one after the other, the rest in two lanes (see `lanes.rs`).

mod lanes;
mod runner;
mod sections;
mod tidy;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use self::runner::Runner;
use self::sections::{Outcome, SECTIONS, Section, TOTAL_SECONDS};
use crate::workspace::Workspace;

/// Runs all checks of CI, or some sections.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The sections to run, in the order of the list; all of them by default.
    #[arg(value_name = "SECTION")]
    sections: Vec<String>,
    /// Lists the sections, what each proves, and its time from a clean clone on two cores.
    #[arg(long)]
    list: bool,
    /// Continues after a failed section.
    #[arg(long)]
    keep_going: bool,
}

/// Restores the default action of SIGINT, so that the programs under test get it too.
///
/// A shell starts background processes with SIGINT ignored, and children inherit that. A handled
/// signal has its default action in children.
fn restore_interrupts() -> Result<()> {
    let armed = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGINT, 130, armed)
        .context("failed to handle SIGINT")?;
    Ok(())
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list {
        for section in SECTIONS {
            println!("{:10}{:>5} s  {}", section.name, section.seconds, section.proves);
        }
        println!("{:10}{TOTAL_SECONDS:>5} s", "all");
        return Ok(());
    }
    let chosen = choose(&options.sections)?;
    restore_interrupts()?;
    let began = Instant::now();
    let workspace = Workspace::load()?;
    let (together, alone): (Vec<&Section>, Vec<&Section>) = match chosen.len() {
        1 => (Vec::new(), chosen),
        _ => chosen.into_iter().partition(|section| !section.builds.is_empty()),
    };
    let mut runner = Runner::new(workspace.clone(), false);
    let mut rows: Vec<Row> = Vec::new();
    let goes_on = |rows: &[Row]| options.keep_going || rows.iter().all(|row| row.outcome.is_ok());
    for section in alone {
        if goes_on(&rows) {
            rows.push(Row::of(section, &mut runner));
        }
    }
    let mut totals = runner.totals();
    if goes_on(&rows) {
        let (more, results) = lanes::run(&workspace, together, options.keep_going);
        rows.extend(more);
        totals += results;
    }
    println!();
    rows.iter().for_each(Row::print);
    println!("{:10}{:>8.1} s\n", "all", began.elapsed().as_secs_f64());
    // The last line, in the form that a reader of the log looks for.
    println!("{totals}");
    let failed: Vec<&str> =
        rows.iter().filter(|row| row.outcome.is_err()).map(|row| row.section.name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// The result of a section.
struct Row {
    section: &'static Section,
    took: Duration,
    outcome: Result<Outcome>,
}

impl Row {
    fn of(section: &'static Section, runner: &mut Runner) -> Row {
        let began = Instant::now();
        runner.print(&format!("\n== {} ==", section.name));
        let outcome = (section.run)(runner);
        if let Err(error) = &outcome {
            runner.print(&format!("{} failed: {error:#}", section.name));
        }
        Row { section, took: began.elapsed(), outcome }
    }

    fn print(&self) {
        let outcome = match &self.outcome {
            Ok(Outcome::Passed) => "ok".to_string(),
            Ok(Outcome::Skipped(reason)) => format!("skipped: {reason}"),
            Err(_) => "FAILED".to_string(),
        };
        println!("{:10}{:>8.1} s  {outcome}", self.section.name, self.took.as_secs_f64());
    }
}

fn choose(names: &[String]) -> Result<Vec<&'static Section>> {
    for name in names {
        if !SECTIONS.iter().any(|section| section.name == name) {
            let known: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
            return Err(anyhow::anyhow!("expected one of {}", known.join(", ")))
                .context(format!("invalid section `{name}`"));
        }
    }
    let is_chosen =
        |section: &&Section| names.is_empty() || names.iter().any(|n| n == section.name);
    Ok(SECTIONS.iter().filter(is_chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_run_in_the_order_of_the_list() {
        let chosen = choose(&["tidy".into(), "fmt".into()]).expect("they exist");
        let names: Vec<&str> = chosen.iter().map(|section| section.name).collect();
        assert_eq!(names, ["fmt", "tidy"]);
        assert_eq!(choose(&[]).expect("all").len(), SECTIONS.len());
    }

    #[test]
    fn an_unknown_section_is_an_error_that_names_the_known_ones() {
        let error = choose(&["tidi".into()]).err().expect("there is none");
        assert!(
            format!("{error:#}").contains("invalid section `tidi`: expected one of test, fmt, ")
        );
    }
}
