//! R6: `promise.cancel().await` returns when the whole subtree is complete. It returns the outcome
//! of a child that had ended before. Other tasks run while it waits, and it does not busy-wait.

use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::{Task, TaskError, call, deadline, now, sleep, spawn, yield_now};

use crate::support::*;

#[test]
fn cancel_returns_when_three_levels_on_several_domains_are_complete() {
    scenario(|place, log| async move {
        let begun = Counter::new();
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
        assert!(child.cancel().await.is_none());
        log.push("cancelled");
        Ok(())
    })
    .expect(&["3", "2", "1", "cancelled"]);
}

#[test]
fn cancel_returns_the_value_of_a_child_that_had_returned() {
    scenario(|place, _| async move {
        let done = Counter::new();
        let child_done = done.clone();
        let child = place.spawn(move || async move { child_done.add() });
        done.reaches(1).await;
        // The body has returned, whether or not its completion has arrived.
        assert!(matches!(child.cancel().await, Some(Ok(1))));
        Ok(())
    })
    .succeeds();
}

#[test]
fn cancel_returns_the_value_of_a_child_that_is_finalizing() {
    scenario(|place, _| async move {
        let (returned, released) = (Counter::new(), Counter::new());
        let (child_returned, child_released) = (returned.clone(), released.clone());
        let child = place.spawn(move || async move {
            drop(Owned::with_async((), move |()| async move {
                child_returned.add();
                child_released.reaches(1).await;
            }));
            7
        });
        returned.reaches(1).await;
        let cancel = child.cancel();
        released.add();
        assert!(matches!(cancel.await, Some(Ok(7))));
        Ok(())
    })
    .succeeds();
}

#[test]
fn cancel_returns_the_failure_or_the_panic_of_a_child_that_had_ended() {
    scenario(|place, _| async move {
        let ended = Counter::new();
        let (fails, panics) = (ended.clone(), ended.clone());
        let failed = place.try_spawn(move || async move {
            fails.add();
            Err::<i32, _>("on purpose")
        });
        let panicked = place.spawn(move || async move {
            panics.add();
            panic!("on purpose")
        });
        let panicked: matou_runtime::Promise<i32> = panicked;
        ended.reaches(2).await;
        // The bodies have ended, whether or not their completion has arrived.
        match failed.cancel().await {
            Some(Err(TaskError::Failed { error, .. })) => assert_eq!(error, "on purpose"),
            other => panic!("{other:?}"),
        }
        match panicked.cancel().await {
            Some(Err(TaskError::Panicked(panic))) => assert_eq!(panic.message(), "on purpose"),
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .succeeds();
}

#[test]
fn cancel_returns_what_went_wrong_while_a_child_was_cut_off() {
    scenario(|place, _| async move {
        let begun = Counter::new();
        let (in_drop, in_finalizer) = (begun.clone(), begun.clone());
        let drop_panics = place.spawn(move || async move {
            let _guard = PanicsOnDrop;
            in_drop.add();
            pending::<()>().await;
        });
        let finalizer_panics = place.spawn(move || async move {
            leak(Owned::new((), |()| panic!("a finalizer that panics")));
            in_finalizer.add();
            pending::<()>().await;
        });
        begun.reaches(2).await;
        for child in [drop_panics, finalizer_panics] {
            let outcome = child.cancel().await.expect("a panic is not lost");
            assert!(outcome.unwrap_err().is_panicked());
        }
        Ok(())
    })
    .succeeds();
}

#[test]
fn cancel_returns_none_for_a_child_that_another_request_has_cut_off() {
    scenario(|place, _| async move {
        let making = poll_fn(move |_| Poll::Ready(place.spawn(pending::<()>)));
        let child = deadline(now(), making).await?;
        yield_now().await;
        assert!(child.cancel().await.is_none());
        Ok(())
    })
    .succeeds();
}

#[test]
fn other_tasks_run_while_a_task_waits_for_a_cancelled_child() {
    scenario(|place, _| async move {
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
            // The finalizer depends on the ticker: it would never end if `cancel` blocked the
            // domain.
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
    })
    .succeeds();
}

#[test]
fn no_domain_busy_waits_while_a_cancelled_child_ends() {
    for place in Place::BOTH {
        let (waits, polls) = (Counter::new(), Counter::new());
        let main_polls = polls.clone();
        let builder = count_waits(strict().domains(place.domains()), &waits);
        let result = run_with(builder, move || async move {
            let child = place.spawn(|| async {
                let _resource = Owned::with_async((), |()| sleep(Duration::from_millis(100)));
                pending::<()>().await;
            });
            for _ in 0..5 {
                sleep(Duration::from_millis(1)).await;
            }
            let waits_before = waits.get();
            count_polls(&main_polls, child.cancel()).await;
            Ok(waits.get() - waits_before)
        });
        let ticks = result.expect("no violation");
        // One poll when it is cancelled and one when it is woken; a few ticks for messages and
        // timers.
        assert!(polls.get() <= 2, "{} polls", polls.get());
        assert!(ticks <= 20, "{ticks} ticks");
    }
}

#[test]
fn cancel_requests_the_end_before_its_first_poll() {
    scenario(|place, log| async move {
        let begun = Counter::new();
        let (child_log, child_begun) = (log.clone(), begun.clone());
        let child = place.spawn(move || async move {
            let _guard = child_log.on_drop("dropped");
            child_begun.add();
            pending::<()>().await;
        });
        begun.reaches(1).await;
        let cancel = child.cancel();
        log.is_written().await;
        cancel.await;
        Ok(())
    })
    .expect(&["dropped"]);
}

#[test]
fn await_first_returns_after_the_other_children_are_complete() {
    scenario(|place, log| async move {
        let begun = Counter::new();
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
    })
    .expect(&["loser", "loser", "first"]);
}

#[test]
fn a_cancel_request_may_cross_the_completion_of_the_child() {
    // The completion of the child and the cancel request cross each other between the domains, at
    // many different moments.
    run_on(3, || async {
        let (mut returned, mut cancelled) = (0, 0);
        for round in 0..2000 {
            let yields = round % 3;
            let child = call(move || async move {
                for _ in 0..yields {
                    yield_now().await;
                }
                7
            })?;
            for _ in 0..round % 7 {
                yield_now().await;
            }
            match child.cancel().await {
                Some(Ok(7)) => returned += 1,
                None => cancelled += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(returned + cancelled, 2000);
        Ok(())
    })
    .unwrap();
}
