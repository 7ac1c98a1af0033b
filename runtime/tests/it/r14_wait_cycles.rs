//! R14: circles of waits are named: a task that waits for itself, for an ancestor whose end waits
//! for it, or several tasks that wait for each other, while none of them waits for anything else.
//!
//! Method: programs of which each hangs or would hang, in simulated runs and on threads; and
//! programs that look alike and make progress, which are not reported. Each program ends by a
//! timeout around the part that hangs, in another task.

use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{join, select};
use futures::stream::FuturesUnordered;
use matou_runtime::test::Check;
use matou_runtime::{
    Builder, Diagnostic, Finding, MainError, RunError, defer, shield, sleep, spawn, timeout,
    yield_now,
};
use matou_sync::{Mutex, OnceCell, Queue, RwLock};

use crate::support::ManualClock;

const MS: Duration = Duration::from_millis(1);

/// Runs the program in a simulated run and on a thread, and returns the texts of the circles that
/// each of them reports.
fn circles<F>(program: impl Fn() -> F + Clone + Send + 'static) -> [Vec<String>; 2]
where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    let hook = || {
        let texts = Arc::new(StdMutex::new(Vec::new()));
        let seen = Arc::clone(&texts);
        let hook = move |diagnostic: &Diagnostic| match diagnostic {
            Diagnostic::Finding(Finding::WaitCycle { .. }) => {
                seen.lock().expect("no panic").push(diagnostic.to_string());
            }
            // On a busy machine any poll may be slow.
            Diagnostic::Finding(Finding::SlowPoll { .. }) => {}
            other => panic!("{other}"),
        };
        (texts, hook)
    };
    let (simulated, on_report) = hook();
    let trial = Check::simulated().domains(1).on_report(on_report).trial(3, program());
    let outcome = trial.outcome;
    assert!(matches!(outcome, Ok(()) | Err(RunError::Deadlock(_))), "{outcome:?}");
    let (threaded, on_report) = hook();
    // With virtual time, since the programs have time limits.
    let result: Result<(), RunError> =
        ManualClock::install(Builder::new()).on_report(on_report).run(program());
    result.expect("the program ends");
    [simulated, threaded].map(|texts| texts.lock().expect("no panic").clone())
}

/// Asserts that both runs report one circle, whose text has all these parts.
#[track_caller]
fn assert_circle<F>(program: impl Fn() -> F + Clone + Send + 'static, parts: &[&str])
where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    for texts in circles(program) {
        let [text] = &*texts else { panic!("{} circles: {texts:?}", texts.len()) };
        for part in parts {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
    }
}

#[track_caller]
fn assert_no_circle<F>(program: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    assert_eq!(circles(program), [Vec::<String>::new(), Vec::new()]);
}

/// Runs the part of a program that hangs, in a task that is cancelled after a while.
async fn hang(part: impl Future<Output = ()> + 'static) -> Result<(), MainError> {
    let mut hangs = spawn(part);
    assert!(timeout(50 * MS, &mut hangs).await.is_err(), "it hangs");
    hangs.cancel().await;
    Ok(())
}

async fn lock_and_sleep(mutex: Rc<Mutex<u32>>, time: Duration) {
    let _guard = mutex.lock().await;
    sleep(time).await;
}

#[test]
fn f13_a_task_that_locks_twice_is_named_at_once() {
    let program = || {
        hang(async {
            let mutex = Mutex::new(0);
            let _guard = mutex.lock().await;
            let _again = mutex.lock().await;
        })
    };
    assert_circle(program, &["waits for a lock that it holds", "r14_wait_cycles.rs", "held by"]);
}

#[test]
fn f13_a_future_that_was_set_aside_with_the_lock_is_named() {
    let program = || {
        hang(async {
            let mutex = Rc::new(Mutex::new(0));
            let mut holder = Box::pin(lock_and_sleep(Rc::clone(&mutex), 1000 * MS));
            let _ = select(&mut holder, pin!(sleep(MS))).await;
            let _guard = mutex.lock().await;
        })
    };
    assert_circle(program, &["waits for a lock that it holds"]);
}

async fn yield_twice() {
    yield_now().await;
    yield_now().await;
}

#[test]
fn b10_a_stream_of_futures_beside_a_lock_in_the_body_of_its_loop_is_named() {
    let program = || {
        hang(async {
            let mutex = Rc::new(Mutex::new(0));
            let futures = futures::stream::iter(0..2).map(|number| {
                let mutex = Rc::clone(&mutex);
                async move {
                    match number {
                        0 => yield_twice().await,
                        _ => lock_and_sleep(mutex, 5 * MS).await,
                    }
                }
            });
            let mut stream = pin!(futures.buffer_unordered(2));
            while stream.next().await.is_some() {
                let _guard = mutex.lock().await;
            }
        })
    };
    assert_circle(program, &["waits for a lock that it holds"]);
}

#[test]
fn r14_futures_of_one_task_that_take_turns_are_no_circle() {
    assert_no_circle(|| async {
        let mutex = Rc::new(Mutex::new(0));
        let hold = || lock_and_sleep(Rc::clone(&mutex), MS);
        join(hold(), hold()).await;
        (0..5).map(|_| hold()).collect::<FuturesUnordered<_>>().count().await;
        let stream = futures::stream::iter(0..5).map(|_| hold()).buffer_unordered(2);
        join(stream.count(), hold()).await;
        // With a future of another library.
        let (sender, receiver) = futures::channel::oneshot::channel::<()>();
        let holder = async {
            let _guard = mutex.lock().await;
            let _ = receiver.await;
        };
        let sender = spawn(async move {
            sleep(MS).await;
            let _ = sender.send(());
        });
        join(holder, hold()).await;
        sender.await?;
        Ok(())
    });
}

#[test]
fn r14_a_wait_with_a_time_limit_is_no_circle() {
    assert_no_circle(|| async {
        let mutex = Mutex::new(0);
        let _guard = mutex.lock().await;
        assert!(timeout(MS, mutex.lock()).await.is_err());
        Ok(())
    });
}

#[test]
fn b8_a_child_that_waits_for_a_lock_of_its_cancelled_parent_is_named() {
    let program = || async {
        let mutex = Rc::new(Mutex::new(0));
        let parent = spawn(async move {
            let _guard = mutex.lock().await;
            let child = shield({
                let mutex = Rc::clone(&mutex);
                async move {
                    // Its parent is cancelled by then.
                    sleep(5 * MS).await;
                    let _guard = mutex.lock().await;
                }
            });
            let _ = child.limit(20 * MS).await;
        });
        for _ in 0..2 {
            yield_now().await;
        }
        parent.cancel().await;
        Ok(())
    };
    assert_circle(program, &["waits for the end of its children", "waits for lock", "held by"]);
}

#[test]
fn b8_a_finalizer_that_waits_for_a_lock_of_an_ancestor_is_named() {
    let program = || async {
        let mutex = Rc::new(Mutex::new(0));
        let parent = spawn(async move {
            let _guard = mutex.lock().await;
            let child = spawn({
                let mutex = Rc::clone(&mutex);
                async move {
                    defer(async move {
                        let _ = timeout(5 * MS, mutex.lock()).await;
                    });
                    std::future::pending::<()>().await;
                }
            });
            let _ = child.await;
        });
        for _ in 0..8 {
            yield_now().await;
        }
        parent.cancel().await;
        Ok(())
    };
    assert_circle(program, &["waits for the end of its children", "waits for lock", "held by"]);
}

#[test]
fn r14_a_parent_that_awaits_a_child_which_waits_for_its_lock_is_named() {
    for parent_first in [true, false] {
        let program = move || {
            hang(async move {
                let mutex = Rc::new(Mutex::new(0));
                let _guard = mutex.lock().await;
                let child = spawn({
                    let mutex = Rc::clone(&mutex);
                    async move {
                        if parent_first {
                            yield_now().await;
                        }
                        let _guard = mutex.lock().await;
                    }
                });
                if !parent_first {
                    sleep(5 * MS).await;
                }
                let _ = child.await;
            })
        };
        assert_circle(program, &["2 tasks wait for each other", "promise of task", "lock 1 at"]);
    }
}

#[test]
fn r14_tasks_that_take_two_locks_in_opposite_orders_are_named() {
    let program = || {
        hang(async {
            let forks = [Rc::new(Mutex::new(0)), Rc::new(Mutex::new(0))];
            let eat = |first: usize| {
                let forks = forks.clone();
                async move {
                    let _left = forks[first].lock().await;
                    sleep(MS).await;
                    let _right = forks[1 - first].lock().await;
                }
            };
            let (first, second) = (spawn(eat(0)), spawn(eat(1)));
            let _ = (first.await, second.await);
        })
    };
    assert_circle(program, &["2 tasks wait for each other", "lock 1", "lock 2", "held by"]);
}

#[test]
fn r14_a_circle_that_another_branch_can_end_is_not_reported() {
    assert_no_circle(|| async {
        let mutex = Rc::new(Mutex::new(0));
        let guard = mutex.lock().await;
        let child = spawn({
            let mutex = Rc::clone(&mutex);
            async move { drop(mutex.lock().await) }
        });
        let release = async {
            sleep(5 * MS).await;
            drop(guard);
        };
        join(child, release).await.0?;
        Ok(())
    });
}

/// A worker and a dispatcher that answer each other through bounded queues.
#[test]
fn b15_two_full_queues_in_a_circle_are_named() {
    let program = || {
        hang(async {
            let (jobs, results) = (Rc::new(Queue::bounded(1)), Rc::new(Queue::bounded(1)));
            let worker = spawn({
                let (jobs, results) = (Rc::clone(&jobs), Rc::clone(&results));
                async move {
                    while let Ok(job) = jobs.pop().await {
                        for part in 0..3 {
                            results.push(job + part).await.expect("it is open");
                        }
                    }
                }
            });
            let dispatcher = spawn(async move {
                jobs.push(1).await.expect("it is open");
                results.pop().await.expect("it is open");
                for job in 0..9 {
                    jobs.push(job).await.expect("it is open");
                }
            });
            let _ = (worker.await, dispatcher.await);
        })
    };
    let parts = ["2 tasks wait for each other", "push on queue 1 at", "push on queue 2 at"];
    assert_circle(program, &parts);
}

/// A parent that awaits a consumer, and has the only reference to the queue besides. In the program
/// that looks alike another task has one, which it uses later.
#[test]
fn r14_a_queue_whose_other_end_no_task_has_used_is_no_circle() {
    async fn await_consumer(queue: &Rc<Queue<u32>>) {
        let own = Rc::clone(queue);
        let _ = spawn(async move { own.pop().await }).await;
    }
    assert_no_circle(|| hang(async { await_consumer(&Rc::new(Queue::bounded(1))).await }));
    assert_no_circle(|| async {
        let queue = Rc::new(Queue::bounded(1));
        let own = Rc::clone(&queue);
        let producer = spawn(async move {
            sleep(20 * MS).await;
            own.push(1).await.expect("it is open");
        });
        await_consumer(&queue).await;
        producer.await?;
        Ok(())
    });
}

#[test]
fn b15_a_queue_with_two_consumers_is_no_circle() {
    assert_no_circle(|| async {
        let (jobs, results) = (Rc::new(Queue::bounded(1)), Rc::new(Queue::bounded(1)));
        let first = spawn({
            let (jobs, results) = (Rc::clone(&jobs), Rc::clone(&results));
            async move {
                jobs.pop().await.expect("it is open");
                // The second push waits for `main`, which waits for a consumer of jobs.
                results.push(1).await.expect("it is open");
                results.push(2).await.expect("it is open");
            }
        });
        let second = spawn({
            let jobs = Rc::clone(&jobs);
            async move {
                jobs.pop().await.expect("it is open");
                sleep(20 * MS).await;
                jobs.pop().await.expect("it is open");
            }
        });
        for job in 0..4 {
            jobs.push(job).await.expect("it is open");
        }
        for _ in 0..2 {
            results.pop().await.expect("it is open");
        }
        first.await?;
        second.await?;
        Ok(())
    });
}

/// The writer comes before the second read, which therefore waits for it, and it for the first.
#[test]
fn a_task_that_reads_again_behind_a_writer_is_a_circle() {
    let program = || async {
        let lock = Rc::new(RwLock::new(0));
        let written = Rc::clone(&lock);
        let writer = spawn(async move {
            while written.try_write().is_some() {
                yield_now().await;
            }
            *written.write().await += 1;
        });
        hang(async move {
            let _first = lock.read().await;
            while lock.waiters() == 0 {
                yield_now().await;
            }
            let _second = lock.read().await;
        })
        .await?;
        writer.await?;
        Ok(())
    };
    assert_circle(program, &["read lock", "r14_wait_cycles.rs"]);
}

#[test]
fn an_initializer_that_wants_the_value_of_its_cell_is_a_circle() {
    let program = || async {
        let cell = Rc::new(OnceCell::<u32>::new());
        let own = Rc::clone(&cell);
        let init = move || async move { *own.get_or_init(|| async { 1 }).await };
        hang(async move { drop(cell.get_or_init(init).await.to_string()) }).await
    };
    assert_circle(program, &["once-cell", "r14_wait_cycles.rs"]);
}
