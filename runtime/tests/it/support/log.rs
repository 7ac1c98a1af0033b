//! Logs and counters that tasks on all domains share.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use matou_ownership::Owned;
use matou_runtime::yield_now;

/// A shared number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<AtomicUsize>);

impl Counter {
    pub(crate) fn new() -> Counter {
        Counter::default()
    }

    /// Adds one and returns the new value.
    pub(crate) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Yields until the number is at least `count`. Works only inside a run.
    pub(crate) async fn reaches(&self, count: usize) {
        while self.get() < count {
            yield_now().await;
        }
    }
}

/// The events of a test, in order, from all domains.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn new() -> Log {
        Log::default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, entry: impl Into<String>) {
        self.lock().push(entry.into());
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        self.lock().clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Yields until there is an entry. Works only inside a run.
    pub(crate) async fn is_written(&self) {
        while self.is_empty() {
            yield_now().await;
        }
    }

    /// The index of an entry that must exist exactly once.
    #[track_caller]
    pub(crate) fn position(&self, entry: &str) -> usize {
        let entries = self.entries();
        let mut found = (0..entries.len()).filter(|&index| entries[index] == entry);
        match (found.next(), found.next()) {
            (Some(index), None) => index,
            _ => panic!("`{entry}` is not logged exactly once: {entries:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn assert_is(&self, expected: &[&str]) {
        assert_eq!(self.entries(), expected);
    }

    /// A guard whose drop logs `name`.
    pub(crate) fn on_drop(&self, name: &str) -> LogOnDrop {
        LogOnDrop { log: self.clone(), name: name.to_owned() }
    }

    /// A resource whose finalizer logs `name`.
    #[track_caller]
    pub(crate) fn resource(&self, name: &'static str) -> Owned<&'static str> {
        let log = self.clone();
        Owned::new(name, move |name| log.push(name))
    }

    /// A resource whose finalizer yields `yields` times before it logs `name`.
    #[track_caller]
    pub(crate) fn slow_resource(&self, name: &'static str, yields: usize) -> Owned<&'static str> {
        let log = self.clone();
        Owned::with_async(name, move |name| async move {
            for _ in 0..yields {
                yield_now().await;
            }
            log.push(name);
        })
    }
}

/// A guard that writes its name into a log when it is dropped.
#[derive(Debug)]
pub(crate) struct LogOnDrop {
    log: Log,
    name: String,
}

impl Drop for LogOnDrop {
    fn drop(&mut self) {
        self.log.push(&*self.name);
    }
}

/// Leaks a value as `std::mem::forget` does, but keeps its address in a static. The leak detector
/// then ignores it and still finds leaks that no test intends.
pub(crate) fn leak<T>(value: T) {
    static LEAKED: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let address = Box::into_raw(Box::new(value)).expose_provenance();
    LEAKED.lock().unwrap_or_else(PoisonError::into_inner).push(address);
}

/// A future whose polls are counted.
pub(crate) struct CountPolls<F> {
    future: Pin<Box<F>>,
    polls: Counter,
}

pub(crate) fn count_polls<F: Future>(polls: &Counter, future: F) -> CountPolls<F> {
    CountPolls { future: Box::pin(future), polls: polls.clone() }
}

impl<F: Future> Future for CountPolls<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.add();
        self.future.as_mut().poll(cx)
    }
}
