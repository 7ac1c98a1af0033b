//! Faults on demand, to show that `cargo xtask explore` finds them. Only in builds with
//! `--cfg planted`.

use std::sync::atomic::{AtomicU8, Ordering};

/// A fault that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A wake from another domain is forgotten when the domain is busy.
    LostWakeUp = 1,
    /// A cancelled task does not wait for its children on other domains.
    GrandchildLeftBehind,
    /// A finalizer that need not wait runs twice when its owner ends.
    FinalizedTwice,
    /// What was given to a task that is cancelled before it begins belongs to nobody.
    GivenToNobody,
    /// A cancelled task's future is dropped before its children have ended.
    GuardsFirst,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 5] = [
        Bug::LostWakeUp,
        Bug::GrandchildLeftBehind,
        Bug::FinalizedTwice,
        Bug::GivenToNobody,
        Bug::GuardsFirst,
    ];
}

static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants a fault in this process, instead of the one before.
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
}

/// Whether a fault is planted.
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.load(Ordering::Relaxed) == bug as u8
}
