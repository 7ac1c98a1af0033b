//! The sections of CI.
//!
//! The tests and the lints share the ordinary debug build, the explorer and the load test share the
//! ordinary release build. Builds with other flags have target directories of their own below the
//! common one, since each of them would otherwise invalidate the others.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::runner::Runner;
use super::tidy;
use crate::mutants::model_environment;

/// A part of CI that can be run alone.
pub(super) struct Section {
    pub(super) name: &'static str,
    /// The property that a success shows.
    pub(super) proves: &'static str,
    /// The time that it takes on two cores, from a clean clone with all sections in order.
    pub(super) seconds: u32,
    pub(super) run: fn(&mut Runner) -> Result<Outcome>,
}

/// The end of a section that did not fail.
pub(super) enum Outcome {
    Passed,
    Skipped(String),
}

/// `cargo test` is first, because it is the command in the README. The others follow from quick to
/// slow.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "test",
        proves: "unit tests, integration tests and the examples of the docs pass, in debug mode",
        seconds: 132,
        run: test,
    },
    Section { name: "fmt", proves: "the code has the format of cargo fmt", seconds: 1, run: fmt },
    Section {
        name: "tidy",
        proves: "the sources keep the rules for text, modules, scenarios and fault markers",
        seconds: 5,
        run: tidy,
    },
    Section {
        name: "clippy",
        proves: "clippy has no warnings, the benchmarks included",
        seconds: 64,
        run: clippy,
    },
    Section { name: "docs", proves: "rustdoc has no warnings", seconds: 9, run: docs },
    Section {
        name: "package",
        proves: "each crate can be packaged, and compiles without the features of the others",
        seconds: 13,
        run: package,
    },
    Section {
        name: "sanitizer",
        proves: "the tests of the crates with unsafe code pass under AddressSanitizer",
        seconds: 109,
        run: sanitizer,
    },
    Section {
        name: "models",
        proves: "loom and shuttle find no failing schedule, and do find planted faults",
        seconds: 206,
        run: models,
    },
    Section {
        name: "explore",
        proves: "random programs keep the rules, and the explorer finds planted faults",
        seconds: 86,
        run: explore,
    },
    Section {
        name: "loadtest",
        proves: "both echo servers lose no byte under load and leave nothing behind",
        seconds: 35,
        run: loadtest,
    },
    Section {
        name: "counts",
        proves: "small operations execute as many instructions as committed, within 2 %",
        seconds: 98,
        run: counts,
    },
    Section {
        name: "mutants",
        proves: "the tests of each rule fail without the code that enforces it",
        seconds: 252,
        run: mutants,
    },
];

const LIBRARIES: [&str; 5] = ["hooks", "ownership", "sync", "runtime", "net"];

/// The libraries with unsafe code.
const WITH_UNSAFE: [&str; 2] = ["sync", "runtime"];

/// Each access is checked by a call instead of inlined code, which compiles faster.
const SANITIZED: &str =
    "-Zsanitizer=address -Cllvm-args=-asan-instrumentation-with-call-threshold=0";

const HOST: &str = "x86_64-unknown-linux-gnu";

/// The first command of the README, and of every contributor.
fn test(runner: &mut Runner) -> Result<Outcome> {
    // The total would otherwise depend on which test binary fails first.
    runner.run_cargo("test --no-fail-fast")
}

fn fmt(runner: &mut Runner) -> Result<Outcome> {
    runner.run_cargo("fmt --all --check")?;
    runner.run_cargo("fmt --manifest-path tools/bench/Cargo.toml --check")
}

fn tidy(runner: &mut Runner) -> Result<Outcome> {
    let problems = tidy::problems(&runner.workspace)?;
    for problem in &problems {
        println!("{problem}");
    }
    anyhow::ensure!(problems.is_empty(), "{} problems", problems.len());
    Ok(Outcome::Passed)
}

fn clippy(runner: &mut Runner) -> Result<Outcome> {
    runner.run_cargo("clippy --workspace --all-targets -- -D warnings")?;
    let mut benchmarks = runner.cargo("clippy --manifest-path tools/bench/Cargo.toml");
    benchmarks.args(["--target-dir"]).arg(runner.target_below("bench"));
    runner.run(benchmarks.args(["--", "-D", "warnings"]))
}

fn docs(runner: &mut Runner) -> Result<Outcome> {
    let mut command = runner.cargo("doc --workspace --no-deps");
    runner.run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Packages the published crates. Compiling each library alone shows that it needs no features that
/// only the other members of the workspace enable.
fn package(runner: &mut Runner) -> Result<Outcome> {
    let mut command = runner.cargo("package --workspace --no-verify --allow-dirty --quiet");
    for package in runner.workspace.packages().iter().filter(|package| !package.is_published) {
        command.args(["--exclude", &package.name]);
    }
    runner.run(&mut command)?;
    for library in LIBRARIES {
        runner.run_cargo(&format!("check --package matou-{library}"))?;
    }
    Ok(Outcome::Passed)
}

/// In debug mode: optimized builds take three times as long to compile.
fn sanitizer(runner: &mut Runner) -> Result<Outcome> {
    if !has_nightly() {
        return Ok(Outcome::Skipped("it needs a nightly toolchain".into()));
    }
    for library in WITH_UNSAFE {
        let mut command = nightly(runner);
        command.args(["test", "--lib", "--tests", "--no-fail-fast"]);
        // With a target, build scripts and macros are compiled without the sanitizer.
        command.args(["--package", &format!("matou-{library}"), "--target", HOST]);
        command.env("RUSTFLAGS", SANITIZED).env("CARGO_PROFILE_DEV_DEBUG", "false");
        runner.run(command.env("CARGO_TARGET_DIR", runner.target_below("sanitizer")))?;
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
    for checker in ["loom", "shuttle"] {
        for library in LIBRARIES {
            let file = format!("{library}/tests/{checker}.rs");
            if Path::exists(&runner.workspace.root().join(file)) {
                let words = format!("test --release --test {checker} --package matou-{library}");
                let mut command = runner.cargo(&words);
                runner
                    .run(command.envs(model_environment(checker, &runner.target_below(checker))))?;
            }
        }
    }
    runner.run_xtask("mutants --by models")
}

fn explore(runner: &mut Runner) -> Result<Outcome> {
    runner.run_xtask("explore --self-test")
}

fn loadtest(runner: &mut Runner) -> Result<Outcome> {
    for server in ["", "--example miou_tutorial --kill-in-the-middle"] {
        for domains in [1, 2, 4] {
            let words = format!("loadtest --seconds 3 --domains {domains} {server}");
            runner.run_xtask(&words).with_context(|| format!("{domains} domains"))?;
        }
    }
    Ok(Outcome::Passed)
}

fn counts(runner: &mut Runner) -> Result<Outcome> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Ok(Outcome::Skipped("it needs valgrind".into()));
    }
    runner.run_xtask("bench --check --counts-only")
}

fn mutants(runner: &mut Runner) -> Result<Outcome> {
    runner.run_xtask("mutants --by tests")
}
