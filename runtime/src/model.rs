//! What `tests/loom.rs` drives of this crate: only there under `--cfg loom`.

use std::sync::{Arc, Weak};

use crate::Unpark;
use crate::domain::{Message, MessageQueue, RemoteHandle as Inner};
use crate::task::raw::State as RawState;

/// The real remote of a domain. Its messages are all alike, since only their number matters.
#[derive(Debug)]
pub struct RemoteHandle(Inner);

impl RemoteHandle {
    /// Makes the port of a domain whose driver is interrupted by `unparker`.
    pub fn new(unparker: Arc<dyn Unpark>) -> RemoteHandle {
        let remote = Inner::new(Weak::new(), MessageQueue::immediate());
        remote.connect(unparker);
        RemoteHandle(remote)
    }

    /// Puts a message into the inbox and wakes the domain if it sleeps.
    pub fn send(&self) {
        self.0.send(Message::Stop);
    }

    /// Takes all messages out of the inbox, and tells how many.
    pub fn receive(&self) -> usize {
        if self.0.is_empty() {
            return 0;
        }
        let mut more = Vec::new();
        let first = self.0.take(&mut more);
        usize::from(first.is_some()) + more.len()
    }

    /// Returns whether the domain may wait.
    pub fn prepare_park(&self) -> bool {
        self.0.prepare_park()
    }

    /// Says that the domain has waited.
    pub fn end_park(&self) {
        self.0.end_park();
    }
}

/// The real word that everybody who refers to a task shares.
#[derive(Debug)]
pub struct State(RawState);

impl State {
    /// A task with two references: its domain's and its promise's.
    #[expect(clippy::new_without_default, reason = "as the one that ships")]
    pub fn new() -> State {
        State(RawState::new())
    }

    /// Adds a reference.
    pub fn ref_inc(&self) {
        self.0.ref_inc();
    }

    /// Gives a reference up; returns whether it was the last one.
    pub fn ref_dec(&self) -> bool {
        self.0.ref_dec()
    }

    /// Says that the task has a place, so that references are counted apart until it is over.
    pub fn set_slot(&self) {
        self.0.set_slot(0);
    }

    /// Adds a reference, on the domain.
    pub fn ref_inc_local(&self) {
        self.0.ref_inc_local();
    }

    /// Gives a reference up, on the domain; returns whether it was the last one.
    pub fn ref_dec_local(&self) -> bool {
        self.0.ref_dec_local()
    }

    /// Wakes the task on a foreign thread; returns whether a message has to be sent.
    pub fn notify_remote(&self) -> bool {
        self.0.notify_remote()
    }

    /// The message has come.
    pub fn acknowledge(&self) {
        self.0.acknowledge();
    }

    /// Hands the outcome over and gives the domain's reference up, unless the promise is gone.
    pub fn complete(&self) -> bool {
        self.0.complete()
    }

    /// Says that the task is over and nobody has its outcome, and gives the domain's reference up;
    /// returns whether it was the last one.
    pub fn complete_detached(&self) -> bool {
        self.0.complete_detached()
    }

    /// Lets the promise go; returns whether the outcome is its to drop.
    pub fn drop_handle(&self) -> bool {
        self.0.drop_handle()
    }

    /// Whether the outcome was written.
    pub fn is_complete(&self) -> bool {
        self.0.is_complete()
    }
}
