//! Test doubles and helpers.

use std::any::Any;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::executor::block_on;
use matou_ownership::{
    FinalizeReport, FinalizeStatus, Ledger, Owned, OwnerInfo, Resource, ResourceHandle,
    ResourceInfo, ScopeError, Ticket, enter, own, scope,
};

/// A resource that counts its finalizations. Dropping the handle has no effect.
pub(crate) struct Probe {
    inner: Arc<ProbeInner>,
}

struct ProbeInner {
    ticket: Ticket,
    finalized: AtomicUsize,
}

impl Probe {
    #[track_caller]
    pub(crate) fn new() -> Probe {
        let inner = ProbeInner { ticket: Ticket::new("probe"), finalized: AtomicUsize::new(0) };
        Probe { inner: Arc::new(inner) }
    }

    /// A probe that the task of `ledger` owns.
    #[track_caller]
    pub(crate) fn owned_by(ledger: &Arc<Ledger>) -> Probe {
        let probe = Probe::new();
        within(ledger, || own(&probe.resource()));
        probe
    }

    /// Returns the number of finalizer calls.
    pub(crate) fn finalized(&self) -> usize {
        self.inner.finalized.load(Ordering::SeqCst)
    }

    /// Returns the number of references to the resource, including the one of this handle.
    pub(crate) fn references(&self) -> usize {
        Arc::strong_count(&self.inner)
    }
}

impl Resource for ProbeInner {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn finalize(&self) -> FinalizeStatus {
        self.finalized.fetch_add(1, Ordering::SeqCst);
        FinalizeStatus::Done
    }
}

impl ResourceHandle for Probe {
    fn ticket(&self) -> &Ticket {
        &self.inner.ticket
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.inner.clone()
    }
}

/// A list of events. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, event: &str) {
        self.0.lock().unwrap().push(event.to_owned());
    }

    /// Removes and returns the events.
    pub(crate) fn take(&self) -> Vec<String> {
        mem::take(&mut self.0.lock().unwrap())
    }

    pub(crate) fn count(&self, event: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|other| *other == event).count()
    }

    /// Creates a value whose synchronous finalizer adds `event`.
    #[track_caller]
    pub(crate) fn owned(&self, event: &'static str) -> Owned<&'static str> {
        let log = self.clone();
        Owned::new(event, move |event| log.add(event))
    }

    /// Creates a value whose asynchronous finalizer adds "begin", waits for the gate, and adds
    /// `event`.
    #[track_caller]
    pub(crate) fn owned_async(&self, event: &'static str, gate: &Gate) -> Owned<&'static str> {
        let (log, gate) = (self.clone(), gate.clone());
        Owned::with_async(event, move |event| async move {
            // Hold a value that is not `Send` across the wait.
            let local = Rc::new(event);
            log.add("begin");
            gate.opened().await;
            log.add(*local);
        })
    }

    /// Like [`owned`](Log::owned), but forgets the handle.
    #[track_caller]
    pub(crate) fn leak(&self, event: &'static str) {
        mem::forget(self.owned(event));
    }

    /// Like [`owned_async`](Log::owned_async), but forgets the handle.
    #[track_caller]
    pub(crate) fn leak_async(&self, event: &'static str, gate: &Gate) {
        mem::forget(self.owned_async(event, gate));
    }
}

/// A gate to wait for. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    pub(crate) fn new_open() -> Gate {
        let gate = Gate::default();
        gate.open();
        gate
    }

    pub(crate) fn open(&self) {
        let wakers = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn opened(&self) -> Opened {
        Opened(self.clone())
    }
}

/// Completes when the gate is open.
pub(crate) struct Opened(Gate);

impl Future for Opened {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.0.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        state.1.push(cx.waker().clone());
        Poll::Pending
    }
}

/// Runs `body` as a part of the task of `ledger`.
pub(crate) fn within<R>(ledger: &Arc<Ledger>, body: impl FnOnce() -> R) -> R {
    let entered = enter(Some(ledger.clone()));
    let result = body();
    entered.leave();
    result
}

pub(crate) fn finalize(ledger: &Arc<Ledger>) -> FinalizeReport {
    block_on(ledger.finalize_all())
}

/// Returns the leaked resources of a report.
pub(crate) fn leaked(report: &FinalizeReport) -> Vec<ResourceInfo> {
    report.leaked.iter().map(|leak| leak.resource.clone()).collect()
}

/// Runs a scope whose future receives an event log. Returns the result of the scope and the events.
#[track_caller]
pub(crate) fn run_scope<F: Future>(
    body: impl FnOnce(Log) -> F,
) -> (Result<F::Output, ScopeError>, Vec<String>) {
    let log = Log::default();
    let result = block_on(scope(body(log.clone())));
    (result, log.take())
}

/// Creates the ledger of a task of this name.
#[track_caller]
pub(crate) fn named_ledger(name: &str) -> Arc<Ledger> {
    let ledger = Ledger::new();
    ledger.set_owner(OwnerInfo { id: 1, name: Some(name.into()), made_at: Location::caller() });
    ledger
}

pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs `body`, which must panic, and returns the panic message.
#[track_caller]
pub(crate) fn panic_of<R>(body: impl FnOnce() -> R) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(body)) else { panic!("no panic") };
    panic_message(payload)
}

/// Returns the message of a caught panic.
fn panic_message(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("text")).to_owned(),
    }
}

/// A part of the message of the panic of a future that was created in `file`, and is polled after
/// completion.
pub(crate) fn created_here(file: &str) -> String {
    format!(" polled after completion; created at {file}:")
}
