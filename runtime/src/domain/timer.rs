//! A timer of a domain: its target, and its registration, which is removed on drop.

use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use super::{Domain, Message, RemoteHandle};
use crate::panics;
use crate::task::NodeKey;
use crate::timer_queue::TimerKey;

/// The target that a timer wakes.
#[derive(Debug)]
pub(crate) enum TimerTarget {
    /// A task of the timer's own domain that polls the timer with its own waker. Such a target
    /// needs no reference count.
    Task(NodeKey),
    Waker(Waker),
    /// No task: the domain looks whether this other one has handled a cancel request.
    Watch(u16),
}

impl TimerTarget {
    /// Drops the target of a timer that was dropped. A panic of a foreign waker does not reach the
    /// destructor of a future.
    fn discard(self) {
        match self {
            TimerTarget::Task(_) | TimerTarget::Watch(_) => {}
            TimerTarget::Waker(waker) => panics::ignore(|| drop(waker)),
        }
    }
}

/// A moment to wait for. It registers with the domain that polls it.
pub(crate) struct Timer {
    /// `None` means never.
    deadline: Option<Instant>,
    registration: Option<Registration>,
    /// The deadline was in the future when the timer was created. The first poll then registers
    /// without reading the clock; a deadline that has passed since fires at the next tick.
    was_ahead: bool,
    elapsed: bool,
}

/// An entry in the timer queue of a domain.
struct Registration {
    remote: Arc<RemoteHandle>,
    key: TimerKey,
}

impl Timer {
    /// Creates a timer that elapses `duration` from now; never if the clock cannot represent that
    /// moment.
    pub(crate) fn after(domain: &Domain, duration: Duration) -> Timer {
        let mut timer = Timer::at(domain.now().checked_add(duration));
        timer.was_ahead = !duration.is_zero();
        timer
    }

    /// Creates a timer that elapses at `deadline`; `None` means never.
    pub(crate) fn at(deadline: Option<Instant>) -> Timer {
        Timer { deadline, registration: None, was_ahead: false, elapsed: false }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Sets another deadline. The registration is removed, and the next poll registers again.
    pub(crate) fn reset(&mut self, deadline: Instant) {
        // fault: reset-keeps-the-registration
        *self = Timer::at(Some(deadline));
    }

    /// Waits for the deadline, without recording what the task is blocked on.
    pub(crate) fn poll(&mut self, domain: &Domain, cx: &mut Context<'_>) -> Poll<()> {
        if self.elapsed {
            return Poll::Ready(());
        }
        match self.update_registration(domain, cx.waker()) {
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(())) => self.registration = None,
            None => {
                let is_ahead = |deadline| self.was_ahead || deadline > domain.now();
                if self.deadline.is_none_or(is_ahead) {
                    self.register(domain, cx.waker());
                    return Poll::Pending;
                }
                // A loop over deadlines in the past must not starve other tasks.
                ready!(matou_hooks::poll_budget(cx));
            }
        }
        self.elapsed = true;
        Poll::Ready(())
    }

    /// Updates the target of the registration. Returns `None` without a registration on this
    /// domain, and otherwise whether the registration has fired.
    fn update_registration(&mut self, domain: &Domain, waker: &Waker) -> Option<Poll<()>> {
        let registration = self.registration.as_ref()?;
        if !domain.has_handle(&registration.remote) {
            self.deregister();
            return None;
        }
        let key = registration.key;
        let timers = domain.timers();
        let is_current =
            timers.borrow().target(key).map(|target| domain.is_timer_target(target, waker));
        let Some(is_current) = is_current else {
            return Some(Poll::Ready(()));
        };
        if !is_current {
            // Clone and drop wakers while the queue is not borrowed: foreign ones may run any code.
            let target = domain.timer_target(waker);
            let old = timers.borrow_mut().replace_target(key, target);
            drop(old);
        }
        Some(Poll::Pending)
    }

    fn register(&mut self, domain: &Domain, waker: &Waker) {
        let Some(deadline) = self.deadline else { return };
        let target = domain.timer_target(waker);
        let key = domain.timers().borrow_mut().insert(deadline, target);
        self.registration = Some(Registration { remote: Arc::clone(domain.remote()), key });
    }

    /// Removes the registration, by a message if another thread owns the domain.
    fn deregister(&mut self) {
        let Some(Registration { remote, key }) = self.registration.take() else {
            return;
        };
        let removed = Domain::try_with(|domain| {
            domain.has_handle(&remote).then(|| domain.timers().borrow_mut().remove(key))
        });
        match removed.flatten() {
            Some(target) => target.into_iter().for_each(TimerTarget::discard),
            None => remote.send(Message::TimerDropped(key)),
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.deregister();
    }
}

impl Domain {
    /// Returns the target that wakes the same task as `waker`.
    #[inline]
    pub(crate) fn timer_target(&self, waker: &Waker) -> TimerTarget {
        match self.is_current_waker(waker) {
            true => TimerTarget::Task(self.current_key()),
            false => TimerTarget::Waker(waker.clone()),
        }
    }

    /// Returns whether `target` is known to wake the same task as `waker`.
    #[inline]
    fn is_timer_target(&self, target: &TimerTarget, waker: &Waker) -> bool {
        match target {
            TimerTarget::Task(key) => self.is_current_waker(waker) && *key == self.current_key(),
            TimerTarget::Waker(known) => known.will_wake(waker),
            TimerTarget::Watch(_) => false,
        }
    }
}
