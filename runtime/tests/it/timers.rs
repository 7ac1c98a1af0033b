//! Time: SCENARIOS.md M11, R19, R20, R21, R22.
//!
//! Where only the order matters, the clock is virtual and jumps from one deadline to the next.

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
    Counter, Latch, Log, count_polls, monitored, run_on, run_with, within_deadline,
};

const MILLI: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A clock that jumps to the deadline that is waited for. A wait without one would be for ever.
struct Jumping(Cell<Instant>);

struct Nobody;

impl Unpark for Nobody {
    fn unpark(&self) {}
}

impl Driver for Jumping {
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
            ParkTimeout::Forever => Err(io::Error::other("nothing will ever happen")),
        }
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(Nobody)
    }
}

fn virtual_time() -> Builder {
    Builder::new().domains(1).driver(|_| Ok(Jumping(Cell::new(Instant::now()))))
}

fn poll_early(future: Pin<&mut impl Future>) {
    assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[test]
fn m11_a_sleep_beyond_the_clock_never_ends_and_overflows_nothing() {
    run_with(virtual_time(), || async {
        assert_eq!(sleep(Duration::MAX).deadline(), None);
        assert!(timeout(HOUR, sleep(Duration::MAX)).await.is_err());
        assert_eq!(timeout(Duration::MAX, ready(7)).await, Ok(7));
        let endless = spawn(sleep(Duration::MAX));
        sleep(HOUR).await;
        assert_eq!(endless.cancel().await, None);
        Ok(())
    })
    .unwrap();
}

/// The kernel counts milliseconds in 31 bits: 24.8 days.
#[test]
fn m11_a_deadline_beyond_what_the_kernel_can_count_is_waited_for() {
    run_on(1, || async {
        for years in [0.06, 0.07, 1.0, 100.0] {
            let far = now() + Duration::from_secs_f64(years * 365.25 * 86_400.0);
            let latch = Latch::new();
            let opener = latch.clone();
            let sleeper = spawn(sleep_until(far));
            // It opens while the domain sleeps until then, or is about to.
            let foreign = thread::spawn(move || opener.open());
            latch.await;
            foreign.join().expect("it only opens");
            assert_eq!(sleeper.cancel().await, None, "it did not end early");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn m11_a_grace_without_end_is_waited_for() {
    let log = Log::new();
    run_with(Builder::new().domains(1).grace(Duration::MAX), {
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
fn r19_a_moment_that_is_past_or_now_is_no_reason_to_wait() {
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
fn r19_equal_moments_fire_once_each_in_the_order_of_their_making() {
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
fn r19_timers_fire_in_the_order_of_their_moments() {
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
fn r19_a_timer_that_is_dropped_does_not_fire() {
    run_with(virtual_time(), || async {
        let begin = now();
        {
            let mut dropped = pin!(sleep(HOUR));
            poll_early(dropped.as_mut());
        }
        // The clock jumps to the next deadline, and that must not be the dropped one's.
        sleep(2 * HOUR).await;
        assert_eq!(now() - begin, 2 * HOUR);
        Ok(())
    })
    .unwrap();
}

/// Both are due in the same turn; who fires first drops the other one.
#[test]
fn r19_a_timer_dropped_while_it_fires_wakes_nobody_twice() {
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
fn r20_a_sleep_handed_to_another_task_wakes_that_one() {
    run_with(virtual_time(), || async {
        let mut sleeping = Box::pin(sleep(HOUR));
        poll_early(sleeping.as_mut());
        let polls = Counter::new();
        let other = spawn(count_polls(&polls, sleeping));
        other.await?;
        assert_eq!(polls.get(), 2);
        Ok(())
    })
    .unwrap();
}

#[test]
fn r20_a_sleep_that_moves_to_another_domain_fires_there() {
    let (builder, monitor) = monitored();
    let endless = monitor.endless.clone();
    run_with(builder.domains(2), move || async move {
        let mut sleeping = Box::pin(sleep(20 * MILLI));
        poll_early(sleeping.as_mut());
        let moved = Latch::new();
        let has_moved = moved.clone();
        let there = call(move || async move {
            let home = thread::current().id();
            poll_early(sleeping.as_mut());
            has_moved.open();
            sleeping.await;
            assert_eq!(thread::current().id(), home);
        })?;
        moved.await;
        // Its timer has left domain 0, which has nothing to wait for but the child's end.
        let before = endless.get();
        there.await?;
        assert!(endless.get() > before, "domain 0 kept a timer that it does not need");
        Ok(())
    })
    .unwrap();
}

#[test]
fn r19_a_sleep_dropped_on_another_thread_is_taken_back() {
    let (builder, monitor) = monitored();
    let endless = monitor.endless.clone();
    run_with(builder.domains(1), move || async move {
        let mut sleeping = Box::pin(sleep(HOUR));
        poll_early(sleeping.as_mut());
        let foreign = thread::spawn(move || drop(sleeping));
        foreign.join().expect("a drop that does not panic");
        let before = endless.get();
        let latch = Latch::new();
        let (opener, asleep) = (latch.clone(), endless.clone());
        let foreign = thread::spawn(move || {
            // If the timer were still there, domain 0 would wait for it, and never without end.
            while asleep.get() == before {
                thread::yield_now();
            }
            opener.open();
        });
        latch.await;
        foreign.join().expect("it only opens");
        Ok(())
    })
    .unwrap();
}

#[test]
fn r21_less_than_a_millisecond_is_rounded_up_and_not_spun_away() {
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
        let turns = waits.get() - before;
        assert!(turns <= 4 * SLEEPS, "{turns} turns for {SLEEPS} sleeps");
        Ok(())
    })
    .unwrap();
}

#[test]
fn r22_an_interrupt_before_the_wait_ends_it_at_once() {
    within_deadline(|| {
        let reactor = Reactor::new().unwrap();
        let unparker = reactor.unparker();
        // Each is a new edge, although nobody ever reads the eventfd.
        for _ in 0..1_000 {
            unparker.unpark();
            reactor.park(ParkTimeout::Forever).unwrap();
        }
        // Several before one wait are one.
        unparker.unpark();
        unparker.unpark();
        reactor.park(ParkTimeout::Forever).unwrap();
        unparker.unpark();
        reactor.park(ParkTimeout::Deadline(Instant::now() + 24 * HOUR)).unwrap();
    });
}

#[test]
fn r22_an_interrupt_between_the_last_look_and_the_wait_is_not_lost() {
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
