//! The parts of responses that wait for a client of HTTP/2.
//!
//! The window of one stream can be shut while the connection works, and hyper tells nothing of it.
//! So a response is recorded while it waits for the client: as long as hyper has not asked for the
//! next part of its body, and as long as a part was not sent.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Instant;

use matou_runtime::now;

/// The responses of a connection that wait for the client.
#[derive(Default)]
pub(crate) struct Sending {
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Waiting>>,
}

struct Waiting {
    /// When the client has last received something of the response.
    since: Instant,
    /// The claims of the response.
    claims: usize,
}

impl Sending {
    pub(crate) fn next_response(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// Counts one more claim of the response.
    pub(crate) fn claim(&self, response: u64) {
        let mut all = self.waiting.borrow_mut();
        let waiting = all.entry(response).or_insert_with(|| Waiting { since: now(), claims: 0 });
        waiting.claims += 1;
    }

    /// Ends a claim of the response.
    pub(crate) fn release(&self, response: u64) {
        let mut all = self.waiting.borrow_mut();
        if let Some(waiting) = all.get_mut(&response) {
            waiting.claims -= 1;
            if waiting.claims == 0 {
                all.remove(&response);
            }
        }
    }

    /// Records that the client has received something of the response.
    pub(crate) fn record_progress(&self, response: u64) {
        if let Some(waiting) = self.waiting.borrow_mut().get_mut(&response) {
            // fault: slow-streams-cut-in-spite-of-progress
            waiting.since = now();
        }
    }

    /// Returns since when the response that waits longest has waited.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.waiting.borrow().values().map(|waiting| waiting.since).min()
    }
}
