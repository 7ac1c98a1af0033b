//! Wakers that count, polls by hand, and an end to every hang.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// No test comes near it on any machine that is not stuck.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A task as its waker shows it: how often was it woken?
#[derive(Default)]
pub(crate) struct Task {
    wakes: Arc<Counter>,
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Task {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn waker(&self) -> Waker {
        self.wakes.clone().into()
    }

    pub(crate) fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }

    /// Polls `future` as this task.
    pub(crate) fn poll<F: Future + Unpin>(&self, future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(&self.waker()))
    }

    /// Polls `future`, which must not be ready.
    #[track_caller]
    pub(crate) fn wait<F: Future + Unpin>(&self, future: &mut F) {
        assert!(self.poll(future).is_pending(), "the future should have to wait");
    }

    /// Polls `future`, which must be ready.
    #[track_caller]
    pub(crate) fn finish<F: Future + Unpin>(&self, mut future: F) -> F::Output {
        match self.poll(&mut future) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("the future should be ready"),
        }
    }
}

/// Runs `body` on a thread of its own, and panics if it does not end.
pub(crate) fn within_the_deadline<R: Send + 'static>(
    body: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        // The receiver is gone only if the deadline has passed.
        let _ = sender.send(body());
    });
    match receiver.recv_timeout(DEADLINE) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("still running after {DEADLINE:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it sent nothing"))
        }
    }
}

/// Lets other tasks of the same executor run once.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
