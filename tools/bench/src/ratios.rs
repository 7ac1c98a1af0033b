//! How matou stands beside its peers, compared with how it stood.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::echo;
use crate::figure::{Kind, Spread};
use crate::meter::Cost;
use crate::primitives::WORKS;
use crate::rounds::{child, take_turns};

/// How far a ratio may be above the committed one, where all runs on one thread: two runs of the
/// same program on a machine that others use differ by so much.
const NOISE: f64 = 1.15;
/// The same where a server and a client take turns, or two threads wake each other.
const NOISE_ACROSS: f64 = 1.25;
/// The same for how late the latest are, which is the least steady of all.
const NOISE_P99: f64 = 2.0;
const ROUNDS: usize = 5;

/// What is compared with whom: a work, our runtime, and the other one.
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

/// Compares the ratios with the committed ones, or writes them. One that is too great is measured
/// once more, and the lesser counts.
///
/// # Errors
///
/// If a ratio is above the committed one by more than the noise.
pub(crate) fn run(update: bool, file: &Path) -> Result<()> {
    let name = || file.display().to_string();
    let committed: BTreeMap<String, f64> = match (update, std::fs::read_to_string(file)) {
        (true, _) => BTreeMap::new(),
        (false, text) => serde_json::from_str(&text.with_context(name)?).with_context(name)?,
    };
    let (mut ratios, mut worse) = (BTreeMap::new(), 0);
    println!("{:32} {:>10} {:>7} {:>10}", "ratios", "committed", "now", "allowed");
    for &(work, ours, other) in PAIRS {
        let key = format!("{work}: {ours} / {other}");
        let noise = noise(work);
        let before = committed.get(&key).copied();
        ensure!(update || before.is_some(), "{key} has no ratio yet");
        let allowed = before.map_or(f64::INFINITY, |before| before * noise);
        let mut now = ratio(work, ours, other)?;
        if now > allowed {
            now = now.min(ratio(work, ours, other)?);
        }
        let is_worse = now > allowed;
        worse += usize::from(is_worse);
        let verdict = if is_worse { "  WORSE" } else { "" };
        let before = before.map_or("-".into(), |before| format!("{before:.3}"));
        println!("{key:32} {before:>10} {now:>7.3} {allowed:>10.3}{verdict}");
        ratios.insert(key, (now * 1000.0).round() / 1000.0);
    }
    if update {
        let text = serde_json::to_string_pretty(&ratios)?;
        std::fs::write(file, text + "\n").with_context(name)?;
    }
    ensure!(worse == 0, "{worse} ratios are worse than committed, beyond the noise");
    Ok(())
}

fn noise(work: &str) -> f64 {
    match kind(work) {
        Kind::Primitive | Kind::Memory => NOISE,
        Kind::Hogged => NOISE_P99,
        Kind::Across | Kind::Echo | Kind::Silence | Kind::Cores => NOISE_ACROSS,
    }
}

fn kind(work: &str) -> Kind {
    let small = WORKS.iter().find(|it| it.name == work).map(|small| small.kind);
    small.or_else(|| echo::kind(work)).unwrap_or(Kind::Echo)
}

/// The median over the rounds, in each of which both were measured one after the other: what slows
/// the machine down for a while slows both.
fn ratio(work: &str, ours: &str, other: &str) -> Result<f64> {
    let small = WORKS.iter().find(|it| it.name == work);
    let costs = match small {
        Some(small) => {
            let operations = small.about(small.operations / 4);
            let mut turns =
                take_turns(ROUNDS, 2, |index| child(work, [ours, other][index], operations));
            let (second, first) = (turns.pop(), turns.pop());
            [first.context("there are two")??, second.context("there are two")??]
        }
        None => echo::pair(work, [ours, other], ROUNDS)?,
    };
    let value = |cost: &Cost| match kind(work) {
        Kind::Echo | Kind::Primitive => cost.cpu_ns(),
        Kind::Across | Kind::Cores => cost.wall_ns,
        Kind::Memory => cost.bytes.unwrap_or(f64::NAN),
        Kind::Silence => cost.resident.unwrap_or(f64::NAN),
        Kind::Hogged => cost.p99_us.unwrap_or(f64::NAN),
    };
    let [ours, other] = costs;
    let ratios = ours.iter().zip(&other).map(|(ours, other)| value(ours) / value(other));
    let ratios = Spread::of(ratios.filter(|ratio| ratio.is_finite()));
    Ok(ratios.with_context(|| format!("{work} cannot be compared here"))?.median)
}
