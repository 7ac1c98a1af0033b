//! Wakers that count, polls by hand, and a deadline for tests that could hang.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// Far more than any test needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A task of which only the waker exists, which counts how often it is called.
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

    /// Polls `future` and asserts that it is pending.
    #[track_caller]
    pub(crate) fn assert_pending<F: Future + Unpin>(&self, future: &mut F) {
        assert!(self.poll(future).is_pending(), "the future should be pending");
    }

    /// Polls `future`, asserts that it is ready, and returns its output.
    #[track_caller]
    pub(crate) fn assert_ready<F: Future + Unpin>(&self, mut future: F) -> F::Output {
        match self.poll(&mut future) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("the future should be ready"),
        }
    }
}

/// Runs `body` on another thread, and panics if it has not returned by the deadline.
pub(crate) fn with_deadline<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        // Fails only if the receiver was dropped after the deadline.
        let _ = sender.send(body());
    });
    match receiver.recv_timeout(DEADLINE) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("still running after {DEADLINE:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("the thread panicked"))
        }
    }
}

/// Returns `Pending` once, so that other tasks of the same executor can run.
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
