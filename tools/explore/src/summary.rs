//! Runs many seeds on a few threads, and sums up the results.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::coverage::Counts;
use crate::suite::{Failure, Passed, Suite};

/// The results of many seeds of a suite.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    runs: u64,
    events: u64,
    /// Over the seeds and their hashes. It does not depend on the order of the runs.
    digest: u64,
    /// The number of runs that covered each feature of the suite.
    counts: Counts,
    elapsed: Duration,
}

impl Summary {
    /// Runs a range of seeds of a suite.
    ///
    /// # Errors
    ///
    /// If a run fails: the error contains its seed and the command that repeats it. Also if too few
    /// runs cover some feature.
    pub(crate) fn run(suite: &Suite, seeds: Range<u64>, threads: u64) -> Result<Summary> {
        let started_at = Instant::now();
        let failed = AtomicBool::new(false);
        let run_share = |thread: u64| -> Result<Summary> {
            let mut summary = Summary::default();
            for seed in (seeds.start + thread..seeds.end).step_by(threads as usize) {
                if failed.load(Ordering::Relaxed) {
                    break;
                }
                match (suite.run)(seed) {
                    Ok(passed) => summary.add(seed, &passed),
                    Err(failure) => {
                        failed.store(true, Ordering::Relaxed);
                        return Err(describe(suite, seed, &failure));
                    }
                }
            }
            Ok(summary)
        };
        let summaries = std::thread::scope(|scope| {
            let run_share = &run_share;
            let threads: Vec<_> =
                (0..threads).map(|thread| scope.spawn(move || run_share(thread))).collect();
            let results = threads.into_iter().map(|thread| thread.join());
            let panicked = |_| Err(anyhow!("the explorer itself panicked"));
            results.map(|result| result.unwrap_or_else(panicked)).collect::<Result<Vec<_>>>()
        })?;
        let mut total = Summary { elapsed: started_at.elapsed(), ..Summary::default() };
        for summary in &summaries {
            total.merge(summary);
        }
        let covered = total.counts.check(suite.features, total.runs);
        covered.map_err(|why| anyhow!("{}: {why}", suite.name))?;
        Ok(total)
    }

    /// One line per feature of the suite, with the number of runs that covered it.
    pub(crate) fn coverage(&self, suite: &Suite) -> String {
        self.counts.lines(suite.features)
    }

    fn add(&mut self, seed: u64, passed: &Passed) {
        self.runs += 1;
        self.events += passed.events;
        self.counts.add_run(passed.covered);
        let mixed = (passed.hash ^ seed.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.digest = self.digest.wrapping_add(mixed ^ (mixed >> 29));
    }

    fn merge(&mut self, other: &Summary) {
        self.runs += other.runs;
        self.events += other.events;
        self.digest = self.digest.wrapping_add(other.digest);
        self.counts.merge(&other.counts);
    }
}

/// `cargo xtask mutants` reads `seed N, hash H: why` from this text.
fn describe(suite: &Suite, seed: u64, failure: &Failure) -> anyhow::Error {
    let (name, Failure { why, hash, .. }) = (suite.name, failure);
    anyhow!(
        "{name} failed with seed {seed}, hash {hash:016x}: {why}\n\
         reproduce with: cargo xtask explore --suite {name} --seed {seed}"
    )
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>7} runs, {:>10} events, digest {:016x}, {:.1} s",
            self.runs,
            self.events,
            self.digest,
            self.elapsed.as_secs_f64()
        )
    }
}
