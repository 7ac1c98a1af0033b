//! The values that primitives and hosts exchange.

use std::fmt;
use std::num::NonZeroU64;
use std::panic::Location;
use std::sync::Arc;

/// The identity of a task: two numbers, which only the host that made them interprets.
///
/// A host makes different keys for different tasks and does not use a key again after its task has
/// ended. So a primitive may store a key and compare it at any later time.
///
/// # Examples
///
/// ```
/// use matou_hooks::TaskKey;
///
/// let key = TaskKey::from_parts(1, 7).unwrap();
/// assert_eq!(key.into_parts(), (1, 7));
/// assert_ne!(Some(key), TaskKey::from_parts(2, 7));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskKey {
    high: u64,
    low: NonZeroU64,
}

impl TaskKey {
    /// Creates a key from the numbers of the host. `None` if `low` is zero, so that a primitive can
    /// store zeros for no task.
    #[inline]
    pub const fn from_parts(high: u64, low: u64) -> Option<TaskKey> {
        match NonZeroU64::new(low) {
            Some(low) => Some(TaskKey { high, low }),
            None => None,
        }
    }

    /// Returns the numbers of the host, so that a primitive can store them in atomics.
    #[inline]
    pub const fn into_parts(self) -> (u64, u64) {
        (self.high, self.low.get())
    }
}

impl fmt::Debug for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskKey({:x}:{:x})", self.high, self.low)
    }
}

/// A primitive that tasks wait for.
///
/// # Examples
///
/// ```
/// use matou_hooks::Target;
///
/// let mutex = 5;
/// let target = Target::new("lock", std::ptr::from_ref(&mutex).addr());
/// assert_eq!(target.kind, "lock");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Target {
    /// The kind of the primitive, in a word for reports: `"lock"`, `"queue"`, `"condition"`.
    pub kind: &'static str,
    /// A number that identifies the primitive while it exists, such as its address.
    pub address: usize,
}

impl Target {
    /// Describes a primitive.
    #[inline]
    pub const fn new(kind: &'static str, address: usize) -> Target {
        Target { kind, address }
    }
}

/// The task that must act before a wait can end, and the line where it acquired the primitive.
///
/// For a lock this is the task that holds it. For a queue it is the task that uses the other end,
/// provided that only one task ever did.
///
/// # Examples
///
/// ```
/// use std::panic::Location;
/// use matou_hooks::Holder;
///
/// let holder = Holder::new(matou_hooks::current_task(), Location::caller());
/// assert_eq!(holder.task, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The task; `None` if a thread outside the tasks of the host acquired the primitive.
    pub task: Option<TaskKey>,
    /// The call that acquired it.
    pub at: &'static Location<'static>,
}

impl Holder {
    /// Describes a holder. `task` is the result of [`current_task`](crate::current_task) when it
    /// acquired the primitive.
    #[inline]
    pub const fn new(task: Option<TaskKey>, at: &'static Location<'static>) -> Holder {
        Holder { task, at }
    }
}

/// A wait, as a primitive reports it.
///
/// # Examples
///
/// ```
/// use std::panic::Location;
/// use matou_hooks::{Holder, Target, Wait};
///
/// let at = Location::caller();
/// let wait = Wait::new("lock", at).on(Target::new("lock", 16)).held_by(Holder::new(None, at));
/// assert_eq!((wait.operation, wait.target.unwrap().address), ("lock", 16));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// The operation that waits, in a word for reports: `"lock"`, `"push"`, `"pop"`.
    pub operation: &'static str,
    /// The call that created the future that waits.
    pub at: &'static Location<'static>,
    /// The primitive.
    pub target: Option<Target>,
    /// The task that must act before the wait can end, if the primitive knows it.
    pub holder: Option<Holder>,
}

impl Wait {
    /// Describes a wait of `operation`, called at `at`.
    #[inline]
    pub const fn new(operation: &'static str, at: &'static Location<'static>) -> Wait {
        Wait { operation, at, target: None, holder: None }
    }

    /// Adds the primitive.
    #[inline]
    #[must_use]
    pub const fn on(mut self, target: Target) -> Wait {
        self.target = Some(target);
        self
    }

    /// Adds the task that must act before the wait can end.
    #[inline]
    #[must_use]
    pub const fn held_by(mut self, holder: Holder) -> Wait {
        self.holder = Some(holder);
        self
    }
}

/// Something that a primitive has reserved for one waiter: a lock, a value, a slot, a signal.
///
/// The waiter takes it in its next poll. If its task is polled and the waiter is not, or if the
/// task is never polled again, the host declines the offer, and the primitive offers it to the next
/// waiter. See [`OfferSource`].
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
///     fn is_open(&self, _key: u64) -> bool {
///         false
///     }
///     fn decline(&self, _key: u64) -> bool {
///         false
///     }
/// }
///
/// let task = TaskKey::from_parts(1, 7).unwrap();
/// let offer = Offer::new(task, "lock", Location::caller(), 3, Arc::new(Closed));
/// assert!(!offer.source.is_open(offer.key));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Offer {
    /// The task that polled the waiter last.
    pub task: TaskKey,
    /// The operation that waits, in a word for reports: `"lock"`, `"push"`, `"pop"`.
    pub operation: &'static str,
    /// The call that created the waiter's future.
    pub at: &'static Location<'static>,
    /// The number by which the source knows the offer.
    pub key: u64,
    /// The wait list of the primitive.
    pub source: Arc<dyn OfferSource>,
}

impl Offer {
    /// Describes the offer `key` of `source` to a waiter of `operation`, called at `at`, which
    /// `task` polled last.
    #[inline]
    pub fn new(
        task: TaskKey,
        operation: &'static str,
        at: &'static Location<'static>,
        key: u64,
        source: Arc<dyn OfferSource>,
    ) -> Offer {
        Offer { task, operation, at, key, source }
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("task", &self.task)
            .field("operation", &self.operation)
            .field("at", &self.at.to_string())
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The wait list that an [`Offer`] came from.
///
/// Both methods may be called on any thread, at any time, also after the primitive was dropped.
/// They must not unwind.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use matou_hooks::OfferSource;
///
/// /// A list of one waiter.
/// #[derive(Default)]
/// struct List {
///     offered: AtomicBool,
/// }
///
/// impl OfferSource for List {
///     fn is_open(&self, _key: u64) -> bool {
///         self.offered.load(Ordering::Acquire)
///     }
///     fn decline(&self, _key: u64) -> bool {
///         self.offered.swap(false, Ordering::AcqRel) // and offer it to the next waiter
///     }
/// }
///
/// let list = List::default();
/// list.offered.store(true, Ordering::Release);
/// assert!(list.decline(1));
/// assert!(!list.decline(1) && !list.is_open(1));
/// ```
pub trait OfferSource: Send + Sync {
    /// Returns whether the offer `key` was neither used nor withdrawn.
    fn is_open(&self, key: u64) -> bool;

    /// Withdraws the offer `key` and passes it on to the next waiter. Returns `false` and does
    /// nothing if it is not open, or must stay where it is.
    fn decline(&self, key: u64) -> bool;
}
