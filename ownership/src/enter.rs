use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use crate::background::finalize_detached;
use crate::context::{Switched, switch};
use crate::registry::Ledger;

/// Makes `ledger` the current one of this thread while the guard is alive.
///
/// With `None`, the current task owns nothing yet. Its ledger is created when it first owns a
/// resource, and [`EnterGuard::leave`] returns it. Guards can be nested; leave them in the reverse
/// order.
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
/// let ledger = entered.leave().expect("the task owns a value");
/// assert_eq!(ledger.len(), 1);
/// # drop(owned);
/// ```
#[must_use = "the ledger is current only while the guard is alive"]
#[inline]
pub fn enter(ledger: Option<Arc<Ledger>>) -> EnterGuard {
    let lazy = ledger.is_none();
    EnterGuard { outer: switch(ledger, false), lazy, _not_send: PhantomData }
}

/// Keeps a ledger current. Returned by [`enter`].
///
/// If the guard is dropped instead of [left](EnterGuard::leave), and a ledger was created in the
/// meantime, that ledger is finalized at once, like that of a dropped [`Scope`](crate::Scope).
pub struct EnterGuard {
    outer: Switched,
    /// `true` if `enter` received no ledger.
    lazy: bool,
    /// The guard must be dropped on its own thread.
    _not_send: PhantomData<*mut ()>,
}

impl EnterGuard {
    /// Makes the previous ledger current again. Returns the ledger that was current while the guard
    /// was alive, if any: the one that was entered, or the one that was created in the meantime.
    #[inline]
    pub fn leave(self) -> Option<Arc<Ledger>> {
        // Skip `drop`, which would finalize the ledger.
        ManuallyDrop::new(self).outer.restore()
    }
}

impl Drop for EnterGuard {
    #[inline]
    fn drop(&mut self) {
        let ledger = self.outer.restore();
        if let (true, Some(ledger)) = (self.lazy, ledger) {
            // No other code has a reference to a ledger that was created inside.
            finalize_detached(ledger);
        }
    }
}

impl fmt::Debug for EnterGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnterGuard").field("outer", &self.outer).finish_non_exhaustive()
    }
}
