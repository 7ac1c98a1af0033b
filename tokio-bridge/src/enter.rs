use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::runtime::Handle;

pin_project! {
    /// The future of [`TokioHandle::enter`](crate::TokioHandle::enter).
    #[must_use = "futures do nothing unless polled"]
    pub struct Enter<F> {
        // An option, so that it is dropped in the context too.
        #[pin]
        future: Option<F>,
        handle: Handle,
    }

    impl<F> PinnedDrop for Enter<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _context = this.handle.enter();
            this.future.set(None);
        }
    }
}

impl<F> Enter<F> {
    pub(crate) fn new(future: F, handle: Handle) -> Enter<F> {
        Enter { future: Some(future), handle }
    }
}

impl<F: Future> Future for Enter<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _context = this.handle.enter();
        this.future.as_pin_mut().expect("only the drop takes it").poll(cx)
    }
}

impl<F> fmt::Debug for Enter<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enter").finish_non_exhaustive()
    }
}
