//! Drives a future of this crate on a plain thread.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

std::thread_local! {
    /// One waker for each thread, so that a thread that locks twice is recognised as one holder.
    static WAKER: Waker = unparker();
}

/// Polls `future` until it is ready and parks the thread in between.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    // A thread-local destructor may well lock something, when `WAKER` is gone already.
    let waker = WAKER.try_with(Waker::clone).unwrap_or_else(|_| unparker());
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        // An `unpark` that came since the poll makes this return at once, and one that was meant
        // for somebody else costs one more poll.
        thread::park();
    }
}

fn unparker() -> Waker {
    Waker::from(Arc::new(Unparker(thread::current())))
}

struct Unparker(Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
