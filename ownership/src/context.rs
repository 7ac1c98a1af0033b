//! The current task of this thread, as far as ownership is concerned: its ledger, and whether a
//! finalizer runs.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use crate::error::NotOwner;
use crate::primitives::local;
use crate::registry::{Ledger, OwnerId, TASK_WITHOUT_LEDGER, UNOWNED};

struct Current {
    /// The id of the current task, which is compared with those in tickets. It is `UNOWNED` outside
    /// any task, and `TASK_WITHOUT_LEDGER` in a task that owns nothing yet.
    owner: Cell<OwnerId>,
    in_finalizer: Cell<bool>,
}

local! {
    // One variable, which a poll of a task looks up once.
    static CURRENT: Current =
        Current { owner: Cell::new(UNOWNED), in_finalizer: Cell::new(false) };
}

local! {
    /// The ledger of which `Current::owner` is the id. `ManuallyDrop`, because a thread-local
    /// without a destructor remains usable until the thread ends.
    static CURRENT_LEDGER: Cell<ManuallyDrop<Option<Arc<Ledger>>>> =
        Cell::new(ManuallyDrop::new(None));
}

local! {
    /// `true` if a current ledger has something for the runtime since the flag was last taken.
    static LEDGER_FLAG: Cell<bool> = Cell::new(false);
}

/// Returns `true` if a task runs on this thread: its future or one of its finalizers.
#[inline]
pub fn in_task() -> bool {
    current_owner() != UNOWNED
}

/// Returns `true` if a finalizer runs on this thread.
///
/// A finalizer may use and drop resources, but it cannot create resources or change their owner.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, in_finalizer};
///
/// assert!(!in_finalizer());
/// Owned::new((), |()| assert!(in_finalizer()));
/// ```
#[inline]
pub fn in_finalizer() -> bool {
    CURRENT.with(|current| current.in_finalizer.get())
}

/// Returns the id of the current task.
#[inline]
pub(crate) fn current_owner() -> OwnerId {
    CURRENT.with(|current| current.owner.get())
}

/// Returns the ledger of the current task, if it has one.
///
/// For runtimes. A task that has never owned a resource has no ledger.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, current_ledger, enter};
///
/// let entered = enter(None);
/// assert!(current_ledger().is_none());
/// let owned = Owned::new(1, drop);
/// assert_eq!(current_ledger().map(|ledger| ledger.len()), Some(1));
/// # drop(owned);
/// # drop(entered.leave());
/// ```
pub fn current_ledger() -> Option<Arc<Ledger>> {
    let ledger = exchange_ledger(None);
    exchange_ledger(ledger.clone());
    ledger
}

/// Returns `true` if the current task has a ledger.
///
/// For runtimes. If it is `false`, there is nothing to finalize.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, enter, has_ledger};
///
/// let entered = enter(None);
/// assert!(!has_ledger());
/// let owned = Owned::new(1, drop);
/// assert!(has_ledger());
/// # drop(owned);
/// # drop(entered.leave());
/// ```
#[inline]
pub fn has_ledger() -> bool {
    current_owner() > TASK_WITHOUT_LEDGER
}

/// Takes the first [`NotOwner`] error of the current task, if there was one.
///
/// For runtimes. Equivalent to [`Ledger::take_not_owner`] on the [`current_ledger`], but clones no
/// `Arc`.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, check, enter, take_not_owner};
///
/// let entered = enter(None);
/// let owned = Owned::new(1, drop);
/// let owner = entered.leave();
///
/// let entered = enter(None);
/// assert!(take_not_owner().is_none());
/// assert!(check(&owned).is_err());
/// assert!(take_not_owner().is_some());
/// # drop((owned, owner, entered.leave()));
/// ```
#[inline]
pub fn take_not_owner() -> Option<NotOwner> {
    if !has_ledger() {
        return None;
    }
    let ledger = exchange_ledger(None);
    let error = ledger.as_deref().and_then(Ledger::take_not_owner);
    exchange_ledger(ledger);
    error
}

/// Returns `true` if the runtime should examine the current ledger: since the last call on this
/// thread a [`NotOwner`] error was recorded, or the task became the owner of a resource that had
/// outlived another owner.
///
/// For runtimes, which call it after each poll. If it is `false`, the task's ledger contains no new
/// [error](Ledger::take_not_owner) and needs no new
/// [service](Ledger::needs_finalizer_service).
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, check, enter, take_ledger_flag};
///
/// let entered = enter(None);
/// let owned = Owned::new(1, drop);
/// let owner = entered.leave();
/// assert!(!take_ledger_flag());
///
/// let entered = enter(None);
/// assert!(check(&owned).is_err());
/// let ledger = entered.leave().expect("the error was recorded");
/// assert!(take_ledger_flag());
/// assert!(ledger.take_not_owner().is_some());
/// assert!(!take_ledger_flag());
/// # drop((owned, owner));
/// ```
#[inline]
pub fn take_ledger_flag() -> bool {
    LEDGER_FLAG.with(|flag| flag.replace(false))
}

/// Sets the flag that [`take_ledger_flag`] takes.
pub(crate) fn set_ledger_flag() {
    LEDGER_FLAG.with(|flag| flag.set(true));
}

/// Returns the ledger of the current task, and creates it if the task has none yet. Returns `None`
/// outside any task.
pub(crate) fn ledger_or_new() -> Option<Arc<Ledger>> {
    if current_owner() == UNOWNED {
        return None;
    }
    let ledger = exchange_ledger(None).unwrap_or_else(|| {
        let ledger = Ledger::new();
        CURRENT.with(|current| current.owner.set(ledger.owner_id()));
        ledger
    });
    exchange_ledger(Some(Arc::clone(&ledger)));
    Some(ledger)
}

/// Makes `ledger` the current one, or a task without a ledger the current task.
#[inline]
pub(crate) fn switch(ledger: Option<Arc<Ledger>>, in_finalizer: bool) -> Switched {
    let has_ledger = ledger.is_some();
    let owner = ledger.as_ref().map_or(TASK_WITHOUT_LEDGER, |ledger| ledger.owner_id());
    let (outer_owner, outer_in_finalizer) = replace_current(owner, in_finalizer);
    // Skip the exchange in the common case that neither task has a ledger.
    let outer_ledger = if has_ledger || outer_owner > TASK_WITHOUT_LEDGER {
        exchange_ledger(ledger)
    } else {
        None
    };
    Switched { outer_ledger, outer_owner, outer_in_finalizer }
}

/// The context that [`switch`] replaced.
#[derive(Debug)]
pub(crate) struct Switched {
    outer_ledger: Option<Arc<Ledger>>,
    outer_owner: OwnerId,
    outer_in_finalizer: bool,
}

impl Switched {
    /// Makes the previous context current again. Returns the ledger that was current since: the one
    /// given to [`switch`], or the one created in the meantime.
    #[inline]
    pub(crate) fn restore(&mut self) -> Option<Arc<Ledger>> {
        let (owner, _) = replace_current(self.outer_owner, self.outer_in_finalizer);
        if owner <= TASK_WITHOUT_LEDGER && self.outer_owner <= TASK_WITHOUT_LEDGER {
            return None;
        }
        exchange_ledger(self.outer_ledger.take())
    }
}

/// Marks this thread as running a finalizer of the current task while the guard is alive.
pub(crate) fn enter_finalizer() -> FinalizerGuard {
    FinalizerGuard { outer: replace_in_finalizer(true) }
}

/// Restores the mark when it is dropped.
pub(crate) struct FinalizerGuard {
    outer: bool,
}

impl Drop for FinalizerGuard {
    fn drop(&mut self) {
        replace_in_finalizer(self.outer);
    }
}

fn exchange_ledger(ledger: Option<Arc<Ledger>>) -> Option<Arc<Ledger>> {
    let ledger = ManuallyDrop::new(ledger);
    ManuallyDrop::into_inner(CURRENT_LEDGER.with(|current| current.replace(ledger)))
}

#[inline]
fn replace_current(owner: OwnerId, in_finalizer: bool) -> (OwnerId, bool) {
    CURRENT
        .with(|current| (current.owner.replace(owner), current.in_finalizer.replace(in_finalizer)))
}

fn replace_in_finalizer(in_finalizer: bool) -> bool {
    CURRENT.with(|current| current.in_finalizer.replace(in_finalizer))
}
