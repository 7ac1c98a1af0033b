//! Goal: domains share their time fairly among tasks, park when they are idle, and report failures
//! to start (scenarios W1 to W17).
//! Method: polls and waits are counted. The parking protocol itself is modelled in `tests/loom.rs`.
//! There is no work stealing and one thread per domain, so the scenarios about workers that steal
//! tasks do not apply.

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::{pending, poll_fn};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use matou_runtime::{
    Builder, Driver, ParkTimeout, Reactor, RunError, Task, Unpark, call, run, sleep, spawn,
    yield_now,
};

use crate::support::{
    Counter, CountsDrop, Latch, io_pair, monitored, read_byte, rerun_in_child_process, run_on,
    run_with, within_deadline,
};

#[test]
fn a_task_that_yields_is_polled_after_all_ready_tasks_however_many() {
    const CROWD: usize = 10_000;
    run_with(Builder::new().domains(1), || async {
        let polls = Counter::new();
        let crowd: Vec<_> = (0..CROWD)
            .map(|_| {
                let polls = polls.clone();
                spawn(async move {
                    polls.add();
                    yield_now().await;
                    polls.add();
                })
            })
            .collect();
        yield_now().await;
        assert_eq!(polls.get(), CROWD);
        yield_now().await;
        assert_eq!(polls.get(), 2 * CROWD);
        for task in crowd {
            task.await?;
        }
        Ok(())
    })
    .unwrap();
}

/// Two tasks that wake each other at every poll.
#[derive(Default)]
struct PingPong {
    wakers: RefCell<[Option<Waker>; 2]>,
    polls: Cell<usize>,
}

impl PingPong {
    async fn play(self: Rc<Self>, side: usize) {
        poll_fn(move |cx| {
            self.polls.set(self.polls.get() + 1);
            let mut wakers = self.wakers.borrow_mut();
            wakers[side] = Some(cx.waker().clone());
            if let Some(other) = &wakers[1 - side] {
                other.wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }
}

#[test]
fn w5_a_third_task_runs_between_two_that_wake_each_other() {
    run_on(1, || async {
        let game = Rc::new(PingPong::default());
        let players = [0, 1].map(|side| spawn(game.clone().play(side)));
        while game.polls.get() < 1_000 {
            yield_now().await;
        }
        for _ in 0..100 {
            let before = game.polls.get();
            let seen = game.clone();
            let between = spawn(async move { seen.polls.get() }).await? - before;
            assert!(between <= 2, "{between} polls of the two others came first");
        }
        for player in players {
            player.cancel().await;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn w7_timers_and_descriptors_work_while_another_domain_is_blocked() {
    run_on(2, || async {
        let (release, blocked) = mpsc::channel::<()>();
        let entered = Counter::new();
        let inside = entered.clone();
        let stuck = call(move || async move {
            inside.add();
            blocked.recv().expect("domain 0 sends");
        })?;
        entered.reaches(1).await;
        for _ in 0..5 {
            sleep(Duration::from_millis(1)).await;
        }
        let (io, mut peer) = io_pair();
        let reader = spawn(read_byte(io.clone()));
        yield_now().await;
        peer.write_all(b"m")?;
        assert_eq!(reader.await??, b'm');
        io.close();
        release.send(())?;
        Ok(stuck.await?)
    })
    .unwrap();
}

#[test]
fn w14_a_task_sent_to_a_domain_with_an_endless_task_is_polled() {
    run_on(2, || async {
        let started = Counter::new();
        let inside = started.clone();
        let endless = call(move || async move {
            inside.add();
            loop {
                yield_now().await;
            }
        })?;
        started.reaches(1).await;
        for n in 0..100 {
            assert_eq!(call(move || async move { n })?.await?, n);
        }
        endless.cancel().await;
        Ok(())
    })
    .unwrap();
}

/// Each call finds the other domain parked or about to park, and each answer finds domain 0 so.
#[test]
fn w14_a_task_sent_to_a_domain_that_is_about_to_park_unparks_it() {
    run_on(2, || async {
        for n in 0..5_000 {
            assert_eq!(call(move || async move { n })?.await?, n);
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn w15_a_domain_that_waits_for_another_one_does_not_tick() {
    let (builder, monitor) = monitored();
    let waits = monitor.waits.clone();
    run_with(builder.domains(2), move || async move {
        let busy = call(|| async {
            for _ in 0..10_000 {
                yield_now().await;
            }
        })?;
        let before = waits.get();
        busy.await?;
        let ticks = waits.get() - before;
        assert!(ticks <= 4, "{ticks} ticks for one message");
        Ok(())
    })
    .unwrap();
}

/// How long a thread has run, in nanoseconds, and how often it was scheduled. System calls and
/// busy-waiting increase these numbers.
fn schedule_of(thread: &str) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat")).expect("a live thread");
    let mut numbers = text.split_whitespace().map(|word| word.parse().expect("a number"));
    let (ran, _waited, times) = (numbers.next(), numbers.next(), numbers.next());
    (ran.expect("three numbers"), times.expect("three numbers"))
}

/// In a child process, where no other test uses the cores.
#[test]
fn w15_an_idle_domain_makes_no_system_calls() {
    rerun_in_child_process!();
    if !fs::exists("/proc/thread-self/schedstat").unwrap() {
        eprintln!("skipped: this kernel does not report how long a thread has run");
        return;
    }
    run_on(2, || async {
        let me = fs::read_link("/proc/thread-self")?;
        let me = me.to_str().expect("digits and slashes").to_owned();
        let (ran, times) = call(move || async move {
            sleep(Duration::from_millis(50)).await;
            let before = schedule_of(&me);
            sleep(Duration::from_millis(300)).await;
            let after = schedule_of(&me);
            (after.0 - before.0, after.1 - before.1)
        })?
        .await?;
        eprintln!("asleep for 300 ms, domain 0 ran {ran} ns in {times} slices");
        assert!(ran < 3_000_000 && times <= 3, "{ran} ns in {times} slices");
        Ok(())
    })
    .unwrap();
}

#[test]
fn w16_a_run_inside_a_task_is_an_error_and_the_task_continues() {
    for domains in [1, 3] {
        run_on(domains, || async {
            let inner = run(async { Ok::<_, io::Error>(7) });
            assert!(matches!(inner, Err(RunError::Nested)));
            let child = spawn(async { run(async { Ok::<_, io::Error>(7) }).is_err() });
            assert!(child.await?);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn w16_a_run_on_a_thread_that_a_task_waits_for_has_its_own_timers() {
    run_on(1, || async {
        let inner = thread::spawn(|| {
            Builder::new().domains(1).run(async {
                sleep(Duration::from_millis(1)).await;
                Ok::<_, io::Error>(7)
            })
        });
        assert!(matches!(inner.join().expect("it does not panic"), Ok(7)));
        Ok(())
    })
    .unwrap();
}

/// A driver that counts its drop.
struct CountsDropDriver(Reactor, #[expect(dead_code, reason = "dropped")] CountsDrop);

impl Driver for CountsDropDriver {
    fn now(&self) -> std::time::Instant {
        self.0.now()
    }
    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        self.0.park(timeout)
    }
    fn unparker(&self) -> Arc<dyn Unpark> {
        self.0.unparker()
    }
}

/// Settings of a run whose driver for domain `failing` is made by `make`, and counters of the
/// drivers that were made and dropped.
fn failing_driver(failing: usize, make: fn() -> io::Result<Reactor>) -> (Builder, [Counter; 2]) {
    let counters = [Counter::new(), Counter::new()];
    let [made, dropped] = counters.clone();
    let builder = Builder::new().domains(3).driver(move |index| {
        let reactor = if index == failing { make() } else { Reactor::new() }?;
        made.add();
        Ok(CountsDropDriver(reactor, CountsDrop(dropped.clone())))
    });
    (builder, counters)
}

#[test]
fn w17_a_driver_that_cannot_be_made_is_an_error_and_leaks_nothing() {
    for failing in [0, 1, 2] {
        let (builder, [made, dropped]) =
            failing_driver(failing, || Err(io::ErrorKind::StorageFull.into()));
        let polled = Counter::new();
        let inside = polled.clone();
        let result: Result<(), _> = run_with(builder, move || async move {
            inside.add();
            Ok(())
        });
        match result {
            Err(RunError::Setup(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
            other => panic!("{other:?}"),
        }
        assert_eq!(polled.get(), 0);
        assert_eq!(made.get(), dropped.get());
    }
}

#[test]
fn w17_a_panic_in_the_driver_factory_reaches_the_caller_and_leaks_nothing() {
    // Domain 1 fails many times, because the thread of domain 2 must not outlive the panic by
    // chance.
    for failing in [0, 2].into_iter().chain([1; 50]) {
        let (builder, [made, dropped]) =
            failing_driver(failing, || panic!("a driver that cannot be made"));
        let result = within_deadline(move || {
            catch_unwind(AssertUnwindSafe(|| {
                builder.run(async move {
                    // Without its domain this call would wait forever.
                    let there = Task::new().pin(failing).call(|| async {})?;
                    Ok::<_, matou_runtime::MainError>(there.await?)
                })
            }))
        });
        let payload = result.expect_err("it panics");
        assert_eq!(payload.downcast_ref(), Some(&"a driver that cannot be made"));
        assert_eq!(made.get(), dropped.get());
    }
}

/// The limit counts the processes of a user and does not apply to root. So root changes its user
/// first, for this thread of this process only.
#[test]
fn w17_a_thread_that_cannot_be_spawned_is_an_error_and_no_hang() {
    rerun_in_child_process!();
    use rustix::process::{Resource, Rlimit, getuid, setrlimit};
    use rustix::thread::set_thread_uid;
    let one = Rlimit { current: Some(1), maximum: Some(1) };
    setrlimit(Resource::Nproc, one).expect("a limit may be lowered");
    if getuid().is_root() {
        let other = rustix::process::Uid::from_raw(54_321);
        set_thread_uid(other).expect("root may change its user");
    }
    let result: Result<(), RunError> = Builder::new().domains(4).run(pending());
    match result {
        Err(RunError::Setup(error)) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        other => panic!("{other:?}"),
    }
    let alone: Result<i32, RunError> = Builder::new().domains(1).run(async { Ok(7) });
    assert_eq!(alone.unwrap(), 7);
}

/// The run parks until the latch is opened by another thread.
#[test]
fn w1_a_foreign_thread_unparks_a_domain() {
    run_on(1, || async {
        for _ in 0..1_000 {
            let latch = Latch::new();
            let opener = latch.clone();
            let foreign = thread::spawn(move || opener.open());
            latch.await;
            foreign.join().expect("it does not panic");
        }
        Ok(())
    })
    .unwrap();
}
