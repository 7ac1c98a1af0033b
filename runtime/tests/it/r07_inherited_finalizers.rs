//! R7 and R8 with the default settings: each resource that outlives its owner is finalized once,
//! when its handle is dropped or at the end of the run.
//!
//! Method: finalizers write into a log, and nothing may be reported that a test does not expect.

use std::future::pending;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use matou_ownership::Owned;
use matou_runtime::test::Check;
use matou_runtime::{
    Builder, Diagnostic, Finding, Leaks, MainError, RunError, Task, TaskError, Violations, sleep,
    spawn, transfer, yield_now,
};

use crate::support::*;

/// Yields until the log has an entry.
async fn logged(log: &Log, entry: &str) {
    while !log.entries().iter().any(|logged| logged == entry) {
        yield_now().await;
    }
}

#[test]
fn r07_what_is_alive_at_the_end_of_the_run_is_finalized_and_a_finding_names_its_owners() {
    static STORE: Mutex<Vec<Owned<&'static str>>> = Mutex::new(Vec::new());
    let line = line!() + 4;
    in_default_runs(
        |place, log| async move {
            let maker = place.spawn_task(Task::new().name("maker"), move || async move {
                log.resource("in a static")
            });
            let mut resource = maker.await?;
            let user = place.spawn_task(Task::new().name("user"), move || async move {
                *resource.get_mut().expect("it is alive") = "used";
                STORE.lock().expect("not poisoned").push(resource);
            });
            user.await?;
            Ok(())
        },
        |result, log, reports| {
            succeeds(result);
            log.assert_is(&["used"]);
            let [Diagnostic::Finding(Finding::ResourceAlive { leak, .. })] = &reports[..] else {
                panic!("{reports:?}")
            };
            assert_eq!(
                (leak.resource.made_at.file(), leak.resource.made_at.line()),
                (file!(), line)
            );
            let name = |owner: &Option<matou_ownership::OwnerInfo>| owner.clone()?.name;
            assert_eq!(name(&leak.first_owner).as_deref(), Some("maker"));
            assert_eq!(name(&leak.last_owner).as_deref(), Some("user"));
            let text = reports[0].to_string();
            assert!(text.contains("first owner: task `maker`"), "{text}");
            assert!(text.contains("last owner: task `user`"), "{text}");
            // The late drop of the handle does not finalize it again.
            STORE.lock().expect("not poisoned").clear();
            log.assert_is(&["used"]);
        },
    );
}

#[test]
fn f05_what_main_transfers_is_finalized_and_reported() {
    for fails in [false, true] {
        for leaks in [Leaks::AtRunEnd, Leaks::AtTaskEnd] {
            let log = Log::new();
            let (builder, reports) = Reports::collect(Builder::new().domains(1).leaks(leaks));
            let main_log = log.clone();
            let result = run_with(builder, move || async move {
                let resource = main_log.resource("resource");
                transfer(&resource)?;
                leak(resource);
                if fails { Err("on purpose".into()) } else { Ok(()) }
            });
            log.assert_is(&["resource"]);
            let names = reports.names();
            match (leaks, fails) {
                (Leaks::AtRunEnd, _) => assert_eq!(names, ["ResourceAlive"]),
                (_, false) => assert_eq!(names, ["ResourceLeaked"]),
                // An abnormal end may leave resources.
                _ => assert_eq!(names, [""; 0]),
            }
            let is_violated = matches!(result, Err(RunError::Violated(_)));
            assert_eq!(is_violated, names == ["ResourceLeaked"]);
        }
    }
}

#[test]
fn r07_an_asynchronous_finalizer_of_an_inherited_resource_runs_when_the_handle_is_dropped() {
    default_runs_log(&["received", "closed", "main goes on"], |place, log| async move {
        let child_log = log.clone();
        let child = place.spawn(move || async move { child_log.slow_resource("closed", 10) });
        let resource = child.await?;
        log.push("received");
        drop(resource);
        logged(&log, "closed").await;
        log.push("main goes on");
        Ok(())
    });
}

#[test]
fn r07_the_receiver_of_a_handle_runs_its_finalizer_when_it_drops_the_handle() {
    for uses in [false, true] {
        default_runs_log(&["closed", "received"], move |place, log| async move {
            let (sender, receiver) = oneshot::channel();
            let sender_log = log.clone();
            let owner = place.spawn(move || async move {
                sender.send(sender_log.slow_resource("closed", 10)).is_ok()
            });
            assert!(owner.await?);
            let receiver_log = log.clone();
            let receiver = place.spawn(move || async move {
                let mut resource = receiver.await.expect("it was sent");
                if uses {
                    drop(resource.get_mut().expect("it is alive"));
                    yield_now().await;
                }
                drop(resource);
                logged(&receiver_log, "closed").await;
                receiver_log.push("received");
            });
            receiver.await?;
            Ok(())
        });
    }
}

#[test]
fn r07_a_handle_dropped_on_a_thread_outside_the_run_is_finalized_by_its_owner() {
    for place in Place::BOTH {
        let main = |place: Place, log: Log| async move {
            let child_log = log.clone();
            let child = place.spawn(move || async move { child_log.slow_resource("closed", 10) });
            let resource = child.await?;
            thread::spawn(move || drop(resource)).join().map_err(|_| "the drop panicked")?;
            logged(&log, "closed").await;
            log.push("main goes on");
            Ok(())
        };
        default_run_on_threads(place, main, |result, log, reports| {
            succeeds(result);
            assert_silent(&reports);
            log.assert_is(&["closed", "main goes on"]);
        });
    }
}

#[test]
fn r07_the_end_of_the_owner_waits_for_the_finalizer_also_if_it_is_cancelled() {
    for end in End::ALL {
        default_runs_log(&["dropped", "closed", "ended"], move |place, log| async move {
            let dropped = Counter::new();
            let (owner_log, owner_dropped) = (log.clone(), dropped.clone());
            let owner = place.try_spawn(move || async move {
                let child_log = owner_log.clone();
                let resource = spawn(async move { child_log.slow_resource("closed", 30) }).await;
                owner_log.push("dropped");
                drop(resource);
                owner_dropped.add();
                end.reach().await
            });
            dropped.reaches(1).await;
            end.await_in(owner).await;
            log.push("ended");
            Ok(())
        });
    }
}

#[test]
fn r08_the_grace_period_bounds_a_finalizer_of_a_running_task() {
    let (log, reports) = (Log::new(), Reports::default());
    let check = Check::simulated()
        .violations(Violations::FailTask)
        .leaks(Leaks::AtRunEnd)
        .grace(Duration::from_secs(1))
        .on_report(reports.hook());
    let main_log = log.clone();
    let trial = check.trial(1, async move {
        let child_log = main_log.clone();
        let child = spawn(async move {
            Owned::with_async(child_log.on_drop("dropped"), |guard| async move {
                let _guard = guard;
                pending::<()>().await;
            })
        });
        drop(child.await?);
        sleep(Duration::from_secs(10)).await;
        main_log.push("main goes on");
        Ok::<_, MainError>(())
    });
    succeeds(trial.outcome);
    log.assert_is(&["dropped", "main goes on"]);
    assert_eq!(trial.elapsed.as_secs(), 10);
    let names = reports.names();
    assert_eq!(names, ["FinalizerUnfinished"]);
}

#[test]
fn r08_a_panic_of_a_finalizer_of_a_running_task_is_the_outcome_of_the_task() {
    default_runs_log(&["the owner goes on", "ended"], |place, log| async move {
        let owner_log = log.clone();
        let owner = place.spawn(move || async move {
            let child = spawn(async {
                Owned::with_async((), |()| async {
                    yield_now().await;
                    panic!("on purpose");
                })
            });
            drop(child.await);
            for _ in 0..50 {
                yield_now().await;
            }
            owner_log.push("the owner goes on");
        });
        match owner.await {
            Err(TaskError::Panicked(panic)) => {
                assert!(panic.message().ends_with("panicked: on purpose"), "{panic:?}");
            }
            other => panic!("{other:?}"),
        }
        log.push("ended");
        Ok(())
    });
}

#[test]
fn r07_finalizers_run_newest_first_also_over_inherited_resources() {
    in_default_runs(
        |place, log| async move {
            leak(log.resource("1"));
            for names in [["2", "3"], ["4", "5"]] {
                let child_log = log.clone();
                let child = place.spawn(move || async move {
                    leak(child_log.resource(names[0]));
                    leak(Owned::new((), |()| panic!("prevents no other finalizer")));
                    leak(child_log.slow_resource(names[1], 3));
                });
                child.await?;
            }
            leak(log.resource("6"));
            Ok(())
        },
        |result, log, _| {
            assert!(matches!(result, Err(RunError::Panicked(_))), "{result:?}");
            log.assert_is(&["6", "5", "4", "3", "2", "1"]);
        },
    );
}

/// Cancels a task at each of its steps between making a value and passing it on.
#[test]
fn b17_a_cancellation_between_making_and_owning_finalizes_once() {
    for seed in 0..fewer(10_000) {
        let (made, finalized) = (Counter::new(), Counter::new());
        let (make, count) = (made.clone(), finalized.clone());
        let leaks = if seed % 2 == 0 { Leaks::AtRunEnd } else { Leaks::AtTaskEnd };
        let place = Place::BOTH[(seed / 2 % 2) as usize];
        let check = Check::simulated().domains(place.domains()).leaks(leaks);
        let trial = check.trial(seed, async move {
            let parent = Task::new().inherit().spawn(async move {
                make.add();
                let mut owned = Owned::with_async(count, |count| async move {
                    yield_now().await;
                    count.add();
                });
                if seed % 3 == 0 {
                    yield_now().await;
                }
                let child = place.spawn_task(Task::new().inherit(), move || async move {
                    if seed % 5 == 0 {
                        owned.get_mut().map(drop).expect("it is alive");
                        yield_now().await;
                    }
                    if seed % 7 == 0 {
                        transfer(&owned).expect("it is alive");
                    }
                    owned
                });
                let owned = child.await.expect("it returns");
                yield_now().await;
                if seed % 11 != 0 {
                    return Some(owned);
                }
                drop(owned);
                yield_now().await;
                None
            });
            for _ in 0..seed % 17 {
                yield_now().await;
            }
            if seed % 4 == 0 {
                sleep(Duration::from_micros(seed % 5000)).await;
            }
            drop(parent.cancel().await);
            Ok::<_, MainError>(())
        });
        if let Err(error) = trial.outcome {
            panic!("seed {seed}: {error}");
        }
        // It may be cancelled before its first step, too.
        assert_eq!(finalized.get(), made.get(), "seed {seed}");
    }
}

/// The handle of a `call` that is dropped on its way: the resource in its outcome is finalized.
#[test]
fn r07_a_resource_in_an_outcome_that_no_task_takes_is_finalized() {
    default_runs_log(&["closed", "end"], |place, log| async move {
        let owner_log = log.clone();
        let owner = spawn(async move {
            let child_log = owner_log.clone();
            let child = place.spawn(move || async move { child_log.slow_resource("closed", 10) });
            // The child is cancelled, or has ended and nothing takes its outcome.
            for _ in 0..3 {
                yield_now().await;
            }
            child.cancel().await.map(drop)
        });
        if owner.await?.is_none() {
            // It was cancelled before it made the resource.
            log.push("closed");
        }
        log.push("end");
        Ok(())
    });
}
