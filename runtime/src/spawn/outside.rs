//! Tasks that are spawned from outside of the run, and deliver their outcome to a `JoinHandle`.

use std::convert::Infallible;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::Task;
use super::spawner::SendSpawner;
use super::task_future::{IntoOutcome, MayFail, NeverFails, TaskFuture};
use crate::domain::Domain;
use crate::join::{Delivery, JoinHandle, Promise, refuse_in_simulation};
use crate::outcome::{Outcome, discard};
use crate::task::raw::{OutcomeTo, TaskBody, allocate};
use crate::task::{Cause, Slot};

impl SendSpawner<()> {
    /// Submits a future whose outcome goes to the handle that this returns. A group that is closed
    /// drops the future, and the handle says so.
    #[track_caller]
    pub(crate) fn spawn_outside<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.submit_outside::<F, NeverFails>(future)
    }

    /// As [`spawn_outside`](SendSpawner::spawn_outside), for a future that may fail.
    #[track_caller]
    pub(crate) fn try_spawn_outside<F, T, E>(&self, future: F) -> JoinHandle<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.submit_outside::<F, MayFail>(future)
    }

    #[track_caller]
    fn submit_outside<F, K>(&self, future: F) -> JoinHandle<K::Value, K::Error>
    where
        F: Future + Send + 'static,
        K: IntoOutcome<F::Output> + 'static,
        K::Value: Send + 'static,
        K::Error: Send + 'static,
    {
        refuse_in_simulation();
        let at = Location::caller();
        let (handle, delivery) = JoinHandle::new(at);
        self.submit_start(Box::new(move |domain: &Domain, parent| {
            spawn_delivering::<F, K>(at, domain, parent, future, delivery)
        }));
        handle
    }
}

/// Spawns a child of the task at `parent` whose outcome goes to a handle outside of the run.
fn spawn_delivering<F, K>(
    at: &'static Location<'static>,
    domain: &Domain,
    parent: Slot,
    future: F,
    delivery: Delivery<K::Value, K::Error>,
) -> Promise<(), Infallible>
where
    F: Future + 'static,
    K: IntoOutcome<F::Output> + 'static,
    K::Value: 'static,
{
    let id = domain.next_task_id();
    let (shared, delivery) = (delivery.shared(), Some(delivery));
    let body = || Delivering { task: TaskFuture::<fn() -> F, F, K>::new(future), delivery };
    let (owner, outcome) = allocate(Arc::clone(domain.remote()), body);
    let child = Task::spawned_at(at).insert(domain, id, parent, owner);
    if let Some(cancelled) = shared.started(domain, child.entry) {
        // fault: outside-task-starts-cancelled
        domain.request_cancel(child.entry.slot, &cancelled);
    }
    Promise::new(outcome, child)
}

pin_project! {
    /// The body of a task whose outcome goes to a handle outside of the run. The promise of the
    /// task is dropped, so the outcome reaches `discard`.
    struct Delivering<M, F, K>
    where
        F: Future,
        K: IntoOutcome<F::Output>,
    {
        #[pin]
        task: TaskFuture<M, F, K>,
        // `None` once the outcome is delivered. A complete task drops nothing.
        delivery: Option<Delivery<K::Value, K::Error>>,
    }
}

impl<M, F, K> Delivering<M, F, K>
where
    M: FnOnce() -> F,
    F: Future,
    K: IntoOutcome<F::Output>,
{
    fn deliver(self: Pin<&mut Self>) -> Vec<Cause> {
        let this = self.project();
        match (this.task.take(), this.delivery.take()) {
            (Some(outcome), Some(delivery)) => delivery.deliver(outcome),
            (Some(outcome), None) => discard(outcome),
            (None, _) => Vec::new(),
        }
    }
}

impl<M, F, K> TaskBody<Domain> for Delivering<M, F, K>
where
    M: FnOnce() -> F,
    F: Future,
    K: IntoOutcome<F::Output>,
{
    type Output = Outcome<(), Infallible>;

    fn poll(self: Pin<&mut Self>, domain: &Domain, cx: &mut Context<'_>) -> Poll<OutcomeTo> {
        self.project().task.poll(domain, cx)
    }

    fn take(self: Pin<&mut Self>) -> Option<Self::Output> {
        self.deliver();
        Some(Ok(()))
    }

    fn discard(self: Pin<&mut Self>) -> Vec<Cause> {
        self.deliver()
    }
}
