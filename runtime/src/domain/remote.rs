//! The thread-safe half of a domain.

use std::fmt;
use std::sync::atomic::{AtomicIsize, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::RawWakerVTable;
use std::time::Instant;

use super::Run;
use super::current_poll::CurrentPoll;
use super::message_queue::MessageQueue;
use super::parker::Parker;
use super::{Domain, Message, offers};
use crate::diagnostic::{Diagnostic, Finding};
use crate::driver::Unpark;
use crate::panics;
use crate::task::Slot;
use crate::task::raw::{RemoteWake, Schedule, waker_vtable};

/// The thread-safe half of a domain: its message queue and its park state. All other fields of a
/// domain are accessed only by the domain's own thread.
///
/// Each task holds the handle of its domain, so that its wakers can use it after the run. (A task
/// does not hold the run instead, because then all domains would count their tasks in one shared
/// reference count.)
pub(crate) struct RemoteHandle {
    run: Weak<Run>,
    queue: MessageQueue,
    parker: Parker,
    unparker: OnceLock<Arc<dyn Unpark>>,
    /// See `TaskCount`. Written by the domain only.
    task_balance: AtomicIsize,
    /// How many tasks live on the domain, and, in the upper half, how many it has received of those
    /// that were sent because of its load. Written by the domain only, at once, so that no task is
    /// counted twice or not at all.
    living_and_received: AtomicU64,
    /// How many tasks were sent to the domain because of its load.
    sent: AtomicU32,
    current_poll: CurrentPoll,
}

impl RemoteHandle {
    pub(crate) fn new(run: Weak<Run>, queue: MessageQueue) -> RemoteHandle {
        RemoteHandle {
            run,
            queue,
            parker: Parker::new(),
            unparker: OnceLock::new(),
            task_balance: AtomicIsize::new(0),
            living_and_received: AtomicU64::new(0),
            sent: AtomicU32::new(0),
            current_poll: CurrentPoll::new(),
        }
    }

    /// Returns whether this is a domain of `run`.
    #[inline]
    pub(crate) fn belongs_to(&self, run: &Arc<Run>) -> bool {
        std::ptr::eq(self.run.as_ptr(), Arc::as_ptr(run))
    }

    /// Returns the number of the domain; 0 if the run's memory is freed.
    pub(crate) fn index(&self) -> usize {
        let Some(run) = self.run.upgrade() else { return 0 };
        let is_this = |&index: &usize| std::ptr::eq(&raw const **run.remote(index), self);
        (0..run.domains()).find(is_this).unwrap_or(0)
    }

    #[inline]
    pub(super) fn current_poll(&self) -> &CurrentPoll {
        &self.current_poll
    }

    /// Publishes the task count's balance. Relaxed, because the message that reports a completion
    /// orders the accesses.
    pub(super) fn set_task_balance(&self, balance: isize) {
        self.task_balance.store(balance, Ordering::Relaxed);
    }

    pub(super) fn task_balance(&self) -> isize {
        self.task_balance.load(Ordering::Relaxed)
    }

    pub(super) fn set_living(&self, living: u32, received: u32) {
        let both = u64::from(received) << 32 | u64::from(living);
        self.living_and_received.store(both, Ordering::Relaxed);
    }

    /// Returns how many tasks live on the domain, as it has published last.
    pub(super) fn living(&self) -> u32 {
        self.living_and_received.load(Ordering::Relaxed) as u32
    }

    /// Returns the load of the domain: its tasks, and those on the way to it that
    /// [`count_sent`](RemoteHandle::count_sent) has counted.
    pub(super) fn load(&self) -> u32 {
        let both = self.living_and_received.load(Ordering::Relaxed);
        let sent = self.sent.load(Ordering::Relaxed);
        (both as u32).saturating_add(sent.wrapping_sub((both >> 32) as u32))
    }

    /// Counts a task that is sent to the domain because of its load.
    pub(crate) fn count_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends a message to a domain of the same run, unless the run's memory is freed.
    pub(crate) fn send_to(&self, domain: usize, message: Message) {
        if let Some(run) = self.run.upgrade() {
            run.remote(domain).send(message);
        }
    }

    /// Sets the handle that unparks the domain. Called once by the domain before it first looks at
    /// its queue.
    pub(crate) fn connect(&self, unparker: Arc<dyn Unpark>) {
        assert!(self.unparker.set(unparker).is_ok(), "a handle belongs to one domain");
    }

    /// Puts a message into the queue, and unparks the domain if it is parked.
    ///
    /// After the run the queue is closed, and the message is dropped on this thread: all of a
    /// message is `Send`. That happens for example if the driver of another domain fails until that
    /// domain is stopped, too.
    pub(crate) fn send(&self, message: Message) {
        let must_notify = match self.queue.push(message) {
            Ok(must_notify) => must_notify,
            // A wake-up holds the memory of a task, but no future.
            Err(Message::Wake(wake)) => return drop(wake),
            Err(Message::Offer(offer)) => return offers::decline_at_once(*offer),
            Err(Message::Diagnostic(diagnostic)) => return self.report_late(&diagnostic),
            // The closure of a signal handler may have captured any value.
            Err(message) => return panics::ignore(|| drop(message)),
        };
        if must_notify && self.parker.notify() {
            // A domain that is not connected yet has not parked yet either.
            if let Some(unparker) = self.unparker.get() {
                // A domain that is not unparked may wait forever, and the run with it.
                // fault: unparker-panic-ignored
                panics::abort_on_panic(|| unparker.unpark());
            }
        }
    }

    /// Hands a diagnostic to the user on this thread, because the domain has stopped.
    #[cold]
    fn report_late(&self, diagnostic: &Diagnostic) {
        if let Some(run) = self.run.upgrade() {
            run.reporter().report(diagnostic);
        }
    }

    /// Reports a finding from a thread that is running no domain of the run, unless the run's
    /// memory is freed.
    pub(crate) fn report_finding(&self, finding: Finding) {
        if let Some(run) = self.run.upgrade() {
            run.report_finding(finding);
        }
    }

    /// Returns whether no message has arrived.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns whether a message was sent that was not taken, arrived or not.
    pub(crate) fn has_messages(&self) -> bool {
        self.queue.has_messages()
    }

    /// Takes the messages that have arrived: returns the first one, and puts the others into
    /// `rest`, which must be empty.
    pub(crate) fn take(&self, rest: &mut Vec<Message>) -> Option<Message> {
        self.queue.take(rest)
    }

    /// Returns when the next message arrives, in a simulated run.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.queue.next_arrival()
    }

    /// Called by the domain before it waits in its driver. Returns whether it may wait.
    pub(crate) fn prepare_park(&self) -> bool {
        self.parker.prepare_park(|| self.is_empty())
    }

    /// Called by the domain after it has waited.
    pub(crate) fn end_park(&self) {
        self.parker.end_park();
    }

    /// Closes the queue. Called by the domain's thread when the domain is dropped.
    pub(crate) fn close(&self) {
        self.queue.close();
    }
}

impl Drop for RemoteHandle {
    fn drop(&mut self) {
        // The last reference may be a waker anywhere, even in a thread-local destructor, where a
        // panic of a user's type would abort the process.
        let unparker = self.unparker.take();
        panics::ignore(|| drop(unparker));
    }
}

static WAKER_VTABLE: RawWakerVTable = waker_vtable::<RemoteHandle>();

impl Schedule for RemoteHandle {
    type Local = Domain;

    #[inline]
    fn waker_vtable() -> &'static RawWakerVTable {
        &WAKER_VTABLE
    }

    #[inline]
    fn is_current(&self) -> bool {
        Domain::try_with(|domain| domain.has_handle(self)) == Some(true)
    }

    // Always inlined: the compiler may otherwise prefer a call, which is a third of a wake-up.
    #[inline(always)]
    fn wake_local(&self, slot: impl FnOnce() -> Slot) -> bool {
        Domain::try_with(|domain| domain.has_handle(self).then(|| domain.wake(slot())))
            .flatten()
            .is_some()
    }

    fn wake_remote(&self, wake: RemoteWake<RemoteHandle>) {
        self.send(Message::Wake(wake));
    }
}

impl fmt::Debug for RemoteHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteHandle")
            .field("is_empty", &self.is_empty())
            .field("parker", &self.parker)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_to_a_domain_that_has_ended_is_dropped() {
        let remote = RemoteHandle::new(Weak::new(), MessageQueue::immediate());
        remote.close();
        let captured = Arc::new(());
        let start_handler = {
            let captured = Arc::clone(&captured);
            move |_: &Domain| drop(captured)
        };
        remote.send(Message::Signal(Box::new(start_handler)));
        assert_eq!(Arc::strong_count(&captured), 1);
    }
}
