//! The host of this process, and the functions by which primitives reach it.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::task::Context;

use crate::data::{Holder, Offer, Target, Wait};

static HOST: OnceLock<&'static dyn Host> = OnceLock::new();

/// A runtime, as primitives see it. Every method has a default that does nothing.
///
/// The methods are called on the thread that uses the primitive, which may be a thread that runs no
/// task of the host. No lock of the primitive is held at that time.
///
/// # Examples
///
/// ```
/// use std::panic::Location;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::task::{Context, Waker};
/// use matou_hooks::{Host, Wait, on_wait, set_host};
///
/// /// Counts the waits.
/// struct Waits(AtomicU32);
///
/// impl Host for Waits {
///     fn on_wait(&self, _: &Wait, _: &Context<'_>) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// static HOST: Waits = Waits(AtomicU32::new(0));
/// assert!(set_host(&HOST));
/// on_wait(&Wait::new("pop", Location::caller()), &Context::from_waker(Waker::noop()));
/// assert_eq!(HOST.0.load(Ordering::Relaxed), 1);
/// ```
pub trait Host: Sync {
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
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call))
        && !payload.is::<&'static str>()
        && !payload.is::<String>()
    {
        // Its drop could panic again.
        mem::forget(payload);
    }
}
