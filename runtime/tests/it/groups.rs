//! Goal: groups cancel single children and all of them, contain shields, discard outcomes, and make
//! spawning wait.
//! Method: strict runs, on threads and simulated; counters of tasks and of wake-ups.

use std::future::{Future, pending, ready};
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use matou_runtime::test::Check;
use matou_runtime::{
    AtCapacity, Forgotten, MainError, Orphans, Task, TryNext, cancelled, join, live_tasks, race,
    select, sleep, spawn, timeout, yield_now,
};

use crate::support::{Counter, Log, Reports, run_on, run_with};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs a program on threads and simulated, strictly.
fn everywhere<F: Future<Output = Result<(), MainError>> + 'static>(
    program: impl Fn() -> F + Copy + Send + Sync + 'static,
) {
    run_on(1, program).expect("the run succeeds");
    Check::simulated().run(0..10, program);
}

async fn yield_times(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

#[test]
fn one_child_of_a_group_is_cancelled_and_the_others_go_on() {
    everywhere(|| async {
        let group = Orphans::new();
        let ids: Vec<_> = (0..3)
            .map(|n| {
                group.spawn(async move {
                    sleep(HOUR).await;
                    n
                })
            })
            .collect();
        yield_times(2).await;
        assert!(group.cancel(ids[1]));
        assert!(group.next().await.unwrap().unwrap_err().is_cancelled());
        assert!(!group.cancel(ids[1]), "it has left the group");
        assert_eq!(group.len(), 2);
        assert_eq!(group.cancel_all(), 2);
        assert_eq!(group.cancel_all(), 2, "they have not ended");
        while let Some(outcome) = group.next().await {
            let error = outcome.unwrap_err();
            assert!(error.to_string().contains("groups.rs"), "{error}");
        }
        assert_eq!(group.cancel_all(), 0);
        Ok(())
    });
}

#[test]
fn a_complete_child_of_a_group_keeps_its_value_when_it_is_cancelled() {
    everywhere(|| async {
        let group = Orphans::new();
        let id = group.spawn(ready(7));
        while live_tasks() > 1 {
            yield_now().await;
        }
        assert!(!group.cancel(id));
        assert_eq!(group.next().await.unwrap()?, 7);
        Ok(())
    });
}

#[test]
fn submitted_futures_are_cancelled_with_the_group() {
    everywhere(|| async {
        let group = Orphans::new();
        group.spawner().spawn(async { unreachable!("it does not start") }).unwrap();
        assert_eq!(group.cancel_all(), 1);
        assert!(group.next().await.unwrap().unwrap_err().is_cancelled());
        Ok(())
    });
}

#[test]
fn only_the_owner_cancels_the_children_of_a_group() {
    use matou_runtime::{RunError, Violation};
    let result = run_on(1, || async {
        let group = Rc::new(Orphans::new());
        group.spawn(pending::<()>());
        let stranger = Rc::clone(&group);
        let _ = spawn(async move { stranger.cancel_all() }).await;
        pending::<Result<(), MainError>>().await
    });
    let Err(RunError::Violated(report)) = result else { panic!("{result:?}") };
    assert!(matches!(report.violations()[0], Violation::NotAChild { .. }));
}

#[test]
fn a_shield_in_a_group_observes_the_request_and_ends_by_itself() {
    everywhere(|| async {
        let log = Log::new();
        for drops in [false, true] {
            let group = Orphans::<&str, &str>::new();
            let child = log.clone();
            Task::new().orphans(&group).try_shield(async move {
                child.push("begins");
                cancelled().await;
                yield_times(5).await;
                child.push("ends");
                Ok("saved")
            })?;
            while log.entries().last().is_none_or(|last| last != "begins") {
                yield_now().await;
            }
            if drops {
                race(
                    async {
                        let _group = group;
                        pending().await
                    },
                    yield_now(),
                )
                .await;
                while live_tasks() > 1 {
                    yield_now().await;
                }
            } else {
                assert_eq!(group.cancel_all(), 1);
                assert_eq!(group.next().await.unwrap().unwrap(), "saved");
            }
        }
        log.assert_is(&["begins", "ends", "begins", "ends"]);
        Ok(())
    });
}

#[test]
fn a_group_is_a_stream() {
    everywhere(|| async {
        let mut group = Orphans::new();
        assert!(group.next().await.is_none());
        for n in 0..5 {
            group.spawn(async move {
                yield_times(n).await;
                n
            });
        }
        let (mut sum, mut polls) = (0, 0);
        while let Some(outcome) = StreamExt::next(&mut group).await {
            sum += outcome?;
            polls += 1;
        }
        assert_eq!((sum, polls), (10, 5));
        group.spawn(ready(7));
        let outcomes: Vec<_> = group.collect().await;
        assert_eq!(outcomes.len(), 1);
        Ok(())
    });
}

#[test]
fn a_full_group_refuses_a_child_with_an_error_that_any_error_can_be_made_of() {
    everywhere(|| async {
        let group = Orphans::with_limit(1);
        let local = Rc::new(1);
        let spawned = |group: &Orphans<i32>| -> Result<(), MainError> {
            let local = Rc::clone(&local);
            Task::new().orphans(group).spawn(async move { *local })?;
            Ok(())
        };
        spawned(&group)?;
        assert!(spawned(&group).unwrap_err().is::<AtCapacity>());
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            group.spawn(ready(2));
        }));
        assert!(failed.is_err());
        assert_eq!(group.next().await.unwrap()?, 1);
        Ok(())
    });
}

#[test]
fn spawning_waits_until_the_group_has_room() {
    everywhere(|| async {
        let group = Orphans::with_limit(2);
        let spawned = Counter::new();
        let spawn_all = async {
            for n in 0..6 {
                group
                    .spawn_when_free(async move {
                        yield_times(n % 3).await;
                        n
                    })
                    .await;
                spawned.add();
                assert!(group.len() <= 2);
            }
        };
        let take_all = async {
            let mut sum = 0;
            for _ in 0..6 {
                assert!(spawned.get() < 7);
                sum += group.next_or_pending().await.unwrap();
            }
            sum
        };
        let ((), sum) = join!(spawn_all, take_all);
        assert_eq!(sum, 15);
        // A wait that is dropped spawns nothing and leaves no waker behind.
        let full = Orphans::with_limit(0);
        assert!(timeout(Duration::from_millis(1), full.spawn_when_free(ready(()))).await.is_err());
        assert!(full.is_empty());
        Ok(())
    });
}

#[test]
fn a_discarding_group_keeps_nothing_of_its_children_and_makes_room_by_itself() {
    everywhere(|| async {
        let group = Orphans::with_limit(3).discarding();
        let dropped = Log::new();
        for n in 0..20 {
            let guard = dropped.on_drop("value");
            group
                .spawn_when_free(async move {
                    yield_times(n % 4).await;
                    guard
                })
                .await;
            assert!(group.len() <= 3 && live_tasks() <= 4);
        }
        assert!(matches!(group.care(), TryNext::Pending));
        assert!(Orphans::take(&group).is_none());
        assert!(group.next().await.is_none(), "when the last one has ended");
        assert_eq!((dropped.entries().len(), live_tasks()), (20, 1));
        assert!(matches!(group.care(), TryNext::Empty));
        // Submitted children are discarded, too.
        let guard = dropped.on_drop("submitted");
        group.spawner().spawn(async move { guard }).unwrap();
        assert!(group.next().await.is_none());
        assert_eq!(dropped.position("submitted"), 20);
        Ok(())
    });
}

#[test]
fn the_children_of_a_discarding_group_are_cancelled_one_by_one_and_when_it_is_dropped() {
    everywhere(|| async {
        let log = Log::new();
        let group = Orphans::new().discarding();
        let ids: Vec<_> = (0..3)
            .map(|_| {
                let guard = log.on_drop("ended");
                group.spawn(async move {
                    let _guard = guard;
                    pending::<()>().await
                })
            })
            .collect();
        yield_times(3).await;
        assert!(group.cancel(ids[0]));
        while group.len() > 2 {
            yield_now().await;
        }
        log.assert_is(&["ended"]);
        select! {
            biased;
            () = async { let _group = group; pending().await } => {}
            () = yield_now() => {}
        }
        while live_tasks() > 1 {
            yield_now().await;
        }
        log.assert_is(&["ended"; 3]);
        Ok(())
    });
}

#[test]
fn a_discarding_group_that_is_dropped_on_another_thread_gives_its_children_up() {
    let (builder, reports) = Reports::collected();
    run_with(builder.domains(1), || async {
        let group = Orphans::new().discarding();
        group.spawn(pending::<()>());
        std::thread::spawn(move || drop(group)).join().unwrap();
        while live_tasks() > 1 {
            yield_now().await;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(reports.names(), [""; 0]);
}

#[test]
fn a_failure_in_a_discarding_group_is_reported() {
    let (builder, reports) = Reports::collected();
    run_with(builder.domains(1).forgotten(Forgotten::Report), || async {
        let group = Orphans::<(), &str>::new().discarding();
        group.try_spawn(async { Err("no disk") });
        group.next().await;
        Ok(())
    })
    .unwrap();
    assert_eq!(reports.unseen().1, ["it failed: no disk"]);
}

#[test]
fn a_discarding_group_with_children_that_the_last_poll_drops_is_forgotten() {
    let (builder, reports) = Reports::collected();
    run_with(builder.domains(1), || async {
        let group = Orphans::new().discarding();
        group.spawn(pending::<()>());
        Ok(())
    })
    .unwrap();
    assert_eq!(reports.names(), ["Forgotten"]);
}
