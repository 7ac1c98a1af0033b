//! A host that panics.

use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Waker};

use matou_hooks::{Holder, Host, Offer, OfferSource, Target, TaskKey, Wait};

struct Panics;

impl Host for Panics {
    fn on_wait(&self, _: &Wait, _: &Context<'_>) {
        panic!("on_wait")
    }
    fn on_acquire(&self, _: Target, _: Holder) {
        panic!("on_acquire")
    }
    fn on_release(&self, _: Target) {
        panic!("on_release")
    }
    fn on_offer(&self, _: Offer) {
        panic!("on_offer")
    }
}

struct NoOffers;

impl OfferSource for NoOffers {
    fn is_open(&self, _: u64) -> bool {
        false
    }
    fn decline(&self, _: u64) -> bool {
        false
    }
}

#[test]
fn a_panic_of_a_report_is_contained() {
    assert!(matou_hooks::set_host(&Panics));
    let (at, target) = (Location::caller(), Target::new("lock", 16));
    let cx = Context::from_waker(Waker::noop());
    matou_hooks::on_wait(&Wait::new("lock", at), &cx);
    matou_hooks::on_acquire(target, Holder::new(None, at));
    matou_hooks::on_release(target);
    let task = TaskKey::from_parts(1, 1).expect("the second number is not zero");
    matou_hooks::on_offer(Offer::new(task, "lock", at, 1, Arc::new(NoOffers)));
}
