//! The events of reader-writer locks, triggers, barriers, cells and computations.

/// The end of a computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ComputationEnd {
    Returned(usize),
    Cancelled,
    /// The completer was dropped.
    Abandoned,
}

/// An event of a primitive that all jobs share, or of the computation of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrimitiveEvent {
    /// The job acquired the reader-writer lock, for writing or for reading.
    Locked { job: usize, lock: usize, writes: bool },
    /// The job is about to release the reader-writer lock.
    Unlocked { job: usize, lock: usize },
    /// The job writes no longer, and goes on to read.
    Downgraded { job: usize, lock: usize },
    /// The trigger was signalled. `had_effect` is the result of `signal`.
    Triggered { trigger: usize, had_effect: bool },
    /// The trigger was reset. `was_signaled` is the result of `reset`.
    TriggerReset { trigger: usize, was_signaled: bool },
    /// The job has waited for the trigger, and goes on.
    TriggerPassed { job: usize, trigger: usize },
    /// The job has waited at the barrier, and goes on.
    BarrierPassed { job: usize, is_leader: bool },
    /// The job has begun to compute the value of the cell.
    InitStarted { job: usize, cell: usize },
    /// The initializer of the job returned a value, or failed, or was dropped.
    InitEnded { job: usize, cell: usize, value: Option<usize> },
    /// The job has the value of the cell; `None` if its own initializer failed.
    CellRead { job: usize, cell: usize, value: Option<usize> },
    /// The job has created a computation, and no longer has an earlier one.
    ComputationCreated { job: usize },
    /// The completer of the computation ends it in this way, unless it has ended before.
    ComputationEnded { job: usize, end: ComputationEnd, is_first: bool },
    /// The job knows how its computation ended.
    ComputationRead { job: usize, end: ComputationEnd },
    /// The job is about to drop its computation.
    ComputationDropped { job: usize },
}
