//! Finalizing a ledger on a separate thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::finalize::{FinalizeAll, FinalizeReport, FinalizeState};
use crate::registry::Ledger;

/// Finalizes the ledger of a task that was dropped, without waiting.
///
/// Synchronous finalizers run on the current thread. From the first asynchronous finalizer on, the
/// finalizers run on a separate thread.
pub(crate) fn finalize_detached(ledger: Arc<Ledger>) {
    let mut state = FinalizeState::new(ledger);
    if !state.finish_unless_async()
        && let Err(mut state) = BackgroundFinalize::spawn(state)
    {
        state.finish_without_waiting();
    }
}

/// A future that completes when a separate thread has finalized a ledger.
///
/// An asynchronous finalizer need not be `Send`, so one thread must create it and poll it until it
/// completes. A [`Scope`](crate::Scope) cannot do that, because its executor may poll it on
/// different threads, and may drop it. The ledger and its resources are `Send`, so they move to a
/// new thread.
///
/// # Cancel safety
///
/// Dropping the future discards the report. The thread continues.
pub(crate) struct BackgroundFinalize {
    shared: Arc<Shared>,
}

struct Shared {
    progress: Mutex<Progress>,
}

struct Progress {
    /// The work, until the thread takes it.
    state: Option<FinalizeState>,
    /// The result, until the future takes it.
    report: Option<FinalizeReport>,
    /// The waker of the last poll.
    waker: Option<Waker>,
}

impl BackgroundFinalize {
    /// Spawns the thread, or gives `state` back if no thread can be spawned.
    pub(crate) fn spawn(state: FinalizeState) -> Result<BackgroundFinalize, FinalizeState> {
        let progress = Progress { state: Some(state), report: None, waker: None };
        let shared = Arc::new(Shared { progress: Mutex::new(progress) });
        let thread_shared = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .name(String::from("matou-finalizer"))
            .spawn(move || run_thread(&thread_shared));
        if spawned.is_err()
            && let Some(state) = shared.lock().state.take()
        {
            return Err(state);
        }
        Ok(BackgroundFinalize { shared })
    }
}

impl Future for BackgroundFinalize {
    type Output = FinalizeReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FinalizeReport> {
        // Cloning and dropping a waker is user code, so clone before the lock and drop after it.
        let waker = cx.waker().clone();
        let _previous;
        let mut progress = self.shared.lock();
        if let Some(report) = progress.report.take() {
            return Poll::Ready(report);
        }
        _previous = progress.waker.replace(waker);
        Poll::Pending
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run_thread(shared: &Shared) {
    let Some(state) = shared.lock().state.take() else {
        return;
    };
    let report = block_on(FinalizeAll::new(state));
    let mut progress = shared.lock();
    progress.report = Some(report);
    let waker = progress.waker.take();
    // Unlock before waking, since waking is user code.
    drop(progress);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn block_on(mut finalize: FinalizeAll) -> FinalizeReport {
    let waker = Waker::from(Arc::new(Unparker(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match Pin::new(&mut finalize).poll(&mut cx) {
            Poll::Ready(report) => return report,
            Poll::Pending => thread::park(),
        }
    }
}

struct Unparker(Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
