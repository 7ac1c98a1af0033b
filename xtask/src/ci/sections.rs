//! The sections of CI.
//!
//! The ordinary debug build is shared by clippy, the tests and the doc tests, the ordinary release
//! build belongs to the load test. Builds with flags of their own have a target directory of their
//! own below the common one, since cargo would otherwise build everything anew each time.

use std::process::Command;

use anyhow::{Context, Result};

use super::runner::Runner;
use super::{alone, layers, tidy};
use crate::mutants::table;

/// A part of CI that can be run alone.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) run: fn(&mut Runner) -> Result<Outcome>,
}

/// How a section ended that did not fail.
pub(super) enum Outcome {
    Passed,
    Skipped(String),
}

/// From the quickest to the slowest, so that a failure shows early.
pub(super) const SECTIONS: &[Section] = &[
    Section { name: "fmt", about: "the format of the code", run: fmt },
    Section { name: "tidy", about: "house rules that no other tool checks", run: tidy },
    Section { name: "clippy", about: "lints, warnings are errors", run: clippy },
    Section { name: "docs", about: "the documentation, warnings are errors", run: docs },
    Section { name: "test", about: "unit and integration tests, debug", run: test },
    Section { name: "doctest", about: "the examples in the documentation", run: doctest },
    Section { name: "optimized", about: "tests, optimized, AddressSanitizer", run: optimized },
    Section { name: "models", about: "loom and shuttle models", run: models },
    Section { name: "explore", about: "random programs, planted faults", run: explore },
    Section { name: "alone", about: "each library crate outside the workspace", run: alone },
    Section { name: "counts", about: "instructions of small operations", run: counts },
    Section { name: "loadtest", about: "echo and the seed's program under load", run: loadtest },
    Section { name: "mutants", about: "each rule's tests fail without its code", run: mutants },
];

/// The tests that are neither doc tests nor models. Without `--no-fail-fast` the sum of the tests
/// would depend on which of them failed first.
const TESTS: &str = "--workspace --lib --bins --tests --no-fail-fast";

const LIBRARIES: [&str; 4] = ["ownership", "sync", "runtime", "net"];

/// Libraries whose tests lose values on purpose (`mem::forget`, ledgers that are never settled) to
/// show what then happens. The leak detector would report those, so there it is off; all else that
/// AddressSanitizer finds is an error in them too.
const LOSES_ON_PURPOSE: [&str; 1] = ["ownership"];

/// Each access is checked by a call: so much code is compiled in three quarters of the time that it
/// takes with the checks in place, and the tests take little longer.
const SANITIZED: &str =
    "-Zsanitizer=address -Cllvm-args=-asan-instrumentation-with-call-threshold=0";

const HOST: &str = "x86_64-unknown-linux-gnu";

fn fmt(runner: &mut Runner) -> Result<Outcome> {
    let mut command = runner.cargo("fmt --all --check");
    runner.run(&mut command)?;
    Ok(Outcome::Passed)
}

fn tidy(runner: &mut Runner) -> Result<Outcome> {
    let mut faults = tidy::faults(runner.workspace.root())?;
    faults.extend(table::check(runner.workspace.root())?.1);
    faults.extend(layers::faults(runner.workspace.packages()));
    for fault in &faults {
        println!("{fault}");
    }
    anyhow::ensure!(faults.is_empty(), "{} faults", faults.len());
    Ok(Outcome::Passed)
}

fn clippy(runner: &mut Runner) -> Result<Outcome> {
    let mut command = runner.cargo("clippy --workspace --all-targets -- -D warnings");
    runner.run(&mut command)?;
    Ok(Outcome::Passed)
}

fn docs(runner: &mut Runner) -> Result<Outcome> {
    let mut command = runner.cargo("doc --workspace --no-deps");
    runner.run(command.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Passed)
}

fn test(runner: &mut Runner) -> Result<Outcome> {
    // Examples are programs that tests may start, so they are built first, and not as tests.
    let mut examples = runner.cargo("build --workspace --examples");
    runner.run(&mut examples)?;
    let mut tests = runner.cargo(&format!("test {TESTS}"));
    // Many of them wait for a server or a clock.
    runner.run(tests.env("RUST_TEST_THREADS", "4"))?;
    Ok(Outcome::Passed)
}

fn doctest(runner: &mut Runner) -> Result<Outcome> {
    let mut command = runner.cargo("test --workspace --doc --no-fail-fast");
    runner.run(&mut command)?;
    Ok(Outcome::Passed)
}

/// The libraries' tests as their users run them: optimized. Under AddressSanitizer, if there is the
/// nightly toolchain that it needs. The programs are run optimized by other sections.
fn optimized(runner: &mut Runner) -> Result<Outcome> {
    let sanitized = has_nightly();
    for library in LIBRARIES {
        let mut command = if sanitized { nightly(runner) } else { runner.cargo("") };
        command.args(["test", "--release", "--lib", "--tests", "--no-fail-fast"]);
        command.args(["--package", &format!("matou-{library}")]);
        // Most of the time would go into making quick tests of what is looked at once: one level
        // is enough.
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        command.env("CARGO_PROFILE_RELEASE_DEBUG", "false");
        command.env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
        command.env("CARGO_TARGET_DIR", runner.target_below("optimized"));
        if sanitized {
            let leaks = if LOSES_ON_PURPOSE.contains(&library) { "0" } else { "1" };
            // A target of its own keeps build scripts and macros from being sanitized.
            command.args(["--target", HOST]).env("RUSTFLAGS", SANITIZED);
            command.env("ASAN_OPTIONS", format!("detect_leaks={leaks}"));
        }
        runner.run(&mut command)?;
    }
    if !sanitized {
        println!("without AddressSanitizer: no nightly toolchain is installed");
    }
    Ok(Outcome::Passed)
}

fn nightly(runner: &Runner) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).current_dir(runner.workspace.root());
    // The variables of the stable cargo that runs this program must not reach the nightly one.
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH");
    command
}

fn has_nightly() -> bool {
    let output = Command::new("rustup").args(["run", "nightly", "rustc", "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}

fn models(runner: &mut Runner) -> Result<Outcome> {
    let mut any = false;
    for checker in ["loom", "shuttle"] {
        for library in LIBRARIES {
            let file = format!("{library}/tests/{checker}.rs");
            if !runner.workspace.root().join(file).exists() {
                continue;
            }
            any = true;
            let words = format!("test --release --test {checker} --package matou-{library}");
            let mut command = runner.cargo(&words);
            command.env("CARGO_TARGET_DIR", runner.target_below(checker));
            command.env("CARGO_PROFILE_RELEASE_DEBUG", "false");
            command.env("RUSTFLAGS", format!("--cfg {checker}"));
            if checker == "loom" {
                // Two preemptions let known faults through that three find.
                command.env("LOOM_MAX_PREEMPTIONS", "3");
            }
            runner.run(&mut command)?;
        }
    }
    Ok(if any { Outcome::Passed } else { Outcome::Skipped("there are no models".into()) })
}

fn alone(runner: &mut Runner) -> Result<Outcome> {
    alone::run(runner)?;
    Ok(Outcome::Passed)
}

fn loadtest(runner: &mut Runner) -> Result<Outcome> {
    let seed = "--example miou_tutorial --kill-in-the-middle";
    for server in ["", seed] {
        for domains in [1, 2, 4] {
            let words = format!("loadtest --seconds 3 --domains {domains} {server}");
            // Not the path of this program, where cargo may meanwhile have put a newer one.
            let mut command = Command::new("/proc/self/exe");
            command.args(words.split_whitespace()).current_dir(runner.workspace.root());
            runner.run(&mut command).with_context(|| format!("{domains} domains"))?;
        }
    }
    Ok(Outcome::Passed)
}

/// The benchmark is a workspace of its own, so its lints are looked at here.
fn counts(runner: &mut Runner) -> Result<Outcome> {
    let manifest = "--manifest-path tools/bench/Cargo.toml";
    let mut format = runner.cargo(&format!("fmt {manifest} --check"));
    runner.run(&mut format)?;
    let mut lints = runner.cargo(&format!("clippy {manifest} --release -- -D warnings"));
    let target = runner.target_below("bench");
    runner.run(lints.env("CARGO_TARGET_DIR", target))?;
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Ok(Outcome::Skipped("it needs valgrind".into()));
    }
    let mut command = Command::new("/proc/self/exe");
    command.args(["bench", "--check", "--counts-only"]).current_dir(runner.workspace.root());
    runner.run(&mut command)?;
    Ok(Outcome::Passed)
}

fn explore(runner: &mut Runner) -> Result<Outcome> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["explore", "--self-test"]).current_dir(runner.workspace.root());
    runner.run(&mut command)?;
    Ok(Outcome::Passed)
}

fn mutants(runner: &mut Runner) -> Result<Outcome> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("mutants").current_dir(runner.workspace.root());
    runner.run(&mut command)?;
    Ok(Outcome::Passed)
}
