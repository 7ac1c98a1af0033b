//! What `tests/loom.rs` drives of this crate: only there under `--cfg loom`.

use std::sync::Arc;

use crate::Interrupt;
use crate::domain::{Mail, Message, Port as Inner};
use crate::time::Timers;

/// The real port of a domain. Its messages are all alike, since only their number matters.
#[derive(Debug)]
pub struct Port(Inner);

impl Port {
    /// Makes the port of a domain whose driver is interrupted by `interrupt`.
    pub fn new(interrupt: Arc<dyn Interrupt>) -> Port {
        let port = Inner::new(Mail::at_once(), Timers::default());
        port.connect(interrupt);
        Port(port)
    }

    /// Puts a message into the inbox and wakes the domain if it sleeps.
    pub fn send(&self) {
        self.0.send(Message::Stop);
    }

    /// Takes a message out of the inbox.
    pub fn receive(&self) -> bool {
        self.0.receive().is_some()
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
