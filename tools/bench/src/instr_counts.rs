//! Instructions of the small operations, which are the same in each run, unlike times.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use matou_loadgen::process;

use crate::primitives::WORKS;

/// Number of operations that are counted.
const OPERATIONS: u64 = 20_000;
/// How far a count may exceed the committed one.
const REGRESSION_MAX: f64 = 1.02;

/// How long counting one operation may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Compares the counts with the committed ones, or writes them.
///
/// # Errors
///
/// If there is no valgrind, or an operation takes over 2 % more instructions than committed.
pub(crate) fn run(update: bool, file: &Path) -> Result<()> {
    let works: Vec<&str> = WORKS.iter().filter(|it| it.counted).map(|it| it.name).collect();
    // Counts do not depend on what else the processors do, so all are made at the same time.
    let counts: Result<BTreeMap<&str, u64>> = thread::scope(|scope| {
        let threads: Vec<_> =
            works.iter().map(|work| scope.spawn(|| Ok((*work, count_one(work)?)))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    let counts = counts?;
    if update {
        let text = serde_json::to_string_pretty(&counts)?;
        std::fs::write(file, text + "\n")?;
    }
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let committed: BTreeMap<String, u64> = serde_json::from_str(&text)?;
    let mut slower = 0;
    println!("{:12} {:>10} {:>10}", "instructions", "committed", "now");
    for (name, now) in counts {
        let before = *committed.get(name).with_context(|| format!("{name} has no count"))?;
        let ratio = now as f64 / before as f64;
        // The smallest operations take few instructions, and another build may add one.
        let is_slower = ratio > REGRESSION_MAX && now > before + 1;
        let verdict = if is_slower { "  TOO MANY" } else { "" };
        slower += usize::from(is_slower);
        println!("{name:12} {before:>10} {now:>10}  {ratio:.3}{verdict}");
    }
    ensure!(slower == 0, "{slower} operations take over 2 % more instructions than committed");
    Ok(())
}

/// The instructions of one operation. The difference excludes startup and other one-time work.
fn count_one(work: &str) -> Result<u64> {
    let (once, twice) = (count(work, OPERATIONS)?, count(work, 2 * OPERATIONS)?);
    Ok((twice - once) / OPERATIONS)
}

fn count(work: &str, operations: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(std::env::current_exe()?);
    valgrind.args(["primitive", work, "matou", &operations.to_string(), "--frozen-clock"]);
    let output = process::run(&mut valgrind, LIMIT);
    let output = output.with_context(|| format!("{work} under valgrind, which is needed"))?;
    let collected = output.stderr.lines().find_map(|line| line.split_once("Collected :"));
    let (_, collected) = collected.context("valgrind did not print what it collected")?;
    Ok(collected.trim().parse()?)
}
