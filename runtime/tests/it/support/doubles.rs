//! Test doubles: a future that a test completes, wakers that count or panic, drivers that count
//! their waits, and values whose drop counts or panics.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use matou_runtime::{Builder, Driver, ParkTimeout, Poller, Reactor, Unpark};

use super::{Counter, strict};

/// A future that is pending until the latch is opened, from any thread. It stores the waker of its
/// last poll, of which tests take clones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latch(Arc<LatchState>);

#[derive(Debug, Default)]
struct LatchState {
    open: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Latch {
    pub(crate) fn new() -> Latch {
        Latch::default()
    }

    /// Opens the latch and consumes the stored waker by `wake`.
    pub(crate) fn open(&self) {
        self.0.open.store(true, Ordering::SeqCst);
        let waker = self.0.waker.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A clone of the stored waker; `None` before the first poll.
    pub(crate) fn waker(&self) -> Option<Waker> {
        self.0.waker.lock().unwrap().clone()
    }
}

impl Future for Latch {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let old = self.0.waker.lock().unwrap().replace(cx.waker().clone());
        drop(old);
        if self.0.open.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A waker that counts its wake-ups, and can forward them to another waker.
#[derive(Debug)]
pub(crate) struct WakeCounter {
    pub(crate) wakes: Counter,
    next: Option<Waker>,
}

impl WakeCounter {
    pub(crate) fn new() -> Arc<WakeCounter> {
        Arc::new(WakeCounter { wakes: Counter::new(), next: None })
    }

    pub(crate) fn forwarding_to(next: &Waker) -> Arc<WakeCounter> {
        Arc::new(WakeCounter { wakes: Counter::new(), next: Some(next.clone()) })
    }
}

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.wakes.add();
        if let Some(next) = &self.next {
            next.wake_by_ref();
        }
    }
}

/// A waker that panics when it is woken.
#[derive(Debug)]
pub(crate) struct PanicsOnWake;

impl PanicsOnWake {
    pub(crate) fn waker() -> Waker {
        Arc::new(PanicsOnWake).into()
    }
}

impl Wake for PanicsOnWake {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
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

/// Counts its drop.
#[derive(Debug)]
pub(crate) struct CountsDrop(pub(crate) Counter);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// Counts the ticks of all domains together: each tick ends with one wait.
pub(crate) fn count_waits(builder: Builder, waits: &Counter) -> Builder {
    with_counted_waits(builder, waits, None)
}

/// As [`count_waits`], with a clock that stands still, so that no tick ends early because its
/// polls are slow. No domain looks at another one for slow polls: a timer would never be due, but
/// the reactor, whose clock runs, would not wait for it.
pub(crate) fn count_waits_with_stopped_clock(builder: Builder, waits: &Counter) -> Builder {
    let builder = builder.slow_poll(Duration::MAX);
    with_counted_waits(builder, waits, Some(Instant::now()))
}

fn with_counted_waits(builder: Builder, waits: &Counter, stopped: Option<Instant>) -> Builder {
    let waits = waits.clone();
    builder.driver(move |_| {
        Ok(CountsWaits { reactor: Reactor::new()?, waits: waits.clone(), stopped })
    })
}

/// The default reactor, with counted waits.
struct CountsWaits {
    reactor: Reactor,
    waits: Counter,
    stopped: Option<Instant>,
}

impl Driver for CountsWaits {
    fn now(&self) -> Instant {
        self.stopped.unwrap_or_else(|| self.reactor.now())
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        self.waits.add();
        self.reactor.park(timeout)
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.reactor.unparker()
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        self.reactor.poller()
    }
}

/// Counts the waits of domain 0 and checks whether the memory of the run is freed.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    /// All waits of domain 0.
    pub(crate) waits: Counter,
    /// Those of them that have no deadline.
    pub(crate) endless: Counter,
    run: Weak<()>,
}

/// Settings with the default driver, and a monitor of the run.
pub(crate) fn monitored() -> (Builder, Monitor) {
    let run = Arc::new(());
    let run_ref = Arc::downgrade(&run);
    let monitor = Monitor { waits: Counter::new(), endless: Counter::new(), run: run_ref };
    // Domain 0's unparker owns `run`. A run owns its unparkers, and each task refers to the run, so
    // `run` is dropped when the memory of the run and of all its tasks is freed.
    let run = Mutex::new(Some(run));
    let driver_monitor = monitor.clone();
    let builder = strict().driver(move |index| {
        let run = match index {
            0 => run.lock().unwrap().take(),
            _ => None,
        };
        Ok(MonitoredDriver {
            reactor: Reactor::new()?,
            monitor: (index == 0).then(|| driver_monitor.clone()),
            run: Mutex::new(run),
        })
    });
    (builder, monitor)
}

impl Monitor {
    pub(crate) fn is_freed(&self) -> bool {
        self.run.strong_count() == 0
    }

    /// Asserts that the memory of the run and of each of its tasks is freed.
    #[track_caller]
    pub(crate) fn assert_freed(&self) {
        assert_eq!(self.run.strong_count(), 0, "something keeps the run alive");
    }
}

struct MonitoredDriver {
    reactor: Reactor,
    monitor: Option<Monitor>,
    run: Mutex<Option<Arc<()>>>,
}

impl Driver for MonitoredDriver {
    fn now(&self) -> Instant {
        self.reactor.now()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        if let Some(monitor) = &self.monitor {
            monitor.waits.add();
            if timeout == ParkTimeout::Forever {
                monitor.endless.add();
            }
        }
        self.reactor.park(timeout)
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(MonitoredUnpark {
            inner: self.reactor.unparker(),
            _run: self.run.lock().unwrap().take(),
        })
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        self.reactor.poller()
    }
}

struct MonitoredUnpark {
    inner: Arc<dyn Unpark>,
    _run: Option<Arc<()>>,
}

impl Unpark for MonitoredUnpark {
    fn unpark(&self) {
        self.inner.unpark();
    }
}
