//! Goal: a daemon is cancelled when its parent and its siblings have ended, and need not be joined.
//! Method: strict runs, on threads and simulated, whose logs say which task ended first.

use std::future::{Future, pending};

use matou_runtime::test::Check;
use matou_runtime::{
    MainError, Task, call, cancelled, daemon, live_tasks, shield, spawn, try_spawn, yield_now,
};

use crate::support::{Log, Reports, run_on, run_with};

/// Runs a program on threads and simulated, strictly.
fn everywhere<F: Future<Output = Result<(), MainError>> + 'static>(
    program: impl Fn() -> F + Copy + Send + Sync + 'static,
) {
    run_on(2, program).expect("the run succeeds");
    Check::simulated().run(0..10, program);
}

async fn endless(log: Log, name: &'static str) {
    let _guard = log.on_drop(name);
    pending().await
}

#[test]
fn a_daemon_is_cancelled_when_its_parent_returns() {
    everywhere(|| async {
        let log = Log::new();
        let child = log.clone();
        spawn(async move {
            daemon(endless(child.clone(), "daemon"));
            Task::new().name("second").daemon(endless(child.clone(), "second"));
            yield_now().await;
            yield_now().await;
            child.push("returns");
        })
        .await?;
        let entries = log.entries();
        assert_eq!((&*entries[0], entries.len(), live_tasks()), ("returns", 3, 1));
        // Of `main`: the run ends although the daemon has not.
        daemon(pending::<()>());
        Ok(())
    });
}

#[test]
fn a_daemon_ends_after_its_siblings_however_the_parent_ends() {
    everywhere(|| async {
        for ending in 0..3 {
            let log = Log::new();
            let in_child = log.clone();
            let child = try_spawn(async move {
                daemon(endless(in_child.clone(), "daemon"));
                // Given up or cancelled with its parent, it needs the daemon until its end.
                let sibling = in_child.clone();
                let shielded = Task::new().shield(async move {
                    cancelled().await;
                    for _ in 0..5 {
                        yield_now().await;
                    }
                    sibling.push("sibling");
                });
                let remote = call(pending::<()>).unwrap();
                yield_now().await;
                yield_now().await;
                match ending {
                    0 => Err("failed"),
                    1 => {
                        drop((shielded, matou_runtime::abandon(remote)));
                        Ok(())
                    }
                    _ => {
                        in_child.push("waits");
                        remote.await.unwrap();
                        Ok(())
                    }
                }
            });
            if ending == 2 {
                log.is_written().await;
                child.cancel().await;
                log.assert_is(&["waits", "sibling", "daemon"]);
            } else {
                drop(child.await);
                log.assert_is(&["sibling", "daemon"]);
            }
            assert_eq!(live_tasks(), 1);
        }
        Ok(())
    });
}

#[test]
fn a_daemon_that_returns_before_its_parent_leaves_nothing_behind() {
    everywhere(|| async {
        daemon(async { 7 });
        let child = spawn(async {
            daemon(async {});
            daemon(pending::<()>());
            let _ = shield(yield_now()).await;
            yield_now().await;
        });
        child.await?;
        while live_tasks() > 1 {
            yield_now().await;
        }
        Ok(())
    });
}

#[test]
fn a_panic_of_a_daemon_is_reported() {
    let (builder, reports) = Reports::collected();
    run_with(builder.domains(1), || async {
        daemon(async { panic!("broken") });
        yield_now().await;
        Ok(())
    })
    .unwrap();
    assert!(reports.unseen().1[0].contains("broken"));
}

#[test]
fn a_thousand_daemons_end_with_their_parent() {
    run_on(1, || async {
        for _ in 0..1_000 {
            daemon(pending::<()>());
        }
        Ok(())
    })
    .unwrap();
}
