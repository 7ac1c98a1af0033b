//! R6: `promise.cancel().await` returns when the whole subtree is gone. A finished value is not
//! lost, others run meanwhile, and nothing spins.

use std::future::pending;
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::{Builder, Task, call, sleep, spawn, yield_now};

use crate::support::*;

#[test]
fn cancel_returns_when_three_levels_over_several_domains_are_gone() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let (log, begun) = (main_log, Counter::new());
            let (log1, begun1) = (log.clone(), begun.clone());
            let child = place.spawn(move || async move {
                let _resource = log1.slow_resource("1", 40);
                let log2 = log1.clone();
                let _child = place.spawn(move || async move {
                    let _resource = log2.slow_resource("2", 40);
                    let log3 = log2.clone();
                    let _child = place.spawn(move || async move {
                        let _resource = log3.slow_resource("3", 40);
                        begun1.add();
                        pending::<()>().await;
                    });
                    pending::<()>().await;
                });
                pending::<()>().await;
            });
            begun.reaches(1).await;
            assert_eq!(child.cancel().await, None);
            log.push("cancelled");
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["3", "2", "1", "cancelled"]);
    }
}

#[test]
fn the_value_of_a_child_that_had_returned_is_not_lost() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let done = Counter::new();
            let child_done = done.clone();
            let child = place.spawn(move || async move { child_done.add() });
            done.reaches(1).await;
            // Whether or not its end was told yet: the body has returned.
            assert_eq!(child.cancel().await, Some(1));
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn the_value_of_a_child_that_has_returned_and_is_settling_is_not_lost() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let (returned, go_on) = (Counter::new(), Counter::new());
            let (child_returned, child_go_on) = (returned.clone(), go_on.clone());
            let child = place.spawn(move || async move {
                drop(Owned::with_async((), move |()| async move {
                    child_returned.add();
                    child_go_on.reaches(1).await;
                }));
                7
            });
            returned.reaches(1).await;
            let cancel = child.cancel();
            go_on.add();
            assert_eq!(cancel.await, Some(7));
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn a_child_that_failed_or_panicked_yields_nothing() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let failed = place.try_spawn(|| async { Err::<i32, _>("on purpose") });
            let panicked = place.spawn(|| async { panic!("on purpose") });
            let panicked: matou_runtime::Promise<i32> = panicked;
            for _ in 0..5 {
                yield_now().await;
            }
            assert_eq!(failed.cancel().await, None);
            assert_eq!(panicked.cancel().await, None);
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn others_run_while_a_task_waits_for_a_cancelled_child() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let (ticks, begun) = (Counter::new(), Counter::new());
            let ticker = spawn({
                let ticks = ticks.clone();
                async move {
                    loop {
                        ticks.add();
                        yield_now().await;
                    }
                }
            });
            let (child_ticks, child_begun) = (ticks.clone(), begun.clone());
            let child = place.spawn(move || async move {
                // Its end needs the others: if the wait blocked the domain, it would never come.
                let _resource = Owned::with_async((), move |()| async move {
                    child_ticks.reaches(child_ticks.get() + 1000).await;
                });
                child_begun.add();
                pending::<()>().await;
            });
            begun.reaches(1).await;
            let before = ticks.get();
            child.cancel().await;
            assert!(ticks.get() >= before + 1000);
            ticker.cancel().await;
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn nothing_spins_while_a_cancelled_child_takes_its_time() {
    for place in Place::BOTH {
        let (waits, polls) = (Counter::new(), Counter::new());
        let main_polls = polls.clone();
        let builder = count_waits(Builder::new().domains(place.domains()), &waits);
        let result = run_with(builder, move || async move {
            let child = place.spawn(|| async {
                let _resource = Owned::with_async((), |()| sleep(Duration::from_millis(100)));
                pending::<()>().await;
            });
            for _ in 0..5 {
                sleep(Duration::from_millis(1)).await;
            }
            let waits_before = waits.get();
            counted(&main_polls, child.cancel()).await;
            Ok(waits.get() - waits_before)
        });
        let turns = result.expect("no rule is broken");
        // Asked once, woken once; a few turns for messages, timers and the last look.
        assert!(polls.get() <= 2, "{} polls", polls.get());
        assert!(turns <= 20, "{turns} turns");
    }
}

#[test]
fn cancelling_is_asked_at_once_and_not_at_the_first_poll() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let begun = Counter::new();
            let (child_log, child_begun) = (main_log.clone(), begun.clone());
            let child = place.spawn(move || async move {
                let _gone = child_log.witness("gone");
                child_begun.add();
                pending::<()>().await;
            });
            begun.reaches(1).await;
            let cancel = child.cancel();
            while main_log.entries().is_empty() {
                yield_now().await;
            }
            cancel.await;
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["gone"]);
    }
}

#[test]
fn the_losers_of_await_first_are_gone_before_it_returns() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let (log, begun) = (main_log, Counter::new());
            let loser = |name| {
                let (log, begun) = (log.clone(), begun.clone());
                place.spawn(move || async move {
                    let _resource = log.slow_resource(name, 40);
                    begun.add();
                    pending::<()>().await;
                })
            };
            let losers = [loser("loser"), loser("loser")];
            begun.reaches(2).await;
            let quick = Task::new().name("quick").spawn(async {});
            matou_runtime::await_first(losers.into_iter().chain([quick])).await?;
            log.push("first");
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
        log.assert_is(&["loser", "loser", "first"]);
    }
}

#[test]
fn a_cancellation_that_crosses_the_childs_end_on_the_way_loses_neither() {
    // The child's end and the parent's request pass each other between the domains, many times,
    // with the child returning at once or after a turn.
    let result = run_on(3, || async {
        let (mut kept, mut gone) = (0, 0);
        for round in 0..2000 {
            let turns = round % 3;
            let child = call(move || async move {
                for _ in 0..turns {
                    yield_now().await;
                }
                7
            })?;
            for _ in 0..round % 7 {
                yield_now().await;
            }
            match child.cancel().await {
                Some(7) => kept += 1,
                None => gone += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(kept + gone, 2000);
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}
