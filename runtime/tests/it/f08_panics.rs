//! Panics of user code in places where no task could catch them: they neither come through `run`,
//! nor hide its error, nor abort the process.

use std::future::{Future, pending};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::{Duration, Instant};

use matou_ownership::Owned;
use matou_runtime::test::Check;
use matou_runtime::{
    Builder, Driver, MainError, Orphans, ParkTimeout, Poller, Reactor, RunError, Task, Unpark,
    shield, sleep, spawn, try_spawn, yield_now,
};

use crate::support::*;

/// Panics when it is dropped, with a payload whose drop panics as well.
struct PanicsTwice;

impl Drop for PanicsTwice {
    fn drop(&mut self) {
        panic_any(PanicsOnDrop);
    }
}

/// A main task that violates a rule and returns a value whose drop panics.
async fn offends_and_returns<T: 'static>(value: T) -> Result<T, MainError> {
    leak(spawn(pending::<()>()));
    Ok(value)
}

#[test]
fn f08_the_drop_of_the_value_of_main_hides_no_report() {
    // On threads, where `main` itself is the offender, ..
    let result = strict().domains(1).run(offends_and_returns(PanicsTwice));
    let Err(RunError::Violated(report)) = result.map(std::mem::forget) else { panic!() };
    assert_eq!(report.violations()[0].name(), "StillHasChildren");
    assert_eq!(report.further_causes().len(), 1, "{report}");
    // .. and in a simulated run.
    let trial = Check::simulated().trial(7, offends_and_returns(PanicsTwice));
    assert_eq!(violation(trial.outcome.map(std::mem::forget)).name(), "StillHasChildren");
    // Another task is the offender: a shield, which goes on after main has returned.
    let main = async {
        drop(shield(async { leak(spawn(pending::<()>())) }));
        Ok::<_, MainError>(PanicsTwice)
    };
    let result = catch_unwind(AssertUnwindSafe(|| strict().domains(1).run(main)));
    // The drop of a payload would panic in the test harness.
    let result = result.map_err(std::mem::forget).expect("no panic comes through `run`");
    let Err(RunError::Violated(report)) = result.map(std::mem::forget) else { panic!() };
    assert_eq!(report.further_causes().len(), 1, "{report}");
}

#[test]
fn f08_the_drop_of_main_hides_no_error_of_the_setup() {
    let guard = PanicsTwice;
    let main = async move {
        let _guard = guard;
        Ok::<(), MainError>(())
    };
    let builder = Builder::new().domains(1).driver::<Reactor>(|_| Err(io::Error::other("none")));
    assert!(matches!(builder.run(main), Err(RunError::Setup(_))));
    let guard = PanicsTwice;
    let result = Builder::new().domains(0).run(async move {
        let _guard = guard;
        Ok::<(), MainError>(())
    });
    assert!(matches!(result, Err(RunError::Setup(_))));
    let nested = run_on(1, || async {
        let guard = PanicsTwice;
        let result = Builder::new().run(async move {
            let _guard = guard;
            Ok::<(), MainError>(())
        });
        Ok(matches!(result, Err(RunError::Nested)))
    });
    assert!(nested.unwrap());
}

#[test]
fn f08_later_panics_of_a_task_are_kept_and_their_payloads_are_not_dropped() {
    run_on(1, || async {
        let child = spawn(async {
            leak(Owned::new((), |()| panic_any(PanicsOnDrop)));
            leak(Owned::new((), |()| panic_any(PanicsOnDrop)));
            let on_drop = FutureThatPanics;
            on_drop.await;
        });
        let error = child.await.unwrap_err();
        assert!(error.is_panicked());
        assert_eq!(error.further_causes().len(), 2, "{error}");
        leak(error);
        // The body panics when it is polled, and again when it is dropped.
        let child = spawn(FutureThatPanics);
        let error = child.await.unwrap_err();
        assert_eq!(error.further_causes().len(), 1, "{error}");
        leak(error);
        Ok(())
    })
    .unwrap();
}

/// Panics when it is polled and when it is dropped, with payloads whose drops panic.
struct FutureThatPanics;

impl Future for FutureThatPanics {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        panic_any(PanicsOnDrop);
    }
}

impl Drop for FutureThatPanics {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic_any(PanicsOnDrop);
        }
    }
}

#[test]
fn f08_failures_whose_payloads_panic_are_dropped_unseen() {
    let (builder, reports) = Reports::collected();
    run_with(builder.domains(1), || async {
        let parent = try_spawn(async {
            let group = Orphans::new();
            for _ in 0..3 {
                Task::new().orphans(&group).try_spawn(async {
                    let fails: Result<PanicsTwice, PanicsTwice> = Err(PanicsTwice);
                    fails
                })?;
                Task::new().orphans(&group).try_spawn(async { Ok(PanicsTwice) })?;
                Task::new().orphans(&group).try_spawn(async { panic_any(PanicsOnDrop) })?;
            }
            yield_now().await;
            yield_now().await;
            Err::<(), MainError>("on purpose".into())
        });
        drop(parent.await);
        Ok(())
    })
    .unwrap();
    assert_eq!(reports.names(), ["FailureUnseen"; 9]);
}

/// A driver whose methods panic.
struct FailingDriver {
    reactor: Reactor,
    parks_left: AtomicUsize,
    drop_panics: bool,
}

impl Driver for FailingDriver {
    fn now(&self) -> Instant {
        self.reactor.now()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        if self.parks_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            panic_any(PanicsOnDrop);
        }
        self.reactor.park(timeout)
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.reactor.unparker()
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        self.reactor.poller()
    }
}

impl Drop for FailingDriver {
    fn drop(&mut self) {
        if self.drop_panics {
            panic_any(PanicsOnDrop);
        }
    }
}

fn failing_driver(parks: usize, drop_panics: bool) -> Builder {
    let captured = Arc::new(PanicsTwice);
    strict().domains(2).driver(move |_| {
        let _captured = &captured;
        let parks_left = AtomicUsize::new(parks);
        Ok(FailingDriver { reactor: Reactor::new()?, parks_left, drop_panics })
    })
}

#[test]
fn f08_a_driver_that_panics_fails_the_run() {
    let result: Result<(), RunError> = within_deadline(|| {
        failing_driver(3, false).run(async {
            loop {
                sleep(Duration::from_millis(1)).await;
            }
        })
    });
    let error = result.unwrap_err();
    let RunError::Driver(error) = error else { panic!("{error}") };
    assert!(error.to_string().starts_with("the driver panicked: "), "{error}");
}

/// A driver whose clock works for so many reads, and then panics.
struct FailingClock {
    reactor: Reactor,
    reads_left: Arc<AtomicUsize>,
}

impl Driver for FailingClock {
    fn now(&self) -> Instant {
        let is_left = |left: usize| left.checked_sub(1);
        let left = self.reads_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_left);
        if left.is_err() {
            panic_any(PanicsOnDrop);
        }
        self.reactor.now()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        self.reactor.park(timeout)
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.reactor.unparker()
    }
}

/// Runs two tasks that read the clock, in ticks and in polls, until it panics.
fn run_until_clock_fails(reads: usize) -> RunError {
    let reads_left = Arc::new(AtomicUsize::new(reads));
    let left = Arc::clone(&reads_left);
    let builder = strict().domains(2).driver(move |_| {
        Ok(FailingClock { reactor: Reactor::new()?, reads_left: Arc::clone(&reads_left) })
    });
    let result: Result<(), RunError> = builder.run(async move {
        let busy = spawn(async {
            loop {
                yield_now().await;
            }
        });
        while left.load(Ordering::SeqCst) > 0 {
            sleep(Duration::from_micros(1)).await;
        }
        // The next read fails: in a tick, or here.
        drop(sleep(Duration::from_micros(1)));
        busy.await?;
        Ok(())
    });
    result.unwrap_err()
}

#[test]
fn f08_a_clock_that_panics_fails_the_run() {
    for reads in [0, 1, 2, 3, 50] {
        let error = within_deadline(move || run_until_clock_fails(reads));
        let RunError::Driver(error) = error else { panic!("{error}") };
        assert!(error.to_string().starts_with("the driver panicked: "), "{error}");
    }
}

#[test]
fn f08_the_drops_of_drivers_and_settings_hide_no_result() {
    let result = within_deadline(|| {
        let captured = PanicsTwice;
        let builder = failing_driver(usize::MAX, true).on_report(move |_| {
            let _captured = &captured;
        });
        builder.run(async { Ok::<_, MainError>(7) })
    });
    assert_eq!(result.unwrap(), 7);
}

/// A waker whose drop panics.
struct WakerThatPanics(#[allow(dead_code, reason = "dropped")] PanicsTwice);

impl Wake for WakerThatPanics {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn f08_wakers_that_leaked_futures_leave_behind_hide_no_result() {
    let main = || async {
        for _ in 0..3 {
            let waker = Arc::new(WakerThatPanics(PanicsTwice)).into();
            let mut timer = Box::pin(sleep(Duration::from_secs(3600)));
            assert!(timer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            leak(timer);
        }
        Ok(7)
    };
    assert_eq!(run_on(1, main).unwrap(), 7);
    assert_eq!(Check::simulated().trial(7, main()).outcome.unwrap(), 7);
}
