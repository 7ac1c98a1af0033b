//! The sections of CI.
//!
//! The tests and the lints share the ordinary debug build; the explorer, the load test and the
//! counts of instructions share the ordinary release build. Builds with other flags have target
//! directories of their own below the common one.

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
    /// The time that it takes on two cores, from a clean clone with all sections.
    pub(super) seconds: u32,
    /// The target directory in which it builds most; empty for a section that runs alone.
    pub(super) builds: &'static str,
    pub(super) run: fn(&mut Runner) -> Result<Outcome>,
}

const fn section(
    name: &'static str,
    (seconds, builds): (u32, &'static str),
    run: fn(&mut Runner) -> Result<Outcome>,
    proves: &'static str,
) -> Section {
    Section { name, proves, seconds, builds, run }
}

/// The end of a section that did not fail.
pub(super) enum Outcome {
    Passed,
    Skipped(String),
}

/// The time of all sections, of which two run at a time.
pub(super) const TOTAL_SECONDS: u32 = 791;

/// `cargo test` is first, because it is the command in the README. Of the sections that run at the
/// same time, the long ones are first.
pub(super) const SECTIONS: &[Section] = &[
    section("test", (236, ""), test, "the tests and the examples of the docs pass, in debug mode"),
    section("fmt", (2, ""), fmt, "the code has the format of cargo fmt"),
    section("tidy", (9, ""), tidy, "the rules for text, modules, scenarios and markers hold"),
    section("models", (167, "loom"), models, "loom finds no failing schedule, but planted faults"),
    section("mutants", (227, "debug"), mutants, "each planted fault fails a test of its rule"),
    section("sanitizer", (134, "sanitizer"), sanitizer, "AddressSanitizer finds no fault or leak"),
    section(
        "clippy",
        (110, "debug"),
        clippy,
        "clippy has no warnings, matou's benchmarks included",
    ),
    section("counts", (133, "release"), counts, "operations take as many instructions as before"),
    section(
        "ecosystem",
        (225, "ecosystem"),
        ecosystem,
        "crates that run on matou do so with real servers and clients",
    ),
    section("explore", (51, "release"), explore, "random programs keep the rules"),
    section("shuttle", (54, "shuttle"), shuttle, "shuttle finds no failing schedule"),
    section("loadtest", (65, "release"), loadtest, "no byte is lost under load or after resets"),
    section("docs", (25, "debug"), docs, "rustdoc has no warnings"),
    section("package", (43, "debug"), package, "each crate can be packaged and compiles alone"),
];

const LIBRARIES: [&str; 8] =
    ["hooks", "ownership", "sync", "runtime", "net", "os", "http", "tokio"];

/// The libraries whose unsafe code manages memory. (That of `os` makes system calls.)
const WITH_UNSAFE: [&str; 2] = ["sync", "runtime"];

/// Each access is checked by a call instead of inlined code, which compiles faster.
const SANITIZED: &str = "-Zsanitizer=address \
    -Cllvm-args=-asan-instrumentation-with-call-threshold=0 --cfg sanitized";

const HOST: &str = "x86_64-unknown-linux-gnu";

/// The first command of the README, and of every contributor.
fn test(runner: &mut Runner) -> Result<Outcome> {
    // The total would otherwise depend on which test binary fails first.
    runner.run_cargo("test --no-fail-fast")
}

fn fmt(runner: &mut Runner) -> Result<Outcome> {
    runner.run_cargo("fmt --all --check")?;
    runner.run_cargo("fmt --manifest-path ecosystem/Cargo.toml --all --check")?;
    runner.run_cargo("fmt --manifest-path tools/bench/Cargo.toml --check")
}

fn tidy(runner: &mut Runner) -> Result<Outcome> {
    let problems = tidy::problems(&runner.workspace)?;
    problems.iter().for_each(|problem| runner.print(problem));
    anyhow::ensure!(problems.is_empty(), "{} problems", problems.len());
    Ok(Outcome::Passed)
}

fn clippy(runner: &mut Runner) -> Result<Outcome> {
    runner.run_cargo("clippy --workspace --all-targets -- -D warnings")?;
    // Compiling the peers takes a minute and a half: their side is compiled by each measurement.
    let mut benchmarks =
        runner.cargo("clippy --manifest-path tools/bench/Cargo.toml --no-default-features");
    benchmarks.arg("--target-dir").arg(runner.workspace.target());
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
    let mut command = nightly(runner);
    // With a target, build scripts and macros are compiled without the sanitizer.
    command.args(["test", "--lib", "--tests", "--no-fail-fast", "--target", HOST]);
    command.args(WITH_UNSAFE.map(|library| format!("--package=matou-{library}")));
    command.env("RUSTFLAGS", SANITIZED).env("CARGO_PROFILE_DEV_DEBUG", "false");
    command.env("CARGO_INCREMENTAL", "0").env("MATOU_TEST_FEWER", "1");
    command.env("ASAN_OPTIONS", "detect_leaks=1");
    runner.run(command.env("CARGO_TARGET_DIR", runner.target_below("sanitizer")))
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

/// Runs all models of loom too, in the copy with the faults, of which none is selected.
fn models(runner: &mut Runner) -> Result<Outcome> {
    runner.run_xtask("mutants --by models")
}

fn shuttle(runner: &mut Runner) -> Result<Outcome> {
    let mut command = runner.cargo("test --release --test shuttle");
    for package in runner.workspace.packages_with_test("shuttle") {
        command.args(["--package", package]);
    }
    runner.run(command.envs(model_environment("shuttle", &runner.target_below("shuttle"))))
}

fn explore(runner: &mut Runner) -> Result<Outcome> {
    runner.run_xtask("explore")
}

fn loadtest(runner: &mut Runner) -> Result<Outcome> {
    for server in ["", "--example miou_tutorial --kill-in-the-middle"] {
        for domains in [1, 2, 4] {
            let words = format!("loadtest --seconds 3 --domains {domains} {server}");
            runner.run_xtask(&words).with_context(|| format!("{domains} domains"))?;
        }
    }
    // Its status says whether bytes, tasks and descriptors are right. Its times are only printed.
    runner.run_cargo("run --release --quiet --package matou-net --example resets -- 10000")?;
    // Compiled by the tests already, and fast enough without optimization.
    runner.run_cargo("run --quiet --package matou-http --example http_resets -- 10000")
}

/// In a workspace of its own, so that nothing else compiles these crates. A test whose server or
/// client is not installed says `not run`.
fn ecosystem(runner: &mut Runner) -> Result<Outcome> {
    let target = runner.target_below("ecosystem");
    let workspace = "--manifest-path ecosystem/Cargo.toml --workspace";
    // The service is an example of how to write. Checking what the tests alone need would take as
    // long as compiling it.
    let package = "--manifest-path ecosystem/Cargo.toml --package service";
    let mut clippy = runner.cargo(&format!("clippy {package} --all-targets"));
    runner.run(clippy.arg("--target-dir").arg(&target).args(["--", "-D", "warnings"]))?;
    let mut test = runner.cargo(&format!("test {workspace} --no-fail-fast"));
    // `cargo test` runs a tenth of the service's simulated runs.
    test.env("SERVICE_SEEDS", "1000");
    runner.run(test.arg("--target-dir").arg(&target))
}

fn counts(runner: &mut Runner) -> Result<Outcome> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Ok(Outcome::Skipped("it needs valgrind".into()));
    }
    runner.run_xtask("bench --check --counts-only")
}

fn mutants(runner: &mut Runner) -> Result<Outcome> {
    runner.run_xtask("mutants --by tests --by explorer")
}
