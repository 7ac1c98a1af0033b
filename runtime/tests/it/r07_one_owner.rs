//! R7: a resource is owned by one task at a time.
//!
//! Method: one test for each clause of the rule. Finalizers write into a log, which shows how often
//! and in which order they ran. Reports must name the lines.

use std::future::pending;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};

use matou_ownership::{Owned, OwnedError};
use matou_runtime::{
    Promise, RunError, Task, TaskInfo, Violation, disown, spawn, transfer, yield_now,
};

use crate::support::*;

type Shared = Arc<Owned<&'static str>>;

#[track_caller]
fn not_owner<T: std::fmt::Debug>(
    result: Result<T, RunError>,
) -> (TaskInfo, matou_ownership::NotOwner) {
    match violation(result) {
        Violation::NotOwner { task, error } => (task, error),
        other => panic!("another rule was violated:\n{other}"),
    }
}

#[test]
fn values_that_are_moved_and_dropped_need_no_extra_calls() {
    scenario(|place, log| async move {
        let made_here = log.resource("made by the parent");
        let child_log = log.clone();
        let child = place.spawn(move || async move {
            let resource = child_log.resource("made by the child");
            yield_now().await;
            drop(made_here);
            child_log.push("dropped");
            drop(resource);
        });
        child.await?;
        log.push("end");
        Ok(())
    })
    .expect(&["made by the parent", "dropped", "made by the child", "end"]);
}

#[test]
fn a_use_by_exclusive_reference_makes_the_user_the_owner() {
    let line = line!() + 2;
    let runs = scenario(|place, log| async move {
        let mut resource = log.resource("resource");
        assert_eq!(*resource.get_mut()?, "resource");
        let child = place.spawn_task(Task::new().name("taker"), move || async move {
            *resource.get_mut().expect("a move makes it ours") = "changed";
            // Use by shared reference proves ownership, and a leak report names the owner.
            assert_eq!(*resource.get().expect("the task owns it"), "changed");
            leak(resource);
        });
        child.await?;
        Ok(())
    })
    .runs();
    for run in runs {
        let (task, resources) = leaked(run.result);
        assert_eq!(task.name.as_deref(), Some("taker"));
        assert_eq!(resources[0].made_at.line(), line);
        run.log.assert_is(&["changed"]);
    }
}

#[test]
fn a_use_by_value_makes_the_user_the_owner() {
    scenario(|place, log| async move {
        let (released, kept) = (log.resource("released"), log.resource("kept"));
        let child = place.spawn(move || async move {
            released.release().await;
            kept.into_inner().map(str::len)
        });
        assert_eq!(child.await??, 4);
        Ok(())
    })
    .expect(&["released"]);
}

#[test]
fn a_resource_moved_back_and_forth_has_one_owner_at_a_time() {
    scenario(|place, log| async move {
        let mut resource = log.resource("resource");
        for _ in 0..10 {
            let child = place.spawn(move || async move {
                assert_eq!(*resource.get_mut().expect("a move makes it ours"), "resource");
                transfer(&resource).expect("the task owns it");
                resource
            });
            resource = child.await?;
            assert_eq!(*resource.get()?, "resource");
        }
        drop(resource);
        Ok(())
    })
    .expect(&["resource"]);
}

#[test]
fn a_use_by_shared_reference_without_ownership_is_reported() {
    let made = line!() + 2;
    let runs = scenario(|place, log| async move {
        let shared: Shared = Arc::new(log.resource("resource"));
        let (theirs, child_log) = (shared.clone(), log.clone());
        let child = place.spawn_task(Task::new().name("stranger"), move || async move {
            let used = theirs.get();
            assert!(matches!(used, Err(OwnedError::NotOwner(_))));
            drop(used);
            yield_now().await;
            child_log.push("the stranger is resumed");
        });
        child.await?;
        drop(shared);
        Ok(())
    })
    .runs();
    for run in runs {
        let (task, fault) = not_owner(run.result);
        assert_eq!(task.name.as_deref(), Some("stranger"));
        assert_eq!(fault.resource.made_at.line(), made);
        assert_eq!(fault.used_at.line(), made + 3);
        let owner = fault.owner.expect("it has one");
        assert_eq!(owner.name.as_deref(), Some("main"));
        run.log.assert_is(&["resource"]);
    }
}

#[test]
fn a_use_on_a_thread_outside_the_run_is_an_error_and_no_violation() {
    scenario(|_, log| async move {
        let shared: Shared = Arc::new(log.resource("resource"));
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || theirs.get().is_err());
        assert!(thread.join().expect("no panic"));
        Ok(())
    })
    .on_one_domain()
    .expect(&["resource"]);
}

#[test]
fn give_makes_the_child_the_owner() {
    scenario(|place, log| async move {
        let shared: Shared = Arc::new(log.resource("resource"));
        let (theirs, child_log) = (shared.clone(), log.clone());
        let child = place.spawn_task(Task::new().give(&shared), move || async move {
            assert_eq!(*theirs.get().expect("it was given"), "resource");
            child_log.push("used by the child");
            transfer(&theirs).expect("the task owns it");
        });
        child.await?;
        assert_eq!(*shared.get()?, "resource");
        log.push("used by the parent");
        Ok(())
    })
    .expect(&["used by the child", "used by the parent", "resource"]);
}

#[test]
fn a_child_that_does_not_drop_what_it_was_given_leaks_it() {
    let runs = scenario(|place, log| async move {
        let shared: Shared = Arc::new(log.resource("resource"));
        let task = Task::new().name("receiver").give(&shared);
        place.spawn_task(task, || async {}).await?;
        Ok(())
    })
    .runs();
    for run in runs {
        assert_eq!(leaked(run.result).0.name.as_deref(), Some("receiver"));
        run.log.assert_is(&["resource"]);
    }
}

#[test]
fn the_parent_may_not_use_what_it_has_given() {
    let runs = scenario(|place, log| async move {
        let shared: Shared = Arc::new(log.resource("resource"));
        let task = Task::new().name("owner").give(&shared);
        let child = place.spawn_task(task, pending::<()>);
        let used = shared.get().is_err();
        assert!(used);
        yield_now().await;
        child.cancel().await;
        Ok(())
    })
    .runs();
    for run in runs {
        let (task, fault) = not_owner(run.result);
        assert_eq!(task.name.as_deref(), Some("main"));
        let owner = fault.owner.expect("it has one");
        assert_eq!(owner.name.as_deref(), Some("owner"));
        run.log.assert_is(&["resource"]);
    }
}

#[test]
fn a_task_may_not_give_what_it_does_not_own() {
    let runs = scenario(|place, log| async move {
        let shared: Shared = Arc::new(log.resource("resource"));
        let theirs = shared.clone();
        let child = place.spawn_task(Task::new().name("giver"), move || async move {
            let receiver: Promise<()> = Task::new().give(&theirs).spawn(pending());
            receiver.await.expect("not resumed");
        });
        child.await?;
        drop(shared);
        Ok(())
    })
    .runs();
    for run in runs {
        let (task, _) = not_owner(run.result);
        assert_eq!(task.name.as_deref(), Some("giver"));
        run.log.assert_is(&["resource"]);
    }
}

#[test]
fn transfer_hands_a_resource_to_the_parent_however_the_child_ends() {
    for fails in [false, true] {
        scenario(move |place, log| async move {
            let shared: Shared = Arc::new(log.resource("resource"));
            let theirs = shared.clone();
            disown(&shared)?;
            let child = place.try_spawn(move || async move {
                transfer(&theirs).expect("the first use adopts it");
                if fails { Err("on purpose") } else { Ok(()) }
            });
            assert_eq!(child.await.is_err(), fails);
            assert_eq!(*shared.get()?, "resource");
            log.push("used by the parent");
            Ok(())
        })
        .expect(&["used by the parent", "resource"]);
    }
}

#[test]
fn a_resource_in_transit_may_not_be_used_and_the_report_says_so() {
    let runs = scenario(|place, log| async move {
        let child = place.spawn_task(Task::new().name("user"), move || async move {
            let resource = log.resource("resource");
            yield_now().await;
            transfer(&resource).expect("the task owns it");
            assert!(resource.get().is_err());
            resource
        });
        drop(child.await);
        Ok(())
    })
    .runs();
    for run in runs {
        let violation = violation(run.result);
        assert_eq!(violation.name(), "NotOwner");
        let text = violation.to_string();
        assert!(
            text.contains("= owner: in transit to the parent of task `user`, spawned"),
            "{text}"
        );
        run.log.assert_is(&["resource"]);
    }
}

#[test]
fn the_parent_owns_what_was_transferred_before_it_uses_it() {
    let runs = scenario(|place, log| async move {
        let parent = Task::new().name("parent").spawn(async move {
            let child = place.spawn(move || async move {
                let resource = log.resource("resource");
                transfer(&resource).expect("the task owns it");
                leak(resource);
            });
            child.await.expect("it does not fail");
        });
        parent.await?;
        Ok(())
    })
    .runs();
    for run in runs {
        assert_eq!(leaked(run.result).0.name.as_deref(), Some("parent"));
        run.log.assert_is(&["resource"]);
    }
}

#[test]
fn a_resource_returned_without_transfer_is_leaked_and_the_report_says_so() {
    let line = line!() + 3;
    let runs = scenario(|place, log| async move {
        let maker = Task::new().name("maker");
        let child = place.spawn_task(maker, move || async move { log.resource("resource") });
        let resource = child.await?;
        assert!(resource.get().is_err(), "it is finalized");
        Ok(())
    })
    .runs();
    for run in runs {
        let violation = violation(run.result);
        let text = violation.to_string();
        assert!(text.contains("`transfer` it, or build the task with `inherit`"), "{text}");
        assert!(text.contains(&format!("made at {}:{line}:", file!())), "{text}");
        assert_eq!(violation.name(), "ResourceLeaked");
        run.log.assert_is(&["resource"]);
    }
}

#[test]
fn inherit_transfers_all_remaining_resources_at_a_normal_end() {
    scenario(|place, log| async move {
        let child_log = log.clone();
        let child = place.spawn_task(Task::new().inherit(), move || async move {
            drop(child_log.resource("dropped by the child"));
            [child_log.resource("first"), child_log.resource("second")]
        });
        let both = child.await?;
        assert_eq!(*both[0].get()?, "first");
        assert_eq!(*both[1].get()?, "second");
        log.push("used by the parent");
        Ok(())
    })
    .expect(&["dropped by the child", "used by the parent", "first", "second"]);
}

#[test]
fn the_first_task_to_use_a_disowned_resource_owns_it() {
    for leaks in [false, true] {
        let runs = scenario(move |place, log| async move {
            let (sender, receiver) = mpsc::channel::<Shared>();
            let consumer = place.spawn_task(Task::new().name("consumer"), move || async move {
                let shared = loop {
                    match receiver.try_recv() {
                        Ok(shared) => break shared,
                        Err(_) => yield_now().await,
                    }
                };
                assert_eq!(*shared.get().expect("the first use adopts it"), "resource");
                if leaks {
                    leak(shared);
                }
            });
            let producer = place.spawn(move || async move {
                let shared: Shared = Arc::new(log.resource("resource"));
                disown(&shared).expect("the task owns it");
                sender.send(shared).is_ok()
            });
            assert!(producer.await?);
            consumer.await?;
            Ok(())
        })
        .runs();
        for run in runs {
            run.log.assert_is(&["resource"]);
            if leaks {
                assert_eq!(leaked(run.result).0.name.as_deref(), Some("consumer"));
            } else {
                run.value();
            }
        }
    }
}

#[test]
fn a_resource_sent_without_disown_still_belongs_to_the_sender() {
    let result = run_on(1, || async {
        let log = Log::new();
        let (sender, receiver) = mpsc::channel::<Shared>();
        let producer = spawn(async move {
            let shared: Shared = Arc::new(log.resource("resource"));
            let kept = shared.clone();
            sender.send(shared).expect("there is a receiver");
            pending::<()>().await;
            drop(kept);
        });
        let consumer = Task::new().name("consumer").spawn(async move {
            let shared = receiver.recv().expect("it was sent before");
            drop(shared.get());
        });
        consumer.await?;
        producer.cancel().await;
        Ok(())
    });
    let (task, _) = not_owner(result);
    assert_eq!(task.name.as_deref(), Some("consumer"));
}

#[test]
fn a_resource_moved_to_another_domain_is_finalized_there() {
    scenario(|place, _| async move {
        let threads = Arc::<Mutex<Vec<ThreadId>>>::default();
        let (finalized_on, used_on) = (threads.clone(), threads.clone());
        let mut resource = Owned::new((), move |()| {
            let mut threads = finalized_on.lock().expect("not poisoned");
            threads.push(thread::current().id());
        });
        let child = place.try_spawn(move || async move {
            resource.get_mut().expect("a move makes it ours");
            let here = thread::current().id();
            used_on.lock().expect("not poisoned").push(here);
            leak(resource);
            Err::<(), _>("on purpose")
        });
        assert!(child.await.is_err());
        let threads = threads.lock().expect("not poisoned").clone();
        assert_eq!(threads.len(), 2);
        assert_eq!(threads[0], threads[1]);
        Ok(())
    })
    .succeeds();
}
