//! The types of this crate that `tests/loom.rs` models; only compiled with `--cfg loom`.

use std::sync::{Arc, Weak};

use crate::Unpark;
use crate::domain::{Message, MessageQueue, RemoteHandle as Inner};
use crate::task::raw::State as RawState;

/// The handle of a domain. All its messages are the same, since only their number matters.
#[derive(Debug)]
pub struct RemoteHandle(Inner);

impl RemoteHandle {
    /// Creates the handle of a domain whose driver is unparked by `unparker`.
    pub fn new(unparker: Arc<dyn Unpark>) -> RemoteHandle {
        let remote = Inner::new(Weak::new(), MessageQueue::immediate());
        remote.connect(unparker);
        RemoteHandle(remote)
    }

    /// Sends a message and unparks the domain if it is parked.
    pub fn send(&self) {
        self.0.send(Message::Stop);
    }

    /// Takes all messages out of the queue and returns their number.
    pub fn receive(&self) -> usize {
        if self.0.is_empty() {
            return 0;
        }
        let mut more = Vec::new();
        let first = self.0.take(&mut more);
        usize::from(first.is_some()) + more.len()
    }

    /// Announces that the domain is about to park. Returns whether it may.
    pub fn prepare_park(&self) -> bool {
        self.0.prepare_park()
    }

    /// Announces that the domain is running again.
    pub fn end_park(&self) {
        self.0.end_park();
    }
}

/// The shared state of a task.
#[derive(Debug)]
pub struct State(RawState);

impl State {
    /// The state of a task with two references: its domain's and its promise's.
    #[expect(clippy::new_without_default, reason = "as the type that it wraps")]
    pub fn new() -> State {
        State(RawState::new())
    }

    /// Adds a reference.
    pub fn ref_inc(&self) {
        self.0.ref_inc();
    }

    /// Releases a reference; returns whether it was the last one.
    pub fn ref_dec(&self) -> bool {
        self.0.ref_dec()
    }

    /// Records a node, so that local references are counted separately until completion.
    pub fn set_slot(&self) {
        self.0.set_slot(0);
    }

    /// Adds a reference on the domain.
    pub fn ref_inc_local(&self) {
        self.0.ref_inc_local();
    }

    /// Releases a reference on the domain; returns whether it was the last one.
    pub fn ref_dec_local(&self) -> bool {
        self.0.ref_dec_local()
    }

    /// Wakes the task on another thread; returns whether a message has to be sent.
    pub fn notify_remote(&self) -> bool {
        self.0.notify_remote()
    }

    /// Acknowledges the message.
    pub fn acknowledge(&self) {
        self.0.acknowledge();
    }

    /// Hands the outcome to the promise and releases the domain's reference, unless the promise is
    /// gone.
    pub fn complete(&self) -> bool {
        self.0.complete()
    }

    /// Marks the task as complete without a receiver and releases the domain's reference; returns
    /// whether it was the last one.
    pub fn complete_detached(&self) -> bool {
        self.0.complete_detached()
    }

    /// Drops the promise's handle; returns whether the promise must drop the outcome.
    pub fn drop_handle(&self) -> bool {
        self.0.drop_handle()
    }

    /// Returns whether the outcome was written.
    pub fn is_complete(&self) -> bool {
        self.0.is_complete()
    }
}
