//! R5 and R6 at scale: a chain of 100,000 nested tasks and a parent of 100,000 children are
//! cancelled with a small stack, in work proportional to their number.
//!
//! Method: domain 0 is the thread of the test, which gets a stack of 256 KiB; recursion of any
//! kind over the chain would overflow it. Work is counted in turns of the domains, each of which
//! polls at most a quantum of tasks; ten times as many tasks may take ten times as many turns.
//! (Scans of lists within a poll would show as a hang: 100,000 squared is too much for the
//! deadline.)

use std::future::{Future, pending};
use std::pin::Pin;

use matou_runtime::{Builder, Orphans, Promise, Task, call, spawn};

use crate::support::*;

const STACK: usize = 256 << 10;
const FEW: usize = 10_000;
const MANY: usize = 100_000;
const QUANTUM: usize = 64;

/// A task that awaits a child like itself, so many levels deep. None of them ends by itself.
fn link(levels: usize, begun: Counter, dropped: Counter) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let _guard = CountDrop(dropped.clone());
        begun.add();
        if levels == 1 {
            return pending().await;
        }
        drop(spawn(link(levels - 1, begun, dropped)).await);
    })
}

/// As [`link`], each on another domain than its parent.
fn far_link(levels: usize, begun: Counter, dropped: Counter) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let _guard = CountDrop(dropped.clone());
        begun.add();
        if levels == 1 {
            return pending().await;
        }
        let next = call(move || far_link(levels - 1, begun, dropped));
        drop(next.expect("there are others").await);
    })
}

/// Counts its drop.
struct CountDrop(Counter);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// Runs `main` on a small stack and returns how many turns it counted.
fn turns_of<F>(domains: usize, main: impl FnOnce(Counter) -> F + Send + 'static) -> usize
where
    F: Future<Output = usize> + 'static,
{
    let waits = Counter::new();
    let builder = count_waits_out_of_time(Builder::new().domains(domains).quantum(QUANTUM), &waits);
    in_time_with_stack(STACK, move || {
        let result =
            builder.run(async move { Ok::<_, matou_runtime::MainError>(main(waits).await) });
        result.expect("no rule is broken")
    })
}

/// Whether ten times the tasks took about ten times the turns, and a few for each task at most.
#[track_caller]
fn assert_proportional(few: usize, many: usize) {
    assert!(many <= few * 11 + 100, "{few} turns for {FEW} tasks, {many} for {MANY}");
}

fn chain(levels: usize) -> usize {
    turns_of(1, move |turns| async move {
        let (begun, dropped) = (Counter::new(), Counter::new());
        let first = spawn(link(levels, begun.clone(), dropped.clone()));
        begun.reaches(levels).await;
        let before = turns.get();
        assert_eq!(first.cancel().await, None);
        assert_eq!(dropped.get(), levels);
        turns.get() - before
    })
}

#[test]
fn a_chain_of_100_000_nested_tasks_is_cancelled_in_proportional_work() {
    let (few, many) = (chain(FEW), chain(MANY));
    // Each is polled to be told, and once more when its child is gone.
    assert!(many <= MANY * 3 / QUANTUM, "{many} turns");
    assert_proportional(few, many);
}

fn family(children: usize, place: Place) -> usize {
    turns_of(place.domains(), move |turns| async move {
        let (begun, dropped) = (Counter::new(), Counter::new());
        let (all_begun, all_dropped) = (begun.clone(), dropped.clone());
        let parent = spawn(async move {
            let child = |begun: Counter, dropped: Counter| {
                move || async move {
                    let _guard = CountDrop(dropped);
                    begun.add();
                    pending::<()>().await;
                }
            };
            let _children: Vec<Promise<()>> =
                (0..children).map(|_| place.spawn(child(begun.clone(), dropped.clone()))).collect();
            pending::<()>().await;
        });
        all_begun.reaches(children).await;
        let before = turns.get();
        assert_eq!(parent.cancel().await, None);
        assert_eq!(all_dropped.get(), children);
        turns.get() - before
    })
}

#[test]
fn a_parent_of_100_000_children_is_cancelled_in_proportional_work() {
    let (few, many) = (family(FEW, Place::Here), family(MANY, Place::Here));
    assert!(many <= MANY * 2 / QUANTUM, "{many} turns");
    assert_proportional(few, many);
}

#[test]
fn a_parent_of_100_000_children_on_other_domains_is_cancelled_too() {
    // How often the domains look meanwhile depends on their threads; what counts is the end.
    family(MANY, Place::Away);
}

#[test]
fn a_chain_of_100_000_tasks_that_alternate_between_domains_is_cancelled_too() {
    turns_of(3, |_| async {
        let (begun, dropped) = (Counter::new(), Counter::new());
        let (all_begun, all_dropped) = (begun.clone(), dropped.clone());
        let first = call(move || far_link(MANY, begun, dropped)).expect("there are others");
        all_begun.reaches(MANY).await;
        assert_eq!(first.cancel().await, None);
        assert_eq!(all_dropped.get(), MANY);
        0
    });
}

#[test]
fn a_chain_of_100_000_tasks_ends_normally_and_by_a_violation() {
    for violates in [false, true] {
        let (begun, dropped) = (Counter::new(), Counter::new());
        let (all_begun, all_dropped) = (begun.clone(), dropped.clone());
        let result = in_time_with_stack(STACK, move || {
            Builder::new().domains(1).run(async move {
                if violates {
                    let _first = spawn(link(MANY, begun.clone(), dropped));
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

/// A task that awaits a child like itself; the last one returns.
fn returning(levels: usize, begun: Counter) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        begun.add();
        if levels > 1 {
            spawn(returning(levels - 1, begun)).await.expect("it does not fail");
        }
    })
}

fn orphanage(children: usize) -> usize {
    turns_of(1, move |turns| async move {
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
        turns.get()
    })
}

#[test]
fn a_collector_hands_out_100_000_children_in_proportional_work() {
    assert_proportional(orphanage(FEW), orphanage(MANY));
}
