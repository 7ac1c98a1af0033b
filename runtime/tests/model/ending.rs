//! The end of a child on another domain, against its cancellation and against the loss of its
//! promise on a third thread.
//!
//! The model runs the word of a task that ships, in the order of `Domain::poll_task` and
//! `Domain::finish`: the outcome is written, then handed over, then the parent is told. The life of
//! the task and its memory are loom's cells, which fail when two threads are inside. The twins are
//! the same steps with a flaw.

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
    /// The child's domain tells the parent before the outcome is handed over.
    TellsFirst,
    /// Who drops the promise looks whether the task is over, and then lets it go, in two steps.
    DetachesInTwoSteps,
    /// Who completes the task does not look whether the promise still exists.
    CompletesBlindly,
}

/// How often what happened.
#[derive(Default)]
struct Counts {
    made: Count,
    taken: Count,
    dropped: Count,
}

fn add(count: &Count) {
    count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
}

fn get(count: &Count) -> usize {
    count.load(std::sync::atomic::Ordering::SeqCst)
}

/// What a child leaves behind.
struct Outcome {
    counts: Arc<Counts>,
    taken: bool,
}

impl Drop for Outcome {
    fn drop(&mut self) {
        add(if self.taken { &self.counts.taken } else { &self.counts.dropped });
    }
}

/// A task's allocation.
struct Allocation {
    state: State,
    outcome: UnsafeCell<Option<Outcome>>,
    freed: Count,
    flaw: Flaw,
}

// SAFETY: that each access has the cell for itself is what the model shows: loom's cell panics when
// two threads are inside, or when one does not see what the other did before.
unsafe impl Sync for Allocation {}
// SAFETY: an outcome may go to another thread.
unsafe impl Send for Allocation {}

impl Allocation {
    fn write(&self, outcome: Option<Outcome>) -> Option<Outcome> {
        // SAFETY: see `Sync`.
        self.outcome.with_mut(|cell| std::mem::replace(unsafe { &mut *cell }, outcome))
    }

    fn release(&self) {
        if self.state.ref_dec() {
            self.free();
        }
    }

    fn free(&self) {
        assert!(self.write(None).is_none(), "freed with an outcome inside");
        add(&self.freed);
    }

    /// The domain gives its reference up, with nobody left to take the outcome.
    fn end_unseen(&self) {
        if self.state.complete_detached() {
            self.free();
        }
    }

    /// Called by the child's domain.
    fn complete(&self, outcome: Outcome) {
        drop(self.write(Some(outcome)));
        if self.flaw == Flaw::CompletesBlindly {
            return self.end_unseen();
        }
        if !self.state.complete() {
            drop(self.write(None));
            self.end_unseen();
        }
    }

    /// Called by the parent after it was told.
    fn take(&self) {
        assert!(self.state.is_complete(), "told before the outcome was written");
        let mut outcome = self.write(None).expect("the outcome is there");
        outcome.taken = true;
        self.release();
    }

    /// Called by whoever drops the promise.
    fn detach(&self) {
        let mine = match self.flaw {
            Flaw::DetachesInTwoSteps => {
                let over = self.state.is_complete();
                self.state.drop_handle();
                over
            }
            _ => self.state.drop_handle(),
        };
        if mine {
            drop(self.write(None));
        }
        self.release();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Cancel,
    Ended,
    Dropped,
}

/// An inbox whose owner waits. That no message is lost while it falls asleep is the other model.
#[derive(Default)]
struct Inbox {
    messages: Mutex<VecDeque<Message>>,
    changed: Condvar,
}

impl Inbox {
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

struct Stage {
    child: Inbox,
    parent: Inbox,
    allocation: Allocation,
    counts: Arc<Counts>,
}

impl Stage {
    fn new(flaw: Flaw) -> Arc<Stage> {
        let (state, outcome) = (State::new(), UnsafeCell::new(None));
        let allocation = Allocation { state, outcome, freed: Count::new(0), flaw };
        Arc::new(Stage {
            child: Inbox::default(),
            parent: Inbox::default(),
            allocation,
            counts: Arc::default(),
        })
    }

    /// The child's domain: looks for a cancellation, polls the child to its end, tells the parent.
    fn end_the_child(&self) {
        let cancelled = self.child.try_receive() == Some(Message::Cancel);
        let outcome = Outcome { counts: self.counts.clone(), taken: false };
        // A child that was not cancelled in time has a step to do before it returns.
        if !cancelled {
            thread::yield_now();
        }
        add(&self.counts.made);
        if self.allocation.flaw == Flaw::TellsFirst {
            self.parent.send(Message::Ended);
            self.allocation.complete(outcome);
        } else {
            self.allocation.complete(outcome);
            self.parent.send(Message::Ended);
        }
    }

    /// The parent's domain, which cancels the child and takes what there is.
    fn cancel_the_child(&self) {
        self.child.send(Message::Cancel);
        assert!(self.parent.receive() == Message::Ended);
        self.allocation.take();
    }

    /// The parent's domain, whose task has lost the promise: it hears of the loss and of the end.
    fn hear_of_the_loss(&self) {
        let (mut dropped, mut ended) = (0, 0);
        while (dropped, ended) != (1, 1) {
            match self.parent.receive() {
                Message::Dropped => {
                    dropped += 1;
                    if ended == 0 {
                        self.child.send(Message::Cancel);
                    }
                }
                Message::Ended => ended += 1,
                Message::Cancel => unreachable!("for children"),
            }
        }
    }

    /// A foreign thread that drops the promise, as `Promise::drop` does.
    fn drop_the_promise(&self) {
        self.parent.send(Message::Dropped);
        self.allocation.detach();
    }

    fn assert_told_once(&self) {
        assert!(self.parent.try_receive().is_none(), "told twice");
    }
}

fn cancelled_while_it_ends(flaw: Flaw) -> impl Fn() + Send + Sync + 'static {
    move || {
        let stage = Stage::new(flaw);
        let child = thread::spawn({
            let stage = stage.clone();
            move || stage.end_the_child()
        });
        stage.cancel_the_child();
        child.join().unwrap();
        stage.assert_told_once();
        let counts = &stage.counts;
        assert_eq!((get(&counts.taken), get(&counts.dropped)), (1, 0));
        assert_eq!(get(&stage.allocation.freed), 1, "freed exactly once");
    }
}

fn lost_on_a_third_thread(flaw: Flaw) -> impl Fn() + Send + Sync + 'static {
    move || {
        let stage = Stage::new(flaw);
        let [child, third] = [Stage::end_the_child, Stage::drop_the_promise].map(|act| {
            let stage = stage.clone();
            thread::spawn(move || act(&stage))
        });
        stage.hear_of_the_loss();
        child.join().unwrap();
        third.join().unwrap();
        stage.assert_told_once();
        let counts = &stage.counts;
        assert_eq!(get(&counts.made), 1);
        assert_eq!(get(&counts.taken), 0);
        assert_eq!(get(&counts.dropped), 1, "dropped exactly once");
        assert_eq!(get(&stage.allocation.freed), 1, "freed exactly once");
    }
}

#[test]
fn a_child_that_ends_while_it_is_cancelled_hands_over_one_outcome() {
    holds(cancelled_while_it_ends(Flaw::None));
}

#[test]
fn a_promise_dropped_on_a_third_thread_leaves_one_outcome_to_drop() {
    holds(lost_on_a_third_thread(Flaw::None));
}

#[test]
fn a_parent_told_before_the_outcome_is_written_finds_none() {
    let why = "told before the outcome was written";
    fails(why, cancelled_while_it_ends(Flaw::TellsFirst));
}

#[test]
fn a_promise_dropped_in_two_steps_leaks_the_outcome() {
    let why = "freed with an outcome inside";
    fails(why, lost_on_a_third_thread(Flaw::DetachesInTwoSteps));
}

#[test]
fn a_task_completed_blindly_leaks_its_outcome() {
    let why = "freed with an outcome inside";
    fails(why, lost_on_a_third_thread(Flaw::CompletesBlindly));
}
