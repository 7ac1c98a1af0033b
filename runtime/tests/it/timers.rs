//! Goal: sleeps and deadlines at the limits, their order, their drops, and the wait of the reactor
//! (scenarios M11 and R19 to R22).
//! Method: where only the order matters, the clock is virtual and jumps from one deadline to the
//! next.

use std::cell::Cell;
use std::future::{Future, ready};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Barrier};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use matou_ownership::Owned;
use matou_runtime::{
    Builder, Driver, ParkTimeout, Reactor, Unpark, await_all, call, now, race, sleep, sleep_until,
    spawn, timeout, yield_now,
};

use crate::support::{
    Counter, Latch, Log, count_polls, monitored, run_on, run_with, strict, within_deadline,
};

const MILLI: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A driver whose clock jumps to the deadline of each wait. A wait without a deadline is an error.
struct JumpingClock(Cell<Instant>);

struct NoUnpark;

impl Unpark for NoUnpark {
    fn unpark(&self) {}
}

impl Driver for JumpingClock {
    fn now(&self) -> Instant {
        self.0.get()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        match timeout {
            ParkTimeout::Immediate => Ok(()),
            ParkTimeout::Deadline(deadline) => {
                self.0.set(self.0.get().max(deadline));
                Ok(())
            }
            ParkTimeout::Forever => Err(io::Error::other("no event can happen")),
        }
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(NoUnpark)
    }
}

fn virtual_time() -> Builder {
    strict().domains(1).driver(|_| Ok(JumpingClock(Cell::new(Instant::now()))))
}

fn poll_pending(future: Pin<&mut impl Future>) {
    assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[test]
fn m11_a_sleep_beyond_the_range_of_the_clock_never_ends() {
    run_with(virtual_time(), || async {
        assert_eq!(sleep(Duration::MAX).deadline(), None);
        assert!(timeout(HOUR, sleep(Duration::MAX)).await.is_err());
        assert_eq!(timeout(Duration::MAX, ready(7)).await, Ok(7));
        let endless = spawn(sleep(Duration::MAX));
        sleep(HOUR).await;
        assert!(endless.cancel().await.is_none());
        Ok(())
    })
    .unwrap();
}

/// The kernel counts milliseconds in 31 bits: 24.8 days.
#[test]
fn m11_a_deadline_beyond_the_range_of_the_kernel_is_waited_for() {
    run_on(1, || async {
        for years in [0.06, 0.07, 1.0, 100.0] {
            let far = now() + Duration::from_secs_f64(years * 365.25 * 86_400.0);
            let latch = Latch::new();
            let opener = latch.clone();
            let sleeper = spawn(sleep_until(far));
            // The latch is opened while the domain waits for that deadline, or is about to wait for
            // it.
            let foreign = thread::spawn(move || opener.open());
            latch.await;
            foreign.join().expect("it does not panic");
            assert!(sleeper.cancel().await.is_none(), "it did not end early");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn m11_an_unlimited_grace_period_is_waited_for() {
    let log = Log::new();
    run_with(strict().domains(1).grace(Duration::MAX), {
        let log = log.clone();
        move || async move {
            let owned = Owned::with_async("slow", move |name| async move {
                for _ in 0..10 {
                    yield_now().await;
                }
                log.push(name);
            });
            drop(owned);
            Ok(())
        }
    })
    .unwrap();
    log.assert_is(&["slow"]);
}

#[test]
fn r19_a_deadline_in_the_past_is_ready_at_once() {
    let builder = virtual_time();
    run_with(builder, || async {
        let begin = now();
        let polls = Counter::new();
        count_polls(&polls, sleep_until(begin)).await;
        count_polls(&polls, sleep(Duration::ZERO)).await;
        if let Some(past) = begin.checked_sub(HOUR) {
            count_polls(&polls, sleep_until(past)).await;
            assert_eq!(polls.get(), 3);
        }
        assert_eq!(now(), begin);
        Ok(())
    })
    .unwrap();
}

#[test]
fn r19_equal_deadlines_fire_once_each_in_the_order_of_creation() {
    let log = Log::new();
    run_with(virtual_time(), {
        let log = log.clone();
        move || async move {
            let soon = now() + HOUR;
            let sleepers = ["a", "b", "c", "d"].map(|name| {
                let (log, polls) = (log.clone(), Counter::new());
                spawn(async move {
                    count_polls(&polls, sleep_until(soon)).await;
                    log.push(name);
                    assert_eq!((polls.get(), now()), (2, soon));
                })
            });
            for outcome in await_all(sleepers).await {
                outcome?;
            }
            Ok(())
        }
    })
    .unwrap();
    log.assert_is(&["a", "b", "c", "d"]);
}

#[test]
fn r19_timers_fire_in_the_order_of_their_deadlines() {
    let log = Log::new();
    run_with(virtual_time(), {
        let log = log.clone();
        move || async move {
            let begin = now();
            let sleepers = [5_u32, 1, 3].map(|hours| {
                let log = log.clone();
                spawn(async move {
                    sleep(HOUR * hours).await;
                    log.push(hours.to_string());
                    assert_eq!(now() - begin, HOUR * hours);
                })
            });
            for outcome in await_all(sleepers).await {
                outcome?;
            }
            Ok(())
        }
    })
    .unwrap();
    log.assert_is(&["1", "3", "5"]);
}

#[test]
fn r19_a_dropped_timer_does_not_fire() {
    run_with(virtual_time(), || async {
        let begin = now();
        {
            let mut dropped = pin!(sleep(HOUR));
            poll_pending(dropped.as_mut());
        }
        // The clock jumps to the next deadline, which must not be that of the dropped timer.
        sleep(2 * HOUR).await;
        assert_eq!(now() - begin, 2 * HOUR);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_sleep_that_is_reset_ends_at_its_new_deadline() {
    run_with(virtual_time(), || async {
        let begin = now();
        let mut sleep = pin!(sleep(2 * HOUR));
        poll_pending(sleep.as_mut());
        // Earlier, later, and after it has completed.
        for deadline in [begin + HOUR, begin + 5 * HOUR, begin + 6 * HOUR] {
            sleep.reset(deadline);
            assert_eq!(sleep.deadline(), Some(deadline));
            sleep.as_mut().await;
            assert_eq!(now(), deadline);
        }
        sleep.reset(begin);
        sleep.await;
        assert_eq!(now(), begin + 6 * HOUR);
        Ok(())
    })
    .unwrap();
}

/// Both are due in the same tick; the first one that fires drops the other.
#[test]
fn r19_a_timer_dropped_while_it_fires_wakes_no_task_twice() {
    run_with(virtual_time(), || async {
        for _ in 0..50 {
            let soon = now() + MILLI;
            let polls = Counter::new();
            let both = race(sleep_until(soon), sleep_until(soon));
            let child = spawn(count_polls(&polls, both));
            let after = spawn(sleep_until(soon + MILLI));
            child.await?;
            after.await?;
            assert_eq!(polls.get(), 2);
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn r20_a_sleep_moved_to_another_task_wakes_that_task() {
    run_with(virtual_time(), || async {
        let mut sleeping = Box::pin(sleep(HOUR));
        poll_pending(sleeping.as_mut());
        let polls = Counter::new();
        let other = spawn(count_polls(&polls, sleeping));
        other.await?;
        assert_eq!(polls.get(), 2);
        Ok(())
    })
    .unwrap();
}

#[test]
fn r20_a_sleep_moved_to_another_domain_fires_there() {
    let (builder, monitor) = monitored();
    let endless = monitor.endless.clone();
    run_with(builder.domains(2), move || async move {
        let mut sleeping = Box::pin(sleep(20 * MILLI));
        poll_pending(sleeping.as_mut());
        let moved = Latch::new();
        let has_moved = moved.clone();
        let there = call(move || async move {
            let home = thread::current().id();
            poll_pending(sleeping.as_mut());
            has_moved.open();
            sleeping.await;
            assert_eq!(thread::current().id(), home);
        })?;
        moved.await;
        // The timer was removed from domain 0, which now waits only for the completion of the
        // child.
        let before = endless.get();
        there.await?;
        assert!(endless.get() > before, "domain 0 kept the timer");
        Ok(())
    })
    .unwrap();
}

#[test]
fn r19_a_sleep_dropped_on_another_thread_removes_its_timer() {
    let (builder, monitor) = monitored();
    let endless = monitor.endless.clone();
    run_with(builder.domains(1), move || async move {
        let mut sleeping = Box::pin(sleep(HOUR));
        poll_pending(sleeping.as_mut());
        let foreign = thread::spawn(move || drop(sleeping));
        foreign.join().expect("a drop that does not panic");
        let before = endless.get();
        let latch = Latch::new();
        let (opener, asleep) = (latch.clone(), endless.clone());
        let foreign = thread::spawn(move || {
            // If the timer were still there, domain 0 would never wait without a deadline.
            while asleep.get() == before {
                thread::yield_now();
            }
            opener.open();
        });
        latch.await;
        foreign.join().expect("it does not panic");
        Ok(())
    })
    .unwrap();
}

#[test]
fn r21_a_sleep_of_less_than_a_millisecond_does_not_busy_wait() {
    const SLEEPS: usize = 50;
    let (builder, monitor) = monitored();
    let waits = monitor.waits.clone();
    run_with(builder.domains(1), move || async move {
        let before = waits.get();
        for _ in 0..SLEEPS {
            let begin = Instant::now();
            sleep(Duration::from_micros(100)).await;
            assert!(begin.elapsed() >= Duration::from_micros(100), "it ended early");
        }
        let ticks = waits.get() - before;
        assert!(ticks <= 4 * SLEEPS, "{ticks} ticks for {SLEEPS} sleeps");
        Ok(())
    })
    .unwrap();
}

#[test]
fn r22_an_unpark_before_the_wait_ends_it_at_once() {
    within_deadline(|| {
        let reactor = Reactor::new().unwrap();
        let unparker = reactor.unparker();
        // Each unpark is a new edge, although the eventfd is never read.
        for _ in 0..1_000 {
            unparker.unpark();
            reactor.park(ParkTimeout::Forever).unwrap();
        }
        // Several unparks before one wait count as one.
        unparker.unpark();
        unparker.unpark();
        reactor.park(ParkTimeout::Forever).unwrap();
        unparker.unpark();
        reactor.park(ParkTimeout::Deadline(Instant::now() + 24 * HOUR)).unwrap();
    });
}

#[test]
fn r22_an_unpark_just_before_the_wait_is_not_lost() {
    const ROUNDS: usize = 2_000;
    within_deadline(|| {
        let reactor = Reactor::new().unwrap();
        let unparker = reactor.unparker();
        let barrier = Arc::new(Barrier::new(2));
        let theirs = barrier.clone();
        let foreign = thread::spawn(move || {
            for _ in 0..ROUNDS {
                theirs.wait();
                unparker.unpark();
                theirs.wait();
            }
        });
        for _ in 0..ROUNDS {
            barrier.wait();
            reactor.park(ParkTimeout::Forever).unwrap();
            barrier.wait();
        }
        foreign.join().unwrap();
    });
}
