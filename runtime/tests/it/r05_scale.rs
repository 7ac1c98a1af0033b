//! R5 and R6 at scale: a chain of 100,000 nested tasks and a parent of 100,000 children are
//! cancelled on a small stack, in time proportional to their number.
//!
//! Method: domain 0 runs on the thread of the test, which has a stack of 256 KiB; recursion over
//! the chain would overflow it. Work is counted in ticks of the domains, each of which polls at
//! most a quantum of tasks: ten times as many tasks may take ten times as many ticks. (Scans of
//! lists within a poll would show as a hang: 100,000 squared steps exceed the deadline.)

use std::future::{Future, pending};
use std::pin::Pin;

use matou_runtime::{Orphans, Promise, Task, call, spawn};

use crate::support::*;

const STACK: usize = 256 << 10;
const FEW: usize = MANY / 10;
const MANY: usize = fewer(100_000) as usize;
const QUANTUM: usize = 64;

/// A task that awaits a child like itself, `levels` deep. None of them returns.
fn nested(levels: usize, begun: Counter, dropped: Counter) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let _guard = CountsDrop(dropped.clone());
        begun.add();
        if levels == 1 {
            return pending().await;
        }
        drop(spawn(nested(levels - 1, begun, dropped)).await);
    })
}

/// As [`nested`], with each task on another domain than its parent.
fn remote_nested(
    levels: usize,
    begun: Counter,
    dropped: Counter,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let _guard = CountsDrop(dropped.clone());
        begun.add();
        if levels == 1 {
            return pending().await;
        }
        let next = call(move || remote_nested(levels - 1, begun, dropped));
        drop(next.expect("there are other domains").await);
    })
}

/// Runs `main` on a small stack and returns the ticks that it counted.
fn ticks_of<F>(domains: usize, main: impl FnOnce(Counter) -> F + Send + 'static) -> usize
where
    F: Future<Output = usize> + 'static,
{
    let waits = Counter::new();
    let builder =
        count_waits_with_stopped_clock(strict().domains(domains).quantum(QUANTUM), &waits);
    within_deadline_on_stack(STACK, move || {
        let result =
            builder.run(async move { Ok::<_, matou_runtime::MainError>(main(waits).await) });
        result.expect("no violation")
    })
}

/// Asserts that ten times as many tasks took about ten times as many ticks.
#[track_caller]
fn assert_proportional(few: usize, many: usize) {
    assert!(many <= few * 11 + 100, "{few} ticks for {FEW} tasks, {many} for {MANY}");
}

fn cancel_nested(levels: usize) -> usize {
    ticks_of(1, move |ticks| async move {
        let (begun, dropped) = (Counter::new(), Counter::new());
        let first = spawn(nested(levels, begun.clone(), dropped.clone()));
        begun.reaches(levels).await;
        let before = ticks.get();
        assert!(first.cancel().await.is_none());
        assert_eq!(dropped.get(), levels);
        ticks.get() - before
    })
}

#[test]
fn a_chain_of_100_000_nested_tasks_is_cancelled_in_linear_time() {
    let (few, many) = (cancel_nested(FEW), cancel_nested(MANY));
    // Each task is polled when it is cancelled and when its child is complete.
    assert!(many <= MANY * 3 / QUANTUM, "{many} ticks");
    assert_proportional(few, many);
}

fn cancel_many(children: usize, place: Place) -> usize {
    ticks_of(place.domains(), move |ticks| async move {
        let (begun, dropped) = (Counter::new(), Counter::new());
        let (all_begun, all_dropped) = (begun.clone(), dropped.clone());
        let parent = spawn(async move {
            let child = |begun: Counter, dropped: Counter| {
                move || async move {
                    let _guard = CountsDrop(dropped);
                    begun.add();
                    pending::<()>().await;
                }
            };
            let _children: Vec<Promise<()>> =
                (0..children).map(|_| place.spawn(child(begun.clone(), dropped.clone()))).collect();
            pending::<()>().await;
        });
        all_begun.reaches(children).await;
        let before = ticks.get();
        assert!(parent.cancel().await.is_none());
        assert_eq!(all_dropped.get(), children);
        ticks.get() - before
    })
}

#[test]
fn a_parent_of_100_000_children_is_cancelled_in_linear_time() {
    let (few, many) = (cancel_many(FEW, Place::Local), cancel_many(MANY, Place::Local));
    assert!(many <= MANY * 2 / QUANTUM, "{many} ticks");
    assert_proportional(few, many);
}

#[test]
fn a_parent_of_100_000_children_on_other_domains_is_cancelled() {
    // How many messages a tick receives depends on how the threads are scheduled. The bound
    // requires that each tick has a cause: a cancel request or a completion.
    let ticks = cancel_many(MANY, Place::Remote);
    assert!(ticks <= 2 * MANY, "{ticks} ticks");
}

#[test]
fn a_chain_of_100_000_tasks_that_alternate_between_domains_is_cancelled() {
    let ticks = ticks_of(3, |ticks| async move {
        let (begun, dropped) = (Counter::new(), Counter::new());
        let (all_begun, all_dropped) = (begun.clone(), dropped.clone());
        let first =
            call(move || remote_nested(MANY, begun, dropped)).expect("there are other domains");
        all_begun.reaches(MANY).await;
        let before = ticks.get();
        assert!(first.cancel().await.is_none());
        assert_eq!(all_dropped.get(), MANY);
        ticks.get() - before
    });
    // A cancel request and a completion for each task.
    assert!(ticks <= 3 * MANY, "{ticks} ticks");
}

#[test]
fn a_chain_of_100_000_tasks_ends_normally_and_by_a_violation() {
    for violates in [false, true] {
        let (begun, dropped) = (Counter::new(), Counter::new());
        let (all_begun, all_dropped) = (begun.clone(), dropped.clone());
        let result = within_deadline_on_stack(STACK, move || {
            strict().domains(1).run(async move {
                if violates {
                    let _first = spawn(nested(MANY, begun.clone(), dropped));
                    begun.reaches(MANY).await;
                    let offender = spawn(async { drop(spawn(pending::<()>())) });
                    pending::<()>().await;
                    drop(offender);
                } else {
                    spawn(returning(MANY, begun)).await?;
                }
                Ok::<_, matou_runtime::MainError>(())
            })
        });
        assert_eq!(result.is_err(), violates, "{result:?}");
        assert_eq!(all_begun.get(), MANY);
        assert_eq!(all_dropped.get(), if violates { MANY } else { 0 });
    }
}

/// A task that awaits a child like itself, `levels` deep. All of them return.
fn returning(levels: usize, begun: Counter) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        begun.add();
        if levels > 1 {
            spawn(returning(levels - 1, begun)).await.expect("it does not fail");
        }
    })
}

fn take_from_group(children: usize) -> usize {
    ticks_of(1, move |ticks| async move {
        let parent = spawn(async move {
            let orphans = Orphans::new();
            for n in 0..children {
                Task::new().orphans(&orphans).spawn(async move { n }).expect("no limit");
            }
            let mut sum = 0;
            while let Some(outcome) = orphans.next().await {
                sum += outcome.expect("it does not fail");
            }
            sum
        });
        assert_eq!(parent.await.expect("it does not fail"), children * (children - 1) / 2);
        ticks.get()
    })
}

#[test]
fn a_group_yields_100_000_children_in_linear_time() {
    assert_proportional(take_from_group(FEW), take_from_group(MANY));
}
