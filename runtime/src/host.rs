//! The runtime as the host of synchronization primitives; see the crate `matou-hooks`.

use std::sync::OnceLock;
use std::task::Context;

use matou_hooks::{Holder, Host, Offer, Target, Wait};

use crate::domain::{Domain, offers};

/// Answers for the task that the current thread is polling. Other threads get the defaults.
struct RuntimeHost;

/// Makes the runtime the host of this process, unless there is another one. Returns whether it is.
pub(crate) fn install() -> bool {
    static IS_HOST: OnceLock<bool> = OnceLock::new();
    *IS_HOST.get_or_init(|| matou_hooks::set_host(&RuntimeHost))
}

impl Host for RuntimeHost {
    fn on_wait(&self, wait: &Wait, _: &Context<'_>) {
        Domain::try_with(|domain| domain.report_wait(wait));
    }

    fn on_acquire(&self, target: Target, holder: Holder) {
        Domain::try_with(|domain| domain.set_holder(target, Some(holder)));
    }

    fn on_release(&self, target: Target) {
        Domain::try_with(|domain| domain.set_holder(target, None));
    }

    fn on_offer(&self, offer: Offer) {
        offers::announce(offer);
    }
}
