//! Goal: values of one run that are used in another one, in another thread or in no run, runs
//! inside runs, and drivers that break their contract end with an error or a panic that says so;
//! nothing hangs.

use std::future::{Future, pending};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use matou_runtime::futures::Shield;
use matou_runtime::test::{Check, Simulation, check, simulation};
use matou_runtime::{
    Builder, Driver, MainError, Orphans, ParkTimeout, Poller, Reactor, RunError, Task, Unpark,
    call, cancelled, shield, spawn, yield_now,
};

use crate::support::*;

fn panic_message(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a text")).to_owned(),
    }
}

fn poll_once<F: Future>(future: F) {
    let mut future = std::pin::pin!(future);
    let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

/// Starts runs of all kinds, and asserts that each of them reports that it is nested.
fn assert_nested() {
    let run: Result<(), RunError> = Builder::new().domains(2).run(pending());
    assert!(matches!(run, Err(RunError::Nested)), "{run:?}");
    let run: Result<(), RunError> = matou_runtime::run(pending());
    assert!(matches!(run, Err(RunError::Nested)), "{run:?}");
    let trial = Check::simulated().trial(1, pending::<Result<(), MainError>>());
    assert!(matches!(trial.outcome, Err(RunError::Nested)), "{trial:?}");
    let trial = Check::threaded().trial(1, pending::<Result<(), MainError>>());
    assert!(matches!(trial.outcome, Err(RunError::Nested)), "{trial:?}");
    let message = panic_message(|| check(0..1, pending::<()>));
    assert!(message.contains("inside a task of a run"), "{message}");
}

struct OnDrop(fn());

impl Drop for OnDrop {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn f9_a_run_inside_a_run_is_an_error_wherever_it_starts() {
    async fn nest() -> Result<(), MainError> {
        assert_nested();
        let child = spawn(async {
            let _guard = OnDrop(assert_nested);
            pending::<()>().await;
        });
        yield_now().await;
        child.cancel().await;
        call(|| async { assert_nested() })?.await?;
        Ok(())
    }
    run_on(2, nest).unwrap();
    check(0..3, nest);
    // On another thread it is a run of its own.
    run_on(1, || async {
        let other = thread::spawn(|| run_on(1, || async { Ok(7) }).map_err(|e| e.to_string()));
        assert_eq!(other.join().expect("it does not panic"), Ok(7));
        Ok(())
    })
    .unwrap();
}

/// A shield of a run that continues as long as the returned value exists.
fn foreign_shield() -> (Shield<()>, impl Sized) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let result: Result<(), RunError> = Builder::new().domains(1).run(async move {
            let shield = Task::new().name("theirs").shield(async {});
            sender.send(shield)?;
            // Blocks the domain, so that the shielded task does not end.
            let _ = stopped.recv();
            Ok(())
        });
        // The handle is elsewhere, which is for the rules to judge.
        drop(result);
    });
    struct Join(Option<(std::sync::mpsc::Sender<()>, thread::JoinHandle<()>)>);
    impl Drop for Join {
        fn drop(&mut self) {
            let (stop, thread) = self.0.take().expect("it is there until the drop");
            drop(stop);
            thread.join().expect("the run does not panic");
        }
    }
    (receiver.recv().expect("the run sends its shield"), Join(Some((stop, thread))))
}

#[test]
fn f9_a_shield_of_another_run_is_not_awaited() {
    let result = run_on(1, || async {
        let (theirs, _run) = foreign_shield();
        spawn(async move { drop(theirs.await) }).await?;
        Ok(())
    });
    let error = result.unwrap_err().to_string();
    assert!(error.contains("NotAChild"), "{error}");
}

#[test]
fn f9_a_shield_of_another_run_does_not_change_a_shield_of_this_one() {
    let log = Log::new();
    let ours = log.clone();
    let result = run_on(1, move || async move {
        // The first child of a main task, as the foreign one is: both have the same number.
        let shield = shield(async move {
            cancelled().await;
            matou_runtime::sleep(Duration::from_millis(20)).await;
            ours.push("the shielded task has finished");
        });
        let (theirs, _run) = foreign_shield();
        // A limit of zero would cancel the shielded task with its parent.
        drop(theirs.limit(Duration::ZERO));
        drop(shield);
        Ok(())
    });
    result.unwrap();
    log.assert_is(&["the shielded task has finished"]);
}

#[test]
fn f9_a_shield_outside_any_run_panics() {
    let (theirs, _run) = foreign_shield();
    let message = panic_message(|| poll_once(theirs));
    assert!(message.contains("only inside a matou run"), "{message}");
}

#[test]
fn f9_functions_that_need_a_task_panic_outside_a_run() {
    let calls: [(&str, fn()); 8] = [
        ("spawn", || drop(spawn(async {}))),
        ("try_spawn", || drop(matou_runtime::try_spawn(async { Ok::<_, ()>(()) }))),
        ("call", || drop(call(|| async {}))),
        ("parallel", || drop(matou_runtime::parallel([1], |_| async {}))),
        ("shield", || drop(shield(async {}))),
        ("defer", || matou_runtime::defer(async {})),
        ("cancelled", || poll_once(cancelled())),
        ("orphans", || {
            drop(Task::new().orphans(&Orphans::new()).spawn(async {}));
        }),
    ];
    for (name, call) in calls {
        let message = panic_message(call);
        assert!(message.contains("only inside a matou run"), "{name}: {message}");
    }
}

/// A driver that breaks its contract at one point.
struct Broken {
    reactor: Reactor,
    point: Point,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    Park,
    Unpark,
    Now,
}

struct BrokenUnpark;

impl Unpark for BrokenUnpark {
    fn unpark(&self) {
        panic!("a broken unparker");
    }
}

impl Driver for Broken {
    fn now(&self) -> Instant {
        assert!(self.point != Point::Now, "a broken clock");
        self.reactor.now()
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        assert!(self.point != Point::Park, "a broken park");
        self.reactor.park(timeout)
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        match self.point {
            Point::Unpark => Arc::new(BrokenUnpark),
            _ => self.reactor.unparker(),
        }
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        self.reactor.poller()
    }
}

fn run_on_broken_driver(point: Point) -> ! {
    let builder =
        Builder::new().domains(2).driver(move |_| Ok(Broken { reactor: Reactor::new()?, point }));
    let result: Result<(), RunError> = builder.run(async {
        for _ in 0..1000 {
            matou_runtime::sleep(Duration::from_millis(1)).await;
            // The other domain is usually parked, and is unparked.
            call(|| async {})?.await?;
        }
        Ok(())
    });
    panic!("the run ends: {result:?}");
}

#[test]
fn f9_a_driver_that_panics_ends_the_process_with_its_message() {
    for (point, variable) in [(Point::Park, "park"), (Point::Unpark, "unpark"), (Point::Now, "now")]
    {
        let variables = [(BROKEN, variable.to_owned())];
        let Some(output) = child_output_with(this_test!(), &variables) else {
            run_on_broken_driver(match &*std::env::var(BROKEN).expect("the parent sets it") {
                "park" => Point::Park,
                "unpark" => Point::Unpark,
                _ => Point::Now,
            });
        };
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("a broken "), "{point:?}: {stderr}");
        // Without a wait there is neither I/O nor time, but the tasks can be cancelled.
        assert_eq!(stderr.contains("the driver panicked: "), point != Point::Unpark, "{stderr}");
        if point == Point::Unpark {
            assert_eq!(output.status.signal(), Some(6), "{point:?}: {stderr}");
        }
        assert!(!output.status.success());
    }
}

const BROKEN: &str = "MATOU_TEST_BROKEN_DRIVER";

#[test]
fn f9_a_signal_for_a_domain_that_cannot_be_unparked_ends_the_process() {
    use matou_runtime::signal::{self, Signal};
    let Some(output) = child_output(this_test!()) else {
        let point = Point::Unpark;
        let builder = Builder::new()
            .domains(1)
            .driver(move |_| Ok(Broken { reactor: Reactor::new()?, point }));
        let result: Result<(), RunError> = builder.run(async {
            signal::on(Signal::Terminate, || async {})?;
            thread::spawn(|| {
                thread::sleep(Duration::from_millis(50));
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::TERM)
            });
            pending().await
        });
        panic!("the run ends: {result:?}");
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("a broken unparker"), "{stderr}");
    assert_eq!(output.status.signal(), Some(6), "{stderr}");
}

/// The simulation of a run of one domain that is over.
fn past_simulation() -> Simulation {
    let trial = Check::simulated()
        .domains(1)
        .trial(1, async { Ok::<_, MainError>(simulation().expect("a simulated run")) });
    trial.outcome.unwrap()
}

#[test]
fn f9_a_simulation_that_is_over_panics_with_the_line_that_uses_it() {
    let past = past_simulation();
    let message = panic_message(|| assert!(past.random_below(6) < 6));
    assert!(message.contains("outside its run"), "{message}");
    let message = panic_message(|| past.record_event("late", 1));
    assert!(message.contains("outside its run"), "{message}");
}

#[test]
fn f9_a_simulation_in_another_simulated_run_panics() {
    // On the last of several domains, whose number the past run did not have.
    let past = past_simulation();
    let kept = std::rc::Rc::new(past);
    let trial = Check::simulated().trial(1, {
        let kept = kept.clone();
        async move {
            let message = panic_message(|| assert!(kept.random_below(6) < 6));
            Ok::<_, MainError>(message)
        }
    });
    let message = trial.outcome.unwrap();
    assert!(message.contains("outside its run"), "{message}");
}

/// The values of one run, in a static, as a program that misuses them would keep them.
static KEPT: Mutex<Option<matou_runtime::Promise<()>>> = Mutex::new(None);

#[test]
fn f9_a_promise_of_a_past_run_is_not_awaited() {
    let first: Result<(), RunError> = Builder::new().domains(1).run(async {
        *KEPT.lock().unwrap() = Some(spawn(async {}));
        Ok(())
    });
    drop(first);
    let result = run_on(1, || async {
        let kept = KEPT.lock().unwrap().take().expect("the first run has stored it");
        drop(kept.await);
        Ok(())
    });
    assert!(result.unwrap_err().to_string().contains("NotAChild"));
}
