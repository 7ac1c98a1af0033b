//! R7 with the default settings: a resource whose handle outlives its owner passes to the parent.
//!
//! Method: each program runs on threads and under seeds, with the children on their parent's domain
//! and on others. Finalizers write into a log, and nothing may be reported that a test does not
//! expect.

use std::fmt;
use std::future::{Future, pending};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use matou_ownership::{Owned, current_ledger};
use matou_runtime::test::Check;
use matou_runtime::{
    Builder, Diagnostic, Finding, Leaks, MainError, RunError, Task, TaskError, Violations, sleep,
    spawn, transfer, yield_now,
};

use crate::support::*;

const SEEDS: u64 = 20;

/// What a run has reported.
type Reports = Arc<Mutex<Vec<Diagnostic>>>;

fn collect(reports: &Reports) -> impl Fn(&Diagnostic) + Send + Sync + 'static {
    let reports = reports.clone();
    move |diagnostic| {
        // On a busy machine any poll may be slow.
        if !matches!(diagnostic, Diagnostic::Finding(Finding::SlowPoll { .. })) {
            reports.lock().expect("not poisoned").push(diagnostic.clone());
        }
    }
}

/// Runs `main` with the default settings in each place, on threads and under seeds, and calls
/// `verify` with what happened.
#[track_caller]
fn runs<F>(
    main: impl Fn(Place, Log) -> F + Clone + Send + 'static,
    verify: impl Fn(Result<(), RunError>, Log, Vec<Diagnostic>),
) where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    for place in Place::BOTH {
        on_threads(place, main.clone(), &verify);
        for seed in 0..SEEDS {
            let (log, reports) = (Log::new(), Reports::default());
            let check = Check::simulated()
                .domains(place.domains())
                .violations(Violations::FailTask)
                .leaks(Leaks::AtRunEnd)
                .on_report(collect(&reports));
            let outcome = check.trial(seed, main(place, log.clone())).outcome;
            verify(outcome, log, take(&reports));
        }
    }
}

#[track_caller]
fn on_threads<F>(
    place: Place,
    main: impl FnOnce(Place, Log) -> F + Send + 'static,
    verify: impl Fn(Result<(), RunError>, Log, Vec<Diagnostic>),
) where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    let (log, reports) = (Log::new(), Reports::default());
    let builder = Builder::new().domains(place.domains()).on_report(collect(&reports));
    let main_log = log.clone();
    let result = run_with(builder, move || main(place, main_log));
    verify(result, log, take(&reports));
}

fn take(reports: &Reports) -> Vec<Diagnostic> {
    std::mem::take(&mut *reports.lock().expect("not poisoned"))
}

/// Asserts that the runs of `main` succeed, report nothing, and have these entries in their logs.
#[track_caller]
fn expect<F>(entries: &[&str], main: impl Fn(Place, Log) -> F + Clone + Send + 'static)
where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    runs(main, |result, log, reports| {
        succeeds(result);
        assert_silent(&reports);
        log.assert_is(entries);
    });
}

#[track_caller]
fn succeeds<T>(result: Result<T, RunError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn assert_silent(reports: &[impl fmt::Display]) {
    if let Some(report) = reports.first() {
        panic!("{report}");
    }
}

/// Yields until the log has an entry.
async fn logged(log: &Log, entry: &str) {
    while !log.entries().iter().any(|logged| logged == entry) {
        yield_now().await;
    }
}

/// How the owner of a resource ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Normal,
    Failed,
    Panicked,
    Cancelled,
}

#[test]
fn r07_a_returned_resource_belongs_to_the_parent() {
    expect(&["used", "resource"], |place, log| async move {
        let child_log = log.clone();
        let child = place.spawn(move || async move { child_log.resource("resource") });
        let resource = child.await?;
        assert_eq!(*resource.get()?, "resource");
        log.push("used");
        drop(resource);
        Ok(())
    });
}

/// The shape of hyper's upgrades: the sender may end before the receiver has used the handle.
#[test]
fn b19_a_handle_sent_to_a_sibling_belongs_to_the_sibling_however_the_sender_ends() {
    for end in [End::Normal, End::Failed, End::Panicked, End::Cancelled] {
        expect(&["ended", "used", "resource", "end"], move |place, log| async move {
            let (sender, receiver) = oneshot::channel::<Owned<&'static str>>();
            let (resume, resumed) = oneshot::channel::<()>();
            let receiver_log = log.clone();
            let receiver = place.spawn(move || async move {
                let mut resource = receiver.await.expect("it is sent");
                resumed.await.expect("the sender has ended");
                assert_eq!(*resource.get_mut().expect("it is alive"), "resource");
                receiver_log.push("used");
            });
            let sent = Counter::new();
            let (sender_log, sender_sent) = (log.clone(), sent.clone());
            let owner = place.try_spawn(move || async move {
                assert!(sender.send(sender_log.resource("resource")).is_ok());
                sender_sent.add();
                match end {
                    End::Normal => Ok(()),
                    End::Failed => Err("on purpose"),
                    End::Panicked => panic!("on purpose"),
                    End::Cancelled => pending().await,
                }
            });
            sent.reaches(1).await;
            match end {
                End::Cancelled => assert!(owner.cancel().await.is_none()),
                _ => assert_eq!(owner.await.is_ok(), end == End::Normal),
            }
            log.push("ended");
            resume.send(()).expect("the receiver waits");
            receiver.await?;
            log.push("end");
            Ok(())
        });
    }
}

#[test]
fn r07_an_inherited_resource_is_used_by_shared_reference_by_the_next_task() {
    expect(&["used", "resource"], |place, log| async move {
        let maker_log = log.clone();
        let maker = place.spawn(move || async move { Arc::new(maker_log.resource("resource")) });
        let shared = maker.await?;
        let user_log = log.clone();
        let user = place.spawn(move || async move {
            assert_eq!(*shared.get().expect("no task has used it since"), "resource");
            user_log.push("used");
        });
        user.await?;
        Ok(())
    });
}

#[test]
fn r07_a_resource_passes_through_generations_of_ended_owners() {
    fn descend(place: Place, log: Log, depth: usize) -> futures::future::BoxFuture<'static, ()> {
        // Each of the tasks owns the resource for a moment, by inheritance.
        Box::pin(async move {
            match depth {
                0 => leak(log.resource("leaked")),
                _ if depth.is_multiple_of(2) => {
                    let child = spawn(descend(place, log, depth - 1));
                    child.await.expect("no task fails");
                }
                _ => {
                    let child = place.spawn(move || descend(place, log, depth - 1));
                    child.await.expect("no task fails");
                }
            }
        })
    }
    runs(
        |place, log| async move {
            let child_log = log.clone();
            spawn(async move { descend(place, child_log, 6).await }).await?;
            assert!(log.is_empty(), "the root owns it");
            Ok(())
        },
        |result, log, reports| {
            succeeds(result);
            log.assert_is(&["leaked"]);
            assert!(matches!(&reports[..], [Diagnostic::Finding(Finding::ResourceAlive { .. })]));
        },
    );
}

#[test]
fn r07_what_is_alive_at_the_end_of_the_run_is_finalized_and_a_finding_names_its_owners() {
    static STORE: Mutex<Vec<Owned<&'static str>>> = Mutex::new(Vec::new());
    let line = line!() + 4;
    runs(
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
            let (log, reports) = (Log::new(), Reports::default());
            let builder = Builder::new().domains(1).leaks(leaks).on_report(collect(&reports));
            let main_log = log.clone();
            let result = run_with(builder, move || async move {
                let resource = main_log.resource("resource");
                transfer(&resource)?;
                leak(resource);
                if fails { Err("on purpose".into()) } else { Ok(()) }
            });
            log.assert_is(&["resource"]);
            let names: Vec<_> = take(&reports).iter().map(|report| report.name()).collect();
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
    expect(&["received", "closed", "main goes on"], |place, log| async move {
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
        expect(&["closed", "received"], move |place, log| async move {
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
        on_threads(place, main, |result, log, reports| {
            succeeds(result);
            assert_silent(&reports);
            log.assert_is(&["closed", "main goes on"]);
        });
    }
}

#[test]
fn r07_the_end_of_the_owner_waits_for_the_finalizer_also_if_it_is_cancelled() {
    for end in [End::Normal, End::Failed, End::Panicked, End::Cancelled] {
        expect(&["dropped", "closed", "ended"], move |place, log| async move {
            let dropped = Counter::new();
            let (owner_log, owner_dropped) = (log.clone(), dropped.clone());
            let owner = place.try_spawn(move || async move {
                let child_log = owner_log.clone();
                let resource = spawn(async move { child_log.slow_resource("closed", 30) }).await;
                owner_log.push("dropped");
                drop(resource);
                owner_dropped.add();
                match end {
                    End::Normal => Ok(()),
                    End::Failed => Err("on purpose"),
                    End::Panicked => panic!("on purpose"),
                    End::Cancelled => pending().await,
                }
            });
            dropped.reaches(1).await;
            match end {
                End::Cancelled => assert!(owner.cancel().await.is_none()),
                _ => assert_eq!(owner.await.is_ok(), end == End::Normal),
            }
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
        .on_report(collect(&reports));
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
    let names: Vec<_> = take(&reports).iter().map(|report| report.name()).collect();
    assert_eq!(names, ["FinalizerUnfinished"]);
}

#[test]
fn r08_a_panic_of_a_finalizer_of_a_running_task_is_the_outcome_of_the_task() {
    expect(&["the owner goes on", "ended"], |place, log| async move {
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
fn r07_a_task_with_strict_resources_must_not_leave_any() {
    runs(
        |place, log| async move {
            for fails in [false, true] {
                let child_log = log.clone();
                let body = async move {
                    let resource = child_log.resource("resource");
                    if fails { Err("on purpose") } else { Ok(resource) }
                };
                let outcome = Task::new().strict_resources().try_spawn(body).await;
                let is_violation = matches!(outcome, Err(TaskError::Violation(_)));
                assert_eq!(is_violation, !fails);
            }
            let child_log = log.clone();
            let task = Task::new().name("strict").strict_resources();
            let child = place.spawn_task(task, move || async move {
                leak(child_log.resource("leaked"));
            });
            assert!(matches!(child.await, Err(TaskError::Violation(_))));
            log.push("end");
            Ok(())
        },
        |result, log, reports| {
            succeeds(result);
            log.assert_is(&["resource", "resource", "leaked", "end"]);
            let names: Vec<_> = reports.iter().map(|report| report.name()).collect();
            assert_eq!(names, ["ResourceLeaked", "ResourceLeaked"]);
        },
    );
}

#[test]
fn r07_inherit_makes_an_exception_in_a_strict_run() {
    for fails in [false, true] {
        let log = Log::new();
        let main_log = log.clone();
        let check = Check::simulated().leaks(Leaks::AtTaskEnd);
        let trial = check.trial(3, async move {
            let (sender, receiver) = oneshot::channel();
            let child_log = main_log.clone();
            let child = Task::new().inherit().try_spawn(async move {
                assert!(sender.send(child_log.resource("resource")).is_ok());
                if fails { Err("on purpose") } else { Ok(()) }
            });
            assert_eq!(child.await.is_err(), fails);
            assert_eq!(*receiver.await?.get()?, "resource");
            main_log.push("used");
            Ok::<_, MainError>(())
        });
        succeeds(trial.outcome);
        log.assert_is(&["resource", "used"]);
    }
}

#[test]
fn r07_a_given_resource_follows_the_strict_rule() {
    runs(
        |place, log| async move {
            for fails in [false, true] {
                let shared = Arc::new(log.resource("given"));
                let theirs = shared.clone();
                let body = move || async move {
                    assert_eq!(*theirs.get().expect("it was given"), "given");
                    leak(theirs);
                    if fails { Err("on purpose") } else { Ok(()) }
                };
                let task = Task::new().give(&shared).give(&shared);
                let child = match place {
                    Place::Local => task.try_spawn(body()),
                    Place::Remote => task.try_call(body)?,
                };
                let outcome = child.await;
                assert_eq!(matches!(outcome, Err(TaskError::Violation(_))), !fails, "{outcome:?}");
                assert!(shared.get().is_err(), "it is finalized");
            }
            Ok(())
        },
        |result, log, reports| {
            succeeds(result);
            log.assert_is(&["given", "given"]);
            let names: Vec<_> = reports.iter().map(|report| report.name()).collect();
            assert_eq!(names, ["ResourceLeaked"]);
        },
    );
}

#[test]
fn f14_a_handle_that_was_moved_in_can_be_transferred_before_its_first_use() {
    expect(&["used", "resource"], |place, log| async move {
        let resource = log.resource("resource");
        let child = place.spawn(move || async move {
            transfer(&resource).expect("the handle was moved in");
            resource
        });
        let resource = child.await?;
        assert_eq!(*resource.get()?, "resource");
        log.push("used");
        Ok(())
    });
}

#[test]
fn r07_living_resources_of_one_line_are_a_finding() {
    let line = line!() + 6;
    runs_once(
        |place, log| async move {
            let mut kept = Vec::new();
            for _ in 0..1100 {
                let log = log.clone();
                let child = place.spawn(move || async move { log.resource("resource") });
                kept.push(child.await?);
            }
            assert_eq!(kept.len(), 1100);
            Ok(())
        },
        |result, log, reports| {
            succeeds(result);
            assert_eq!(log.entries().len(), 1100);
            let [Diagnostic::Finding(Finding::ResourcesAccumulate { resource, owner, .. })] =
                &reports[..]
            else {
                panic!("{reports:?}")
            };
            assert_eq!((resource.made_at.file(), resource.made_at.line()), (file!(), line));
            assert_eq!(owner.name.as_deref(), Some("main"));
        },
    );
}

/// As [`runs`], on threads only.
#[track_caller]
fn runs_once<F>(
    main: impl Fn(Place, Log) -> F + Clone + Send + 'static,
    verify: impl Fn(Result<(), RunError>, Log, Vec<Diagnostic>),
) where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    Place::BOTH.iter().for_each(|&place| on_threads(place, main.clone(), &verify));
}

/// A server whose connections end and leave their sockets to it, and which drops them.
#[test]
fn r07_the_ledger_of_a_long_lived_parent_does_not_grow_with_what_was_dropped() {
    runs_once(
        |place, _| async move {
            let count = match place {
                Place::Local => 100_000,
                Place::Remote => 10_000,
            };
            let closed = Counter::new();
            for number in 0..count {
                let (sender, receiver) = oneshot::channel();
                let child_closed = closed.clone();
                let child = place.spawn(move || async move {
                    let owned = Owned::with_async(child_closed, |closed| async move {
                        closed.add();
                    });
                    assert!(sender.send(owned).is_ok());
                });
                child.await?;
                drop(receiver.await?);
                if number % 100 == 99 {
                    closed.reaches(number + 1).await;
                }
            }
            let ledger = current_ledger().expect("main has inherited resources");
            assert!(ledger.len() <= 100 && ledger.capacity() <= 1024, "{}", ledger.capacity());
            Ok(())
        },
        |result, _, reports| {
            succeeds(result);
            assert_silent(&reports);
        },
    );
}

#[test]
fn r07_finalizers_run_newest_first_also_over_inherited_resources() {
    runs(
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
    for seed in 0..10_000_u64 {
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
    expect(&["closed", "end"], |place, log| async move {
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
