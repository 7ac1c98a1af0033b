//! Resource ids and the per-thread source that they are drawn from.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Flag of a source that takes blocks of ids from `NEXT_BLOCK`, as every thread's source initially
/// does. The flag is part of the number so that a source is described by a single word.
const USES_BLOCKS: u64 = 1 << 63;

/// Number of ids in a block. A multiple of it means that the block is exhausted.
const BLOCK_SIZE: u64 = 1 << 16;

static NEXT_BLOCK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The next id of this thread's source, with the flag.
    static SOURCE: Cell<u64> = const { Cell::new(USES_BLOCKS) };
}

/// Sets the next resource id of this thread, and returns the previous id source.
///
/// A deterministic runtime keeps one counter per domain. It installs the counter before it runs the
/// domain and reads it back afterwards, so that ids do not depend on which thread runs the domain.
/// Ids are unique within one source only.
///
/// Initially a thread's source takes blocks of 65,535 ids from a process-wide counter. The number
/// returned for such a source has no meaning, except that it can be installed again.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Ticket, replace_id_source};
///
/// let outer = replace_id_source(7);
/// assert_eq!(Ticket::new("file").id(), 7);
/// assert_eq!(Ticket::new("file").id(), 8);
/// assert_eq!(replace_id_source(outer), 9);
/// ```
pub fn replace_id_source(next: u64) -> u64 {
    SOURCE.replace(next)
}

#[inline]
pub(crate) fn next_id() -> u64 {
    let mut next = SOURCE.get();
    if next & USES_BLOCKS != 0 && next.is_multiple_of(BLOCK_SIZE) {
        // Relaxed: the blocks must differ, and the counter publishes no other data.
        let block = NEXT_BLOCK.fetch_add(1, Ordering::Relaxed);
        next = USES_BLOCKS | (block * BLOCK_SIZE + 1);
    }
    SOURCE.set(next + 1);
    next & !USES_BLOCKS
}
