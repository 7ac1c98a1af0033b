//! Shows that planted faults are found, and found again by their seeds.

use anyhow::{Result, ensure};

#[cfg(planted)]
pub(crate) fn run(seeds: u64) -> Result<()> {
    use matou_ownership::planted::{Bug, plant};

    use crate::trial::explore;

    for bug in Bug::ALL {
        plant(Some(bug));
        let found = (0..seeds).find_map(|seed| explore(seed).err().map(|finding| (seed, finding)));
        let again = found.as_ref().map(|(seed, _)| explore(*seed));
        plant(None);
        let Some((seed, first)) = found else {
            anyhow::bail!("{bug:?} was not found among {seeds} seeds");
        };
        let replayed = matches!(&again, Some(Err(again)) if *again == first);
        ensure!(replayed, "{bug:?} was found by seed {seed}, but not again: {again:?}");
        ensure!(explore(seed).is_ok(), "seed {seed} fails without {bug:?}, too");
        println!("{bug:?}: found and replayed by seed {seed}, hash {:016x}", first.hash);
        println!("    {}", first.why);
    }
    Ok(())
}

#[cfg(not(planted))]
pub(crate) fn run(_: u64) -> Result<()> {
    ensure!(
        cfg!(planted),
        "this build has no faults to plant; use `cargo xtask explore --self-test`"
    );
    Ok(())
}
