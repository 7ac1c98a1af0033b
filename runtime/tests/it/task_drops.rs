//! Goal: tasks are dropped and freed although a drop panics or promises form a cycle (scenarios T11
//! and T17).
//! Method: drops are counted, and the memory of the run must be freed.

use std::cell::RefCell;
use std::future::{pending, poll_fn, ready};
use std::rc::Rc;
use std::task::Poll;
use std::thread;

use matou_runtime::{Forgotten, Promise, RunError, TaskError, call, race, spawn, yield_now};

use crate::support::{
    Counter, CountsDrop, PanicsOnDrop, Place, monitored, rerun_in_child_process, run_on, run_with,
};

const MANY: usize = 1_000;

/// Spawns a thousand children that never return. The drop of one of them panics.
fn spawn_many(place: Place, started: &Counter, drops: &Counter) -> Vec<Promise<()>> {
    (0..MANY)
        .map(|n| {
            let (started, drops) = (started.clone(), CountsDrop(drops.clone()));
            place.spawn(move || async move {
                let _counted = drops;
                let _panics = if n == MANY / 2 { Some(PanicsOnDrop) } else { None };
                started.add();
                pending().await
            })
        })
        .collect()
}

#[test]
fn t11_a_thousand_tasks_are_cancelled_although_one_drop_panics() {
    for place in Place::BOTH {
        let (builder, monitor) = monitored();
        let drops = Counter::new();
        run_with(builder.domains(place.domains()), {
            let drops = drops.clone();
            move || async move {
                let started = Counter::new();
                let promises = spawn_many(place, &started, &drops);
                started.reaches(MANY).await;
                let cancels: Vec<_> = promises.into_iter().map(Promise::cancel).collect();
                for (n, cancel) in cancels.into_iter().enumerate() {
                    // The drop that panics is not lost.
                    match cancel.await {
                        None => assert_ne!(n, MANY / 2),
                        Some(Err(TaskError::Panicked(_))) => assert_eq!(n, MANY / 2),
                        other => panic!("{other:?}"),
                    }
                }
                assert_eq!(drops.get(), MANY);
                assert_eq!(place.spawn(|| async { 7 }).await?, 7);
                Ok(())
            }
        })
        .unwrap();
        monitor.assert_freed();
    }
}

#[test]
fn t11_a_run_of_a_thousand_tasks_ends_although_one_drop_panics() {
    for place in Place::BOTH {
        let (builder, monitor) = monitored();
        let drops = Counter::new();
        let result: Result<(), _> = run_with(builder.domains(place.domains()), {
            let drops = drops.clone();
            move || async move {
                let started = Counter::new();
                let _promises = spawn_many(place, &started, &drops);
                started.reaches(MANY).await;
                Err("on purpose".into())
            }
        });
        assert_eq!(result.unwrap_err().to_string(), "main failed: on purpose");
        assert_eq!(drops.get(), MANY);
        monitor.assert_freed();
    }
}

/// In a child process: the test is that the process does not abort.
#[test]
fn t11_an_outcome_whose_drop_panics_is_dropped_although_no_task_takes_it() {
    rerun_in_child_process!();
    run_on(2, || async {
        let (entered, may_go) = (Counter::new(), Counter::new());
        let (inside, waits) = (entered.clone(), may_go.clone());
        let child = call(move || {
            poll_fn(move |_| {
                inside.add();
                // The promise is dropped during this poll.
                while waits.get() == 0 {
                    thread::yield_now();
                }
                Poll::Ready(PanicsOnDrop)
            })
        })?;
        entered.reaches(1).await;
        // Abandons the branch, which drops the promise without a violation.
        race(ready(()), async move { drop(child.await) }).await;
        may_go.add();
        Ok(())
    })
    .unwrap();
}

#[test]
fn t17_two_tasks_that_own_each_others_promises_are_freed() {
    let (builder, monitor) = monitored();
    let drops = Counter::new();
    let result: Result<(), _> = run_with(builder.domains(1), {
        let drops = drops.clone();
        move || async move {
            let shared: Rc<RefCell<Vec<Promise<()>>>> = Rc::default();
            let [left, right] = [(), ()].map(|()| {
                let (shared, drops) = (shared.clone(), CountsDrop(drops.clone()));
                spawn(async move {
                    let _counted = drops;
                    yield_now().await;
                    let _other = shared.borrow_mut().pop();
                    pending().await
                })
            });
            // The first task takes the promise of the second one, and vice versa.
            shared.borrow_mut().extend([left, right]);
            for _ in 0..5 {
                yield_now().await;
            }
            assert!(shared.borrow().is_empty());
            Err("on purpose".into())
        }
    });
    assert!(matches!(result, Err(RunError::Failed(_))));
    assert_eq!(drops.get(), 2);
    monitor.assert_freed();
}

#[test]
fn t17_a_task_that_owns_its_own_promise_is_freed() {
    let (builder, monitor) = monitored();
    let drops = Counter::new();
    let builder = builder.domains(1).forgotten(Forgotten::Cancel);
    let result: Result<(), _> = run_with(builder, {
        let drops = drops.clone();
        move || async move {
            let own: Rc<RefCell<Option<Promise<()>>>> = Rc::default();
            let (inside, counted) = (own.clone(), CountsDrop(drops.clone()));
            let child = spawn(async move {
                let _own = (inside, counted);
                pending().await
            });
            *own.borrow_mut() = Some(child);
            drop(own);
            yield_now().await;
            // Only the tree refers to the child now, and the end of its parent ends it.
            Err("on purpose".into())
        }
    });
    assert!(matches!(result, Err(RunError::Failed(_))));
    assert_eq!(drops.get(), 1);
    monitor.assert_freed();
}
