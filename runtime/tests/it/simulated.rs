//! Goal: a seed determines a simulated run, event by event, and different seeds give different
//! schedules. Method: bodies that return their observations, run by `matou_runtime::test`.

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
use matou_runtime::test::{Check, Trial, check, check_on_threads, send_signal, simulation};
use matou_runtime::{
    MainError, Orphans, RunError, Task, await_all, await_one, call, now, parallel, race, sleep,
    sleep_until, spawn, timeout, yield_now,
};

use crate::support::{Counter, Log, child_output, fewer, is_child_process, this_test};

/// A program that uses most operations. Returns the order in which its tasks finished.
async fn everything() -> Result<Vec<u32>, MainError> {
    let words = Arc::new(Mutex::new(Vec::new()));
    let say = |word: u32| {
        let words = Arc::clone(&words);
        move || words.lock().unwrap().push(word)
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
    let words = words.lock().unwrap().clone();
    Ok(words)
}

#[test]
fn the_same_seed_gives_the_same_run() {
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
fn different_seeds_give_different_schedules() {
    let trials = (0..100).map(|seed| Check::simulated().trial(seed, everything()));
    let trials: Vec<Trial<_>> = trials.collect();
    let hashes: BTreeSet<u64> = trials.iter().map(|trial| trial.hash).collect();
    assert_eq!(hashes.len(), trials.len());
    let orders: BTreeSet<Vec<u32>> =
        trials.into_iter().map(|trial| trial.outcome.unwrap()).collect();
    assert!(orders.len() > 90, "{} orders", orders.len());
}

#[test]
fn the_seed_decides_every_choice() {
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

/// The domain of the current task, which is part of the ids that it assigns.
async fn domain() -> usize {
    let child = spawn(async {});
    let id = child.id();
    child.await.expect("it returns");
    (id.as_u64() >> 48) as usize
}

#[test]
fn the_seed_decides_which_domain_runs_and_when_messages_arrive() {
    async fn program() -> Result<(Vec<usize>, bool), MainError> {
        let order = Arc::new(Mutex::new(Vec::new()));
        let say = |word: usize| {
            let order = Arc::clone(&order);
            Task::new().pin(word).call(move || async move { order.lock().unwrap().push(word) })
        };
        let (one, two) = (say(1)?, say(2)?);
        one.await?;
        two.await?;
        // Whether a message arrives sooner than a short sleep ends.
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
fn sleeping_tasks_take_only_virtual_time() {
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
fn a_sleep_takes_exactly_its_duration_in_a_run_of_one_task() {
    check(0..20, || async {
        let begun = now();
        sleep(Duration::from_millis(7)).await;
        assert_eq!(now() - begun, Duration::from_millis(7));
    });
}

#[test]
fn a_task_that_yields_is_polled_after_all_ready_tasks() {
    check(0..fewer(200), || async {
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
fn a_task_that_yields_is_not_starved_by_two_tasks_that_wake_each_other() {
    // A round of the simulated run queue, see `runtime/src/domain/run_queue.rs`.
    const ROUND_POLLS_MAX: usize = 256;
    check(0..fewer(10), || async {
        let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
        let polls = Counter::new();
        let endless = || {
            let (wakers, polls) = (Rc::clone(&wakers), polls.clone());
            spawn(poll_fn(move |cx| {
                polls.add();
                let others = wakers.replace(vec![cx.waker().clone()]);
                others.into_iter().for_each(Waker::wake);
                Poll::<()>::Pending
            }))
        };
        let (ping, pong) = (endless(), endless());
        for _ in 0..100 {
            let before = polls.get();
            yield_now().await;
            // The rest of the round in which it yields, and the round after that, each with at most
            // two polls of tasks that are ready when the round is full.
            let between = polls.get() - before;
            assert!(between <= 2 * (ROUND_POLLS_MAX + 2), "{between} polls before its own");
        }
        ping.cancel().await;
        pong.cancel().await;
    });
}

#[test]
fn time_passes_for_a_task_that_waits_by_yielding() {
    for seed in 0..fewer(3).max(1) {
        let trial = Check::simulated().trial(seed, async {
            let deadline = now() + Duration::from_secs(10);
            while now() < deadline {
                yield_now().await;
            }
            Ok::<_, MainError>(())
        });
        trial.outcome.unwrap();
        // Busy ticks take 1 us each, and twice as long after every 10,000 of them.
        assert!(trial.ticks <= 110_000, "{} ticks", trial.ticks);
    }
}

#[test]
fn the_same_body_runs_on_real_threads() {
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
    // Seeds 5 (twice, to check that it is repeatable) and 6 succeed; 7 fails and is run again.
    assert_eq!(runs.into_inner(), 5);
    let trial = Check::simulated().trial(7, async { Err::<(), _>("lost a byte") });
    let command =
        format!("MATOU_SEED=7/{:016x} cargo test {} -- --exact", trial.hash, this_test!());
    assert!(text.contains("failed with seed 7: main failed: lost a byte"), "{text}");
    assert!(text.contains(&command), "{text}");
    assert!(text.contains("polls task #1"), "{text}");
}

#[test]
fn a_body_that_depends_on_more_than_the_seed_is_reported() {
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
fn a_run_that_exceeds_its_ticks_is_cancelled() {
    let log = Log::new();
    let guard = log.on_drop("main is dropped");
    let trial = Check::simulated().max_ticks(1000).trial(1, async move {
        let _guard = guard;
        loop {
            yield_now().await;
        }
        #[expect(unreachable_code, reason = "it says what the block returns")]
        Ok::<_, MainError>(())
    });
    assert!(matches!(trial.outcome, Err(RunError::TickLimit(1000))), "{:?}", trial.outcome);
    log.assert_is(&["main is dropped"]);
}

#[test]
fn a_violation_is_reported_as_on_real_threads() {
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
    assert!(!send_signal(Signal::Interrupt), "no handler is installed for it");
    assert!(send_signal(Signal::Terminate));
    assert!(!send_signal(Signal::Terminate), "a second one would end the process");
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
fn a_body_that_sends_signals_runs_on_real_threads() {
    if is_child_process(this_test!()) {
        check_on_threads(0..1, a_signal_is_handled_once);
    }
}

#[test]
fn random_numbers_and_state_of_leaf_futures_belong_to_the_run() {
    #[derive(Default)]
    struct Kept(AtomicUsize);

    async fn draws() -> Result<Vec<u64>, MainError> {
        let simulation = simulation().ok_or("no simulation")?;
        simulation.state::<Kept>().0.fetch_add(1, Ordering::Relaxed);
        let away = call(|| async {
            let simulation = matou_runtime::test::simulation().expect("the same simulation");
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
fn invalid_settings_are_errors() {
    let trial = Check::simulated().domains(0).trial(1, async { Ok::<_, MainError>(()) });
    assert!(matches!(trial.outcome, Err(RunError::Setup(_))));
}

#[test]
fn a_hundred_runs_leak_no_memory() {
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
fn the_same_seed_gives_the_same_run_in_another_process() {
    let hashes = || {
        let hash = |seed| Check::simulated().trial(seed, everything()).hash;
        (0..20).map(|seed| format!("{:016x}", hash(seed))).collect::<Vec<_>>().join(" ")
    };
    let Some(output) = child_output(this_test!()) else {
        eprintln!("hashes: {}", hashes());
        return;
    };
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains(&format!("hashes: {}", hashes())), "{stderr}");
}
