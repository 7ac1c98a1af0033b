//! Doubles that count what is done to them.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use matou_ownership::{
    FinalizeStatus, Ledger, Owned, OwnerInfo, Resource, ResourceHandle, Ticket, enter,
};

/// A resource that counts its finalizations, and whose handle's drop does nothing.
pub(crate) struct Probe {
    shared: Arc<ProbeShared>,
}

struct ProbeShared {
    ticket: Ticket,
    finalized: AtomicUsize,
}

impl Probe {
    #[track_caller]
    pub(crate) fn new() -> Probe {
        let shared = ProbeShared { ticket: Ticket::new("probe"), finalized: AtomicUsize::new(0) };
        Probe { shared: Arc::new(shared) }
    }

    pub(crate) fn finalized(&self) -> usize {
        self.shared.finalized.load(Ordering::SeqCst)
    }

    pub(crate) fn references(&self) -> usize {
        Arc::strong_count(&self.shared)
    }
}

impl Resource for ProbeShared {
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
        &self.shared.ticket
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.shared.clone()
    }
}

/// What happened, in order. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, event: &str) {
        self.0.lock().unwrap().push(event.to_owned());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub(crate) fn count(&self, event: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|other| *other == event).count()
    }

    /// A value whose synchronous finalizer adds `event`.
    #[track_caller]
    pub(crate) fn owned(&self, event: &'static str) -> Owned<&'static str> {
        let log = self.clone();
        Owned::new(event, move |event| log.add(event))
    }

    /// A value whose asynchronous finalizer adds `event`, after it waited for the gate.
    #[track_caller]
    pub(crate) fn owned_async(&self, event: &'static str, gate: &Gate) -> Owned<&'static str> {
        let (log, gate) = (self.clone(), gate.clone());
        Owned::with_async(event, move |event| async move {
            // Something that is not `Send`, across the wait.
            let local = std::rc::Rc::new(event);
            log.add("begin");
            gate.opened().await;
            log.add(*local);
        })
    }
}

/// Something to wait for. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Gate {
    pub(crate) fn open() -> Gate {
        let gate = Gate::default();
        gate.unlock();
        gate
    }

    pub(crate) fn unlock(&self) {
        let wakers = {
            let mut state = self.0.lock().unwrap();
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn opened(&self) -> Opened {
        Opened(self.clone())
    }
}

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

/// Runs `body` as a piece of the task of `ledger`.
pub(crate) fn within<R>(ledger: &Arc<Ledger>, body: impl FnOnce() -> R) -> R {
    let entered = enter(Some(ledger.clone()));
    let result = body();
    entered.leave();
    result
}

#[track_caller]
pub(crate) fn labelled(name: &str) -> Arc<Ledger> {
    let ledger = Ledger::new();
    ledger.set_owner(OwnerInfo { id: 1, name: Some(name.into()), made_at: Location::caller() });
    ledger
}

pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The text of a caught panic.
pub(crate) fn message(payload: Box<dyn std::any::Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("text")).to_owned(),
    }
}
