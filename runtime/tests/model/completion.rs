//! The completion of a child on another domain, which races with its cancellation, or with the drop
//! of its promise on a third thread.
//!
//! The model runs the shipped state of a task, in the order of `Domain::poll_task` and
//! `Domain::finish`: the child's domain writes the outcome, completes the state, and then notifies
//! the parent. The outcome must be taken or dropped exactly once and the task freed exactly once.
//! The outcome lies in a loom cell, which panics when two threads access it at the same time. The
//! wrong twins perform the same steps with a flaw.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Count;

use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use matou_runtime::model::State;

use super::support::{fails, holds};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// The child's domain notifies the parent before it has completed the state. The parent can
    /// then look for the outcome too early.
    NotifiesFirst,
    /// The drop of the promise checks whether the task is complete, and then marks the handle as
    /// dropped, in two steps. If the task completes in between, neither side drops the outcome.
    DropsHandleInTwoSteps,
    /// The completion does not check whether the promise was dropped.
    IgnoresDroppedHandle,
}

/// How many outcomes were created, taken by the parent, and dropped.
#[derive(Default)]
struct Counts {
    created: Count,
    taken: Count,
    dropped: Count,
}

fn add(count: &Count) {
    count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
}

fn get(count: &Count) -> usize {
    count.load(std::sync::atomic::Ordering::SeqCst)
}

struct Outcome {
    counts: Arc<Counts>,
    taken: bool,
}

impl Drop for Outcome {
    fn drop(&mut self) {
        add(if self.taken { &self.counts.taken } else { &self.counts.dropped });
    }
}

/// The child: the shared allocation of its domain and its promise.
struct Task {
    state: State,
    outcome: UnsafeCell<Option<Outcome>>,
    freed: Count,
    flaw: Flaw,
}

// SAFETY: the model checks that each access to the cell is exclusive: loom's cell panics when two
// threads access it at the same time, or when one access does not happen after the other.
unsafe impl Sync for Task {}
// SAFETY: an outcome may be sent to another thread.
unsafe impl Send for Task {}

impl Task {
    fn replace_outcome(&self, outcome: Option<Outcome>) -> Option<Outcome> {
        // SAFETY: see `Sync`.
        self.outcome.with_mut(|cell| std::mem::replace(unsafe { &mut *cell }, outcome))
    }

    fn drop_ref(&self) {
        if self.state.ref_dec() {
            self.free();
        }
    }

    fn free(&self) {
        assert!(self.replace_outcome(None).is_none(), "freed with an outcome inside");
        add(&self.freed);
    }

    /// Drops the domain's reference of a task whose outcome no parent will take.
    fn complete_detached(&self) {
        if self.state.complete_detached() {
            self.free();
        }
    }

    /// Called by the child's domain.
    fn complete(&self, outcome: Outcome) {
        drop(self.replace_outcome(Some(outcome)));
        if self.flaw == Flaw::IgnoresDroppedHandle {
            return self.complete_detached();
        }
        // If the promise was dropped first, the domain drops the outcome.
        if !self.state.complete() {
            drop(self.replace_outcome(None));
            self.complete_detached();
        }
    }

    /// Called by the parent after it was notified.
    fn take_outcome(&self) {
        assert!(self.state.is_complete(), "notified before the outcome was written");
        let mut outcome = self.replace_outcome(None).expect("the outcome is there");
        outcome.taken = true;
        self.drop_ref();
    }

    /// Called by the thread that drops the promise.
    fn drop_handle(&self) {
        let is_complete = match self.flaw {
            Flaw::DropsHandleInTwoSteps => {
                let is_complete = self.state.is_complete();
                self.state.drop_handle();
                is_complete
            }
            _ => self.state.drop_handle(),
        };
        // If the task was completed first, the promise drops the outcome.
        if is_complete {
            drop(self.replace_outcome(None));
        }
        self.drop_ref();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    CancelRequested,
    ChildCompleted,
    HandleDropped,
}

/// A mailbox whose owner blocks. The model in `parking.rs` shows that a domain which parks loses no
/// message.
#[derive(Default)]
struct Mailbox {
    messages: Mutex<VecDeque<Message>>,
    changed: Condvar,
}

impl Mailbox {
    fn send(&self, message: Message) {
        self.messages.lock().unwrap().push_back(message);
        self.changed.notify_one();
    }

    fn try_receive(&self) -> Option<Message> {
        self.messages.lock().unwrap().pop_front()
    }

    fn receive(&self) -> Message {
        let mut messages = self.messages.lock().unwrap();
        loop {
            match messages.pop_front() {
                Some(message) => return message,
                None => messages = self.changed.wait(messages).unwrap(),
            }
        }
    }
}

/// A parent and a child on two domains.
struct Family {
    child_domain: Mailbox,
    parent_domain: Mailbox,
    child: Task,
    counts: Arc<Counts>,
}

impl Family {
    fn new(flaw: Flaw) -> Arc<Family> {
        let (state, outcome) = (State::new(), UnsafeCell::new(None));
        let child = Task { state, outcome, freed: Count::new(0), flaw };
        Arc::new(Family {
            child_domain: Mailbox::default(),
            parent_domain: Mailbox::default(),
            child,
            counts: Arc::default(),
        })
    }

    /// The child's domain: receives a cancel request if it has arrived, completes the child, and
    /// notifies the parent.
    fn complete_child(&self) {
        let cancelled = self.child_domain.try_receive() == Some(Message::CancelRequested);
        let outcome = Outcome { counts: self.counts.clone(), taken: false };
        // A child that was not cancelled in time performs another step before it returns.
        if !cancelled {
            thread::yield_now();
        }
        add(&self.counts.created);
        if self.child.flaw == Flaw::NotifiesFirst {
            self.parent_domain.send(Message::ChildCompleted);
            self.child.complete(outcome);
        } else {
            self.child.complete(outcome);
            self.parent_domain.send(Message::ChildCompleted);
        }
    }

    /// The parent's domain: cancels the child and takes its outcome.
    fn cancel_child(&self) {
        self.child_domain.send(Message::CancelRequested);
        assert!(self.parent_domain.receive() == Message::ChildCompleted);
        self.child.take_outcome();
    }

    /// The parent's domain, after the promise was sent to another thread: receives the drop of the
    /// promise and the completion of the child, in either order.
    fn receive_drop_and_completion(&self) {
        let (mut dropped, mut completed) = (0, 0);
        while (dropped, completed) != (1, 1) {
            match self.parent_domain.receive() {
                Message::HandleDropped => {
                    dropped += 1;
                    if completed == 0 {
                        self.child_domain.send(Message::CancelRequested);
                    }
                }
                Message::ChildCompleted => completed += 1,
                Message::CancelRequested => unreachable!("only children receive this"),
            }
        }
    }

    /// A foreign thread that drops the promise, as `Promise::drop` does.
    fn drop_promise(&self) {
        self.parent_domain.send(Message::HandleDropped);
        self.child.drop_handle();
    }

    fn assert_notified_once(&self) {
        assert!(self.parent_domain.try_receive().is_none(), "notified twice");
    }
}

/// The parent cancels the child while it completes: the parent takes the outcome.
fn cancelled_while_it_completes(flaw: Flaw) -> impl Fn() + Send + Sync + 'static {
    move || {
        let family = Family::new(flaw);
        let child = thread::spawn({
            let family = family.clone();
            move || family.complete_child()
        });
        family.cancel_child();
        child.join().unwrap();
        family.assert_notified_once();
        let counts = &family.counts;
        assert_eq!((get(&counts.taken), get(&counts.dropped)), (1, 0));
        assert_eq!(get(&family.child.freed), 1, "freed exactly once");
    }
}

/// A third thread drops the promise while the child completes: one of the two drops the outcome.
fn dropped_on_a_third_thread(flaw: Flaw) -> impl Fn() + Send + Sync + 'static {
    move || {
        let family = Family::new(flaw);
        let [child, third] = [Family::complete_child, Family::drop_promise].map(|act| {
            let family = family.clone();
            thread::spawn(move || act(&family))
        });
        family.receive_drop_and_completion();
        child.join().unwrap();
        third.join().unwrap();
        family.assert_notified_once();
        let counts = &family.counts;
        assert_eq!(get(&counts.created), 1);
        assert_eq!(get(&counts.taken), 0);
        assert_eq!(get(&counts.dropped), 1, "dropped exactly once");
        assert_eq!(get(&family.child.freed), 1, "freed exactly once");
    }
}

#[test]
fn a_child_cancelled_while_it_completes_has_one_outcome() {
    holds(cancelled_while_it_completes(Flaw::None));
}

#[test]
fn the_outcome_of_a_child_whose_promise_is_dropped_on_a_third_thread_is_dropped_once() {
    holds(dropped_on_a_third_thread(Flaw::None));
}

#[test]
fn a_parent_notified_before_completion_finds_no_outcome() {
    let why = "notified before the outcome was written";
    fails(why, cancelled_while_it_completes(Flaw::NotifiesFirst));
}

#[test]
fn a_handle_dropped_in_two_steps_leaks_the_outcome() {
    let why = "freed with an outcome inside";
    fails(why, dropped_on_a_third_thread(Flaw::DropsHandleInTwoSteps));
}

#[test]
fn a_completion_that_ignores_a_dropped_handle_leaks_the_outcome() {
    let why = "freed with an outcome inside";
    fails(why, dropped_on_a_third_thread(Flaw::IgnoresDroppedHandle));
}
