//! A driver whose clock only the test advances.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use matou_runtime::{Builder, Driver, ParkTimeout, Unpark};

std::thread_local! {
    /// The time since the start of the run on this thread.
    static ELAPSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// Called by the next park with a deadline, after the clock has reached it.
    static AT_PARK: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    /// The waker of a task whose event has arrived.
    static ARRIVED: RefCell<Option<Waker>> = const { RefCell::new(None) };
    /// Whether the driver has returned the event.
    static DELIVERED: Cell<bool> = const { Cell::new(false) };
}

/// Time passes only in polls that call [`advance`](ManualClock::advance), and while the domain is
/// parked.
pub(crate) struct ManualClock {
    start: Instant,
}

struct NoUnpark;

impl Unpark for NoUnpark {
    fn unpark(&self) {}
}

impl ManualClock {
    /// Sets the number of domains to one, with this driver.
    pub(crate) fn install(builder: Builder) -> Builder {
        builder.domains(1).driver(|_| {
            ELAPSED.set(Duration::ZERO);
            DELIVERED.set(false);
            Ok(ManualClock { start: Instant::now() })
        })
    }

    /// Advances the clock of the run on this thread.
    pub(crate) fn advance(time: Duration) {
        ELAPSED.set(ELAPSED.get() + time);
    }

    /// Waits for an event that arrives while the process is stopped for three seconds. The wait of
    /// the driver, which began before, is interrupted and does not return the event.
    pub(crate) fn late_event() -> impl Future<Output = ()> {
        poll_fn(|cx| {
            if DELIVERED.get() {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            AT_PARK.set(Some(Box::new(|| {
                ManualClock::advance(Duration::from_secs(3));
                ARRIVED.set(Some(waker));
            })));
            Poll::Pending
        })
    }
}

impl Driver for ManualClock {
    fn now(&self) -> Instant {
        self.start + ELAPSED.get()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        match timeout {
            ParkTimeout::Immediate => {
                if let Some(waker) = ARRIVED.take() {
                    DELIVERED.set(true);
                    waker.wake();
                }
            }
            ParkTimeout::Deadline(deadline) => {
                ELAPSED.set(ELAPSED.get().max(deadline - self.start));
                AT_PARK.take().into_iter().for_each(|happens| happens());
            }
            ParkTimeout::Forever => panic!("the program waits for an event that never happens"),
        }
        Ok(())
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(NoUnpark)
    }
}
