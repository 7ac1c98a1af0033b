//! Domains that do not handle a cancel request, because they have been in one poll for too long
//! (R11).
//!
//! A domain that sends a cancel request to another one looks after the limit for slow polls whether
//! the request was handled. If not, and if the other domain has not begun another poll since, that
//! is a finding. A request that is handled in time costs a timer, and no domain looks at others in
//! the meantime.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use super::{Domain, TimerTarget};
use crate::diagnostic::{ChildInfo, Finding, TaskInfo};
use crate::task::{NodeKey, Slot, TaskId};

/// The domains that the current one observes; at most one entry for each.
#[derive(Default)]
pub(super) struct Watches(RefCell<Vec<Watch>>);

/// An observed domain.
struct Watch {
    domain: u16,
    /// The number of its poll at `since`.
    poll: u64,
    since: Instant,
    /// The proxy of the child whose cancellation was requested.
    child: NodeKey,
}

impl Domain {
    /// Called after a cancel request to a child on another domain was sent.
    pub(super) fn watch(&self, domain: u16, child: NodeKey) {
        // The domains of a simulated run take turns: during a poll no other one could look.
        if self.simulation.is_none() {
            let poll = self.run.remote(usize::from(domain)).current_poll().number();
            self.begin_watch(Watch { domain, poll, since: self.recent_time(), child });
        }
    }

    fn begin_watch(&self, watch: Watch) {
        let Some(at) = watch.since.checked_add(self.run.config.slow_poll) else { return };
        let mut watches = self.watches.0.borrow_mut();
        if watches.iter().all(|other| other.domain != watch.domain) {
            self.timers.insert(at, TimerTarget::Watch(watch.domain));
            watches.push(watch);
        }
    }

    /// Called when the limit is over.
    pub(super) fn end_watch(&self, domain: u16) {
        let watch = {
            let mut watches = self.watches.0.borrow_mut();
            let index = watches.iter().position(|watch| watch.domain == domain);
            index.map(|index| watches.swap_remove(index))
        };
        let Some(watch) = watch else { return };
        let remote = self.run.remote(usize::from(domain));
        let is_waiting = self.tree.get(watch.child).is_some_and(|child| !child.is_complete());
        if !is_waiting || remote.is_empty() {
            return;
        }
        let now = self.recent_time();
        match remote.current_poll().read() {
            // fault: stuck-domain-not-reported
            Some(poll) if poll.number == watch.poll => {
                let (id, at) = (poll.task, poll.spawned_at);
                let mut task = TaskInfo::unknown(id, usize::from(domain), at);
                task.name = self.name_of_remote_child(poll.task);
                self.report_stuck(task, &watch, now);
            }
            // It is busy, or does something else than polling, but it goes on.
            _ => {
                let poll = remote.current_poll().number();
                self.begin_watch(Watch { poll, since: now, ..watch });
            }
        }
    }

    #[cold]
    fn report_stuck(&self, task: TaskInfo, watch: &Watch, now: Instant) {
        let child = &self.tree[watch.child.slot];
        let parent = child.parent.get().local();
        let parent = parent.expect("a proxy is in the list of a task on the same domain");
        self.report_finding(Finding::StuckDomain {
            task,
            took: now.saturating_duration_since(watch.since),
            child: ChildInfo::of(child),
            parent: TaskInfo::of(&self.tree, parent, self.index),
        });
    }

    /// Returns the name of a task on another domain, if a task on this one is its parent.
    fn name_of_remote_child(&self, id: TaskId) -> Option<Arc<str>> {
        let mut slots = self.tree.slots();
        let is_proxy = |&slot: &Slot| {
            let node = &self.tree[slot];
            node.id.get() == id && node.remote_domain.get().is_some()
        };
        slots.find(is_proxy).and_then(|slot| self.tree[slot].name())
    }
}
