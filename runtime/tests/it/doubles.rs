//! Doubles of the scenarios: a gate whose waker can be had, a driver that is counted, a waker that
//! counts or panics.

#![allow(dead_code, reason = "each module uses what it needs")]

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use matou_runtime::{Builder, Driver, ParkTimeout, Reactor, Unpark};

use super::support::Counter;

/// A future that is pending until the gate is opened, from any thread. It registers the newest
/// waker, which others may have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<State>);

#[derive(Debug, Default)]
struct State {
    open: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate::default()
    }

    /// Opens the gate and wakes who waits, by value.
    pub(crate) fn open(&self) {
        self.0.open.store(true, Ordering::SeqCst);
        let waker = self.0.waker.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A clone of the registered waker; none before the first poll.
    pub(crate) fn waker(&self) -> Option<Waker> {
        self.0.waker.lock().unwrap().clone()
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let old = self.0.waker.lock().unwrap().replace(cx.waker().clone());
        drop(old);
        if self.0.open.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A waker that counts its wakes, and passes them on if there is somebody to pass them to.
#[derive(Debug)]
pub(crate) struct Bell {
    pub(crate) wakes: Counter,
    pub(crate) next: Option<Waker>,
}

impl Bell {
    pub(crate) fn silent() -> Arc<Bell> {
        Arc::new(Bell { wakes: Counter::new(), next: None })
    }

    pub(crate) fn wakes(bell: &Arc<Bell>) -> usize {
        bell.wakes.get()
    }

    pub(crate) fn before(next: &Waker) -> Arc<Bell> {
        Arc::new(Bell { wakes: Counter::new(), next: Some(next.clone()) })
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wakes.add();
        if let Some(next) = &self.next {
            next.wake_by_ref();
        }
    }
}

/// A waker that panics when it is woken.
#[derive(Debug)]
pub(crate) struct Broken;

impl Broken {
    pub(crate) fn waker() -> Waker {
        Arc::new(Broken).into()
    }
}

impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

/// What domain 0's driver was asked for, and whether the run's memory is freed.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    /// All waits of domain 0.
    pub(crate) waits: Counter,
    /// Those of them without an end.
    pub(crate) endless: Counter,
    run: Weak<()>,
}

/// Settings with the default driver, watched on domain 0.
pub(crate) fn watched() -> (Builder, Watch) {
    let run = Arc::new(());
    let watch = Watch { waits: Counter::new(), endless: Counter::new(), run: Arc::downgrade(&run) };
    // The unparkers hold it: a run holds those as long as it lives, and each task holds the run.
    let made_once = Mutex::new(Some(run));
    let noted = watch.clone();
    let builder = Builder::new().driver(move |index| {
        let run = match index {
            0 => made_once.lock().unwrap().take(),
            _ => None,
        };
        Ok(Watched {
            reactor: Reactor::new()?,
            watch: (index == 0).then(|| noted.clone()),
            run: Mutex::new(run),
        })
    });
    (builder, watch)
}

impl Watch {
    pub(crate) fn is_freed(&self) -> bool {
        self.run.strong_count() == 0
    }

    /// Asserts that nothing of the run is left, not even the memory of one task.
    #[track_caller]
    pub(crate) fn assert_freed(&self) {
        assert_eq!(self.run.strong_count(), 0, "something keeps the run alive");
    }
}

struct Watched {
    reactor: Reactor,
    watch: Option<Watch>,
    run: Mutex<Option<Arc<()>>>,
}

impl Driver for Watched {
    fn now(&self) -> Instant {
        self.reactor.now()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        if let Some(watch) = &self.watch {
            watch.waits.add();
            if timeout == ParkTimeout::Forever {
                watch.endless.add();
            }
        }
        self.reactor.park(timeout)
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(WatchedInterrupt {
            unparker: self.reactor.unparker(),
            _run: self.run.lock().unwrap().take(),
        })
    }

    fn reactor(&self) -> Option<&Reactor> {
        Some(&self.reactor)
    }
}

struct WatchedInterrupt {
    unparker: Arc<dyn Unpark>,
    _run: Option<Arc<()>>,
}

impl Unpark for WatchedInterrupt {
    fn unpark(&self) {
        self.unparker.unpark();
    }
}

/// Panics when it is dropped.
#[derive(Debug)]
pub(crate) struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("a drop that panics");
    }
}

/// Counts its drops.
#[derive(Debug)]
pub(crate) struct CountsDrop(pub(crate) Counter);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}
