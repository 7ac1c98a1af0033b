//! R7 with the default settings: a resource whose handle outlives its owner passes to the parent.
//! `r07_inherited_finalizers` tests when such a resource is finalized.
//!
//! Method: each program runs on threads and under seeds, with the children on their parent's domain
//! and on others.

use std::sync::Arc;

use futures::channel::oneshot;
use matou_ownership::{Owned, current_ledger};
use matou_runtime::test::Check;
use matou_runtime::{Diagnostic, Finding, Leaks, MainError, Task, TaskError, spawn, transfer};

use crate::support::*;

#[test]
fn r07_a_returned_resource_belongs_to_the_parent() {
    default_runs_log(&["used", "resource"], |place, log| async move {
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
    for end in End::ALL {
        default_runs_log(&["ended", "used", "resource", "end"], move |place, log| async move {
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
                end.reach().await
            });
            sent.reaches(1).await;
            end.await_in(owner).await;
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
    default_runs_log(&["used", "resource"], |place, log| async move {
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
    in_default_runs(
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
fn r07_a_task_with_strict_resources_must_not_leave_any() {
    in_default_runs(
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
    in_default_runs(
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
    default_runs_log(&["used", "resource"], |place, log| async move {
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
    in_default_runs_on_threads(
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

/// A server whose connections end and leave their sockets to it, and which drops them.
#[test]
fn r07_the_ledger_of_a_long_lived_parent_does_not_grow_with_what_was_dropped() {
    in_default_runs_on_threads(
        |place, _| async move {
            let count = match place {
                Place::Local => fewer(100_000) as usize,
                Place::Remote => fewer(10_000) as usize,
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
