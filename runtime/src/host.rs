//! The runtime as the host of synchronization primitives; see the crate `matou-hooks`.

use std::task::{Context, Poll, ready};

use matou_hooks::{Holder, Host, Offer, Target, TaskKey, Wait};

use crate::domain::{Domain, offers};

/// Answers for the task that the current thread is polling. Other threads get the defaults.
struct RuntimeHost;

/// Makes the runtime the host of this process, unless there is another one.
pub(crate) fn install() {
    let _ = matou_hooks::set_host(&RuntimeHost);
}

impl Host for RuntimeHost {
    fn current_task(&self) -> Option<TaskKey> {
        Domain::try_with(Domain::current_task_key).flatten()
    }

    fn poll_budget(&self, cx: &mut Context<'_>) -> Poll<()> {
        Domain::try_with(|domain| domain.spend_budget(cx)).unwrap_or(Poll::Ready(()))
    }

    fn begin_operation(&self, cx: &mut Context<'_>) -> Poll<Option<TaskKey>> {
        let begin = |domain: &Domain| {
            ready!(domain.spend_budget(cx));
            Poll::Ready(domain.current_task_key())
        };
        Domain::try_with(begin).unwrap_or(Poll::Ready(None))
    }

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
