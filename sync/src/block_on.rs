//! Polls a future of this crate on a thread without an executor.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

std::thread_local! {
    /// One waker per thread, so that a thread that locks twice is recognised as the same holder.
    static WAKER: Waker = thread_waker();
}

/// Polls `future` until it is ready, and parks the thread in between.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    // The destructor of another thread-local may lock something after `WAKER` was destroyed.
    let waker = WAKER.try_with(Waker::clone).unwrap_or_else(|_| thread_waker());
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        // Returns at once if the waker has unparked this thread since the poll. Any other unpark
        // costs one more poll.
        thread::park();
    }
}

fn thread_waker() -> Waker {
    Waker::from(Arc::new(ThreadWaker(thread::current())))
}

struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
