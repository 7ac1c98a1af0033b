//! A host whose tasks and offers a model determines.

use std::cell::{Cell, RefCell};
use std::sync::Once;

use matou_hooks::{Host, Offer, TaskKey};

// The threads of a model run on the thread of its test, and the models of other tests on others.
std::thread_local! {
    static IS_TASK: Cell<bool> = const { Cell::new(false) };
    static OFFERS: RefCell<Vec<Offer>> = const { RefCell::new(Vec::new()) };
}

struct ModelHost;

impl Host for ModelHost {
    fn current_task(&self) -> Option<TaskKey> {
        TaskKey::from_parts(0, u64::from(IS_TASK.get()))
    }

    fn on_offer(&self, offer: Offer) {
        OFFERS.with_borrow_mut(|offers| offers.push(offer));
    }
}

/// Runs `poll` as a poll of a task of the host. So are the polls of all threads that run until it
/// returns.
pub(crate) fn as_task<R>(poll: impl FnOnce() -> R) -> R {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| assert!(matou_hooks::set_host(&ModelHost)));
    IS_TASK.set(true);
    let result = poll();
    IS_TASK.set(false);
    result
}

/// Takes the offers that were announced since the last call.
pub(crate) fn take_offers() -> Vec<Offer> {
    OFFERS.take()
}
