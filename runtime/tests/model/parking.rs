//! The parking of a domain: no message may stay in the mailbox of a domain that waits forever.
//!
//! A domain that is about to wait writes `PARKED` and then checks its mailbox; a sender writes its
//! message and then checks for `PARKED`. So at least one of them sees the other, and of the senders
//! that see `PARKED` exactly one unparks the domain. The mailbox has a flag `non_empty`, so that
//! the
//! domain checks it without the lock, and only the sender of the first message checks the parker.
//!
//! The model runs the shipped `RemoteHandle` with its parker and its mailbox; only the eventfd is a
//! double. A domain receives until it has all messages, and parks whenever it may. If a message is
//! lost, the domain waits forever, which loom reports as a deadlock. The twins implement the same
//! protocol with a flaw.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use matou_runtime::Unpark;
use matou_runtime::model::RemoteHandle;

use super::support::{fails, holds};

/// Replaces the eventfd: a flag that a wait consumes.
#[derive(Default)]
struct EventFd {
    signalled: Mutex<bool>,
    changed: Condvar,
}

impl EventFd {
    fn wait(&self) {
        let mut signalled = self.signalled.lock().unwrap();
        while !*signalled {
            signalled = self.changed.wait(signalled).unwrap();
        }
        *signalled = false;
    }

    /// The wait of a domain that has work: it consumes the signal and does not block.
    fn poll(&self) {
        *self.signalled.lock().unwrap() = false;
    }
}

impl Unpark for EventFd {
    fn unpark(&self) {
        *self.signalled.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// The operations of a domain and of its senders.
trait Remote: Send + Sync + 'static {
    fn new(eventfd: Arc<EventFd>, flaw: Flaw) -> Self;
    fn send(&self);
    /// Takes all messages and returns their number.
    fn receive(&self) -> usize;
    /// Returns whether the domain may wait.
    fn prepare_park(&self) -> bool;
    fn end_park(&self);
}

impl Remote for RemoteHandle {
    fn new(eventfd: Arc<EventFd>, flaw: Flaw) -> RemoteHandle {
        assert_eq!(flaw, Flaw::None);
        RemoteHandle::new(eventfd)
    }
    fn send(&self) {
        RemoteHandle::send(self);
    }
    fn receive(&self) -> usize {
        RemoteHandle::receive(self)
    }
    fn prepare_park(&self) -> bool {
        RemoteHandle::prepare_park(self)
    }
    fn end_park(&self) {
        RemoteHandle::end_park(self);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// The domain checks its mailbox before it writes `PARKED`. A message that arrives in between
    /// is seen by neither check.
    ChecksBeforeParked,
    /// Neither side has a fence between its write and its check, so both may read old values.
    NoFence,
    /// A sender stores `NOTIFIED` although the state may have changed since it was read. If the
    /// domain has parked in between, later senders do not unpark it.
    StoresUnconditionally,
    /// A sender checks the parker before its message is in the mailbox.
    NotifiesFirst,
    /// The domain clears `non_empty` after it has released the lock, and with it the flag of a
    /// message that arrived in between.
    ClearsTooLate,
    /// A sender decides whether its message is the first one before it has the lock.
    ChecksFirstTooEarly,
}

const RUNNING: u8 = 0;
const PARKED: u8 = 1;
const NOTIFIED: u8 = 2;

/// The protocol with a flaw.
struct Twin {
    messages: Mutex<usize>,
    non_empty: AtomicBool,
    state: AtomicU8,
    eventfd: Arc<EventFd>,
    flaw: Flaw,
}

impl Twin {
    /// Adds a message. Returns whether it is the first one, so that the sender must notify.
    fn push(&self) -> bool {
        let was_empty = self.is_empty();
        let mut messages = self.messages.lock().unwrap();
        let is_first =
            if self.flaw == Flaw::ChecksFirstTooEarly { was_empty } else { *messages == 0 };
        *messages += 1;
        if is_first {
            self.non_empty.store(true, Ordering::Relaxed);
        }
        is_first
    }

    fn is_empty(&self) -> bool {
        !self.non_empty.load(Ordering::Relaxed)
    }

    fn fence(&self) {
        if self.flaw != Flaw::NoFence {
            fence(Ordering::SeqCst);
        }
    }

    /// Returns whether the sender must unpark the domain.
    fn notify(&self) -> bool {
        self.fence();
        let state = self.state.load(Ordering::SeqCst);
        if self.flaw == Flaw::StoresUnconditionally {
            self.state.store(NOTIFIED, Ordering::SeqCst);
            return state == PARKED;
        }
        let order = Ordering::SeqCst;
        state == PARKED && self.state.compare_exchange(PARKED, NOTIFIED, order, order).is_ok()
    }
}

impl Remote for Twin {
    fn new(eventfd: Arc<EventFd>, flaw: Flaw) -> Twin {
        let (messages, non_empty) = (Mutex::new(0), AtomicBool::new(false));
        Twin { messages, non_empty, state: AtomicU8::new(RUNNING), eventfd, flaw }
    }

    fn send(&self) {
        if self.flaw == Flaw::NotifiesFirst {
            if self.notify() {
                self.eventfd.unpark();
            }
            self.push();
            return;
        }
        if self.push() && self.notify() {
            self.eventfd.unpark();
        }
    }

    fn receive(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let mut messages = self.messages.lock().unwrap();
        let taken = std::mem::take(&mut *messages);
        if self.flaw == Flaw::ClearsTooLate {
            drop(messages);
        }
        self.non_empty.store(false, Ordering::Relaxed);
        taken
    }

    fn prepare_park(&self) -> bool {
        if self.flaw == Flaw::ChecksBeforeParked {
            let empty = self.is_empty();
            self.state.store(if empty { PARKED } else { RUNNING }, Ordering::SeqCst);
            return empty;
        }
        self.state.store(PARKED, Ordering::SeqCst);
        self.fence();
        if self.is_empty() {
            return true;
        }
        self.end_park();
        false
    }

    fn end_park(&self) {
        self.state.store(RUNNING, Ordering::SeqCst);
    }
}

/// The senders of a domain.
#[derive(Clone, Copy)]
struct Load {
    senders: usize,
    messages_each: usize,
    /// Whether the first wait ends without a message, as by a timer.
    timer: bool,
}

impl Load {
    fn with_a_timer(self) -> Load {
        Load { timer: true, ..self }
    }
}

const ONE_MESSAGE: Load = Load { senders: 1, messages_each: 1, timer: false };
const TWO_MESSAGES: Load = Load { messages_each: 2, ..ONE_MESSAGE };
const TWO_SENDERS: Load = Load { senders: 2, ..ONE_MESSAGE };

fn all_messages_arrive<R: Remote>(load: Load, flaw: Flaw) -> impl Fn() + Send + Sync + 'static {
    move || {
        let eventfd = Arc::new(EventFd::default());
        let remote = Arc::new(R::new(eventfd.clone(), flaw));
        let senders: Vec<_> = (0..load.senders)
            .map(|_| {
                let remote = remote.clone();
                thread::spawn(move || (0..load.messages_each).for_each(|_| remote.send()))
            })
            .collect();
        receive_all(&*remote, &eventfd, load);
        for sender in senders {
            sender.join().unwrap();
        }
    }
}

/// Ticks as `Domain::tick` does, until all messages are received.
fn receive_all(remote: &impl Remote, eventfd: &EventFd, load: Load) {
    let mut missing = load.senders * load.messages_each;
    let mut timer = load.timer;
    loop {
        missing -= remote.receive();
        if missing == 0 {
            return;
        }
        if !remote.prepare_park() {
            eventfd.poll();
            continue;
        }
        if std::mem::take(&mut timer) {
            eventfd.poll();
        } else {
            eventfd.wait();
        }
        remote.end_park();
    }
}

#[test]
fn a_message_wakes_a_domain_that_is_about_to_park() {
    holds(all_messages_arrive::<RemoteHandle>(ONE_MESSAGE, Flaw::None));
}

#[test]
fn a_second_message_wakes_a_domain_that_parks_again() {
    holds(all_messages_arrive::<RemoteHandle>(TWO_MESSAGES, Flaw::None));
}

#[test]
fn one_of_two_senders_unparks_the_domain() {
    holds(all_messages_arrive::<RemoteHandle>(TWO_SENDERS, Flaw::None));
}

#[test]
fn a_message_wakes_a_domain_that_was_woken_by_a_timer() {
    for load in [ONE_MESSAGE, TWO_MESSAGES] {
        holds(all_messages_arrive::<RemoteHandle>(load.with_a_timer(), Flaw::None));
    }
}

#[test]
fn the_twin_without_a_flaw_holds() {
    holds(all_messages_arrive::<Twin>(TWO_MESSAGES, Flaw::None));
    holds(all_messages_arrive::<Twin>(TWO_SENDERS, Flaw::None));
}

#[test]
fn a_domain_that_checks_its_mailbox_before_it_is_parked_loses_a_message() {
    fails("deadlock", all_messages_arrive::<Twin>(ONE_MESSAGE, Flaw::ChecksBeforeParked));
}

#[test]
fn without_fences_a_message_is_lost() {
    fails("deadlock", all_messages_arrive::<Twin>(ONE_MESSAGE, Flaw::NoFence));
}

#[test]
fn a_sender_that_stores_unconditionally_silences_the_next_sender() {
    fails("deadlock", all_messages_arrive::<Twin>(TWO_SENDERS, Flaw::StoresUnconditionally));
}

#[test]
fn a_domain_that_clears_the_flag_too_late_misses_a_message() {
    fails("deadlock", all_messages_arrive::<Twin>(TWO_MESSAGES, Flaw::ClearsTooLate));
}

#[test]
fn a_sender_that_checks_too_early_whether_it_is_first_notifies_no_domain() {
    fails("deadlock", all_messages_arrive::<Twin>(TWO_MESSAGES, Flaw::ChecksFirstTooEarly));
}

#[test]
fn a_sender_that_notifies_before_it_pushes_wakes_no_domain() {
    fails("deadlock", all_messages_arrive::<Twin>(ONE_MESSAGE, Flaw::NotifiesFirst));
}
