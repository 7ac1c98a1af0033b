use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::settle::{FinalizeAll, FinalizeReport, Settler};

/// A settlement that goes on on a thread of its own.
///
/// Why a thread? An asynchronous finalizer need not be `Send`, so it has to be made and polled in
/// one place. A scope has no such place: its executor may move it to another thread between two
/// polls, and may have dropped it altogether. A ledger and its resources, however, are `Send`.
///
/// # Cancel safety
///
/// Dropping it loses the report. The settlement goes on to its end.
pub(crate) struct Away {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    /// The work, until the thread takes it up.
    settler: Option<Settler>,
    /// The result, until it is fetched.
    settled: Option<FinalizeReport>,
    /// Who waits for the result.
    waker: Option<Waker>,
}

impl Away {
    /// Starts the thread, or gives the work back if there is no thread to be had.
    pub(crate) fn start(settler: Settler) -> Result<Away, Settler> {
        let state = State { settler: Some(settler), settled: None, waker: None };
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        let worker = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .name(String::from("matou-finalizer"))
            .spawn(move || settle_here(&worker));
        if spawned.is_err() {
            // Nobody but us has the work.
            if let Some(settler) = shared.lock().settler.take() {
                return Err(settler);
            }
        }
        Ok(Away { shared })
    }
}

impl Future for Away {
    type Output = FinalizeReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FinalizeReport> {
        // A waker is the executor's code, so it is cloned before the lock and dropped after it.
        let waker = cx.waker().clone();
        let _stale;
        let mut state = self.shared.lock();
        if let Some(settled) = state.settled.take() {
            return Poll::Ready(settled);
        }
        _stale = state.waker.replace(waker);
        Poll::Pending
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn settle_here(shared: &Shared) {
    let Some(settler) = shared.lock().settler.take() else {
        return;
    };
    let settled = block_on(FinalizeAll::new(settler));
    let mut state = shared.lock();
    state.settled = Some(settled);
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn block_on(mut settle: FinalizeAll) -> FinalizeReport {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match Pin::new(&mut settle).poll(&mut cx) {
            Poll::Ready(settled) => return settled,
            Poll::Pending => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
