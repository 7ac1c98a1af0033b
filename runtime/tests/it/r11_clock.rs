//! R11 by the clock: slow polls delay timers and events by about one poll, from the first tick on;
//! events are looked at before late timers fire; loops over ready primitives are ended by a
//! timeout.
//!
//! Method: a driver whose clock only the test advances. So each bound is a number of polls.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use matou_runtime::{Builder, MainError, RunError, now, sleep, spawn, timeout, yield_now};
use matou_sync::{Condition, Mutex, Queue};

use crate::support::ManualClock;

fn run<T: 'static>(main: impl Future<Output = Result<T, MainError>> + 'static) -> T {
    let result: Result<T, RunError> = ManualClock::install(Builder::new()).run(main);
    result.expect("the program succeeds")
}

const MS: Duration = Duration::from_millis(1);

/// Computes `polls` times for `each`, and yields before.
async fn compute(polls: usize, each: Duration) {
    for _ in 0..polls {
        yield_now().await;
        ManualClock::advance(each);
    }
}

/// Returns by how much the ticks of a ticker of 10 ms were late at most, beside `computing` tasks
/// whose polls take `each`.
fn latest_tick(computing: usize, each: Duration) -> Duration {
    run(async move {
        let latest = Rc::new(Cell::new(Duration::ZERO));
        let ticker = spawn({
            let latest = Rc::clone(&latest);
            async move {
                loop {
                    let due = now() + 10 * MS;
                    sleep(10 * MS).await;
                    latest.set(latest.get().max(now() - due));
                }
            }
        });
        // The ticker is waiting when the burst begins.
        sleep(25 * MS).await;
        let burst: Vec<_> = (0..computing).map(|_| spawn(compute(200, each))).collect();
        for task in burst {
            task.await?;
        }
        ticker.cancel().await;
        Ok(latest.get())
    })
}

#[test]
fn f12_a_timer_waits_for_about_one_slow_poll_also_at_the_beginning_of_a_burst() {
    for computing in [1, 4, 100] {
        for each in [5 * MS, MS, MS / 5, MS / 50] {
            let late = latest_tick(computing, each);
            assert!(late <= 2 * MS + each, "{computing} tasks of {each:?}: {late:?} late");
        }
    }
}

/// A loop over a primitive that is always ready.
#[derive(Clone, Copy, Debug)]
enum Loop {
    PushPop,
    PopOfAFullQueue,
    Lock,
    Signal,
}

async fn forever(which: Loop) {
    let (queue, mutex, changed) = (Queue::bounded(1), Mutex::new(0), Condition::new());
    loop {
        match which {
            Loop::PushPop => {
                queue.push(1).await.expect("it is open");
                queue.pop().await.expect("it is open");
            }
            Loop::PopOfAFullQueue => {
                queue.try_push(1).expect("it is empty");
                queue.pop().await.expect("it is open");
            }
            Loop::Lock => *mutex.lock().await += 1,
            Loop::Signal => {
                let done = changed.wait_while(mutex.lock().await, |number| *number > 0).await;
                drop(done);
            }
        }
        ManualClock::advance(MS / 1000);
    }
}

#[test]
fn f12_a_timeout_ends_a_loop_over_ready_primitives() {
    for which in [Loop::PushPop, Loop::PopOfAFullQueue, Loop::Lock, Loop::Signal] {
        let took = run(async move {
            let before = now();
            assert!(timeout(10 * MS, forever(which)).await.is_err());
            Ok(now() - before)
        });
        assert!(took <= 11 * MS, "{which:?} took {took:?}");
    }
}

#[test]
fn f12_a_loop_over_ready_primitives_lets_other_tasks_run() {
    for which in [Loop::PushPop, Loop::PopOfAFullQueue, Loop::Lock, Loop::Signal] {
        run(async move {
            let busy = spawn(forever(which));
            for _ in 0..10 {
                yield_now().await;
            }
            busy.cancel().await;
            Ok(())
        });
    }
}

#[test]
fn r11_code_that_polls_until_it_is_ready_does_not_spin_when_the_budget_is_used_up() {
    run(async {
        let mutex = Mutex::new(0);
        // Neither of them yields to the domain.
        for _ in 0..1000 {
            *mutex.lock_blocking() += 1;
        }
        futures::executor::block_on(async {
            for _ in 0..1000 {
                *mutex.lock().await += 1;
            }
        });
        assert_eq!(mutex.into_inner(), 2000);
        Ok(())
    });
}

#[test]
fn f12_events_of_an_interrupted_wait_count_before_its_time_limits() {
    run(async {
        let limited = timeout(Duration::from_secs(1), ManualClock::late_event()).await;
        assert_eq!(limited, Ok(()), "the event arrived in time");
        Ok(())
    });
}
