//! The last part of a task's life: what it owns is finalized, and the books are closed.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use matou_ownership::Settle;

use super::Domain;
use crate::task::{Cancelled, panics};
use crate::task::{Claim, Node, Outcome, Panic, Stage, TaskError, Why};
use crate::time::Sleep;
use crate::violation::Violation;
use crate::wait::{Wait, WaitOn};

/// Finalizes what a task still owns, newest first, within the run's grace period.
pub(crate) struct Settlement {
    /// None if the task owns nothing, as most do.
    finalizers: Option<Box<Finalizers>>,
}

struct Finalizers {
    settle: Settle,
    normal: bool,
    /// The end of the grace period; begun when a finalizer first has to wait.
    grace: Option<Sleep>,
}

impl Settlement {
    /// Begins to settle the current task.
    pub(crate) fn begin(domain: &Domain, normal: bool) -> Settlement {
        let ledger = matou_ownership::current_ledger();
        if let Some(ledger) = &ledger
            && normal
            && domain.with_current(|node| node.inherit)
        {
            ledger.inherit_all();
        }
        let ledger = ledger.filter(|ledger| !ledger.is_empty());
        let finalizers = ledger.map(|ledger| {
            Box::new(Finalizers {
                settle: ledger.settle(),
                normal,
                grace: None,
            })
        });
        Settlement { finalizers }
    }

    /// Goes on with it. Returns the first panic of a finalizer, if there was one.
    pub(crate) fn poll(&mut self, domain: &Domain, cx: &mut Context<'_>) -> Poll<Option<Panic>> {
        let Some(finalizers) = &mut self.finalizers else {
            return Poll::Ready(None);
        };
        let Finalizers {
            settle,
            normal,
            grace,
        } = &mut **finalizers;
        let settled = match Pin::new(&mut *settle).poll(cx) {
            Poll::Ready(settled) => settled,
            Poll::Pending => {
                let sleep = grace.get_or_insert_with(|| Sleep::new(domain.run.config.grace));
                if Pin::new(sleep).poll(cx).is_pending() {
                    domain.note_wait(Wait {
                        what: "finalizer",
                        at: None,
                        on: WaitOn::Unknown,
                    });
                    domain.suspend(cx.waker());
                    return Poll::Pending;
                }
                let resources = settle.unfinished();
                let task = domain.current_info();
                domain.raise(Violation::FinalizerUnfinished { task, resources });
                self.finalizers = None;
                return Poll::Ready(None);
            }
        };
        if *normal && !settled.leaked.is_empty() {
            let task = domain.current_info();
            domain.raise(Violation::ResourceLeaked {
                task,
                resources: settled.leaked,
            });
        }
        let panic = settled
            .panicked
            .into_iter()
            .next()
            .map(|(resource, message)| {
                Panic::from_message(format!("the finalizer of {resource} panicked: {message}"))
            });
        self.finalizers = None;
        Poll::Ready(panic)
    }
}

impl Domain {
    /// Why the current task is to be ended, if it is.
    pub(crate) fn current_cancelled(&self) -> Option<Cancelled> {
        self.current_cancelled.get()
    }

    pub(crate) fn with_current<R>(&self, f: impl FnOnce(&mut Node) -> R) -> R {
        f(&mut self.tree.borrow_mut()[self.current.get()])
    }

    /// Notes that the current task is suspended.
    pub(crate) fn suspend(&self, waker: &Waker) {
        let wake_again = self.with_current(|node| {
            if node.waker.is_none() {
                node.waker = Some(waker.clone());
            }
            // A request that came during this very poll found the task running; it is not lost.
            node.cancel.is_some() && self.current_cancelled.get().is_none()
        });
        if wake_again {
            waker.wake_by_ref();
        }
    }

    /// From here on the current task can neither own nor spawn.
    pub(crate) fn begin_settling(&self) {
        self.with_current(|node| node.stage = Stage::Settling);
    }

    /// Closes the books of the current task: the last thing before async-task takes the outcome.
    pub(crate) fn conclude<T, E>(&self, outcome: Outcome<T, E>) -> Outcome<T, E> {
        let claim = self.with_current(|node| {
            node.stage = Stage::Ended;
            node.claim
        });
        match (claim, outcome) {
            (Claim::Service, Err(TaskError::Panicked(panic))) => {
                self.run.fail(crate::run::Failure::SignalHandler(panic));
                Err(TaskError::Cancelled(Cancelled::new(Why::RunFailed)))
            }
            // Nobody will take the outcome. Drop it here, where a panic can be caught: async-task
            // would abort the process.
            (Claim::Waived | Claim::Forgotten, outcome) => {
                let _ = panics::catch(|| drop(outcome));
                Err(TaskError::Cancelled(Cancelled::new(Why::Dropped)))
            }
            (_, outcome) => outcome,
        }
    }
}
