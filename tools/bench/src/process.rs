//! Settings of the processes that are measured.

use anyhow::Result;
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Has the kernel kill this process when its parent ends, even if that was killed.
pub(crate) fn end_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Restricts this thread, and threads it starts, to the processors from `first` to `last`.
pub(crate) fn pin(first: usize, last: usize) {
    let mut set = CpuSet::new();
    (first..=last).for_each(|processor| set.set(processor));
    // Fails on a machine with one processor, or in a container that forbids it.
    let _ = sched_setaffinity(None, &set);
}
