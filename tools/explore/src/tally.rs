//! Many seeds on a few threads.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::coverage::Counts;
use crate::trial::{Part, Passed};

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    runs: u64,
    events: u64,
    /// Over the seeds and their hashes, in whatever order they were run.
    digest: u64,
    /// How many runs showed each feature of the part.
    counts: Counts,
    took: Duration,
}

impl Tally {
    /// Runs a part under so many seeds.
    ///
    /// # Errors
    ///
    /// Names the first seed that broke a rule, and how to run it again.
    pub(crate) fn of(part: &Part, seeds: Range<u64>, threads: u64) -> Result<Tally> {
        let begun = Instant::now();
        let over = AtomicBool::new(false);
        let work = |thread: u64| -> Result<Tally> {
            let mut tally = Tally::default();
            for seed in (seeds.start + thread..seeds.end).step_by(threads as usize) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                match (part.run)(seed) {
                    Ok(passed) => tally.add(seed, &passed),
                    Err(finding) => {
                        over.store(true, Ordering::Relaxed);
                        return Err(anyhow!(
                            "{} broke a rule with seed {seed}, hash {:016x}: {}\n\
                             see it with: cargo xtask explore --part {} --seed {seed}",
                            part.name,
                            finding.hash,
                            finding.why,
                            part.name,
                        ));
                    }
                }
            }
            Ok(tally)
        };
        let tallies = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            let lost = |_| Err(anyhow!("the explorer itself panicked"));
            ended.map(|ended| ended.unwrap_or_else(lost)).collect::<Result<Vec<_>>>()
        })?;
        let mut all = Tally { took: begun.elapsed(), ..Tally::default() };
        for tally in tallies {
            all.runs += tally.runs;
            all.events += tally.events;
            all.digest = all.digest.wrapping_add(tally.digest);
            all.counts.add(&tally.counts);
        }
        all.counts
            .demand(part.features, all.runs)
            .map_err(|why| anyhow!("{}: {why}", part.name))?;
        Ok(all)
    }

    /// Tells how many runs showed which feature.
    pub(crate) fn tell_counts(&self, part: &Part) -> String {
        self.counts.tell(part.features)
    }

    fn add(&mut self, seed: u64, passed: &Passed) {
        self.runs += 1;
        self.events += passed.events;
        self.counts.count(passed.shown);
        let mixed = (passed.hash ^ seed.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.digest = self.digest.wrapping_add(mixed ^ (mixed >> 29));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>7} runs, {:>10} events, digest {:016x}, {:.1} s",
            self.runs,
            self.events,
            self.digest,
            self.took.as_secs_f64()
        )
    }
}
