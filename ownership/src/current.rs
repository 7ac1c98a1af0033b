use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use crate::settle::let_go;
use crate::sys::local;
use crate::{Ledger, NotOwner, nursery, ticket};

// What `HERE` may hold besides the address of a ledger.

/// No ledger is entered. The same word as in the ticket of an unowned resource.
const OUTSIDE: usize = ticket::UNOWNED;
/// A task that owns nothing yet is entered.
const NO_LEDGER: usize = 1;

local! {
    /// Who runs here, as the word that is compared with those of the tickets.
    static HERE: Cell<usize> = Cell::new(OUTSIDE);
}

local! {
    /// Whether a misuse was recorded since somebody asked.
    static MISUSED: Cell<bool> = Cell::new(false);
}

local! {
    /// Whether a finalizer runs here.
    static IN_FINALIZER: Cell<bool> = Cell::new(false);
}

local! {
    /// The ledger of which `HERE` is the address. Why `ManuallyDrop`? A thread-local that needs no
    /// drop has no destructor to register or to have run, so it works to the thread's very end.
    static LEDGER: Cell<ManuallyDrop<Option<Arc<Ledger>>>> = Cell::new(ManuallyDrop::new(None));
}

/// Makes `ledger` the current one of this thread for as long as the guard lives.
///
/// `None` stands for a task that owns nothing yet: a ledger is made for it when it first does, and
/// handed out by [`EnterGuard::leave`]. Guards nest, and are left in the reverse order.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, enter, in_task};
///
/// let entered = enter(None);
/// assert!(in_task());
/// assert!(entered.leave().is_none());
///
/// let entered = enter(None);
/// let owned = Owned::new(1, drop);
/// let ledger = entered.leave().expect("it owns something");
/// assert_eq!(ledger.len(), 1);
/// # drop(owned);
/// ```
#[must_use = "the ledger is current only while the guard lives"]
#[inline]
pub fn enter(ledger: Option<Arc<Ledger>>) -> EnterGuard {
    enter_as(ledger, false)
}

/// Enters the ledger for a finalizer.
pub(crate) fn enter_finalizing(ledger: Option<Arc<Ledger>>) -> EnterGuard {
    enter_as(ledger, true)
}

#[inline]
fn enter_as(ledger: Option<Arc<Ledger>>, in_finalizer: bool) -> EnterGuard {
    let lazy = ledger.is_none();
    let here = ledger.as_ref().map_or(NO_LEDGER, Ledger::address);
    let outer_here = HERE.with(|cell| cell.replace(here));
    let outer_in_finalizer = replace_in_finalizer(in_finalizer);
    // Most tasks have no ledger, nor has what is around them; then there is none to exchange.
    let outer = if lazy && outer_here <= NO_LEDGER { None } else { turn_to(ledger) };
    EnterGuard { outer, outer_here, outer_in_finalizer, lazy, _not_send: PhantomData }
}

/// Makes another ledger the current one. What is young belongs to the one before.
fn turn_to(ledger: Option<Arc<Ledger>>) -> Option<Arc<Ledger>> {
    nursery::clear();
    exchange(ledger)
}

fn exchange(ledger: Option<Arc<Ledger>>) -> Option<Arc<Ledger>> {
    let ledger = ManuallyDrop::new(ledger);
    ManuallyDrop::into_inner(LEDGER.with(|cell| cell.replace(ledger)))
}

#[inline]
fn replace_in_finalizer(in_finalizer: bool) -> bool {
    IN_FINALIZER.with(|cell| cell.replace(in_finalizer))
}

/// Keeps a ledger current; see [`enter`].
///
/// When it is dropped rather than [left](EnterGuard::leave), and a ledger was made inside, nobody else
/// knows that ledger, so it is settled on the spot, as a dropped [`Scope`](crate::Scope) is.
pub struct EnterGuard {
    outer: Option<Arc<Ledger>>,
    outer_here: usize,
    outer_in_finalizer: bool,
    /// Whether `enter` was given no ledger.
    lazy: bool,
    /// It must be dropped on its own thread.
    _not_send: PhantomData<*mut ()>,
}

impl EnterGuard {
    /// Makes the previous ledger current again, and returns this one: the one that was entered, or
    /// the one that was made since, if any.
    #[inline]
    pub fn leave(self) -> Option<Arc<Ledger>> {
        // What is dropped was not left.
        ManuallyDrop::new(self).restore()
    }

    #[inline]
    fn restore(&mut self) -> Option<Arc<Ledger>> {
        let here = HERE.with(|cell| cell.replace(self.outer_here));
        replace_in_finalizer(self.outer_in_finalizer);
        if here <= NO_LEDGER && self.outer_here <= NO_LEDGER {
            return None;
        }
        turn_to(self.outer.take())
    }
}

impl Drop for EnterGuard {
    #[inline]
    fn drop(&mut self) {
        let ledger = self.restore();
        if let (true, Some(ledger)) = (self.lazy, ledger) {
            let_go(ledger);
        }
    }
}

impl fmt::Debug for EnterGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnterGuard").field("outer", &self.outer).finish_non_exhaustive()
    }
}

/// Returns whether a task runs on this thread, be it its future or one of its finalizers.
#[inline]
pub fn in_task() -> bool {
    here() != OUTSIDE
}

/// Returns whether a finalizer runs on this thread.
///
/// A finalizer may use and drop resources, but not make them, nor say who owns them.
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
    IN_FINALIZER.with(Cell::get)
}

/// Returns the word of who runs here.
#[inline]
pub(crate) fn here() -> usize {
    HERE.with(Cell::get)
}

/// Returns the ledger of what runs on this thread, if it has one already.
///
/// For runtimes: a task that never owned anything has none, and costs none.
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
    let ledger = exchange(None);
    exchange(ledger.clone());
    ledger
}

/// Takes the first misuse by what runs on this thread, if there was one.
///
/// For runtimes: the same as [`Ledger::take_not_owner`] of the [`current_ledger`], but counts no
/// reference to it.
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
    let ledger = exchange(None);
    let fault = ledger.as_deref().and_then(Ledger::take_not_owner);
    exchange(ledger);
    fault
}

/// Returns whether a misuse was recorded on this thread since this was last asked.
///
/// For runtimes, which ask after each poll: without one there is no need to look into the ledger of
/// the task for a [fault](Ledger::take_not_owner).
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, check, enter, take_not_owner_flag};
///
/// let entered = enter(None);
/// let owned = Owned::new(1, drop);
/// let owner = entered.leave();
/// assert!(!take_not_owner_flag());
///
/// let entered = enter(None);
/// assert!(check(&owned).is_err());
/// let ledger = entered.leave().expect("it has a fault");
/// assert!(take_not_owner_flag());
/// assert!(ledger.take_not_owner().is_some());
/// assert!(!take_not_owner_flag());
/// # drop((owned, owner));
/// ```
#[inline]
pub fn take_not_owner_flag() -> bool {
    MISUSED.with(|cell| cell.replace(false))
}

/// Notes a misuse by what runs on this thread.
pub(crate) fn note_misuse() {
    MISUSED.with(|cell| cell.set(true));
}

/// Returns whether what runs on this thread has a ledger already.
///
/// For runtimes, as [`current_ledger`]: without one there is nothing to settle.
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
    here() > NO_LEDGER
}

/// Returns the current ledger, and makes it if the task has none yet. `None` outside.
///
/// What is young is listed by then, so that what enters next comes after it.
pub(crate) fn ledger_or_new() -> Option<Arc<Ledger>> {
    nursery::clear();
    shared_or_new()
}

/// As [`ledger_or_new`], but what is young stays so.
pub(crate) fn shared_or_new() -> Option<Arc<Ledger>> {
    if here() == OUTSIDE {
        return None;
    }
    let ledger = exchange(None).unwrap_or_else(|| {
        let ledger = Ledger::new();
        HERE.with(|cell| cell.set(Ledger::address(&ledger)));
        ledger
    });
    exchange(Some(Arc::clone(&ledger)));
    Some(ledger)
}

/// Marks this thread as running a finalizer while the guard lives.
pub(crate) fn finalizing() -> InFinalizer {
    InFinalizer { outer: replace_in_finalizer(true) }
}

pub(crate) struct InFinalizer {
    outer: bool,
}

impl Drop for InFinalizer {
    fn drop(&mut self) {
        replace_in_finalizer(self.outer);
    }
}
