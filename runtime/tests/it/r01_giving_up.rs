//! R1: dropping a promise gives the child up, which is nothing to report.
//!
//! Method: a promise or a group is dropped in each way that is giving up, with children on the same
//! domain and on another one. All these runs succeed and have no finding.

use std::cell::RefCell;
use std::future::{pending, poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{FutureExt, join_all, select, try_join};
use futures::stream::{FuturesUnordered, StreamExt};
use matou_runtime::test::Check;
use matou_runtime::{
    Builder, Forgotten, MainError, Orphans, Promise, Task, TaskError, abandon, await_all,
    live_tasks, race, sleep, spawn, timeout, try_spawn, yield_now,
};

use crate::support::*;

const SHORT: Duration = Duration::from_millis(1);

#[test]
fn a_promise_that_was_polled_is_given_up() {
    let found = forgotten(|place| async move {
        let mut child = place.spawn(pending::<()>);
        assert!(timeout(SHORT, &mut child).await.is_err());
        Ok(())
    });
    assert_eq!(found, []);
}

#[test]
fn an_unpolled_promise_that_a_longer_task_drops_later_is_given_up() {
    let found = forgotten(|place| async move {
        let child = place.spawn(pending::<()>);
        yield_now().await;
        drop(child);
        yield_now().await;
        Ok(())
    });
    assert_eq!(found, []);
}

#[test]
fn a_group_that_a_longer_task_drops_is_given_up() {
    let findings = Findings::new();
    let result = run_with(findings.of(Builder::new().domains(1)), || async {
        let orphans = Orphans::new();
        Task::new().orphans(&orphans).spawn(pending::<()>())?;
        drop(orphans);
        yield_now().await;
        Ok(())
    });
    result.unwrap();
    assert_eq!(findings.forgotten(), []);
}

/// Combinators of other crates drop the futures that they give up.
#[test]
fn the_branches_of_foreign_combinators_are_given_up() {
    let found = forgotten(|place| async move {
        for _ in 0..3 {
            let child = place.spawn(pending::<()>);
            drop(select(child, pin!(yield_now())).await);
        }
        let fails = try_spawn(ready(Err::<(), &str>("on purpose")));
        let other = place.try_spawn(pending::<Result<(), &str>>);
        assert!(try_join(other, fails).await.is_err());
        let mut unordered: FuturesUnordered<_> =
            (0..4).map(|_| place.spawn(pending::<()>)).collect();
        unordered.push(place.spawn(|| ready(())));
        unordered.next().await.expect("a child")?;
        drop(unordered);
        let all = join_all((0..4).map(|_| place.spawn(pending::<()>)));
        assert!(timeout(SHORT, all).await.is_err());
        let race = place.spawn(pending::<()>).map(|_| ());
        assert!(race.now_or_never().is_none());
        Ok(())
    });
    assert_eq!(found, []);
}

#[test]
fn the_rest_of_await_all_is_given_up_once_it_was_polled() {
    let found = forgotten(|place| async move {
        let promises: Vec<_> = (0..4).map(|_| place.spawn(pending::<()>)).collect();
        let mut all = pin!(await_all(promises));
        assert!(timeout(SHORT, all.as_mut()).await.is_err());
        // Dropped by the last poll.
        Ok(())
    });
    assert_eq!(found, []);
}

/// (d): the promise is held by the winner of a race.
#[test]
fn f05_a_promise_in_the_winner_of_a_race_is_given_up() {
    let found = forgotten(|place| async move {
        let child = place.spawn(pending::<()>).map(|_| Ok::<(), ()>(()));
        let won = race(try_join(child, ready(Err::<(), ()>(()))), pending()).await;
        assert!(won.is_err());
        Ok(())
    });
    assert_eq!(found, []);
}

#[test]
fn an_early_return_with_an_error_gives_the_children_up() {
    let found = forgotten(|place| async move {
        let task = try_spawn(async move {
            let _child = place.spawn(pending::<()>);
            "seven".parse::<i32>()?;
            Ok::<_, std::num::ParseIntError>(())
        });
        assert!(matches!(task.await, Err(TaskError::Failed { .. })));
        Ok(())
    });
    assert_eq!(found, []);
}

#[test]
fn a_panic_and_a_cancellation_give_the_children_up() {
    let found = forgotten(|place| async move {
        let panics = spawn(async move {
            drop(place.spawn(pending::<()>));
            let _child = place.spawn(pending::<()>);
            panic!("on purpose");
        });
        assert!(panics.await.is_err_and(|error: TaskError| error.is_panicked()));
        let cancelled = spawn(async move {
            let _child = place.spawn(pending::<()>);
            pending::<()>().await;
        });
        yield_now().await;
        assert!(cancelled.cancel().await.is_none());
        Ok(())
    });
    assert_eq!(found, []);
}

#[test]
fn a_promise_dropped_by_another_task_or_thread_is_given_up() {
    let found = forgotten(|place| async move {
        let child = place.spawn(pending::<()>);
        spawn(async move { drop(child) }).await?;
        let child = place.spawn(pending::<()>);
        std::thread::spawn(move || drop(child)).join().expect("no panic");
        Ok(())
    });
    assert_eq!(found, []);
}

#[test]
fn abandon_gives_up_what_is_dropped_with_its_future() {
    let found = forgotten(|place| async move {
        drop(abandon(place.spawn(pending::<()>)));
        let (first, second) = (place.spawn(|| ready(7)), place.spawn(pending::<()>));
        // A future that returns keeps its captured values until it is dropped.
        let mut first = Some(first);
        let returned = abandon(poll_fn(move |cx| {
            let _held = &second;
            first.as_mut().expect("the child").poll_unpin(cx)
        }));
        assert_eq!(returned.await?, 7);
        Ok(())
    });
    assert_eq!(found, []);
}

#[test]
fn abandon_is_no_violation_in_strict_runs() {
    scenario(|place, _| async move {
        drop(abandon(place.spawn(pending::<()>)));
        yield_now().await;
        Ok(())
    })
    .settings(|builder| builder.forgotten(Forgotten::Strict))
    .succeeds();
}

/// A handler with two children, as a driver of connections drops it when its client disconnects.
async fn handler(place: Place) -> Result<(), TaskError> {
    let first = place.spawn(pending::<()>);
    let second = place.spawn(pending::<()>);
    first.await?;
    second.await
}

#[test]
fn b35_a_client_that_disconnects_ends_no_server() {
    let found = forgotten(|place| async move {
        let connection = spawn(async move {
            for _ in 0..50 {
                let handler = Box::pin(handler(place));
                drop(select(handler, pin!(yield_now())).await);
                yield_now().await;
            }
            "served"
        });
        assert_eq!(connection.await?, "served");
        Ok(())
    });
    assert_eq!(found, []);
}

#[test]
fn b35_ten_thousand_clients_disconnect_in_a_simulated_run() {
    let findings = Findings::new();
    let reported = findings.clone();
    let check = Check::simulated()
        .forgotten(Forgotten::Report)
        .on_report(move |diagnostic| reported.record(diagnostic));
    check.run(0..1, || async {
        let connections = [Place::Local, Place::Remote].map(|place| {
            spawn(async move {
                for _ in 0..fewer(5_000) {
                    drop(select(Box::pin(handler(place)), pin!(yield_now())).await);
                    yield_now().await;
                }
            })
        });
        for connection in connections {
            connection.await?;
        }
        assert_eq!(live_tasks(), 1, "only main is left");
        Ok::<_, MainError>(())
    });
    assert_eq!(findings.forgotten(), []);
}

#[test]
fn b35_a_client_that_disconnects_ends_its_connection_normally() {
    let findings = Findings::new();
    let result = run_with(findings.of(Builder::new().domains(1)), || async {
        let sentinel = spawn(async {
            sleep(SHORT).await;
            "served"
        });
        // The connection's task returns in the poll that drops the handler.
        let connection = spawn(async {
            drop(select(Box::pin(handler(Place::Local)), pin!(yield_now())).await);
        });
        connection.await?;
        assert_eq!(sentinel.await?, "served");
        Ok(())
    });
    result.unwrap();
}

#[test]
fn children_in_a_cycle_of_promises_are_given_up() {
    let found = forgotten(|place| async move {
        let promises: Rc<RefCell<Vec<Promise<()>>>> = Rc::default();
        let child = spawn({
            let promises = Rc::clone(&promises);
            async move {
                yield_now().await;
                drop(promises.take());
            }
        });
        promises.borrow_mut().push(place.spawn(pending::<()>));
        child.await?;
        Ok(())
    });
    assert_eq!(found, []);
}

#[test]
fn b7_a_cancelled_child_ends_although_no_task_awaits_its_cancellation() {
    for place in Place::BOTH {
        run_on(place.domains(), move || async move {
            let alive = std::sync::Arc::new(());
            let gone = std::sync::Arc::downgrade(&alive);
            let child = place.spawn(move || async move {
                let _alive = alive;
                sleep(DEADLINE).await;
            });
            yield_now().await;
            drop(child.cancel());
            while gone.strong_count() > 0 {
                yield_now().await;
            }
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn b7_a_shield_in_a_cancelled_child_receives_the_request() {
    scenario(|place, log| async move {
        let (begun, child_log) = (Counter::new(), log.clone());
        let child_begun = begun.clone();
        let child = place.spawn(move || async move {
            let shielded = matou_runtime::shield(async move {
                child_begun.add();
                matou_runtime::cancelled().await;
                child_log.push("requested");
            });
            let _ = shielded.await;
        });
        begun.reaches(1).await;
        drop(child.cancel());
        log.is_written().await;
        Ok(())
    })
    .expect(&["requested"]);
}
