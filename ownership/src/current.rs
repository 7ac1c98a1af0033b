use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use crate::settle::let_go;
use crate::{Ledger, ticket};

// What `Current::here` may hold besides the address of a ledger.

/// No ledger is entered. The same word as in the ticket of an unowned resource.
const OUTSIDE: usize = ticket::UNOWNED;
/// A task that owns nothing yet is entered.
const NO_LEDGER: usize = 1;

thread_local! {
    static CURRENT: Current = const {
        Current {
            here: Cell::new(OUTSIDE),
            phase: Cell::new(Phase::Outside),
            ledger: Cell::new(ManuallyDrop::new(None)),
        }
    };
}

/// What runs on this thread.
struct Current {
    /// Who runs here, as the word that is compared with those of the tickets.
    here: Cell<usize>,
    phase: Cell<Phase>,
    /// The ledger of which `here` is the address. Why `ManuallyDrop`? A thread-local that needs no
    /// drop has no destructor to register or to have run, so it works to the thread's very end.
    ledger: Cell<ManuallyDrop<Option<Arc<Ledger>>>>,
}

/// What kind of code runs on this thread, as far as ownership is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Code outside any task.
    Outside,
    /// A task.
    Inside,
    /// A finalizer, which may use and drop resources, but not make them, nor say who owns them.
    Finalizing,
}

/// Makes `ledger` the current one of this thread for as long as the guard lives.
///
/// `None` stands for a task that owns nothing yet: a ledger is made for it when it first does, and
/// handed out by [`Entered::leave`]. Guards nest, and are left in the reverse order.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, enter, is_inside};
///
/// let entered = enter(None);
/// assert!(is_inside());
/// assert!(entered.leave().is_none());
///
/// let entered = enter(None);
/// let owned = Owned::new(1, drop);
/// let ledger = entered.leave().expect("it owns something");
/// assert_eq!(ledger.len(), 1);
/// # drop(owned);
/// ```
#[must_use = "the ledger is current only while the guard lives"]
pub fn enter(ledger: Option<Arc<Ledger>>) -> Entered {
    enter_phase(ledger, Phase::Inside)
}

/// Enters the ledger for a finalizer.
pub(crate) fn enter_finalizing(ledger: Option<Arc<Ledger>>) -> Entered {
    enter_phase(ledger, Phase::Finalizing)
}

#[inline]
fn enter_phase(ledger: Option<Arc<Ledger>>, phase: Phase) -> Entered {
    let lazy = ledger.is_none();
    let here = ledger.as_ref().map_or(NO_LEDGER, Ledger::address);
    CURRENT.with(|current| Entered {
        outer_here: current.here.replace(here),
        outer_phase: current.phase.replace(phase),
        outer: ManuallyDrop::into_inner(current.ledger.replace(ManuallyDrop::new(ledger))),
        lazy,
        left: false,
        _not_send: PhantomData,
    })
}

/// Keeps a ledger current; see [`enter`].
///
/// When it is dropped rather than [left](Entered::leave), and a ledger was made inside, nobody else
/// knows that ledger, so it is settled on the spot, as a dropped [`Scope`](crate::Scope) is.
pub struct Entered {
    outer: Option<Arc<Ledger>>,
    outer_here: usize,
    outer_phase: Phase,
    /// Whether `enter` was given no ledger.
    lazy: bool,
    left: bool,
    /// It must be dropped on its own thread.
    _not_send: PhantomData<*mut ()>,
}

impl Entered {
    /// Makes the previous ledger current again, and returns this one: the one that was entered, or
    /// the one that was made since, if any.
    #[inline]
    pub fn leave(mut self) -> Option<Arc<Ledger>> {
        self.restore()
    }

    #[inline]
    fn restore(&mut self) -> Option<Arc<Ledger>> {
        self.left = true;
        CURRENT.with(|current| {
            current.here.set(self.outer_here);
            current.phase.set(self.outer_phase);
            let outer = ManuallyDrop::new(self.outer.take());
            ManuallyDrop::into_inner(current.ledger.replace(outer))
        })
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let ledger = self.restore();
        if let (true, Some(ledger)) = (self.lazy, ledger) {
            let_go(ledger);
        }
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered").field("outer", &self.outer).finish_non_exhaustive()
    }
}

/// Returns whether a task runs on this thread, be it its future or one of its finalizers.
pub fn is_inside() -> bool {
    here() != OUTSIDE
}

/// Returns what kind of code runs on this thread.
///
/// # Examples
///
/// ```
/// use matou_ownership::{Owned, Phase, phase};
///
/// assert_eq!(phase(), Phase::Outside);
/// Owned::new((), |()| assert_eq!(phase(), Phase::Finalizing));
/// ```
pub fn phase() -> Phase {
    CURRENT.with(|current| current.phase.get())
}

/// Returns the word of who runs here.
#[inline]
pub(crate) fn here() -> usize {
    CURRENT.with(|current| current.here.get())
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
    CURRENT.with(|current| {
        let ledger = ManuallyDrop::into_inner(current.ledger.replace(ManuallyDrop::new(None)));
        current.ledger.set(ManuallyDrop::new(ledger.clone()));
        ledger
    })
}

/// Returns the current ledger, and makes it if the task has none yet. `None` outside.
pub(crate) fn ledger_or_new() -> Option<Arc<Ledger>> {
    CURRENT.with(|current| {
        if current.here.get() == OUTSIDE {
            return None;
        }
        let slot = current.ledger.replace(ManuallyDrop::new(None));
        let ledger = ManuallyDrop::into_inner(slot).unwrap_or_else(|| {
            let ledger = Ledger::new();
            current.here.set(Ledger::address(&ledger));
            ledger
        });
        current.ledger.set(ManuallyDrop::new(Some(Arc::clone(&ledger))));
        Some(ledger)
    })
}

/// Makes the current phase `Finalizing`, on behalf of whoever is current, while the guard lives.
pub(crate) fn finalizing() -> InFinalizer {
    InFinalizer { outer: CURRENT.with(|current| current.phase.replace(Phase::Finalizing)) }
}

pub(crate) struct InFinalizer {
    outer: Phase,
}

impl Drop for InFinalizer {
    fn drop(&mut self) {
        CURRENT.with(|current| current.phase.set(self.outer));
    }
}
