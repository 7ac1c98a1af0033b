//! Explores models.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A future that owns what it uses, so that a model can poll it on one thread and drop it on
/// another.
pub(crate) type OwnedFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Polls once, with a waker that does nothing.
pub(crate) fn poll_once<T>(future: &mut OwnedFuture<T>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs `model` under all schedules with at most `preemptions` preemptions, or with fewer if
/// `LOOM_MAX_PREEMPTIONS` is less.
pub(crate) fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    let bound = builder.preemption_bound.unwrap_or(preemptions).min(preemptions);
    builder.preemption_bound = Some(bound);
    builder.check(model);
}
