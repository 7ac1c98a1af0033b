//! Goal: `race_either`, `race_all`, `select!`, `both`, `join!` and `try_join!` give up their losers
//! by the rules, and `try_join!` waits for the ends of the children that it has given up.
//! Method: each program runs with strict settings, on threads and simulated, with its children on
//! one domain and on several.

use std::future::{Future, pending, ready};
use std::time::Duration;

use matou_runtime::test::Check;
use matou_runtime::{
    Either, MainError, Promise, Task, TaskError, both, call, join, live_tasks, race_all,
    race_either, select, sleep, spawn, try_join, try_parallel, yield_now,
};
use matou_sync::Mutex;

use crate::support::{Counter, Log, Place, Reports, run_on, run_with};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs a program on threads and simulated, strictly, with its children on one domain and on
/// several.
fn everywhere<F: Future<Output = Result<(), MainError>> + 'static>(
    program: impl Fn(Place) -> F + Copy + Send + Sync + 'static,
) {
    for place in Place::BOTH {
        run_on(3, move || program(place)).expect("the run succeeds");
        Check::simulated().run(0..10, move || program(place));
    }
}

/// A child whose finalizer takes some time and then logs `name`.
fn slow_to_end<E: Send + 'static>(place: Place, log: &Log, name: &'static str) -> Promise<(), E> {
    let log = log.clone();
    place.try_spawn(move || async move {
        let _resource = log.slow_resource(name, 5);
        pending().await
    })
}

async fn yield_times(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

#[test]
fn is_finished_says_whether_awaiting_waits() {
    everywhere(|place| async move {
        let log = Log::new();
        let child_log = log.clone();
        let mut child = place.spawn(move || async move {
            let _resource = child_log.slow_resource("finalized", 3);
            child_log.push("returns");
        });
        log.is_written().await;
        while !child.is_finished() {
            yield_now().await;
        }
        assert!(log.entries().contains(&"finalized".to_owned()), "R3");
        assert!(futures::poll!(&mut child).is_ready());
        assert!(child.is_finished());
        Ok(())
    });
}

#[test]
fn is_finished_works_on_another_thread() {
    run_on(1, || async {
        let child = spawn(async { 7 });
        yield_times(2).await;
        let thread = std::thread::spawn(move || {
            assert!(child.is_finished());
            assert_eq!(child.name(), None);
            child
        });
        assert_eq!(thread.join().unwrap().await?, 7);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_promise_knows_the_name_of_its_child() {
    everywhere(|place| async move {
        let named = place.spawn_task(Task::new().name("worker"), || ready(()));
        let unnamed = place.spawn(|| ready(()));
        assert_eq!(named.name().as_deref(), Some("worker"));
        assert_eq!(unnamed.name(), None);
        named.await?;
        Ok(unnamed.await?)
    });
}

#[test]
fn try_parallel_returns_the_outcomes_in_order() {
    everywhere(|_| async move {
        let outcomes =
            try_parallel(0..4, |n| async move { if n == 2 { Err("two") } else { Ok(n) } });
        let outcomes = outcomes?.await;
        let values: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(values, [Some(&0), Some(&1), None, Some(&3)]);
        assert!(matches!(outcomes[2], Err(TaskError::Failed { error: "two", .. })));
        Ok(())
    });
    run_on(1, || async {
        assert!(try_parallel([1], |n| async move { Ok::<_, ()>(n) }).is_err());
        assert!(try_parallel([], |n: u8| async move { Ok::<_, ()>(n) })?.await.is_empty());
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_losers_of_a_race_of_unlike_futures_are_given_up() {
    everywhere(|place| async move {
        let endless = place.spawn(pending::<u8>);
        let winner = race_either(async { endless.await.is_ok() }, yield_times(3)).await;
        assert_eq!(winner, Either::Right(()));
        let endless: Vec<_> = (0..3).map(|_| place.spawn(pending::<u8>)).collect();
        let futures = endless.into_iter().map(Either::Left).chain([Either::Right(())]);
        let first = race_all(futures.map(|branch| async move {
            match branch {
                Either::Left(promise) => drop(promise.await),
                Either::Right(()) => yield_times(3).await,
            }
        }));
        first.await;
        Ok(())
    });
}

#[test]
fn a_fair_race_and_a_fair_select_favour_no_branch() {
    run_on(1, || async {
        let (mut raced, mut selected) = ([0; 3], [0; 3]);
        for _ in 0..600 {
            raced[race_all([0, 1, 2].map(ready)).await] += 1;
            let index = select! {
                index = ready(0) => index,
                index = ready(1) => index,
                index = async { 2 } => index,
            };
            selected[index] += 1;
        }
        // 200 each are expected; the deviation is 12.
        assert!(raced.iter().chain(&selected).all(|&won| won > 100), "{raced:?} {selected:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_losers_of_a_select_are_given_up_and_its_handlers_use_what_they_borrowed() {
    everywhere(|place| async move {
        let endless = place.spawn(pending::<u8>);
        let mut numbers = vec![1];
        let sum: usize = select! {
            biased;
            outcome = endless => panic!("{outcome:?}"),
            Some(mut number) = async { yield_times(3).await; numbers.pop() } => {
                number += 1;
                numbers.extend([number; 3]);
                numbers.iter().sum()
            }
            () = sleep(HOUR), if place == Place::Local => unreachable!(),
        };
        assert_eq!(sum, 6);
        Ok(())
    });
}

#[test]
fn a_branch_of_a_select_is_disabled_by_its_condition_or_its_pattern() {
    run_on(1, || async {
        let created = Counter::new();
        let create = || {
            created.add();
            ready(7)
        };
        for is_enabled in [false, true] {
            let value = select! {
                value = create(), if is_enabled => value,
                Some(value) = ready(None) => value,
                () = yield_times(2), if !is_enabled => 1,
                else => 2,
            };
            assert_eq!(value, if is_enabled { 7 } else { 1 });
        }
        assert_eq!(created.get(), 1);
        let text = select! {
            Ok::<u8, _>(_) = ready(Err("no")) => "value",
            _ = pending::<()>(), if false => { "pending" }
            else => "else",
        };
        assert_eq!(text, "else");
        // Without an `else` branch that is a panic.
        let child = spawn(async {
            select! { Some(()) = ready(None) => {} }
        });
        let error = child.await.unwrap_err();
        assert!(error.to_string().contains("all branches of `select!` are disabled"), "{error}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_select_may_return_from_its_function_and_keep_a_promise() {
    async fn first(child: &mut Promise<u8>) -> Result<u8, MainError> {
        select! {
            outcome = child => Ok(outcome?),
            number = async { "seven".parse::<u8>() } => {
                number?;
                unreachable!()
            }
        }
    }
    everywhere(|place| async move {
        let mut child = place.spawn(|| async {
            yield_times(3).await;
            7
        });
        while first(&mut child).await.is_err() {
            yield_now().await;
        }
        Ok(())
    });
}

/// Oxide's RFD 609: a future that a select has set aside is handed the lock that the handler needs.
#[test]
fn f13_a_lock_that_a_select_has_set_aside_passes_to_the_handler() {
    for place in Place::BOTH {
        let program = move || async move {
            let mutex = std::sync::Arc::new(Mutex::new(0));
            let (lock, held) = (mutex.clone(), Counter::new());
            let holding = held.clone();
            let holder = place.spawn(move || async move {
                let _guard = lock.lock().await;
                holding.add();
                while lock.waiters() < 2 {
                    yield_now().await;
                }
            });
            held.reaches(1).await;
            let mut set_aside = Box::pin(async { *mutex.lock().await += 1 });
            select! {
                biased;
                () = &mut set_aside => unreachable!("the lock is held"),
                () = yield_times(1) => *mutex.lock().await += 10,
            }
            set_aside.await;
            assert_eq!(*mutex.lock().await, 11);
            holder.await?;
            Ok(())
        };
        let (builder, reports) = Reports::collected();
        run_with(builder.domains(3), program).unwrap();
        assert!(reports.names().iter().all(|name| name == &"DeclinedOffer"), "{reports:?}");
        Check::simulated().on_report(|_| ()).run(0..10, program);
    }
}

#[test]
fn both_and_join_return_all_outputs() {
    everywhere(|place| async move {
        let (text, seven) = both(async { "text" }, place.spawn(|| ready(7))).await;
        assert_eq!((text, seven?), ("text", 7));
        let text = String::from("borrowed");
        let (one, two, length, ()) =
            join!(ready(1), place.spawn(|| ready(2)), async { text.len() }, yield_times(2));
        assert_eq!((one, two?, length), (1, 2, 8));
        let (alone,) = join!(ready(3));
        assert_eq!(alone, 3);
        Ok(())
    });
}

#[test]
fn try_join_returns_the_error_after_the_other_children_have_ended() {
    everywhere(|place| async move {
        let log = Log::new();
        let (first, second) =
            (slow_to_end(place, &log, "first"), slow_to_end(place, &log, "second"));
        let before = live_tasks();
        let failing = async {
            yield_times(10).await;
            Err::<u8, _>(TaskError::failed("no disk"))
        };
        let held = slow_to_end::<&str>(place, &log, "held");
        // One promise is polled, and one is deep in a future; a third one was never polled.
        let deep = async {
            yield_now().await;
            second.await
        };
        let joined = try_join!(first, deep, failing, async {
            let _held = held;
            pending::<Result<(), TaskError<&str>>>().await
        });
        assert_eq!(joined.unwrap_err().into_failure(), Some("no disk"));
        assert_eq!(live_tasks() + 2, before);
        if place == Place::Local {
            // The children had begun.
            let mut entries = log.entries();
            entries.sort();
            assert_eq!(entries, ["first", "held", "second"]);
        }
        Ok(())
    });
}

#[test]
fn try_join_returns_the_values_if_none_fails() {
    everywhere(|place| async move {
        let (one, two, three) =
            try_join!(place.try_spawn(|| async { Ok::<_, u8>(1) }), async { Ok(2) }, async {
                yield_times(3).await;
                Ok("three")
            },)?;
        assert_eq!((one, two, three), (1, 2, "three"));
        Ok(())
    });
}

#[test]
fn a_try_join_that_waits_for_ends_can_be_dropped_and_wakes_a_combinator() {
    everywhere(|place| async move {
        let log = Log::new();
        let child = slow_to_end::<()>(place, &log, "ended");
        while live_tasks() < 2 {
            yield_now().await;
        }
        yield_times(3).await;
        // Polled with the waker of a combinator of another crate.
        let joined = async { try_join!(child, async { Err::<(), _>(TaskError::failed(())) }) };
        let (joined, ()) = futures::join!(joined, yield_now());
        assert!(joined.is_err());
        assert_eq!(live_tasks(), 1);
        let child = slow_to_end::<()>(place, &log, "later");
        let joined =
            async { drop(try_join!(child, async { Err::<(), _>(TaskError::failed(())) })) };
        race_either(joined, yield_times(2)).await;
        Ok(())
    });
}

#[test]
fn a_given_up_call_that_another_combinator_gave_up_before_is_not_waited_for_twice() {
    run_on(2, || async {
        let failing = || async { Err::<(), _>("inner") };
        let inner = async {
            let child = call(pending::<()>).unwrap();
            try_join!(async { child.await.map_err(|_| "child") }, failing())
        };
        let child = call(pending::<()>)?;
        let outer =
            try_join!(async { child.await.map_err(|_| "child") }, async { inner.await.map(drop) });
        assert_eq!(outer.unwrap_err(), "inner");
        assert_eq!(live_tasks(), 1);
        Ok(())
    })
    .unwrap();
}
