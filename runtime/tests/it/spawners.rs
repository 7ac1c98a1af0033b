//! `Orphans::spawner`, `Orphans::send_spawner` and `Orphans::next_or_pending`: children that are
//! put into a group from elsewhere, and groups that are empty for a while.

use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use matou_runtime::test::Check;
use matou_runtime::{
    Builder, MainError, Orphans, Promise, RunError, SendSpawner, Spawner, SubmitError, Task,
    TryNext, call, deadline, now, race, remaining, sleep, spawn, yield_now,
};

use crate::support::*;

const SHORT: Duration = Duration::from_millis(1);
const SEEDS: std::ops::Range<u64> = 0..fewer(50);

/// Joins `count` children and returns the sum of their values.
async fn sum_of(group: &Orphans<usize>, count: usize) -> Result<usize, MainError> {
    let mut sum = 0;
    for _ in 0..count {
        sum += group.next_or_pending().await?;
    }
    Ok(sum)
}

/// Submits futures from another task, from inside a destructor, and from the owner.
async fn submit_from_everywhere() -> Result<(), MainError> {
    struct OnDrop(Spawner<usize>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.spawn(ready(100)).expect("the group is open");
        }
    }
    let group = Orphans::new();
    let (sibling, on_drop) = (group.spawner(), OnDrop(group.spawner()));
    let task = spawn(async move {
        let _on_drop = on_drop;
        sibling.spawn(async {
            yield_now().await;
            10
        })?;
        pending::<()>().await;
        Ok::<_, MainError>(())
    });
    yield_now().await;
    yield_now().await;
    assert!(task.cancel().await.is_none());
    group.spawner().spawn(ready(1))?;
    assert_eq!(sum_of(&group, 3).await?, 111);
    assert!(group.is_empty());
    Ok(())
}

#[test]
fn children_are_submitted_by_other_tasks_and_by_destructors() {
    run_on(1, submit_from_everywhere).unwrap();
    Check::simulated().run(SEEDS, submit_from_everywhere);
}

/// A pool whose guard returns a value and starts a sweep.
#[test]
fn b36_a_guard_that_spawns_in_its_drop_under_a_lock_returns_its_value() {
    struct Pooled {
        pool: Arc<Mutex<Vec<u32>>>,
        spawner: Spawner<&'static str>,
    }
    impl Drop for Pooled {
        fn drop(&mut self) {
            let mut idle = self.pool.lock().unwrap();
            idle.push(7);
            let pool = Arc::clone(&self.pool);
            let sweep = async move {
                pool.lock().expect("it is not poisoned").clear();
                "swept"
            };
            self.spawner.spawn(sweep).expect("the group is open");
        }
    }
    let main = || async {
        let pool: Arc<Mutex<Vec<u32>>> = Arc::default();
        let sweeps = Orphans::new();
        let held = Pooled { pool: Arc::clone(&pool), spawner: sweeps.spawner() };
        let user = spawn(async move {
            let _held = held;
            pending::<()>().await;
        });
        yield_now().await;
        assert!(user.cancel().await.is_none());
        assert_eq!(sweeps.next().await.expect("a sweep")?, "swept");
        assert!(pool.lock().expect("it is not poisoned").is_empty());
        Ok::<_, MainError>(())
    };
    run_on(1, main).unwrap();
    Check::simulated().run(SEEDS, main);
}

#[test]
fn children_are_submitted_by_other_threads_and_domains() {
    run_on(3, || async {
        let group: Orphans<usize> = Orphans::new();
        let spawner = group.send_spawner();
        let thread = {
            let spawner = spawner.clone();
            thread::spawn(move || {
                for n in 0..1_000 {
                    spawner.spawn(ready(n)).expect("the group is open");
                }
            })
        };
        let remote = call(move || async move {
            for n in 0..1_000 {
                spawner.spawn(ready(n)).expect("the group is open");
                if n % 16 == 0 {
                    yield_now().await;
                }
            }
        })?;
        assert_eq!(sum_of(&group, 2_000).await?, 2 * (999 * 1_000 / 2));
        remote.await?;
        thread.join().expect("no panic");
        Ok(())
    })
    .unwrap();
}

#[test]
fn children_are_submitted_by_other_domains_in_simulated_runs() {
    Check::simulated().domains(3).run(SEEDS, || async {
        let group: Orphans<usize> = Orphans::new();
        let submit = |spawner: SendSpawner<usize>| async move {
            for n in 0..10 {
                spawner.spawn(ready(n)).expect("the group is open");
                yield_now().await;
            }
        };
        let (left, right) = (group.send_spawner(), group.send_spawner());
        let left = call(move || submit(left))?;
        let right = call(move || submit(right))?;
        assert_eq!(sum_of(&group, 20).await?, 90);
        left.await?;
        right.await?;
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_submitted_future_counts_as_a_child_at_once() {
    run_on(1, || async {
        let group = Orphans::with_limit(2);
        let spawner = group.spawner();
        spawner.spawn(ready(1))?;
        assert_eq!(group.len(), 1);
        assert!(matches!(group.care(), TryNext::Pending));
        spawner.spawn(ready(2))?;
        assert!(group.is_full());
        assert!(matches!(spawner.spawn(ready(3)), Err(SubmitError::AtCapacity(_))));
        let mut sum = 0;
        while let Some(outcome) = group.next().await {
            sum += outcome?;
        }
        assert_eq!(sum, 3);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_submitted_future_can_be_taken_out_and_cancelled() {
    run_on(1, || async {
        let group: Orphans<()> = Orphans::new();
        group.spawner().spawn(pending())?;
        let promise: Promise<()> = group.take().expect("the submitted child");
        assert!(promise.cancel().await.is_none());
        assert!(group.is_empty());
        Ok(())
    })
    .unwrap();
}

#[test]
fn nothing_is_polled_or_dropped_during_a_submission() {
    run_on(1, || async {
        let log = Log::new();
        let group = Orphans::new();
        let spawner = group.spawner();
        let (guard, inside) = (log.on_drop("dropped"), log.clone());
        spawner.spawn(async move {
            let _guard = guard;
            inside.push("polled");
        })?;
        log.push("submitted");
        group.next().await.expect("a child")?;
        log.assert_is(&["submitted", "polled", "dropped"]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_group_that_was_dropped_hands_the_future_back() {
    run_on(2, || async {
        let group: Orphans<i32> = Orphans::new();
        let (local, remote) = (group.spawner(), group.send_spawner());
        drop(group);
        let back = local.spawn(ready(7)).expect_err("the group is gone").into_future();
        assert_eq!(back.await, 7);
        let error = remote.spawn(ready(7)).expect_err("the group is gone");
        assert!(matches!(error, SubmitError::Closed(_)));
        assert_eq!(error.to_string(), "the group was dropped, or its owner is ending");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_spawner_that_outlives_the_run_hands_the_future_back() {
    let kept: Arc<Mutex<Option<SendSpawner<()>>>> = Arc::default();
    let inside = Arc::clone(&kept);
    run_on(1, move || async move {
        let group = Orphans::new();
        *inside.lock().unwrap() = Some(group.send_spawner());
        Ok(())
    })
    .unwrap();
    let spawner = kept.lock().unwrap().take().expect("it was kept");
    assert!(matches!(spawner.spawn(ready(())), Err(SubmitError::Closed(_))));
}

#[test]
fn an_owner_that_is_ending_gets_no_more_children() {
    run_on(1, || async {
        let log = Log::new();
        let (inside, result) = (log.clone(), log.clone());
        let owner = spawn(async move {
            struct OnDrop(Spawner<()>, Log);
            impl Drop for OnDrop {
                fn drop(&mut self) {
                    let future = async { unreachable!("it is not accepted") };
                    self.1.push(format!("{:?}", self.0.spawn(future)));
                }
            }
            let group = Orphans::new();
            let _on_drop = OnDrop(group.spawner(), result);
            inside.push("waiting");
            pending::<()>().await;
        });
        log.is_written().await;
        assert!(owner.cancel().await.is_none());
        log.assert_is(&["waiting", "Err(Closed(..))"]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn futures_for_an_owner_that_has_ended_are_dropped_unpolled() {
    run_on(1, || async {
        let drops = Counter::new();
        let group: Arc<Mutex<Option<SendSpawner<()>>>> = Arc::default();
        let inside = Arc::clone(&group);
        let owner = spawn(async move {
            let orphans = Orphans::new();
            *inside.lock().unwrap() = Some(orphans.send_spawner());
            leak(orphans);
        });
        owner.await?;
        let spawner = group.lock().unwrap().take().expect("it was kept");
        let counted = CountsDrop(drops.clone());
        let accepted = spawner.spawn(async move {
            let _counted = counted;
            unreachable!("its parent has ended");
        });
        assert!(accepted.is_ok(), "the group was leaked, not dropped");
        drops.reaches(1).await;
        assert!(matches!(spawner.spawn(async {}), Err(SubmitError::Closed(_))));
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_children_of_a_spawner_are_cancelled_with_the_group() {
    let findings = Findings::new();
    let line = line!() + 4;
    let result = run_with(findings.of(Builder::new().domains(1)), || async {
        let task = spawn(async {
            let group: Orphans<()> = Orphans::new();
            group.spawner().spawn(pending()).expect("the group is open");
            // Dropped by the last poll: the submitted future is a child, and is forgotten.
        });
        task.await?;
        Ok(())
    });
    result.unwrap();
    assert_eq!(findings.forgotten(), [(line, 1)]);
}

#[test]
fn a_failure_is_returned_by_the_group() {
    run_on(1, || async {
        let group: Orphans<(), &str> = Orphans::new();
        group.spawner().try_spawn(ready(Err("on purpose")))?;
        group.send_spawner().try_spawn(ready(Err("on purpose")))?;
        for _ in 0..2 {
            let outcome = group.next().await.expect("a child");
            assert_eq!(outcome.unwrap_err().into_failure(), Some("on purpose"));
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn only_the_owner_of_a_group_gets_a_spawner() {
    let result: Result<(), RunError> = run_on(1, || async {
        let group: Arc<Orphans<()>> = Arc::new(Orphans::new());
        Task::new().orphans(&*group).spawn(pending())?;
        let stranger = {
            let group = Arc::clone(&group);
            spawn(async move { group.spawner().spawn(ready(())).is_err() })
        };
        let _ = stranger.await;
        Err("the stranger has broken a rule".into())
    });
    assert!(result.is_err());
}

#[test]
fn outside_a_task_there_is_no_spawner() {
    let group: Orphans<()> = Orphans::new();
    let panic = catch_unwind(AssertUnwindSafe(|| drop(group.spawner())));
    assert!(panic.is_err());
}

#[test]
fn a_child_inherits_the_deadline_of_the_owner() {
    run_on(1, || async {
        let owner = deadline(now() + DEADLINE, async {
            let owner = spawn(async {
                let group = Orphans::new();
                let submit = || group.spawner().spawn(async { remaining().is_some() });
                // Started by the domain, and by the owner.
                submit().expect("the group is open");
                sleep(SHORT).await;
                let by_domain = group.next().await;
                submit().expect("the group is open");
                [by_domain, group.next().await].map(|outcome| matches!(outcome, Some(Ok(true))))
            });
            owner.await
        });
        assert_eq!(owner.await.expect("in time")?, [true, true]);
        Ok(())
    })
    .unwrap();
}

/// An accept loop as a newcomer writes it.
async fn accept_loop() -> Result<(), MainError> {
    enum Event {
        Accepted,
        Served,
    }
    let clients = Orphans::new();
    let (mut accepted, mut served, mut rounds) = (0, 0, 0);
    while served < 3 {
        rounds += 1;
        let accept = async {
            if accepted == 3 {
                pending::<()>().await;
            }
            sleep(SHORT).await;
            Event::Accepted
        };
        let join = async {
            let _ = clients.next_or_pending().await;
            Event::Served
        };
        match race(accept, join).await {
            Event::Accepted => {
                accepted += 1;
                Task::new().orphans(&clients).spawn(ready(()))?;
            }
            Event::Served => served += 1,
        }
    }
    assert!(rounds <= 6, "{rounds} rounds");
    Ok(())
}

#[test]
fn b16_an_accept_loop_does_not_spin_while_it_has_no_client() {
    run_on(1, accept_loop).unwrap();
    Check::simulated().run(SEEDS, accept_loop);
}

#[test]
fn b16_a_wait_for_an_empty_group_ends_with_a_child_that_comes_later() {
    let main = || async {
        let group = Orphans::new();
        let spawner = group.spawner();
        let submits = spawn(async move {
            sleep(SHORT).await;
            spawner.spawn(async { sleep(SHORT).await }).is_ok()
        });
        group.next_or_pending().await?;
        assert!(submits.await?);
        assert!(group.next().await.is_none());
        Ok::<_, MainError>(())
    };
    run_on(1, main).unwrap();
    Check::simulated().run(SEEDS, main);
}

#[test]
fn an_accept_loop_on_a_group_is_send() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    run_on(1, || async {
        let group: Orphans<()> = Orphans::new();
        // A future that waits for a group can be used where a library requires `Send`.
        is_send(async { drop(group.next().await) }).await;
        Ok(())
    })
    .unwrap();
}
