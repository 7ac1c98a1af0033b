use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Marks a source that draws blocks from `NEXT_BLOCK`, as every thread's does at first. The mark is
/// part of the number so that one word says all there is to say about a source.
const DRAWS_BLOCKS: u64 = 1 << 63;

/// How many numbers a thread draws at once. A multiple of it says that the block is used up.
const BLOCK_SIZE: u64 = 1 << 16;

static NEXT_BLOCK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The next number of this thread's source, with the mark.
    static SOURCE: Cell<u64> = const { Cell::new(DRAWS_BLOCKS) };
}

/// Installs `next` as the next resource id of this thread, and returns the source that was in
/// place.
///
/// A deterministic runtime keeps a counter for each of its domains, installs it for the length of a
/// turn and takes it back, so that the ids do not depend on which thread made the turn. Ids are
/// unique within a source only. At first a thread's source draws blocks of 65,535 numbers from a
/// process-wide counter; what it looks like as a number is of no meaning, except that it may be put
/// back.
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
    if next & DRAWS_BLOCKS != 0 && next.is_multiple_of(BLOCK_SIZE) {
        // Relaxed: the numbers must differ, nothing is published through them.
        let block = NEXT_BLOCK.fetch_add(1, Ordering::Relaxed);
        next = DRAWS_BLOCKS | (block * BLOCK_SIZE + 1);
    }
    SOURCE.set(next + 1);
    next & !DRAWS_BLOCKS
}
