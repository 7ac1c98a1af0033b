use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use matou_hooks::{Target, Wait};

use crate::error::polled_after_completion;
use crate::primitives::{AtomicUsize, Ordering, const_fn, fence};
use crate::waiting::{Kind, Notify, Request, Waiting};

/// An event that tasks wait for. A signal that no task waits for is kept.
///
/// - A *latched* trigger stays signalled until it is [`reset`](Self::reset): all tasks that wait go
///   on, and later ones need not wait.
/// - A *counted* trigger lets one task go on for each signal, in the order in which they began to
///   wait. It keeps a limited number of signals for later tasks. With a limit of one, signals that
///   no task waits for are merged.
///
/// A [`Condition`](crate::Condition) keeps no signals. Its waiters check data under a mutex
/// instead.
///
/// # Examples
///
/// ```
/// use futures::{executor::block_on, join};
/// use matou_sync::Trigger;
///
/// static READY: Trigger = Trigger::latched();
///
/// block_on(async {
///     join!(READY.wait(), READY.wait(), async { READY.signal() });
///     READY.wait().await;
/// });
/// ```
///
/// ```
/// use matou_sync::Trigger;
///
/// let changed = Trigger::counted(1);
/// changed.signal();
/// futures::executor::block_on(changed.wait());
/// assert!(!changed.is_signaled());
/// ```
#[doc(alias = "Notify")]
#[doc(alias = "Event")]
#[doc(alias = "AutoResetEvent")]
#[doc(alias = "ManualResetEvent")]
pub struct Trigger {
    /// The number of signals that are kept for later tasks. `None` if latched.
    limit: Option<usize>,
    /// Counted: the signals that no wait has taken. Latched: the lowest bit is set if it is
    /// signalled, the others count how often it was.
    state: AtomicUsize,
    signalled: Notify,
}

/// Of a latched trigger.
const SET: usize = 1;

impl Trigger {
    const_fn! {
        /// Creates a latched trigger that is not signalled.
        ///
        /// # Examples
        ///
        /// ```
        /// let trigger = matou_sync::Trigger::latched();
        /// trigger.signal();
        /// assert!(trigger.is_signaled());
        /// ```
        pub fn latched() -> Self {
            Self { limit: None, state: AtomicUsize::new(0), signalled: Notify::new(Kind::Trigger) }
        }
    }

    const_fn! {
        /// Creates a counted trigger that keeps at most `limit` signals for later tasks.
        ///
        /// # Panics
        ///
        /// Panics if `limit` is zero.
        ///
        /// # Examples
        ///
        /// ```
        /// let trigger = matou_sync::Trigger::counted(2);
        /// assert_eq!([(); 3].map(|()| trigger.signal()), [true, true, false]);
        /// assert_eq!([(); 3].map(|()| trigger.try_wait()), [true, true, false]);
        /// ```
        pub fn counted(limit: usize) -> Self {
            assert!(limit > 0, "a counted trigger must keep at least one signal");
            Self {
                limit: Some(limit),
                state: AtomicUsize::new(0),
                signalled: Notify::new(Kind::Trigger),
            }
        }
    }

    /// Signals the trigger. Returns `false` if that has no effect, because it is latched and
    /// signalled already, or as many signals are kept as it is created for.
    ///
    /// # Examples
    ///
    /// ```
    /// let trigger = matou_sync::Trigger::latched();
    /// assert!(trigger.signal());
    /// assert!(!trigger.signal());
    /// ```
    #[doc(alias = "set")]
    #[doc(alias = "notify")]
    #[doc(alias = "notify_one")]
    pub fn signal(&self) -> bool {
        match self.limit {
            None => {
                let set = |state: usize| (state & SET == 0).then(|| state.wrapping_add(2) | SET);
                let was_set = self.update(set);
                if was_set {
                    self.signalled.notify_all();
                }
                was_set
            }
            Some(limit) => {
                let is_kept = self.update(|count| self.has_room(count, limit).then(|| count + 1));
                if is_kept {
                    self.signalled.notify_one();
                }
                is_kept
            }
        }
    }

    /// Returns whether there is a task for one more signal, or room to keep it.
    fn has_room(&self, count: usize, limit: usize) -> bool {
        if count < limit {
            return true;
        }
        // Pairs with the fence of a waiter that has found no signal: it is counted here if the
        // signals that are counted came later.
        fence(Ordering::SeqCst);
        // fault: trigger-loses-signals-of-waiters
        count - limit < self.signalled.waiters()
    }

    fn update(&self, change: impl FnMut(usize) -> Option<usize>) -> bool {
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).is_ok()
    }

    /// Ends the effect of all signals that no wait has taken. Returns whether there were any.
    ///
    /// Tasks that were waiting when a latched trigger was signalled go on nevertheless.
    ///
    /// # Examples
    ///
    /// ```
    /// let trigger = matou_sync::Trigger::latched();
    /// trigger.signal();
    /// assert!(trigger.reset());
    /// assert!(!trigger.is_signaled());
    /// ```
    pub fn reset(&self) -> bool {
        match self.limit {
            None => self.state.fetch_and(!SET, Ordering::AcqRel) & SET != 0,
            Some(_) => self.state.swap(0, Ordering::AcqRel) > 0,
        }
    }

    /// Returns `true` if a task would not have to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!matou_sync::Trigger::counted(1).is_signaled());
    /// ```
    pub fn is_signaled(&self) -> bool {
        let state = self.state.load(Ordering::Acquire);
        if self.limit.is_none() { state & SET != 0 } else { state > 0 }
    }

    /// Takes a signal if there is one. That of a latched trigger stays.
    ///
    /// # Examples
    ///
    /// ```
    /// let trigger = matou_sync::Trigger::counted(1);
    /// trigger.signal();
    /// assert!(trigger.try_wait());
    /// assert!(!trigger.try_wait());
    /// ```
    pub fn try_wait(&self) -> bool {
        self.signalled.as_newcomer(|reserved| self.take(reserved))
    }

    /// Takes a signal, but leaves so many to others.
    fn take(&self, reserved: usize) -> bool {
        match self.limit {
            None => self.is_signaled(),
            Some(_) => self.update(|count| (count > reserved).then(|| count - 1)),
        }
    }

    /// Waits for a signal, unless one is kept.
    ///
    /// # Panics
    ///
    /// The future panics if it is polled after completion.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no signal: the one that it was woken for goes to the next waiter,
    /// or is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// let trigger = matou_sync::Trigger::latched();
    /// trigger.signal();
    /// futures::executor::block_on(trigger.wait());
    /// ```
    #[doc(alias = "notified")]
    #[doc(alias = "listen")]
    #[track_caller]
    pub fn wait(&self) -> TriggerWait<'_> {
        let called_at = Location::caller();
        let waiting = Waiting::new(&self.signalled);
        TriggerWait { trigger: Some(self), waiting, before: 0, called_at }
    }

    /// Returns the number of tasks that wait. A snapshot for reports.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(matou_sync::Trigger::latched().waiters(), 0);
    /// ```
    pub fn waiters(&self) -> usize {
        self.signalled.waiters()
    }
}

impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trigger")
            .field("is_latched", &self.limit.is_none())
            .field("is_signaled", &self.is_signaled())
            .field("waiters", &self.waiters())
            .finish_non_exhaustive()
    }
}

/// The future of [`Trigger::wait`].
///
/// # Cancel safety
///
/// Dropping it loses no signal.
///
/// # Examples
///
/// ```
/// use matou_sync::{Trigger, futures::TriggerWait};
///
/// let trigger = Trigger::counted(1);
/// let wait: TriggerWait<'_> = trigger.wait();
/// trigger.signal();
/// futures::executor::block_on(wait);
/// ```
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct TriggerWait<'a> {
    /// `None` once the future has completed.
    trigger: Option<&'a Trigger>,
    waiting: Waiting<'a>,
    /// The state of a latched trigger when the wait began.
    before: usize,
    called_at: &'static Location<'static>,
}

impl Future for TriggerWait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(trigger) = this.trigger else {
            polled_after_completion("`TriggerWait`", this.called_at)
        };
        let task = if this.waiting.is_waiting() {
            matou_hooks::current_task()
        } else {
            let task = ready!(matou_hooks::begin_operation(cx));
            this.before = trigger.state.load(Ordering::Acquire);
            if trigger.try_wait() {
                this.trigger = None;
                return Poll::Ready(());
            }
            task
        };
        let before = this.before;
        let take = |reserved| {
            // A latched trigger may have been signalled and reset since the wait began.
            // fault: trigger-forgets-waiters-at-reset
            let was_latched = trigger.limit.is_none()
                && trigger.state.load(Ordering::Acquire) | SET != before | SET;
            (was_latched || trigger.take(reserved)).then_some(())
        };
        let request = Request { task, at: this.called_at, data: 0 };
        if this.waiting.poll(cx, request, take).is_pending() {
            let target = Target::new("trigger", (&raw const *trigger).addr());
            matou_hooks::on_wait(&Wait::new("trigger", this.called_at).on(target), cx);
            return Poll::Pending;
        }
        this.trigger = None;
        Poll::Ready(())
    }
}

impl Drop for TriggerWait<'_> {
    fn drop(&mut self) {
        let Some(trigger) = self.trigger else { return };
        if let Some(limit) = trigger.limit
            && self.waiting.is_waiting()
        {
            // Takes the waiter out. The signal that was for it may be one too many to be kept.
            self.waiting = Waiting::new(&trigger.signalled);
            let most = limit + trigger.waiters();
            // fault: trigger-keeps-too-many-signals
            trigger.update(|count| (count > most).then_some(most));
        }
    }
}

impl fmt::Debug for TriggerWait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TriggerWait")
            .field("called_at", &self.called_at.to_string())
            .field("waiting", &self.waiting.is_waiting())
            .finish_non_exhaustive()
    }
}
