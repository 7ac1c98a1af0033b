use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::diagnostic::{CompletedChild, Finding, TaskInfo};
use crate::domain::{ChildRef, Domain, Message, OutcomeHandle, RemoteHandle};
use crate::outcome::Outcome;
use crate::panics::polled_after_completion;
use crate::task::{Cause, WaitSite};

/// The content of a promise: the reference to the child's outcome, and the child's node on the
/// parent's domain.
///
/// Its owner must [`release`](ChildHandle::release) it when it is dropped.
pub(super) struct ChildHandle<T, E> {
    /// `None` once the outcome is taken.
    outcome: Option<OutcomeHandle<T, E>>,
    child: ChildRef,
}

/// Why a handle is given up before its outcome was taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Release {
    /// The promise was dropped: the child is cancelled, and forgotten unless the drop is an
    /// abandonment (R1).
    Dropped,
    /// The child was cancelled before, and no future waits for it any more.
    Cancelled,
    /// The child goes on. Its outcome is dropped.
    Detached,
}

impl<T, E> ChildHandle<T, E> {
    pub(super) fn new(outcome: OutcomeHandle<T, E>, child: ChildRef) -> Self {
        ChildHandle { outcome: Some(outcome), child }
    }

    /// A handle without an outcome.
    pub(super) fn empty(child: ChildRef) -> Self {
        ChildHandle { outcome: None, child }
    }

    pub(super) fn child(&self) -> ChildRef {
        self.child
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outcome.is_none()
    }

    /// Returns the domain that the child lives on; `None` if the outcome is taken.
    pub(super) fn remote(&self) -> Option<&RemoteHandle> {
        self.outcome.as_ref().map(|outcome| &**outcome.scheduler())
    }

    /// Returns whether the outcome is there, or was taken. The parent may not be notified yet.
    pub(super) fn has_completed(&self) -> bool {
        self.outcome.as_ref().is_none_or(OutcomeHandle::is_complete)
    }

    /// Moves the handle out and leaves an empty one.
    pub(super) fn take(&mut self) -> Self {
        ChildHandle { outcome: self.outcome.take(), child: self.child }
    }

    /// Waits until the child is complete, and takes the outcome, which must not be taken already.
    /// `site` says in reports where the parent waits.
    #[inline]
    pub(super) fn poll(
        &mut self,
        domain: &Domain,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome<T, E>> {
        let outcome = self.outcome.as_ref();
        let outcome = outcome.expect("the caller has checked that the outcome is there");
        // fault: cancel-busy-wait
        ready!(domain.poll_child(outcome.scheduler(), self.child, site, cx));
        Poll::Ready(self.outcome.take().expect("it was there a moment ago").take())
    }

    /// Waits until the child is complete, without taking its outcome.
    ///
    /// # Panics
    ///
    /// If the outcome is taken already.
    pub(super) fn poll_end(
        &mut self,
        domain: &Domain,
        site: WaitSite,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let outcome = self.outcome.as_ref();
        let Some(outcome) = outcome else {
            polled_after_completion("a promise", self.child.spawned_at)
        };
        domain.poll_child_end(outcome.scheduler(), self.child, site, cx)
    }

    /// Takes the outcome of a child that is complete, and frees the child's node.
    pub(super) fn into_outcome(mut self, domain: &Domain) -> Outcome<T, E> {
        domain.reap(self.child.entry);
        let outcome = self.outcome.take();
        outcome.expect("a promise has its handle until its outcome is taken").take()
    }

    /// Drops the reference to the outcome of a child that is not complete.
    pub(super) fn drop_outcome(&mut self) {
        drop(self.outcome.take());
    }

    /// Gives the handle up, unless the outcome is taken.
    #[inline]
    pub(super) fn release(&mut self, how: Release) {
        if let Some(outcome) = self.outcome.take() {
            release(outcome, self.child, how);
        }
    }
}

fn release<T, E>(outcome: OutcomeHandle<T, E>, child: ChildRef, how: Release) {
    let is_complete = outcome.is_complete();
    let completed = give_up(outcome.scheduler(), child, how, is_complete);
    match is_complete {
        true => discard(outcome, child, completed),
        false => drop(outcome),
    }
}

/// Updates the node of a child whose handle is given up. If the child is complete and lives in the
/// tree of the current domain, returns its description, which is lost with its node.
fn give_up(
    remote: &RemoteHandle,
    child: ChildRef,
    how: Release,
    is_complete: bool,
) -> Option<CompletedChild> {
    let ChildRef { entry, domain: parent_domain, .. } = child;
    let mut completed = None;
    // On the parent's own domain the node is updated directly.
    let elsewhere = Domain::try_with(|domain| {
        if !domain.is_domain_of(remote, parent_domain) {
            return Some(domain.drop_is_abandonment());
        }
        if is_complete {
            completed = domain.completed_child(entry);
        }
        match how {
            Release::Dropped => domain.promise_dropped(entry, domain.drop_is_abandonment()),
            Release::Cancelled => domain.detach_cancelled(entry),
            Release::Detached => domain.detach_child(entry),
        }
        None
    });
    // On another domain, or outside a run, the parent's domain is sent a message. Whether the drop
    // is an abandonment depends on the code that runs here.
    if let Some(abandoned) = elsewhere.unwrap_or_else(|| Some(std::thread::panicking())) {
        let message = match how {
            Release::Dropped => Message::HandleDropped { entry, abandoned },
            Release::Cancelled => Message::HandleDropped { entry, abandoned: true },
            Release::Detached => Message::DetachHandle { entry },
        };
        // fault: remote-drop-not-sent
        remote.send_to(usize::from(parent_domain), message);
    }
    completed
}

/// Drops the outcome of a complete child, and reports a failure in it, which no task receives.
/// `completed` describes the child, if it is known here.
fn discard<T, E>(outcome: OutcomeHandle<T, E>, child: ChildRef, completed: Option<CompletedChild>) {
    let remote = Arc::clone(outcome.scheduler());
    let causes = outcome.discard();
    if !causes.is_empty() {
        report_failure(&remote, child, completed, causes);
    }
}

#[cold]
fn report_failure(
    remote: &RemoteHandle,
    child: ChildRef,
    completed: Option<CompletedChild>,
    causes: Vec<Cause>,
) {
    let known = completed
        .and_then(|completed| Domain::try_with(|domain| domain.child_info(child, completed)));
    let unknown = || TaskInfo::unknown(child.entry.id, remote.index(), child.spawned_at);
    let finding = Finding::FailureUnseen { task: known.unwrap_or_else(unknown), causes };
    // fault: unseen-failure-not-reported
    report(remote, finding);
}

fn report(remote: &RemoteHandle, finding: Finding) {
    let mut finding = Some(finding);
    Domain::try_with(|domain| {
        if remote.belongs_to(&domain.run) {
            domain.report_finding(finding.take().expect("it is reported once"));
        }
    });
    if let Some(finding) = finding {
        remote.report_finding(finding);
    }
}
