//! Offers of synchronization primitives to tasks (R13): an offer is good for one poll.
//!
//! A primitive that wakes one waiter and reserves something for it announces that as an offer to
//! the task that polled the waiter last. The task's domain keeps the offer in the task's cold
//! state. The next poll of the task that begins after the receipt is the waiter's opportunity: an
//! offer that is still open after it is declined, and the primitive makes it to the next waiter.
//!
//! ```text
//! primitive   --wake-->  task is queued
//!             --offer->  received: kept, or declined at once if the body is not polled any more
//!                        poll begins: the offers that are here are seen
//!                        poll ends: those of them that are open are declined
//! ```
//!
//! The offer comes after the wake-up, so that each poll after the receipt is one in which the
//! waiter can be polled, even if a combinator polls only those futures that were woken. It wakes
//! the task once more: the waker may have belonged to a combinator that is gone, and there must be
//! another poll.
//!
//! A task of another domain gets a message, which follows that of the wake-up. The domains of
//! another run are found through the table of runs.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use matou_hooks::Offer;

use super::{Domain, Message, Node, Run};
use crate::diagnostic::{Finding, TaskInfo};
use crate::panics;
use crate::task::{NodeKey, RunState, Slot, Stage, key_home};

/// Passes an offer on to the domain of its task. Called on any thread.
pub(crate) fn announce(offer: Offer) {
    let (task, mut offer) = (offer.task, Some(offer));
    Domain::try_with(|current| {
        let Some(key) = current.node_key(task) else { return };
        if let Some(offer) = offer.take() {
            current.keep_offer(key, offer);
        }
    });
    if let Some(offer) = offer {
        announce_elsewhere(offer);
    }
}

#[cold]
fn announce_elsewhere(offer: Offer) {
    let (number, domain) = key_home(offer.task);
    let current = Domain::try_with(|current| Arc::clone(&current.run));
    let run = current.filter(|run| run.number() == number).or_else(|| Run::find(number));
    match run {
        // fault: offers-of-other-runs-lost
        Some(run) => run.remote(domain).send(Message::Offer(Box::new(offer))),
        // The run is over, and with it the task.
        None => decline_at_once(offer),
    }
}

impl Domain {
    /// Receives an offer that was sent to this domain.
    pub(super) fn receive_offer(&self, offer: Offer) {
        match self.node_key(offer.task) {
            Some(key) => self.keep_offer(key, offer),
            None => decline_at_once(offer),
        }
    }

    /// Keeps an offer to a task of this domain until the task has been polled.
    #[inline]
    fn keep_offer(&self, key: NodeKey, offer: Offer) {
        match self.tree.get(key) {
            // fault: cancelled-task-keeps-offers
            Some(node) if may_use_offers(node) => {
                node.with_cold(|cold| cold.offers.push(offer));
                // fault: offer-wakes-no-task
                self.scheduler.wake(key.slot, node);
            }
            _ => decline_at_once(offer),
        }
    }

    /// Declines the offers that the task had received before the poll that has just ended, and has
    /// not taken. `seen` is their number.
    #[cold]
    pub(super) fn decline_unused_offers(&self, slot: Slot, node: &Node, seen: usize) {
        let next = || node.cold.update(|cold| cold.as_mut()?.offers.pop_seen());
        for _ in 0..seen {
            let Some(offer) = next() else { return };
            // Mostly the task has polled the waiter. Then there is nothing to ask the primitive.
            if offer.was_just_closed() {
                continue;
            }
            // A task that is polled again at once may just not have come to the waiter: a set of
            // futures yields after a number of them. And a cancelled task did nothing wrong.
            let is_suspicious = node.run_state.get() == RunState::Idle && !node.cancel.is_some();
            // fault: offers-outlive-polls
            if decline(&offer) && is_suspicious {
                self.report_declined_offer(slot, node, &offer);
            }
        }
    }

    fn report_declined_offer(&self, slot: Slot, node: &Node, offer: &Offer) {
        self.report_finding(Finding::DeclinedOffer {
            task: TaskInfo::of(&self.tree, slot, self.index),
            operation: offer.operation,
            waiting_at: offer.at,
            blocked_on: node.blocked_on.get(),
        });
    }
}

/// Returns whether futures of the task are still polled: those of its body while that is running,
/// and later those of its finalizers, which do not exist before. The body of a cancelled task is
/// kept until its children have ended, but not polled.
fn may_use_offers(node: &Node) -> bool {
    match node.stage.get() {
        Stage::Running => !node.cancel.is_some(),
        Stage::Joining | Stage::Complete => false,
        Stage::Finalizing => true,
    }
}

/// Declines an offer, unless it is closed already. Returns whether it was open.
fn decline(offer: &Offer) -> bool {
    let mut was_open = false;
    panics::ignore(|| was_open = offer.source.decline(offer.key));
    was_open
}

thread_local! {
    /// The offers that this thread has to decline; `None` while it does not decline any.
    static DECLINING: RefCell<Option<VecDeque<Offer>>> = const { RefCell::new(None) };
}

/// Declines an offer to a task that cannot use it. The next waiter's task may be such a task as
/// well, and so on, so this is a loop rather than a recursion.
pub(super) fn decline_at_once(offer: Offer) {
    let start = |queue: &RefCell<Option<VecDeque<Offer>>>| match &mut *queue.borrow_mut() {
        Some(queue) => {
            queue.push_back(offer.clone());
            false
        }
        none => {
            *none = Some(VecDeque::new());
            true
        }
    };
    // A destroyed thread-local cannot collect offers; few waiters are left when a thread ends.
    if !DECLINING.try_with(start).unwrap_or(true) {
        return;
    }
    let mut next = Some(offer);
    while let Some(offer) = next {
        decline(&offer);
        // Dropped while the queue is not borrowed: it may be the last reference to a wait list.
        drop(offer);
        let pop =
            |queue: &RefCell<Option<VecDeque<Offer>>>| queue.borrow_mut().as_mut()?.pop_front();
        next = DECLINING.try_with(pop).unwrap_or(None);
    }
    let _ = DECLINING.try_with(|queue| queue.take());
}
