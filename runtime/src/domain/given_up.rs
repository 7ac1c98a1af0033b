//! Children that a combinator has given up, and whose ends it waits for.

use std::panic::Location;
use std::task::{Context, Poll};

use super::Domain;
use super::children::set_join_waker;
use crate::task::{BlockedOn, HandleState, NodeKey, WaitSite, WaitTarget};

/// The children of the current task that a combinator has given up by dropping their promises.
///
/// The nodes are freed when the children complete, so nothing is left behind if the combinator does
/// not wait for that.
#[derive(Debug, Default)]
pub(crate) struct GivenUp {
    children: Vec<NodeKey>,
}

impl GivenUp {
    /// Runs `f`, which drops branches of the combinator that was created at line `at`, and returns
    /// the children that were given up in it. Shields, which go on, are not among them.
    pub(crate) fn by(at: &'static Location<'static>, f: impl FnOnce()) -> GivenUp {
        /// Restores the list of the surrounding combinator, also if `f` panics.
        struct Restore(Option<Vec<NodeKey>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                Domain::try_with(|domain| domain.cancel.replace_given_up(self.0.take()));
            }
        }
        let begin = |domain: &Domain| domain.cancel.replace_given_up(Some(Vec::new()));
        let Some(outer) = Domain::try_with(begin) else {
            f();
            return GivenUp::default();
        };
        let restore = Restore(outer);
        Domain::abandon_branch(at, f);
        let children = Domain::try_with(|domain| domain.cancel.replace_given_up(None)).flatten();
        drop(restore);
        GivenUp { children: children.unwrap_or_default() }
    }

    /// Waits until all these children are complete.
    pub(crate) fn poll_ends(&mut self, site: WaitSite, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(&child) = self.children.last() {
            let poll = |domain: &Domain| domain.poll_given_up(child, site, cx);
            if Domain::try_with(poll).is_some_and(|poll| poll.is_pending()) {
                return Poll::Pending;
            }
            self.children.pop();
        }
        Poll::Ready(())
    }
}

impl Domain {
    /// Waits for the end of a child that was given up. Its node is freed then.
    fn poll_given_up(&self, child: NodeKey, site: WaitSite, cx: &Context<'_>) -> Poll<()> {
        let current = self.scheduler.current();
        let is_own = |node: &&super::Node| node.parent.get().local() == Some(current);
        let Some(node) = self.tree.get(child).filter(is_own) else {
            return Poll::Ready(());
        };
        node.handle_state.set(HandleState::GivenUp);
        let spawned_at = node.spawned_at.get();
        let target = WaitTarget::Task { id: child.id, spawned_at };
        self.set_blocked_on(BlockedOn::new(site, target));
        let is_parent = self.scheduler.is_current_waker(cx.waker());
        node.wake_parent.set(is_parent);
        if !is_parent {
            set_join_waker(node, cx.waker());
        }
        Poll::Pending
    }
}
