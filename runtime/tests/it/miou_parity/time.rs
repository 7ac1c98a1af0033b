//! Tasks that sleep. Miou counts the ticks of a driver made for its tests; matou uses the time of a
//! simulated run.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use matou_runtime::{
    Builder, Driver, MainError, ParkTimeout, Reactor, TaskError, Unpark, Violation, await_all,
    await_first, call, parallel, sleep, spawn, timeout, try_spawn,
};

use super::trials;
use crate::support::{monitored, run_with, violation};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_failed_parent_does_not_wait_for_a_sleeping_child() {
    for (fails, expected) in [(false, 1), (true, 0)] {
        for trial in trials(1, 20, move || async move {
            let parent = try_spawn(async move {
                let child = spawn(sleep(seconds(1)));
                if fails {
                    return Err("basic failure");
                }
                child.await.map_err(|_| "the sleep is not interrupted")
            });
            assert_eq!(parent.await.is_err(), fails);
            Ok(())
        }) {
            trial.outcome.unwrap();
            assert_eq!(trial.elapsed.as_secs(), expected);
        }
    }
}

#[test]
fn a_task_that_sleeps_on_another_domain_is_cancelled() {
    for trial in trials(2, 50, || async {
        let sleeper = call(|| sleep(seconds(10)))?;
        sleep(seconds(1)).await;
        assert!(sleeper.cancel().await.is_none());
        Ok(())
    }) {
        trial.outcome.unwrap();
        assert!(trial.elapsed < seconds(2), "{:?}", trial.elapsed);
    }
}

/// The same on real domains, where no other task runs on the second domain.
#[test]
fn a_task_that_sleeps_on_a_real_domain_is_cancelled() {
    let (builder, monitor) = monitored();
    let result = run_with(builder.domains(2), move || async move {
        let sleeper = call(|| sleep(seconds(86_400)))?;
        // Both domains sleep until this ends.
        sleep(Duration::from_millis(50)).await;
        assert!(sleeper.cancel().await.is_none());
        Ok::<_, MainError>(())
    });
    result.unwrap();
    assert!(monitor.waits.get() > 0, "the driver of domain 0 has waited");
}

#[test]
fn tasks_on_several_domains_sleep_concurrently() {
    for durations in [[2, 2], [2, 4]] {
        for trial in trials(3, 50, move || async move {
            let slept = parallel(durations, |count| sleep(seconds(count)))?.await;
            assert!(slept.iter().all(Result::is_ok));
            Ok(())
        }) {
            trial.outcome.unwrap();
            let longest = durations[1];
            assert_eq!(trial.elapsed.as_secs(), longest, "not one after the other");
        }
    }
}

#[test]
fn tasks_on_one_domain_sleep_concurrently() {
    for trial in trials(1, 20, || async {
        let sleepers = [spawn(sleep(seconds(5))), spawn(sleep(seconds(5)))];
        assert!(await_all(sleepers).await.iter().all(Result::is_ok));
        Ok(())
    }) {
        trial.outcome.unwrap();
        assert_eq!(trial.elapsed.as_secs(), 5);
    }
}

#[test]
fn a_child_that_sleeps_on_another_domain_must_be_awaited() {
    for trial in trials(2, 50, || async {
        drop(call(|| sleep(seconds(10)))?);
        Ok(())
    }) {
        let violation = violation(trial.outcome);
        assert!(matches!(violation, Violation::StillHasChildren { .. }), "{violation}");
        assert!(trial.elapsed < seconds(10), "it is cancelled, not waited for");
    }
}

/// A timeout built of two tasks, as in Miou, and the function `timeout`.
#[test]
fn a_timeout_is_a_race_with_a_sleeper() {
    async fn within<F>(limit: Duration, work: F) -> Result<(), &'static str>
    where
        F: Future<Output = ()> + 'static,
    {
        let work = try_spawn(async move {
            work.await;
            Ok(())
        });
        let alarm = try_spawn(async move {
            sleep(limit).await;
            Err("timeout")
        });
        await_first([work, alarm]).await.map_err(|error| error.into_failure().expect("the alarm"))
    }
    for trial in trials(1, 20, || async {
        assert_eq!(within(seconds(10), async {}).await, Ok(()));
        assert_eq!(within(seconds(1), sleep(seconds(10))).await, Err("timeout"));
        assert!(timeout(seconds(10), async {}).await.is_ok());
        assert!(timeout(seconds(1), sleep(seconds(10))).await.is_err());
        Ok(())
    }) {
        trial.outcome.unwrap();
        assert_eq!(trial.elapsed.as_secs(), 2);
    }
}

/// A driver whose only event is a call of `park`. It uses a waker where Miou uses a suspension
/// point.
struct SelfWaking {
    reactor: Reactor,
    waiting: Rc<Cell<Option<Waker>>>,
}

thread_local! {
    static WAITING: Rc<Cell<Option<Waker>>> = Rc::default();
}

impl Driver for SelfWaking {
    fn now(&self) -> Instant {
        self.reactor.now()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        match self.waiting.take() {
            Some(waker) => {
                waker.wake();
                Ok(())
            }
            None => self.reactor.park(timeout),
        }
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.reactor.unparker()
    }
}

#[test]
fn a_custom_driver_delivers_its_events() {
    let make = |_| {
        let waiting = WAITING.with(Rc::clone);
        Ok(SelfWaking { reactor: Reactor::new()?, waiting })
    };
    let result = run_with(Builder::new().driver(make), || async {
        let mut asked = false;
        std::future::poll_fn(move |cx| {
            if std::mem::replace(&mut asked, true) {
                return std::task::Poll::Ready(());
            }
            WAITING.with(|waiting| waiting.set(Some(cx.waker().clone())));
            std::task::Poll::Pending
        })
        .await;
        Ok::<_, MainError>(())
    });
    result.unwrap();
}

/// An outcome distinguishes a cancellation from a failure.
#[test]
fn a_cancelled_sleep_is_not_a_failure() {
    for trial in trials(1, 20, || async {
        let parent = spawn(async {
            let sleeper = spawn(sleep(seconds(10)));
            sleeper.cancel().await
        });
        assert!(parent.await?.is_none());
        let late = matou_runtime::deadline(matou_runtime::now() + seconds(1), async {
            spawn(sleep(seconds(10))).await
        });
        match late.await {
            Err(_) | Ok(Err(TaskError::Cancelled(_))) => Ok(()),
            Ok(_) => Err("the deadline has not cancelled it".into()),
        }
    }) {
        trial.outcome.unwrap();
        assert_eq!(trial.elapsed.as_secs(), 1);
    }
}
