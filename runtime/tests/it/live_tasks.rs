//! `live_tasks` counts the tasks of a run that have not completed.

use std::future::pending;
use std::sync::mpsc;
use std::time::Duration;

use matou_runtime::test::check;
use matou_runtime::{MainError, Orphans, Task, call, live_tasks, sleep, spawn, try_call};

use crate::support::*;

#[test]
fn there_are_no_tasks_outside_a_run() {
    assert_eq!(live_tasks(), 0);
    run_on(1, || async { Ok(()) }).unwrap();
    assert_eq!(live_tasks(), 0);
}

#[test]
fn spawned_tasks_are_counted_until_they_complete() {
    run_on(1, || async {
        assert_eq!(live_tasks(), 1);
        let ready = spawn(async {});
        let children: Vec<_> = (0..10).map(|_| spawn(pending::<()>())).collect();
        assert_eq!(live_tasks(), 12);
        ready.await?;
        assert_eq!(live_tasks(), 11);
        for child in children {
            child.cancel().await;
        }
        assert_eq!(live_tasks(), 1);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_completed_child_that_is_not_joined_is_not_counted() {
    run_on(1, || async {
        let children = Orphans::<_>::new();
        Task::new().orphans(&children).spawn(async {}).expect("there is no limit");
        assert_eq!(live_tasks(), 2);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(live_tasks(), 1);
        assert!(children.next().await.is_some());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_joined_call_and_its_descendants_are_not_counted() {
    run_on(3, || async {
        for _ in 0..200 {
            let calls = (0..4).map(|_| {
                call(|| async {
                    let nested = try_call(|| async {
                        spawn(async {}).await?;
                        Ok::<_, MainError>(())
                    });
                    let nested = nested.expect("there is another domain");
                    assert!(live_tasks() >= 2);
                    nested.await.is_ok()
                })
            });
            let calls: Vec<_> = calls.collect::<Result<_, _>>()?;
            for call in calls {
                assert!(call.await?);
            }
            assert_eq!(live_tasks(), 1);
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn tasks_that_live_on_another_domain_are_counted() {
    run_on(2, || async {
        let (sender, receiver) = mpsc::channel();
        let child = call(move || async move {
            let children: Vec<_> = (0..10).map(|_| spawn(pending::<()>())).collect();
            sender.send(()).expect("the receiver exists");
            sleep(Duration::MAX).await;
            drop(children);
        })?;
        receiver.recv()?;
        // The other domain publishes its count before it parks.
        while live_tasks() != 12 {
            sleep(Duration::from_millis(1)).await;
        }
        child.cancel().await;
        assert_eq!(live_tasks(), 1);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_simulated_run_counts_its_tasks() {
    check(0..50, || async {
        let calls = (0..5).map(|_| call(|| async { spawn(sleep(Duration::from_millis(5))).await }));
        let calls: Vec<_> = calls.collect::<Result<_, _>>()?;
        assert!(live_tasks() >= 6);
        for call in calls {
            call.await??;
        }
        assert_eq!(live_tasks(), 1);
        Ok::<_, MainError>(())
    });
}
