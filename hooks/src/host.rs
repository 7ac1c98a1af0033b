//! The host of this process, and the functions by which primitives reach it.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};

use crate::data::{Holder, Offer, Target, TaskKey, Wait};

static HOST: OnceLock<&'static dyn Host> = OnceLock::new();

/// A runtime, as primitives see it. Every method has a default that does nothing.
///
/// The methods are called on the thread that uses the primitive, which may be a thread that runs no
/// task of the host. No lock of the primitive is held at that time.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::task::{Context, Poll, Waker};
/// use matou_hooks::{Host, poll_budget, set_host};
///
/// /// Makes the caller yield at every third operation.
/// struct Thirds(AtomicU32);
///
/// impl Host for Thirds {
///     fn poll_budget(&self, cx: &mut Context<'_>) -> Poll<()> {
///         if self.0.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
///             cx.waker().wake_by_ref();
///             return Poll::Pending;
///         }
///         Poll::Ready(())
///     }
/// }
///
/// static HOST: Thirds = Thirds(AtomicU32::new(0));
/// assert!(set_host(&HOST));
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!([(); 3].map(|()| poll_budget(&mut cx).is_ready()), [true, true, false]);
/// ```
pub trait Host: Sync {
    /// Returns the task that the current thread is polling, if it is one of this host.
    fn current_task(&self) -> Option<TaskKey> {
        None
    }

    /// Consumes a part of the current task's budget. If none is left, wakes the task and returns
    /// `Pending`, which the caller returns in turn.
    fn poll_budget(&self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Ready(())
    }

    /// [`poll_budget`](Host::poll_budget) and [`current_task`](Host::current_task) in one call.
    fn begin_operation(&self, cx: &mut Context<'_>) -> Poll<Option<TaskKey>> {
        ready!(self.poll_budget(cx));
        Poll::Ready(self.current_task())
    }

    /// A future of the current task is about to return `Pending`. Its waker is registered.
    fn on_wait(&self, wait: &Wait, cx: &Context<'_>) {
        let _ = (wait, cx);
    }

    /// The holder has acquired a primitive. A primitive may leave out the call if no task waits
    /// for it: a later wait names the holder.
    fn on_acquire(&self, target: Target, holder: Holder) {
        let _ = (target, holder);
    }

    /// A primitive was released. A primitive may leave out the call if no task waits for it.
    fn on_release(&self, target: Target) {
        let _ = target;
    }

    /// A primitive has reserved something for one waiter and has woken it.
    fn on_offer(&self, offer: Offer) {
        let _ = offer;
    }
}

/// Makes `host` the host of this process. Returns `false` if there is another one already, which
/// stays.
///
/// A runtime calls this before it polls its first task. It cannot be undone, because primitives
/// may have stored keys of the host.
///
/// # Examples
///
/// ```
/// struct Nothing;
/// impl matou_hooks::Host for Nothing {}
///
/// assert!(matou_hooks::set_host(&Nothing));
/// assert!(!matou_hooks::set_host(&Nothing));
/// ```
pub fn set_host(host: &'static dyn Host) -> bool {
    HOST.set(host).is_ok()
}

/// Returns whether the process has a host.
///
/// # Examples
///
/// ```
/// assert!(!matou_hooks::has_host());
/// ```
#[inline]
pub fn has_host() -> bool {
    HOST.get().is_some()
}

/// Returns the task that the current thread is polling; `None` outside the tasks of the host.
///
/// # Examples
///
/// ```
/// assert_eq!(matou_hooks::current_task(), None);
/// ```
#[inline]
pub fn current_task() -> Option<TaskKey> {
    HOST.get().and_then(|host| host.current_task())
}

/// Consumes a part of the current task's budget.
///
/// `Pending` means that the task has done enough for one poll: it is woken already, and the caller
/// returns `Pending` without having begun its operation. A task that is polled again has a new
/// budget.
///
/// # Examples
///
/// ```
/// use std::task::{Context, Poll, Waker, ready};
///
/// fn poll_something(cx: &mut Context<'_>) -> Poll<u32> {
///     ready!(matou_hooks::poll_budget(cx));
///     Poll::Ready(5)
/// }
///
/// assert_eq!(poll_something(&mut Context::from_waker(Waker::noop())), Poll::Ready(5));
/// ```
#[doc(alias = "coop")]
#[doc(alias = "poll_proceed")]
#[inline]
pub fn poll_budget(cx: &mut Context<'_>) -> Poll<()> {
    HOST.get().map_or(Poll::Ready(()), |host| host.poll_budget(cx))
}

/// [`poll_budget`] and, if it is ready, [`current_task`] in one call.
///
/// # Examples
///
/// ```
/// use std::task::{Context, Poll, Waker};
///
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!(matou_hooks::begin_operation(&mut cx), Poll::Ready(None));
/// ```
#[inline]
pub fn begin_operation(cx: &mut Context<'_>) -> Poll<Option<TaskKey>> {
    HOST.get().map_or(Poll::Ready(None), |host| host.begin_operation(cx))
}

/// Reports that a future of the current task is about to return `Pending`.
///
/// Call it after the registration of the waker, in each poll that has to wait: a host may take the
/// last poll for the present state.
///
/// # Examples
///
/// ```
/// use std::panic::Location;
/// use std::task::{Context, Waker};
/// use matou_hooks::{Target, Wait};
///
/// let wait = Wait::new("pop", Location::caller()).on(Target::new("queue", 16));
/// matou_hooks::on_wait(&wait, &Context::from_waker(Waker::noop()));
/// ```
#[inline]
pub fn on_wait(wait: &Wait, cx: &Context<'_>) {
    if let Some(host) = HOST.get() {
        contain(|| host.on_wait(wait, cx));
    }
}

/// Reports that a primitive was acquired. May be left out if no task waits for it.
///
/// # Examples
///
/// ```
/// use std::panic::Location;
/// use matou_hooks::{Holder, Target};
///
/// let holder = Holder::new(matou_hooks::current_task(), Location::caller());
/// matou_hooks::on_acquire(Target::new("lock", 16), holder);
/// ```
#[inline]
pub fn on_acquire(target: Target, holder: Holder) {
    if let Some(host) = HOST.get() {
        contain(|| host.on_acquire(target, holder));
    }
}

/// Reports that a primitive was released. May be left out if no task waits for it.
///
/// # Examples
///
/// ```
/// matou_hooks::on_release(matou_hooks::Target::new("lock", 16));
/// ```
#[inline]
pub fn on_release(target: Target) {
    if let Some(host) = HOST.get() {
        contain(|| host.on_release(target));
    }
}

/// Announces an offer, after its waiter was woken.
///
/// Not before: a combinator polls only those of its futures that were woken, and a host that knows
/// of the offer declines it after the next poll of the task.
///
/// # Examples
///
/// ```
/// use std::panic::Location;
/// use std::sync::Arc;
/// use matou_hooks::{Offer, OfferSource, TaskKey};
///
/// struct Closed;
/// impl OfferSource for Closed {
///     fn is_open(&self, _: u64) -> bool {
///         false
///     }
///     fn decline(&self, _: u64) -> bool {
///         false
///     }
/// }
///
/// // The task that the waiter stored when it was registered.
/// let task = TaskKey::from_parts(1, 7).unwrap();
/// matou_hooks::on_offer(Offer::new(task, "lock", Location::caller(), 3, Arc::new(Closed)));
/// ```
#[inline]
pub fn on_offer(offer: Offer) {
    if let Some(host) = HOST.get() {
        contain(|| host.on_offer(offer));
    }
}

/// Calls the host and catches a panic. The panic hook has reported it.
fn contain(call: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        // Its drop could panic again.
        mem::forget(payload);
    }
}
