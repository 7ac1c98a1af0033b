//! Goal: the same seed is the same run, event by event, and many seeds are many schedules.
//! Method: bodies that report what they saw, run under `matou_runtime::test`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use matou_runtime::signal::{self, Signal};
use matou_runtime::test::{self, Check, Trial, check, check_on_threads, send_signal, simulation};
use matou_runtime::{
    MainError, Orphans, RunError, Task, await_all, await_first, await_one, call, defer, now,
    parallel, race, sleep, sleep_until, spawn, timeout, yield_now,
};

use crate::support::{Log, child_output, is_child_process, this_test};

/// A program with a little of everything, which tells in which order its tasks came to their words.
async fn everything() -> Result<Vec<u32>, MainError> {
    let said = Arc::new(Mutex::new(Vec::new()));
    let say = |word: u32| {
        let said = Arc::clone(&said);
        move || said.lock().unwrap().push(word)
    };
    let mut promises = Vec::new();
    for word in 0..6 {
        let say = say(word);
        promises.push(spawn(async move {
            yield_now().await;
            say();
        }));
    }
    for word in 10..14 {
        let say = say(word);
        promises.push(call(move || async move {
            let inner = spawn(sleep(Duration::from_millis(3)));
            let _ = inner.await;
            say();
        })?);
    }
    while !promises.is_empty() {
        await_one(&mut promises).await?;
    }
    let orphans = Orphans::new();
    for word in 20..23 {
        let say = say(word);
        Task::new().orphans(&orphans).spawn(async move {
            sleep(Duration::from_secs(1)).await;
            say();
        })?;
    }
    while let Some(outcome) = orphans.next().await {
        outcome?;
    }
    let endless = call(pending::<()>)?;
    assert!(timeout(Duration::from_secs(3600), sleep_until(now())).await.is_ok());
    endless.cancel().await;
    let said = said.lock().unwrap().clone();
    Ok(said)
}

#[test]
fn the_same_seed_is_the_same_run() {
    let check = Check::simulated().trace(usize::MAX);
    for seed in 0..50 {
        let (first, again) = (check.trial(seed, everything()), check.trial(seed, everything()));
        assert_eq!(first.outcome.unwrap(), again.outcome.unwrap(), "seed {seed}");
        assert_eq!(first.trace, again.trace, "seed {seed}");
        assert_eq!(first.hash, again.hash, "seed {seed}");
        assert_eq!((first.ticks, first.elapsed), (again.ticks, again.elapsed), "seed {seed}");
        assert_eq!(first.events, first.trace.len() as u64);
    }
}

#[test]
fn other_seeds_are_other_schedules() {
    let trials = (0..100).map(|seed| Check::simulated().trial(seed, everything()));
    let trials: Vec<Trial<_>> = trials.collect();
    let hashes: BTreeSet<u64> = trials.iter().map(|trial| trial.hash).collect();
    assert_eq!(hashes.len(), trials.len());
    let orders: BTreeSet<Vec<u32>> =
        trials.into_iter().map(|trial| trial.outcome.unwrap()).collect();
    assert!(orders.len() > 90, "{} orders", orders.len());
}

#[test]
fn every_choice_is_drawn() {
    async fn choices() -> Result<(u32, u32, usize, bool, u32), MainError> {
        let order = Rc::new(RefCell::new(Vec::new()));
        let say = |word: u32| {
            let order = Rc::clone(&order);
            async move { order.borrow_mut().push(word) }
        };
        await_all([spawn(say(1)), spawn(say(2))]).await;
        let first_polled = order.take()[0];

        let mut finished = vec![spawn(async { 1 }), spawn(async { 2 })];
        sleep(Duration::from_millis(1)).await;
        let winner = await_one(&mut finished).await?;
        await_one(&mut finished).await?;

        let target = call(domain)?.await?;
        let left = race(async { true }, async { false }).await;

        let moment = now() + Duration::from_secs(1);
        let late = |word| {
            let say = say(word);
            async move {
                sleep_until(moment).await;
                say.await;
            }
        };
        await_all([spawn(late(1)), spawn(late(2))]).await;
        let first_fired = order.take()[0];
        Ok((first_polled, winner, target, left, first_fired))
    }
    let seen: BTreeSet<_> =
        (0..400).map(|seed| Check::simulated().trial(seed, choices()).outcome.unwrap()).collect();
    assert_eq!(seen.len(), 2 * 2 * 2 * 2 * 2, "{seen:?}");
}

/// The domain that the present task lives on.
async fn domain() -> usize {
    let child = spawn(async {});
    let id = child.id();
    child.await.expect("it returns");
    (id.as_u64() >> 48) as usize
}

#[test]
fn whose_turn_it_is_and_when_a_message_arrives_is_drawn() {
    async fn program() -> Result<(Vec<usize>, bool), MainError> {
        let order = Arc::new(Mutex::new(Vec::new()));
        let say = |word: usize| {
            let order = Arc::clone(&order);
            Task::new().pin(word).call(move || async move { order.lock().unwrap().push(word) })
        };
        let (one, two) = (say(1)?, say(2)?);
        one.await?;
        two.await?;
        // Is a message quicker than a short sleep?
        let quick = call(|| async {})?;
        let in_time = timeout(Duration::from_micros(50), quick).await.is_ok();
        let order = order.lock().unwrap().clone();
        Ok((order, in_time))
    }
    let seen: BTreeSet<_> =
        (0..100).map(|seed| Check::simulated().trial(seed, program()).outcome.unwrap()).collect();
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn sleepers_take_virtual_time_only() {
    let trial = Check::simulated().trial(1, async {
        let begun = now();
        let sleepers = (0..10_000_u64).map(|n| spawn(sleep(Duration::from_secs(n * 100 + 100))));
        for outcome in await_all(sleepers).await {
            outcome?;
        }
        Ok::<_, MainError>(now() - begun)
    });
    assert_eq!(trial.outcome.unwrap().as_secs(), 1_000_000);
    assert_eq!(trial.elapsed.as_secs(), 1_000_000);
}

#[test]
fn one_domain_keeps_exact_time() {
    check(0..20, || async {
        let begun = now();
        sleep(Duration::from_millis(7)).await;
        assert_eq!(now() - begun, Duration::from_millis(7));
    });
}

#[test]
fn a_task_that_yields_lets_all_that_are_ready_go_first() {
    check(0..200, || async {
        let ran = Rc::new(Cell::new(0));
        let children: Vec<_> = (0..5)
            .map(|_| {
                let ran = Rc::clone(&ran);
                spawn(async move { ran.set(ran.get() + 1) })
            })
            .collect();
        yield_now().await;
        assert_eq!(ran.get(), 5);
        await_all(children).await;
    });
}

#[test]
fn a_task_that_yields_is_not_starved_by_two_that_wake_each_other() {
    check(0..10, || async {
        let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
        let endless = || {
            let wakers = Rc::clone(&wakers);
            spawn(poll_fn(move |cx| {
                let others = wakers.replace(vec![cx.waker().clone()]);
                others.into_iter().for_each(Waker::wake);
                Poll::<()>::Pending
            }))
        };
        let (ping, pong) = (endless(), endless());
        yield_now().await;
        yield_now().await;
        ping.cancel().await;
        pong.cancel().await;
    });
}

#[test]
fn time_passes_for_a_task_that_waits_for_it_by_yielding() {
    check(0..3, || async {
        let deadline = now() + Duration::from_secs(10);
        while now() < deadline {
            yield_now().await;
        }
    });
}

#[test]
fn the_same_body_runs_on_threads_with_one_word_changed() {
    async fn body() -> Result<(), MainError> {
        let squares = parallel(1..=4, |n: u32| async move { n * n })?.await;
        let squares: Vec<u32> = squares.into_iter().collect::<Result<_, _>>()?;
        assert_eq!(squares, [1, 4, 9, 16]);
        Ok(())
    }
    check(0..20, body);
    check_on_threads(0..3, body);
}

fn message_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it fails");
    payload.downcast_ref::<String>().expect("a text").clone()
}

#[test]
fn a_failure_names_its_seed_and_how_to_replay_it() {
    let runs = AtomicUsize::new(0);
    let text = message_of(|| {
        check(5..10, || {
            let fails = runs.fetch_add(1, Ordering::Relaxed) > 2;
            async move { if fails { Err("lost a byte") } else { Ok(()) } }
        });
    });
    // Seeds 5 (twice) and 6 succeed, 7 fails, and is run again.
    assert_eq!(runs.into_inner(), 5);
    let trial = Check::simulated().trial(7, async { Err::<(), _>("lost a byte") });
    let command =
        format!("MATOU_SEED=7/{:016x} cargo test {} -- --exact", trial.hash, this_test!());
    assert!(text.contains("failed with seed 7: main failed: lost a byte"), "{text}");
    assert!(text.contains(&command), "{text}");
    assert!(text.contains("polls task #1"), "{text}");
}

#[test]
fn a_body_that_decides_by_something_else_is_found_out() {
    let other_times = AtomicBool::new(false);
    let text = message_of(|| {
        check(0..5, || {
            let other_time = other_times.fetch_xor(true, Ordering::Relaxed);
            async move {
                if other_time {
                    yield_now().await;
                }
            }
        });
    });
    assert!(text.contains("seed 0 is not repeatable"), "{text}");
}

#[test]
fn a_wake_up_that_never_comes_is_a_deadlock() {
    let trial = Check::simulated().trial(1, async {
        let child = Task::new().name("stuck").call(pending::<()>)?;
        child.await?;
        Ok::<_, MainError>(())
    });
    let error = trial.outcome.unwrap_err();
    let RunError::Deadlock(deadlock) = &error else { panic!("{error}") };
    let [main, stuck] = deadlock.tasks() else { panic!("{deadlock}") };
    assert_eq!(main.waits_for, [stuck.id]);
    assert_eq!(stuck.name.as_deref(), Some("stuck"));
    assert!(deadlock.cycle().is_empty());
    let text = error.to_string();
    assert!(text.contains("error[Deadlock]: no task can make progress"), "{text}");
    assert!(text.contains("waits for promise of task #2"), "{text}");
    assert!(text.contains("simulated.rs"), "{text}");
}

/// A lock that tells the run who holds it, as `matou-sync`'s does.
#[derive(Default)]
struct Lock {
    held: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Lock {
    #[track_caller]
    fn lock(self: &Rc<Self>) -> impl Future<Output = Held> + use<> {
        let (lock, at) = (Rc::clone(self), std::panic::Location::caller());
        poll_fn(move |cx| {
            if lock.held.get() {
                lock.waiting.borrow_mut().push(cx.waker().clone());
                test::note_wait(Some(lock.name()), "lock", at);
                return Poll::Pending;
            }
            lock.held.set(true);
            test::note_acquired(lock.name(), at);
            Poll::Ready(Held(Rc::clone(&lock)))
        })
    }

    fn name(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }
}

struct Held(Rc<Lock>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.set(false);
        test::note_released(self.0.name());
        self.0.waiting.take().into_iter().for_each(Waker::wake);
    }
}

#[test]
fn a_deadlock_of_two_locks_names_who_waits_for_whom_since_which_line() {
    async fn philosophers() {
        let forks = [Rc::new(Lock::default()), Rc::new(Lock::default())];
        let eat = |name: &'static str, first: usize| {
            let forks = forks.clone();
            Task::new().name(name).spawn(async move {
                let left = forks[first].lock().await;
                yield_now().await;
                let right = forks[1 - first].lock().await;
                drop((left, right));
            })
        };
        await_all([eat("Plato", 0), eat("Kant", 1)]).await;
    }
    let outcomes = (0..20).map(|seed| {
        let trial = Check::simulated().trial(seed, async {
            philosophers().await;
            Ok::<_, MainError>(())
        });
        trial.outcome
    });
    let errors: Vec<RunError> = outcomes.filter_map(Result::err).collect();
    assert!(!errors.is_empty());
    for error in errors {
        let RunError::Deadlock(deadlock) = &error else { panic!("{error}") };
        assert_eq!(deadlock.cycle().len(), 2, "{deadlock}");
        let text = deadlock.to_string();
        assert!(text.contains("`Plato`"), "{text}");
        assert!(text.contains("waits for lock 2 at "), "{text}");
        assert!(text.contains("held by task #3 since "), "{text}");
        assert!(text.contains("cycle: #2 waits for #3 waits for #2"), "{text}");
    }
}

/// Whom `main` waits for while it holds the lock that its child wants.
#[derive(Clone, Copy, Debug)]
enum Through {
    Promise,
    Orphans,
    One,
    First,
}

#[test]
fn a_circle_is_found_through_every_way_to_wait_for_a_child() {
    for through in [Through::Promise, Through::Orphans, Through::One, Through::First] {
        let trial = Check::simulated().trial(1, async move {
            let lock = Rc::new(Lock::default());
            let held = lock.lock().await;
            let wants = || {
                let lock = Rc::clone(&lock);
                async move { drop(lock.lock().await) }
            };
            let task = || Task::new().name("wants the lock");
            match through {
                Through::Promise => drop(task().spawn(wants()).await),
                Through::Orphans => {
                    let orphans = Orphans::new();
                    task().orphans(&orphans).spawn(wants()).expect("it has no limit");
                    let _other = Task::new().spawn(pending::<()>());
                    drop(orphans.next().await);
                }
                Through::One => {
                    let mut promises = vec![task().spawn(wants()), spawn(pending())];
                    drop(await_one(&mut promises).await);
                }
                Through::First => {
                    drop(await_first([task().spawn(wants()), spawn(pending())]).await)
                }
            }
            drop(held);
            Ok::<_, MainError>(())
        });
        let error = trial.outcome.unwrap_err();
        let RunError::Deadlock(deadlock) = &error else { panic!("{through:?}: {error}") };
        let [main, child] = deadlock.cycle() else { panic!("{through:?}: {deadlock}") };
        assert_eq!((main.as_u64(), child.as_u64()), (1, 2), "{deadlock}");
        let [main, ..] = deadlock.tasks() else { panic!("{deadlock}") };
        let others = usize::from(matches!(through, Through::One | Through::First));
        assert_eq!(main.waits_for.len(), 1 + others, "{deadlock}");
        let text = deadlock.to_string();
        let waits = match through {
            Through::Promise => "waits for promise of task #2 (spawned at ",
            Through::Orphans => "waits for orphans at ",
            Through::One => "waits for one of several promises at ",
            Through::First => "waits for the first of several promises at ",
        };
        assert!(text.contains(waits), "{text}");
        assert!(others == 0 || text.contains(", of task #2 or #3"), "{text}");
        assert!(!text.contains("a signal that nobody sends"), "{text}");
    }
}

#[test]
fn a_deadlocked_program_is_ended_in_good_order() {
    let ended = Rc::new(Cell::new(0));
    let flag = Rc::clone(&ended);
    let trial = Check::simulated().trial(3, async move {
        let child = spawn(async move {
            let guard = matou_ownership::Owned::new((), |()| ());
            struct Count(Rc<Cell<u32>>);
            impl Drop for Count {
                fn drop(&mut self) {
                    self.0.set(self.0.get() + 1);
                }
            }
            let _count = Count(flag);
            pending::<()>().await;
            drop(guard);
        });
        child.await?;
        Ok::<_, MainError>(())
    });
    assert!(matches!(trial.outcome, Err(RunError::Deadlock(_))));
    assert_eq!(ended.get(), 1);
}

#[test]
fn a_program_that_never_ends_is_ended() {
    let log = Log::new();
    let witness = log.on_drop("told to end, and did");
    let trial = Check::simulated().max_ticks(1000).trial(1, async move {
        let _witness = witness;
        loop {
            yield_now().await;
        }
        #[expect(unreachable_code, reason = "it says what the block returns")]
        Ok::<_, MainError>(())
    });
    assert!(matches!(trial.outcome, Err(RunError::TickLimit(1000))), "{:?}", trial.outcome);
    log.assert_is(&["told to end, and did"]);
}

#[test]
fn a_violation_is_reported_as_on_threads() {
    let body = || async {
        let _forgotten = spawn(pending::<()>());
        Ok::<_, MainError>(())
    };
    for check in [Check::simulated(), Check::threaded()] {
        let trial = check.trial(1, body());
        let report = trial.outcome.unwrap_err().to_string();
        assert!(report.contains("StillHasChildren"), "{report}");
    }
}

async fn a_signal_is_handled_once() -> std::io::Result<()> {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    signal::on(Signal::Terminate, move || {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, Ordering::Relaxed);
        }
    })?;
    assert!(!send_signal(Signal::Interrupt), "nobody handles that one");
    assert!(send_signal(Signal::Terminate));
    assert!(!send_signal(Signal::Terminate), "the second one ends the process");
    while handled.load(Ordering::Relaxed) == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(handled.load(Ordering::Relaxed), 1);
    Ok(())
}

#[test]
fn a_signal_is_handled_by_a_task_of_domain_0() {
    check(0..50, a_signal_is_handled_once);
}

#[test]
fn a_body_that_raises_signals_runs_on_threads_too() {
    if is_child_process(this_test!()) {
        check_on_threads(0..1, a_signal_is_handled_once);
    }
}

#[test]
fn what_leaf_futures_draw_and_keep_is_the_runs() {
    #[derive(Default)]
    struct Kept(AtomicUsize);

    async fn draws() -> Result<Vec<u64>, MainError> {
        let simulation = simulation().ok_or("no simulation")?;
        simulation.state::<Kept>().0.fetch_add(1, Ordering::Relaxed);
        let away = call(|| async {
            let simulation = matou_runtime::test::simulation().expect("the same one");
            simulation.state::<Kept>().0.fetch_add(1, Ordering::Relaxed);
        })?;
        away.await?;
        assert_eq!(simulation.state::<Kept>().0.load(Ordering::Relaxed), 2);
        simulation.record_event("draws", 3);
        Ok((0..3).map(|_| simulation.random_below(1000)).collect())
    }
    let check = Check::simulated();
    let drawn = check.trial(4, draws()).outcome.unwrap();
    assert_eq!(check.trial(4, draws()).outcome.unwrap(), drawn);
    assert_ne!(check.trial(5, draws()).outcome.unwrap(), drawn);
    assert!(Check::threaded().trial(4, draws()).outcome.is_err());
}

#[test]
fn a_simulated_run_inside_a_run_is_an_error() {
    check(0..1, || async {
        let inner = Check::simulated().trial(1, async { Ok::<_, MainError>(()) });
        assert!(matches!(inner.outcome, Err(RunError::Nested)));
    });
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    let trial = Check::simulated().domains(0).trial(1, async { Ok::<_, MainError>(()) });
    assert!(matches!(trial.outcome, Err(RunError::Setup(_))));
}

#[test]
fn a_hundred_runs_leave_no_memory_behind() {
    let held = Arc::new(());
    for seed in 0..100 {
        let kept = Arc::clone(&held);
        let trial = Check::simulated().trial(seed, async move {
            let (here, there) = (Arc::clone(&kept), Arc::clone(&kept));
            let away = call(move || async move { drop(there) })?;
            spawn(async move { drop(here) }).await?;
            away.await?;
            Ok::<_, MainError>(())
        });
        trial.outcome.unwrap();
    }
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn the_same_seed_is_the_same_run_in_another_process() {
    let hashes = || {
        let hash = |seed| Check::simulated().trial(seed, everything()).hash;
        (0..20).map(|seed| format!("{:016x}", hash(seed))).collect::<Vec<_>>().join(" ")
    };
    let Some(output) = child_output(this_test!()) else {
        eprintln!("hashes: {}", hashes());
        return;
    };
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(&format!("hashes: {}", hashes())), "{told}");
}

#[test]
fn a_deadlock_is_told_although_its_forced_end_breaks_a_rule() {
    let trial = Check::simulated().trial(1, async {
        let stuck = Task::new().name("stuck").spawn(async {
            defer(pending());
            pending::<()>().await;
        });
        stuck.await?;
        Ok::<_, MainError>(())
    });
    let error = trial.outcome.unwrap_err();
    let RunError::Deadlock(deadlock) = &error else { panic!("{error}") };
    assert_eq!(deadlock.tasks().len(), 2, "{deadlock}");
    assert_eq!(deadlock.tasks()[1].name.as_deref(), Some("stuck"));
}

#[test]
fn the_forced_end_of_a_deadlock_leaves_quick_finalizers_their_time() {
    for tasks in [100, 5000] {
        let finalized = Rc::new(Cell::new(0));
        let count = Rc::clone(&finalized);
        let trial = Check::simulated().trial(1, async move {
            let stuck = (0..tasks).map(|_| {
                let count = Rc::clone(&count);
                spawn(async move {
                    defer(async move {
                        for _ in 0..5 {
                            yield_now().await;
                        }
                        count.set(count.get() + 1);
                    });
                    pending::<()>().await;
                })
            });
            await_all(stuck).await;
            Ok::<_, MainError>(())
        });
        let error = trial.outcome.unwrap_err();
        assert!(matches!(error, RunError::Deadlock(_)), "{error}");
        assert_eq!(finalized.get(), tasks, "within {:?}", trial.elapsed);
    }
}

#[test]
fn the_forced_end_comes_although_a_finalizer_is_busy_for_ever() {
    let trial = Check::simulated().max_ticks(1000).trial(1, async {
        let busy = spawn(async {
            defer(async {
                loop {
                    yield_now().await;
                }
            });
            pending::<()>().await;
        });
        busy.await?;
        Ok::<_, MainError>(())
    });
    assert!(matches!(trial.outcome, Err(RunError::Deadlock(_))), "{:?}", trial.outcome);
    assert!(trial.elapsed >= Duration::from_secs(5), "the grace period: {:?}", trial.elapsed);
}

#[test]
fn a_moment_beyond_the_clock_never_comes() {
    let trial = Check::simulated().trial(1, async {
        sleep(Duration::from_millis(u64::MAX)).await;
        Ok::<_, MainError>(())
    });
    let error = trial.outcome.unwrap_err();
    assert!(matches!(error, RunError::Deadlock(_)), "{error}");
    assert!(error.to_string().contains("waits for sleep at "), "{error}");
}

#[test]
fn a_deadlock_names_no_task_that_has_ended() {
    let trial = Check::simulated().trial(1, async {
        let done = spawn(async {});
        let gone = call(async || {})?;
        let stuck = Task::new().name("stuck").spawn(pending::<()>());
        stuck.await?;
        drop((done, gone));
        Ok::<_, MainError>(())
    });
    let error = trial.outcome.unwrap_err();
    let RunError::Deadlock(deadlock) = &error else { panic!("{error}") };
    let names: Vec<_> = deadlock.tasks().iter().map(|task| task.name.as_deref()).collect();
    assert_eq!(names, [Some("main"), Some("stuck")], "{deadlock}");
}
