//! Ratios of matou to other runtimes, compared with the committed ones.
//!
//! A calibration measures each ratio several times on an unchanged commit. The check allows the
//! highest of these, and a margin. The ratios beyond that are measured again after all others, up
//! to two more times. The check fails if a ratio is worse each time: a disturbance of the machine
//! may last for several seconds, a slower program is always slower.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use matou_loadgen::{Interrupted, interrupted};
use serde::{Deserialize, Serialize};

use crate::echo;
use crate::figure::{Measured, describe, median, ratio, sorted};
use crate::interleave::{child, interleave};
use crate::primitives::WORKS;

/// How far a ratio may exceed the highest one of the calibration.
const MARGIN: f64 = 0.05;
/// The same after fewer than three runs, which say little about the spread.
const MARGIN_UNCALIBRATED: f64 = 0.25;
const ROUNDS: usize = 5;
/// How often a ratio is measured before it counts as worse.
const ATTEMPTS: usize = 3;

/// The compared pairs: a workload, the runtime of ours, and the other one.
const PAIRS: &[(&str, &str, &str)] = &[
    ("spawn", "matou", "tokio-ct"),
    ("spawn-1000", "matou", "tokio-ct"),
    ("yield-2", "matou", "tokio-ct"),
    ("lock", "matou", "futures"),
    ("notify", "matou", "tokio-ct"),
    ("queue", "matou", "tokio-ct"),
    ("timer", "matou", "tokio-ct"),
    ("sleepers", "matou", "tokio-ct"),
    ("cancel-fan", "matou", "tokio-ct"),
    ("cancel-chain", "matou", "tokio-ct"),
    ("memory", "matou", "tokio-ct"),
    ("call-1000", "matou", "tokio-mt"),
    ("echo-1-64", "matou", "epoll"),
    ("echo-64-64", "matou", "epoll"),
    ("echo-1000-64", "matou", "epoll"),
    ("echo-64-4096", "matou", "epoll"),
    ("echo-64-64", "echo", "epoll"),
    ("echo-churn", "matou", "epoll"),
    ("echo-idle", "echo", "tokio-ct"),
    ("echo-mixed", "matou", "tokio-ct"),
];

/// The spread of a ratio over the runs of a calibration.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
struct Calibrated {
    runs: usize,
    median: f64,
    max: f64,
}

impl Calibrated {
    fn of(runs: &[f64]) -> Option<Calibrated> {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        let (median, max) = (median(runs.iter().copied())?, *sorted(runs.iter().copied()).last()?);
        Some(Calibrated { runs: runs.len(), median: rounded(median), max: rounded(max) })
    }

    fn allowed(&self) -> f64 {
        let margin = if self.runs < 3 { MARGIN_UNCALIBRATED } else { MARGIN };
        self.max * (1.0 + margin)
    }
}

/// A compared pair, and its committed ratio.
struct Expected {
    pair: (&'static str, &'static str, &'static str),
    calibrated: Calibrated,
}

/// Compares the ratios of workloads whose names contain `only` with the committed ones.
///
/// # Errors
///
/// If a ratio exceeds the highest committed one, and the margin, each time it is measured.
pub(crate) fn check(only: &str, file: &Path) -> Result<()> {
    let committed = read(file)?;
    let expected = |&pair: &(_, _, _)| {
        let key = key(pair);
        let calibrated = *committed.get(&key).with_context(|| format!("{key} has no ratio"))?;
        Ok(Expected { pair, calibrated })
    };
    let expected: Vec<_> = pairs(only).map(expected).collect::<Result<_>>()?;
    println!("{:32} {:>10} {:>10} {:>7}", "ratios", "committed", "allowed", "now");
    let worse = repeat_worse(expected, |Expected { pair, calibrated }| {
        let now = measure(*pair)?;
        let (key, median, allowed) = (key(*pair), calibrated.median, calibrated.allowed());
        let is_worse = now > allowed;
        let verdict = if is_worse { "  worse" } else { "" };
        println!("{key:32} {median:>10.3} {allowed:>10.3} {now:>7.3}{verdict}");
        Ok(is_worse)
    })?;
    let worse: Vec<String> = worse.iter().map(|it| key(it.pair)).collect();
    ensure!(worse.is_empty(), "worse than committed, each time: {}", worse.join(", "));
    Ok(())
}

/// Measures all items, then again those that were worse. Returns the items that always were.
fn repeat_worse<T>(items: Vec<T>, mut is_worse: impl FnMut(&T) -> Result<bool>) -> Result<Vec<T>> {
    let mut suspects = items;
    for _ in 0..ATTEMPTS {
        let mut worse = Vec::new();
        for item in suspects {
            if is_worse(&item)? {
                worse.push(item);
            }
        }
        suspects = worse;
    }
    Ok(suspects)
}

/// The pairs whose workloads have names that contain `only`.
fn pairs(only: &str) -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    PAIRS.iter().filter(move |pair| pair.0.contains(only))
}

/// The name of a ratio in the committed file.
fn key((work, own, other): (&str, &str, &str)) -> String {
    format!("{work}: {own} / {other}")
}

fn read(file: &Path) -> Result<BTreeMap<String, Calibrated>> {
    let name = || file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(name)?;
    serde_json::from_str(&text).with_context(name)
}

/// Measures each ratio of workloads whose names contain `only` in `runs` runs, and writes the
/// spreads.
pub(crate) fn calibrate(runs: usize, only: &str, file: &Path) -> Result<()> {
    let mut calibrated = read(file)?;
    let mut measured: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    // Whole runs one after the other, so that each ratio is measured at different times.
    for run in 1..=runs {
        for &pair in pairs(only) {
            let (key, ratio) = (key(pair), measure(pair)?);
            println!("run {run}: {key:32} {ratio:.3}");
            measured.entry(key).or_default().push(ratio);
        }
    }
    for (key, runs) in measured {
        calibrated.extend(Calibrated::of(&runs).map(|it| (key, it)));
    }
    let line = |(key, it): (&String, &Calibrated)| -> Result<String> {
        Ok(format!("  {}: {}", serde_json::to_string(key)?, serde_json::to_string(it)?))
    };
    let lines: Vec<String> = calibrated.iter().map(line).collect::<Result<_>>()?;
    let text = format!("{{\n{}\n}}\n", lines.join(",\n"));
    std::fs::write(file, text).with_context(|| file.display().to_string())
}

/// The median over the rounds, in each of which both were measured one after the other, so that a
/// temporary slowdown of the machine affects both.
fn measure((work, own, other): (&str, &str, &str)) -> Result<f64> {
    let small = WORKS.iter().find(|it| it.name == work);
    let mut results = match small {
        Some(small) => {
            let operations = small.whole_steps(small.operations / 4);
            interleave(ROUNDS, 2, |index| child(work, [own, other][index], operations))
        }
        None => echo::pair(work, [own, other], ROUNDS)?,
    };
    if interrupted() {
        bail!(Interrupted);
    }
    let (kind, _) = describe(work).context("there is no such workload")?;
    let (others, owns) = (results.remove(1)?, results.remove(0)?);
    ratio(&owns, &others, |cost| kind.value(&Measured::of(&[*cost], None)?))
        .with_context(|| format!("{work} cannot be compared here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ratios as they come from an unchanged commit: within a few percent, sometimes far off.
    struct Noise {
        state: u64,
        base: f64,
        outlier_every: u64,
    }

    impl Noise {
        fn next(&mut self) -> f64 {
            // SplitMix64 by Sebastiano Vigna.
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut random = self.state;
            random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            random ^= random >> 31;
            let noise = (random % 1000) as f64 / 1000.0 * 0.06 - 0.03;
            let is_outlier = random.is_multiple_of(self.outlier_every);
            self.base * (1.0 + noise + if is_outlier { 0.4 } else { 0.0 })
        }
    }

    fn noise(seed: u64, base: f64) -> Noise {
        Noise { state: seed, base, outlier_every: 50 }
    }

    fn calibrate(noise: &mut Noise) -> Calibrated {
        // A calibration is made on a quiet machine.
        let mut quiet = Noise { outlier_every: u64::MAX, ..*noise };
        let runs: Vec<f64> = (0..10).map(|_| quiet.next()).collect();
        Calibrated::of(&runs).expect("there are runs")
    }

    /// Returns whether a check of one ratio passes.
    fn passes(calibrated: &Calibrated, mut ratio: impl FnMut() -> f64) -> bool {
        let is_worse = |_: &()| Ok(ratio() > calibrated.allowed());
        repeat_worse(vec![()], is_worse).expect("no error").is_empty()
    }

    #[test]
    fn ten_checks_of_an_unchanged_commit_pass() {
        for pair in 1..=20 {
            let mut noise = noise(pair, 0.2 * pair as f64);
            let calibrated = calibrate(&mut noise);
            for check in 0..10 {
                let passed = passes(&calibrated, || noise.next());
                assert!(passed, "pair {pair}, check {check}: {calibrated:?}");
            }
        }
    }

    #[test]
    fn a_slowdown_of_15_percent_is_found() {
        let mut found = 0;
        for pair in 1..=20 {
            let mut noise = noise(pair, 1.0);
            let calibrated = calibrate(&mut noise);
            found += usize::from(!passes(&calibrated, || noise.next() * 1.15));
        }
        assert_eq!(found, 20);
    }

    #[test]
    fn only_the_worse_ratios_are_measured_again_and_all_attempts_must_be_worse() {
        let mut measured = Vec::new();
        let ratios = BTreeMap::from([("good", [0, 0, 0]), ("once", [1, 0, 0]), ("bad", [1, 1, 1])]);
        let worse = repeat_worse(vec!["good", "once", "bad"], |name| {
            let attempt = measured.iter().filter(|it| *it == name).count();
            measured.push(*name);
            Ok(ratios[name][attempt] == 1)
        });
        assert_eq!(worse.expect("no error"), ["bad"]);
        assert_eq!(measured, ["good", "once", "bad", "once", "bad", "bad"]);
    }
}
