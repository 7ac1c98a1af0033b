//! A host whose tasks and offers a model determines.

use std::cell::RefCell;
use std::sync::Once;

use matou_hooks::{Current, Host, Offer, TaskKey, replace_current};

// The threads of a model run on the thread of its test, and the models of other tests on others.
std::thread_local! {
    static OFFERS: RefCell<Vec<Offer>> = const { RefCell::new(Vec::new()) };
}

struct ModelHost;

impl Host for ModelHost {
    fn on_offer(&self, offer: Offer) {
        OFFERS.with_borrow_mut(|offers| offers.push(offer));
    }
}

/// Runs `poll` as a poll of a task of the host. So are the polls of all threads that run until it
/// returns.
pub(crate) fn as_task<R>(poll: impl FnOnce() -> R) -> R {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| assert!(matou_hooks::set_host(&ModelHost)));
    replace_current(Current::new(TaskKey::from_parts(0, 1), u16::MAX));
    let result = poll();
    replace_current(Current::NONE);
    result
}

/// Takes the offers that were announced since the last call.
pub(crate) fn take_offers() -> Vec<Offer> {
    OFFERS.take()
}
