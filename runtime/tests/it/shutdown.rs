//! How runs end: SCENARIOS.md 5.3.
//!
//! There is one way down: the root ends, or is cancelled, and its end waits for the whole tree.

use std::cell::RefCell;
use std::fs;
use std::future::{Future, pending, poll_fn};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::{
    Builder, Direction, Forgotten, IoSource, MainError, Orphans, Promise, RunError, Task,
    TaskError, Violation, WaitSite, call, signal, sleep, spawn, yield_now,
};
use rustix::process::{Signal, getpid, kill_process};

use crate::support::{
    Counter, CountsDrop, Latch, Log, PanicsOnDrop, Place, child_output, monitored,
    rerun_in_child_process, run_on, run_with, this_test, violation,
};

/// The error of a main that ends before its children.
fn enough<T>() -> Result<T, MainError> {
    Err("enough".into())
}

#[track_caller]
fn assert_failed<T: std::fmt::Debug>(result: Result<T, RunError>) {
    match result {
        Err(RunError::Failed(error)) => assert_eq!(error.to_string(), "enough"),
        other => panic!("{other:?}"),
    }
}

/// Wakes everybody else's waker when it is dropped.
struct WakesAll(Arc<Mutex<Vec<Waker>>>, Counter);

impl Drop for WakesAll {
    fn drop(&mut self) {
        self.1.add();
        let wakers = self.0.lock().unwrap().clone();
        wakers.iter().for_each(Waker::wake_by_ref);
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[test]
fn x1_drops_that_wake_the_other_tasks_while_the_run_ends() {
    const TASKS: usize = 100;
    let (builder, monitor) = monitored();
    let drops = Counter::new();
    let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
    let result: Result<(), _> = run_with(builder.domains(3), {
        let (drops, wakers) = (drops.clone(), wakers.clone());
        move || async move {
            let started = Counter::new();
            let mut promises = Vec::new();
            for n in 0..TASKS {
                let guard = WakesAll(wakers.clone(), drops.clone());
                let started = started.clone();
                let place = Place::BOTH[n % 2];
                promises.push(place.spawn(move || async move {
                    let guard = guard;
                    let noted = poll_fn(|cx| {
                        guard.0.lock().unwrap().push(cx.waker().clone());
                        Poll::Ready(())
                    });
                    noted.await;
                    started.add();
                    pending::<()>().await
                }));
            }
            started.reaches(TASKS).await;
            enough()
        }
    });
    assert_failed(result);
    assert_eq!(drops.get(), TASKS);
    wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    monitor.assert_freed();
}

fn pair() -> (Arc<IoSource>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("non-blocking mode");
    (IoSource::new(OwnedFd::from(ours)), theirs)
}

fn poll_read(io: &Arc<IoSource>, cx: &mut Context<'_>) -> Poll<io::Result<u8>> {
    io.poll(Direction::Read, WaitSite::here("read"), cx, |fd| {
        let mut byte = [0];
        rustix::io::read(fd, &mut byte)?;
        Ok(byte[0])
    })
}

/// Makes the next task's descriptor readable and closes its own when it is dropped.
struct PokesTheNext {
    own: Arc<IoSource>,
    next: UnixStream,
    drops: Counter,
}

impl Drop for PokesTheNext {
    fn drop(&mut self) {
        self.drops.add();
        // The next one may be closed already.
        let _ = self.next.write_all(b"m");
        assert!(self.own.close());
    }
}

#[test]
fn x2_readiness_that_arrives_while_the_run_ends() {
    const TASKS: usize = 50;
    for place in Place::BOTH {
        let (builder, monitor) = monitored();
        let drops = Counter::new();
        let result: Result<(), _> = run_with(builder.domains(place.domains()), {
            let drops = drops.clone();
            move || async move {
                let (ios, mut peers): (Vec<_>, Vec<_>) = (0..TASKS).map(|_| pair()).unzip();
                peers.rotate_left(1);
                let started = Counter::new();
                let mut promises = Vec::new();
                for (own, next) in ios.into_iter().zip(peers) {
                    let (drops, started) = (drops.clone(), started.clone());
                    promises.push(place.spawn(move || async move {
                        let guard = PokesTheNext { own, next, drops };
                        let mut begun = false;
                        poll_fn(|cx| {
                            let read = poll_read(&guard.own, cx);
                            if !std::mem::replace(&mut begun, true) {
                                assert!(read.is_pending());
                                started.add();
                            }
                            // Whatever it reads while it is cancelled, it would stay.
                            Poll::<()>::Pending
                        })
                        .await
                    }));
                }
                started.reaches(TASKS).await;
                enough()
            }
        });
        assert_failed(result);
        assert_eq!(drops.get(), TASKS);
        monitor.assert_freed();
    }
}

static SHARED: Mutex<()> = Mutex::new(());

/// Holds a blocking lock for as long as it lives.
struct Holds(#[expect(dead_code, reason = "a guard")] MutexGuard<'static, ()>);

/// Takes the blocking lock when it is dropped.
struct TakesAtTheEnd;

impl Drop for TakesAtTheEnd {
    fn drop(&mut self) {
        drop(SHARED.lock());
    }
}

/// So a program chooses the order: what a drop takes, tasks may hold whose ends were asked for
/// before. The other way round a drop would block its domain for ever, here as anywhere: drops must
/// not take blocking locks that are held across an await.
#[test]
fn x3_siblings_are_dropped_in_the_order_in_which_their_ends_are_asked_for() {
    let log = Log::new();
    let kept: Arc<Mutex<Vec<Promise<()>>>> = Arc::default();
    let result: Result<(), _> = run_on(1, {
        let (log, kept) = (log.clone(), kept.clone());
        move || async move {
            let sibling = |name| {
                let witness = log.on_drop(name);
                spawn(async move {
                    let _witness = witness;
                    pending::<()>().await
                })
            };
            // These are asked by their parent's end, oldest first; the holder before the taker.
            let holder = spawn(async move {
                let _held = Holds(SHARED.lock().unwrap());
                pending::<()>().await
            });
            let taker = spawn(async move {
                let _taken = TakesAtTheEnd;
                pending::<()>().await
            });
            kept.lock().unwrap().extend([holder, taker, sibling("fifth"), sibling("sixth")]);
            // This one is asked by name, and the locals by their drops, in Rust's order.
            let first = sibling("first");
            let (_fourth, _third, _second) =
                (sibling("fourth"), sibling("third"), sibling("second"));
            yield_now().await;
            let _cancelled = first.cancel();
            enough()
        }
    });
    assert_failed(result);
    log.assert_is(&["first", "second", "third", "fourth", "fifth", "sixth"]);
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc").count()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("/proc").count()
}

/// What is mapped, in kibibytes.
fn mapped() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Starts a run, echoes a byte between two domains, and stops.
fn start_work_stop() {
    let result: Result<(), RunError> = Builder::new().domains(2).run(async {
        let (io, mut theirs) = pair();
        let echo = call(move || async move {
            let byte = poll_fn(|cx| poll_read(&io, cx)).await;
            io.close();
            byte
        })?;
        sleep(Duration::ZERO).await;
        theirs.write_all(b"m")?;
        assert_eq!(echo.await??, b'm');
        Ok(())
    });
    result.unwrap();
}

/// In a process of its own, where nobody else opens descriptors.
#[test]
fn x7_a_thousand_runs_leave_nothing_behind() {
    rerun_in_child_process!();
    (0..100).for_each(|_| start_work_stop());
    let (fds, memory) = (descriptors(), mapped());
    let alive = threads();
    (0..1_000).for_each(|_| start_work_stop());
    assert_eq!(descriptors(), fds);
    // A joined thread may stay in the list for a moment; the deadline of the process bounds this.
    while threads() > alive {
        thread::yield_now();
    }
    let grown = mapped().saturating_sub(memory);
    // Leaks of tasks and runs are found elsewhere; this is about the threads' stacks, which would
    // be 2 GiB. Why not what is resident? ASan keeps what is freed.
    assert!(grown < 512 << 10, "{grown} KiB more after 1,000 runs");
}

#[test]
fn x8_a_call_that_races_with_a_cancellation_resolves() {
    const CALLS: usize = 500;
    let (builder, monitor) = monitored();
    let (made, dropped) = (Counter::new(), Counter::new());
    let (values, taken) = (made.clone(), dropped.clone());
    run_with(builder.domains(3), move || async move {
        for n in 0..CALLS {
            let (made, dropped) = (values.clone(), CountsDrop(taken.clone()));
            let child = call(move || {
                made.add();
                async move {
                    let _counted = dropped;
                    n
                }
            })?;
            for _ in 0..n % 7 {
                yield_now().await;
            }
            match child.cancel().await {
                Some(value) => assert_eq!(value, n),
                None => assert!(taken.get() == n + 1, "it is gone when the cancel returns"),
            }
        }
        Ok(())
    })
    .unwrap();
    assert!(made.get() <= CALLS);
    assert_eq!(dropped.get(), CALLS);
    monitor.assert_freed();
}

#[test]
fn x8_calls_that_race_with_the_end_of_the_run_are_dropped_before_it_returns() {
    for round in 0..100 {
        let (builder, monitor) = monitored();
        let dropped = Counter::new();
        let counted = dropped.clone();
        let result: Result<(), _> = run_with(builder.domains(3), move || async move {
            let mut promises = Vec::new();
            for _ in 0..10 {
                let dropped = CountsDrop(counted.clone());
                promises.push(call(move || async move {
                    let _counted = dropped;
                    pending::<()>().await
                })?);
            }
            for _ in 0..round % 5 {
                yield_now().await;
            }
            enough()
        });
        assert_failed(result);
        assert_eq!(dropped.get(), 10);
        monitor.assert_freed();
    }
}

/// Ends a run while a task owns something whose finalizer takes `turns` turns, or for ever.
fn end_with_grace(place: Place, grace: Duration, turns: Option<usize>) -> Result<(), RunError> {
    run_with(Builder::new().domains(place.domains()).grace(grace), move || async move {
        let child = place.spawn(move || async move {
            let owned = Owned::with_async((), move |()| async move {
                match turns {
                    Some(turns) => {
                        for _ in 0..turns {
                            yield_now().await;
                        }
                    }
                    None => pending().await,
                }
            });
            drop(owned);
        });
        Ok(child.await?)
    })
}

#[test]
fn x9_the_grace_ends_a_shutdown_that_would_last_for_ever() {
    for place in Place::BOTH {
        for grace in [Duration::ZERO, Duration::from_millis(10)] {
            let violation = violation(end_with_grace(place, grace, None));
            assert!(matches!(violation, Violation::FinalizerUnfinished { .. }), "{violation}");
        }
    }
}

#[test]
fn x9_a_finalizer_that_is_quick_enough_is_waited_for() {
    for place in Place::BOTH {
        end_with_grace(place, Duration::ZERO, Some(0)).unwrap();
        end_with_grace(place, Duration::from_secs(3600), Some(100)).unwrap();
        end_with_grace(place, Duration::MAX, Some(100)).unwrap();
    }
}

#[test]
fn x10_no_task_is_detached_from_the_end_of_its_run() {
    for place in Place::BOTH {
        let (builder, monitor) = monitored();
        let dropped = Counter::new();
        let counted = dropped.clone();
        let builder = builder.domains(place.domains()).forgotten(Forgotten::Cancel);
        run_with(builder, move || async move {
            for _ in 0..10 {
                let dropped = CountsDrop(counted.clone());
                drop(place.spawn(move || async move {
                    let _counted = dropped;
                    pending::<()>().await
                }));
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(dropped.get(), 10);
        monitor.assert_freed();
    }
}

#[test]
fn x10_a_collector_that_still_holds_children_does_not_detach_them() {
    let dropped = Counter::new();
    let counted = dropped.clone();
    let result: Result<(), _> = run_on(1, move || async move {
        let orphans: Orphans<()> = Orphans::new();
        for _ in 0..10 {
            let dropped = CountsDrop(counted.clone());
            let child = async move {
                let _counted = dropped;
                pending().await
            };
            Task::new().orphans(&orphans).spawn(child)?;
        }
        enough()
    });
    assert_failed(result);
    assert_eq!(dropped.get(), 10);
}

/// Sleeps in a run that ends when a signal comes; `send` is called when domain 0 is asleep.
fn end_by_a_signal(send: impl FnOnce() + Send + 'static) {
    let (builder, monitor) = monitored();
    let drained = Counter::new();
    let seen = drained.clone();
    let endless = monitor.endless.clone();
    run_with(builder.domains(2), move || async move {
        let latch = Latch::new();
        let opener = latch.clone();
        signal::on(signal::Signal::Interrupt, move || {
            let opener = opener.clone();
            async move { opener.open() }
        })?;
        let before = endless.get();
        let sender = thread::spawn(move || {
            while endless.get() == before {
                thread::yield_now();
            }
            send();
        });
        let busy = call(|| async { pending::<()>().await })?;
        latch.await;
        busy.cancel().await;
        sender.join().expect("it only sends");
        seen.add();
        Ok(())
    })
    .unwrap();
    assert_eq!(drained.get(), 1);
    // The thread that watches for signals may hold it for a moment after it has told it.
    while !monitor.is_freed() {
        thread::yield_now();
    }
}

/// In a process of its own, since a signal is everybody's. After each run the next one is told of
/// its own signal.
#[test]
fn x11_a_signal_on_any_thread_wakes_a_main_that_sleeps() {
    rerun_in_child_process!();
    // To the process: the system chooses the thread.
    end_by_a_signal(|| kill_process(getpid(), Signal::INT).expect("we exist"));
    // To a thread that matou knows nothing of.
    end_by_a_signal(|| signal_hook::low_level::raise(2).expect("we exist"));
    // To the thread of a domain, by a task on it.
    run_on(2, || async {
        let latch = Latch::new();
        let opener = latch.clone();
        signal::on(signal::Signal::Interrupt, move || {
            let opener = opener.clone();
            async move { opener.open() }
        })?;
        let raised = call(|| async { signal_hook::low_level::raise(2) })?;
        latch.await;
        Ok(raised.await??)
    })
    .unwrap();
}

/// A waker keeps the run's memory, but must not keep what the run did about signals.
#[test]
fn x11_after_the_run_a_signal_ends_the_process_although_a_waker_is_left() {
    let Some(output) = child_output(this_test!()) else {
        let latch = Latch::new();
        let waits = latch.clone();
        run_on(1, move || async move {
            signal::on(signal::Signal::Interrupt, || async {})?;
            waits.open();
            waits.await;
            Ok(())
        })
        .unwrap();
        assert!(latch.waker().is_some());
        eprintln!("the run is over");
        kill_process(getpid(), Signal::INT).expect("we exist");
        return thread::park();
    };
    assert!(String::from_utf8_lossy(&output.stderr).contains("the run is over"));
    assert_eq!(output.status.signal(), Some(Signal::INT.as_raw()), "{}", output.status);
}

#[test]
fn x12_a_parent_that_fails_ends_its_children_and_the_program() {
    for place in Place::BOTH {
        let (builder, monitor) = monitored();
        let dropped = Counter::new();
        let counted = dropped.clone();
        run_with(builder.domains(place.domains()), move || async move {
            let inside = counted.clone();
            let parent = place.try_spawn(move || async move {
                let started = Counter::new();
                let children: Vec<_> = Place::BOTH
                    .into_iter()
                    .filter(|&child| child == Place::Local || place == Place::Remote)
                    .map(|child| {
                        let (dropped, started) = (CountsDrop(inside.clone()), started.clone());
                        child.spawn(move || async move {
                            let _counted = dropped;
                            started.add();
                            pending::<()>().await
                        })
                    })
                    .collect();
                started.reaches(children.len()).await;
                Err::<(), _>("the parent fails")
            });
            let outcome = parent.await;
            assert!(matches!(outcome, Err(TaskError::Failed("the parent fails"))));
            let children = if place == Place::Remote { 2 } else { 1 };
            assert_eq!(counted.get(), children, "they are gone before the outcome is seen");
            Ok(())
        })
        .unwrap();
        monitor.assert_freed();
    }
}

/// What tasks leave lying about.
static LEFT: Mutex<Vec<Box<dyn Send>>> = Mutex::new(Vec::new());

fn leave(thing: impl Send + 'static) {
    LEFT.lock().unwrap().push(Box::new(thing));
}

/// A main that panics in the middle of everything, with panics waiting in drops and finalizers.
fn panic_in_main(finalized: Counter) -> Result<(), RunError> {
    Builder::new().domains(2).run(async move {
        let started = Counter::new();
        for place in Place::BOTH {
            let (started, finalized) = (started.clone(), finalized.clone());
            leave(place.spawn(move || async move {
                let _panics = PanicsOnDrop;
                // Left to the settlement: two panics in one drop are beyond any runtime.
                leave(Owned::new(finalized, |finalized| {
                    finalized.add();
                    panic!("a finalizer that panics");
                }));
                started.add();
                pending::<()>().await
            }));
        }
        leave(Owned::new(finalized, |finalized| {
            finalized.add();
            panic!("the finalizer of main panics");
        }));
        started.reaches(2).await;
        panic!("main panics");
    })
}

#[test]
fn x13_a_panic_of_main_releases_everything_and_is_the_runs_error() {
    let finalized = Counter::new();
    let inside = finalized.clone();
    let result = super::support::within_deadline(move || panic_in_main(inside));
    match result {
        Err(RunError::Panicked(panic)) => assert_eq!(panic.message(), "main panics"),
        other => panic!("{other:?}"),
    }
    assert_eq!(finalized.get(), 3);
}

/// What a `fn main` that returns the run's result would do: the test runner, too, ends with a
/// status, and not by a signal.
#[test]
fn x13_a_program_whose_main_panics_ends_with_a_status_and_no_abort() -> Result<(), RunError> {
    let Some(output) = child_output(this_test!()) else {
        return panic_in_main(Counter::new());
    };
    assert_eq!(output.status.signal(), None);
    assert_eq!(output.status.code(), Some(101));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stdout.contains("main panics") || stderr.contains("main panics"));
    Ok(())
}

/// A task may hold the last reference to what another one, gone already, has left to it.
#[test]
fn x1_tasks_that_hold_each_others_wakers_are_freed() {
    let (builder, monitor) = monitored();
    let result: Result<(), _> = run_with(builder.domains(1), || async {
        let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
        let mut promises = Vec::new();
        for _ in 0..10 {
            let wakers = wakers.clone();
            promises.push(spawn(poll_fn(move |cx| {
                wakers.borrow_mut().push(cx.waker().clone());
                Poll::<()>::Pending
            })));
        }
        yield_now().await;
        assert_eq!(wakers.borrow().len(), 10);
        let mut first = promises.swap_remove(0);
        assert!(Pin::new(&mut first).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        enough()
    });
    assert_failed(result);
    monitor.assert_freed();
}
