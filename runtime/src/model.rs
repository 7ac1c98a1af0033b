//! What `tests/loom.rs` drives of this crate: only there under `--cfg loom`.

use std::sync::{Arc, Weak};

use crate::Unpark;
use crate::domain::{Mail, Message, Port as Inner};
use crate::task::cell::State as CellState;

/// The real port of a domain. Its messages are all alike, since only their number matters.
#[derive(Debug)]
pub struct Port(Inner);

impl Port {
    /// Makes the port of a domain whose driver is interrupted by `unparker`.
    pub fn new(unparker: Arc<dyn Unpark>) -> Port {
        let port = Inner::new(Weak::new(), Mail::at_once());
        port.connect(unparker);
        Port(port)
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
    pub fn lie_down(&self) -> bool {
        self.0.lie_down()
    }

    /// Says that the domain has waited.
    pub fn get_up(&self) {
        self.0.get_up();
    }
}

/// The real word that everybody who refers to a task shares.
#[derive(Debug)]
pub struct State(CellState);

impl State {
    /// A task with two references: its domain's and its promise's.
    #[expect(clippy::new_without_default, reason = "as the one that ships")]
    pub fn new() -> State {
        State(CellState::new())
    }

    /// Adds a reference.
    pub fn acquire(&self) {
        self.0.acquire();
    }

    /// Gives a reference up; returns whether it was the last one.
    pub fn release(&self) -> bool {
        self.0.release()
    }

    /// Says that the task has a place, so that references are counted apart until it is over.
    pub fn settle(&self) {
        self.0.settle_at(0);
    }

    /// Adds a reference, on the domain.
    pub fn acquire_here(&self) {
        self.0.acquire_here();
    }

    /// Gives a reference up, on the domain; returns whether it was the last one.
    pub fn release_here(&self) -> bool {
        self.0.release_here()
    }

    /// Wakes the task on a foreign thread; returns whether a message has to be sent.
    pub fn call(&self) -> bool {
        self.0.call()
    }

    /// The message has come.
    pub fn hear(&self) {
        self.0.hear();
    }

    /// Hands the outcome over and gives the domain's reference up, unless the promise is gone.
    pub fn hand_over(&self) -> bool {
        self.0.hand_over()
    }

    /// Says that the task is over and nobody has its outcome, and gives the domain's reference up;
    /// returns whether it was the last one.
    pub fn end_unseen(&self) -> bool {
        self.0.end_unseen()
    }

    /// Lets the promise go; returns whether the outcome is its to drop.
    pub fn detach(&self) -> bool {
        self.0.detach()
    }

    /// Whether the outcome was written.
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}
