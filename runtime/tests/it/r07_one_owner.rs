//! R7: a resource is owned by one task at a time.
//!
//! Method: one test for each sentence of the rule. Finalizers enter themselves into a log, so
//! that once and in which order can be seen; reports have to name the lines.

use std::future::pending;
use std::sync::{Arc, Mutex, mpsc};

use matou_ownership::{Owned, OwnedError, ResourceInfo};
use matou_runtime::{
    MainError, Promise, RunError, Task, TaskError, TaskInfo, Violation, disown, spawn, transfer,
    yield_now,
};

use crate::support::*;

type Shared = Arc<Owned<&'static str>>;

#[track_caller]
fn leak<T: std::fmt::Debug>(result: Result<T, RunError>) -> (TaskInfo, Vec<ResourceInfo>) {
    match violation(result) {
        Violation::ResourceLeaked { task, resources } => (task, resources),
        other => panic!("another rule was broken:\n{other}"),
    }
}

#[track_caller]
fn not_owner<T: std::fmt::Debug>(
    result: Result<T, RunError>,
) -> (TaskInfo, matou_ownership::NotOwner) {
    match violation(result) {
        Violation::NotOwner { task, error } => (task, error),
        other => panic!("another rule was broken:\n{other}"),
    }
}

#[track_caller]
fn assert_fine<T: std::fmt::Debug>(result: Result<T, RunError>) -> T {
    result.unwrap_or_else(|error| panic!("no rule is broken:\n{error}"))
}

#[test]
fn ordinary_code_needs_no_ceremony() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        assert_fine(run_on(place.domains(), move || async move {
            let log = main_log;
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
        }));
        log.assert_is(&["made by the parent", "dropped", "made by the child", "end"]);
    }
}

#[test]
fn a_use_by_exclusive_reference_makes_the_user_the_owner() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let line = line!() + 2;
        let result = run_on(place.domains(), move || async move {
            let mut resource = main_log.resource("resource");
            assert_eq!(*resource.get_mut()?, "resource");
            let child = place.make(Task::new().name("taker"), move || async move {
                *resource.get_mut().expect("a move is a gift") = "changed";
                // Shared use shows that it is the owner now, and a leak shows whose it was.
                assert_eq!(*resource.get().expect("it is ours"), "changed");
                lose(resource);
            });
            child.await?;
            Ok(())
        });
        let (task, resources) = leak(result);
        assert_eq!(task.name.as_deref(), Some("taker"));
        assert_eq!(resources[0].made_at.line(), line);
        log.assert_is(&["changed"]);
    }
}

#[test]
fn a_use_by_value_makes_the_user_the_owner() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        assert_fine(run_on(place.domains(), move || async move {
            let (released, kept) = (main_log.resource("released"), main_log.resource("kept"));
            let child = place.spawn(move || async move {
                released.release().await;
                kept.into_inner().map(str::len)
            });
            assert_eq!(child.await??, 4);
            Ok(())
        }));
        log.assert_is(&["released"]);
    }
}

#[test]
fn a_resource_that_was_moved_back_and_forth_has_one_owner_at_a_time() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        assert_fine(run_on(place.domains(), move || async move {
            let mut resource = main_log.resource("resource");
            for _ in 0..10 {
                let child = place.spawn(move || async move {
                    assert_eq!(*resource.get_mut().expect("a gift"), "resource");
                    transfer(&resource).expect("it is ours");
                    resource
                });
                resource = child.await?;
                assert_eq!(*resource.get()?, "resource");
            }
            drop(resource);
            Ok(())
        }));
        log.assert_is(&["resource"]);
    }
}

#[test]
fn a_use_through_a_shared_reference_is_not_owner() {
    for place in Place::BOTH {
        let (log, resumed) = (Log::new(), Counter::new());
        let (main_log, after) = (log.clone(), resumed.clone());
        let made = line!() + 2;
        let result = run_on(place.domains(), move || async move {
            let shared: Shared = Arc::new(main_log.resource("resource"));
            let theirs = shared.clone();
            let child = place.make(Task::new().name("thief"), move || async move {
                let used = theirs.get();
                assert!(matches!(used, Err(OwnedError::NotOwner(_))));
                drop(used);
                yield_now().await;
                after.add();
            });
            child.await?;
            drop(shared);
            Ok(())
        });
        let (task, fault) = not_owner(result);
        assert_eq!(task.name.as_deref(), Some("thief"));
        assert_eq!(fault.resource.made_at.line(), made);
        assert_eq!(fault.used_at.line(), made + 3);
        let owner = fault.owner.expect("it has one");
        assert_eq!(owner.name.as_deref(), Some("main"));
        assert_eq!(resumed.get(), 0, "the thief is not resumed");
        log.assert_is(&["resource"]);
    }
}

#[test]
fn a_thread_outside_the_run_gets_an_error_and_nobody_is_blamed() {
    let log = Log::new();
    let main_log = log.clone();
    assert_fine(run_on(1, move || async move {
        let shared: Shared = Arc::new(main_log.resource("resource"));
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || theirs.get().is_err());
        assert!(thread.join().expect("no panic"));
        Ok(())
    }));
    log.assert_is(&["resource"]);
}

#[test]
fn give_at_spawn_makes_the_child_the_owner() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        assert_fine(run_on(place.domains(), move || async move {
            let log = main_log;
            let shared: Shared = Arc::new(log.resource("resource"));
            let (theirs, child_log) = (shared.clone(), log.clone());
            let child = place.make(Task::new().give(&shared), move || async move {
                assert_eq!(*theirs.get().expect("it was given"), "resource");
                child_log.push("used by the child");
                transfer(&theirs).expect("it is ours");
            });
            child.await?;
            assert_eq!(*shared.get()?, "resource");
            log.push("used by the parent");
            Ok(())
        }));
        log.assert_is(&["used by the child", "used by the parent", "resource"]);
    }
}

#[test]
fn what_was_given_to_a_child_is_leaked_by_the_child_if_it_keeps_it() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let shared: Shared = Arc::new(main_log.resource("resource"));
            let task = Task::new().name("keeper").give(&shared);
            place.make(task, || async {}).await?;
            Ok(())
        });
        assert_eq!(leak(result).0.name.as_deref(), Some("keeper"));
        log.assert_is(&["resource"]);
    }
}

#[test]
fn who_has_given_a_resource_away_is_not_its_owner() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let shared: Shared = Arc::new(main_log.resource("resource"));
            let task = Task::new().name("owner").give(&shared);
            let child = place.make(task, pending::<()>);
            let used = shared.get().is_err();
            assert!(used);
            yield_now().await;
            child.cancel().await;
            Ok(())
        });
        let (task, fault) = not_owner(result);
        assert_eq!(task.name.as_deref(), Some("main"));
        let owner = fault.owner.expect("it has one");
        assert_eq!(owner.name.as_deref(), Some("owner"));
        log.assert_is(&["resource"]);
    }
}

#[test]
fn what_is_not_ones_own_cannot_be_given() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let shared: Shared = Arc::new(main_log.resource("resource"));
            let theirs = shared.clone();
            let child = place.make(Task::new().name("giver"), move || async move {
                let receiver: Promise<()> = Task::new().give(&theirs).spawn(pending());
                receiver.await.expect("not resumed");
            });
            child.await?;
            drop(shared);
            Ok(())
        });
        let (task, _) = not_owner(result);
        assert_eq!(task.name.as_deref(), Some("giver"));
        log.assert_is(&["resource"]);
    }
}

#[test]
fn transfer_hands_a_resource_to_the_parent_however_the_child_ends() {
    for place in Place::BOTH {
        for fails in [false, true] {
            let log = Log::new();
            let main_log = log.clone();
            assert_fine(run_on(place.domains(), move || async move {
                let log = main_log;
                let shared: Shared = Arc::new(log.resource("resource"));
                let theirs = shared.clone();
                disown(&shared)?;
                let child = place.try_spawn(move || async move {
                    transfer(&theirs).expect("nobody's is ours");
                    if fails { Err("on purpose") } else { Ok(()) }
                });
                assert_eq!(child.await.is_err(), fails);
                assert_eq!(*shared.get()?, "resource");
                log.push("used by the parent");
                Ok(())
            }));
            log.assert_is(&["used by the parent", "resource"]);
        }
    }
}

#[test]
fn what_is_in_transit_is_nobodys_to_use_and_the_report_says_so() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let child = place.make(Task::new().name("hasty"), move || async move {
                let resource = main_log.resource("resource");
                yield_now().await;
                transfer(&resource).expect("it is ours");
                assert!(resource.get().is_err());
                resource
            });
            drop(child.await);
            Ok(())
        });
        let violation = violation(result);
        assert_eq!(violation.name(), "NotOwner");
        let text = violation.to_string();
        assert!(
            text.contains("= owner: in transit to the parent of task `hasty`, spawned"),
            "{text}"
        );
        log.assert_is(&["resource"]);
    }
}

#[test]
fn what_was_transferred_belongs_to_the_parent_before_its_first_use() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let parent = Task::new().name("parent").spawn(async move {
                let child = place.spawn(move || async move {
                    let resource = main_log.resource("resource");
                    transfer(&resource).expect("it is ours");
                    lose(resource);
                });
                child.await.expect("it does not fail");
            });
            parent.await?;
            Ok(())
        });
        assert_eq!(leak(result).0.name.as_deref(), Some("parent"));
        log.assert_is(&["resource"]);
    }
}

#[test]
fn what_is_returned_without_a_transfer_is_leaked_and_the_report_says_so() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let line = line!() + 4;
        let result = run_on(place.domains(), move || async move {
            let child = place.make(Task::new().name("maker"), move || async move {
                let log = main_log;
                log.resource("resource")
            });
            let resource = child.await?;
            assert!(resource.get().is_err(), "it is finalized");
            Ok(())
        });
        let violation = violation(result);
        let text = violation.to_string();
        assert!(text.contains("`transfer` it, or build the task with `inherit`"), "{text}");
        assert!(text.contains(&format!("made at {}:{line}:", file!())), "{text}");
        assert_eq!(violation.name(), "ResourceLeaked");
        log.assert_is(&["resource"]);
    }
}

#[test]
fn inherit_hands_all_that_is_left_to_the_parent_at_a_normal_end() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        assert_fine(run_on(place.domains(), move || async move {
            let log = main_log;
            let child_log = log.clone();
            let child = place.make(Task::new().inherit(), move || async move {
                drop(child_log.resource("dropped by the child"));
                [child_log.resource("first"), child_log.resource("second")]
            });
            let both = child.await?;
            assert_eq!(*both[0].get()?, "first");
            assert_eq!(*both[1].get()?, "second");
            log.push("used by the parent");
            Ok(())
        }));
        log.assert_is(&["dropped by the child", "used by the parent", "first", "second"]);
    }
}

#[test]
fn inherit_hands_nothing_over_at_an_abnormal_end() {
    let log = Log::new();
    let main_log = log.clone();
    assert_fine(run_on(1, move || async move {
        let log = main_log;
        let child_log = log.clone();
        let child = Task::new().inherit().try_spawn(async move {
            lose(child_log.resource("resource"));
            Err::<(), _>("on purpose")
        });
        assert!(child.await.is_err());
        log.push("end");
        Ok(())
    }));
    log.assert_is(&["resource", "end"]);
}

#[test]
fn disown_then_a_queue_then_the_first_use_adopts() {
    for place in Place::BOTH {
        for leaks in [false, true] {
            let log = Log::new();
            let main_log = log.clone();
            let result = run_on(place.domains(), move || async move {
                let (sender, receiver) = mpsc::channel::<Shared>();
                let consumer = place.make(Task::new().name("consumer"), move || async move {
                    let shared = loop {
                        match receiver.try_recv() {
                            Ok(shared) => break shared,
                            Err(_) => yield_now().await,
                        }
                    };
                    assert_eq!(*shared.get().expect("nobody's until its first use"), "resource");
                    if leaks {
                        lose(shared);
                    }
                });
                let producer = place.spawn(move || async move {
                    let shared: Shared = Arc::new(main_log.resource("resource"));
                    disown(&shared).expect("it is ours");
                    sender.send(shared).is_ok()
                });
                assert!(producer.await?);
                consumer.await?;
                Ok(())
            });
            if leaks {
                let (task, _) = leak(result);
                assert_eq!(task.name.as_deref(), Some("consumer"));
            } else {
                assert_fine(result);
            }
            log.assert_is(&["resource"]);
        }
    }
}

#[test]
fn without_disown_what_comes_through_a_queue_is_the_producers() {
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
fn a_forgotten_resource_is_finalized_once_and_reported_with_its_line() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let line = line!() + 4;
        let result = run_on(place.domains(), move || async move {
            let child = place.make(Task::new().name("forgetful"), move || async move {
                yield_now().await;
                lose(main_log.resource("resource"));
            });
            child.await?;
            Ok(())
        });
        let (task, resources) = leak(result);
        assert_eq!(task.name.as_deref(), Some("forgetful"));
        assert_eq!(task.domain == 0, place == Place::Here);
        assert_eq!(resources.len(), 1);
        assert_eq!((resources[0].made_at.file(), resources[0].made_at.line()), (file!(), line));
        log.assert_is(&["resource"]);
    }
}

#[test]
fn a_resource_in_a_static_is_finalized_once_and_reported_with_its_line() {
    static DRAWER: Mutex<Vec<Owned<&'static str>>> = Mutex::new(Vec::new());
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let line = line!() + 3;
        let result = run_on(place.domains(), move || async move {
            let child = place.spawn(move || async move {
                let resource = main_log.resource("resource");
                DRAWER.lock().expect("nobody panicked").push(resource);
            });
            child.await?;
            Ok(())
        });
        let (_, resources) = leak(result);
        assert_eq!(resources[0].made_at.line(), line);
        log.assert_is(&["resource"]);
        // The handle is still there; dropping it finalizes nothing again.
        assert_eq!(DRAWER.lock().expect("nobody panicked").drain(..).count(), 1);
        log.assert_is(&["resource"]);
    }
}

#[test]
fn a_resource_in_a_cycle_is_finalized_once_and_reported_with_its_line() {
    struct Node {
        _resource: Owned<&'static str>,
        _next: Mutex<Option<Arc<Node>>>,
    }
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let line = line!() + 3;
        let result = run_on(place.domains(), move || async move {
            let child = place.spawn(move || async move {
                let resource = main_log.resource("resource");
                let node = Arc::new(Node { _resource: resource, _next: Mutex::default() });
                *node._next.lock().expect("nobody panicked") = Some(node.clone());
                // Only that the leak detector does not take the cycle for a fault of ours.
                lose(Arc::as_ptr(&node));
            });
            child.await?;
            Ok(())
        });
        let (_, resources) = leak(result);
        assert_eq!(resources[0].made_at.line(), line);
        log.assert_is(&["resource"]);
    }
}

#[test]
fn main_leaks_like_any_other_task() {
    let log = Log::new();
    let main_log = log.clone();
    let result = run_on(1, move || async move {
        lose(main_log.resource("resource"));
        Ok(())
    });
    assert_eq!(leak(result).0.name.as_deref(), Some("main"));
    log.assert_is(&["resource"]);
}

#[test]
fn several_leaks_are_finalized_newest_first_and_all_reported() {
    for place in Place::BOTH {
        let log = Log::new();
        let main_log = log.clone();
        let result = run_on(place.domains(), move || async move {
            let child = place.spawn(move || async move {
                for name in ["1", "2", "3", "4"] {
                    lose(main_log.resource(name));
                }
                drop(main_log.resource("dropped"));
                lose(main_log.slow_resource("5", 10));
            });
            child.await?;
            Ok(())
        });
        assert_eq!(leak(result).1.len(), 5);
        log.assert_is(&["dropped", "5", "4", "3", "2", "1"]);
    }
}

#[test]
fn an_abnormal_end_finalizes_newest_first_each_once_and_is_no_violation() {
    for place in Place::BOTH {
        for how in ["fails", "panics", "is cancelled"] {
            let log = Log::new();
            let main_log = log.clone();
            assert_fine(run_on(place.domains(), move || async move {
                let begun = Counter::new();
                let child_begun = begun.clone();
                let child = place.try_spawn(move || async move {
                    for name in ["1", "2", "3"] {
                        lose(main_log.resource(name));
                    }
                    let _dropped_with_the_future = main_log.resource("local");
                    child_begun.add();
                    match how {
                        "fails" => Err("on purpose"),
                        "panics" => panic!("on purpose"),
                        _ => pending().await,
                    }
                });
                begun.reaches(1).await;
                if how == "is cancelled" {
                    assert_eq!(child.cancel().await, None);
                } else {
                    let outcome: Result<(), TaskError<&str>> = child.await;
                    assert!(outcome.is_err());
                }
                Ok(())
            }));
            log.assert_is(&["local", "3", "2", "1"]);
        }
    }
}

#[test]
fn a_resource_that_moved_to_another_domain_is_finalized_there_and_not_at_home() {
    for place in Place::BOTH {
        let threads = Arc::<Mutex<Vec<std::thread::ThreadId>>>::default();
        let (noted, main_noted) = (threads.clone(), threads);
        assert_fine(run_on(place.domains(), move || async move {
            let finalized_on = main_noted.clone();
            let mut resource = Owned::new((), move |()| {
                let mut threads = finalized_on.lock().expect("nobody panicked");
                threads.push(std::thread::current().id());
            });
            let child = place.try_spawn(move || async move {
                resource.get_mut().expect("a gift");
                let here = std::thread::current().id();
                main_noted.lock().expect("nobody panicked").push(here);
                lose(resource);
                Err::<(), _>("on purpose")
            });
            assert!(child.await.is_err());
            Ok::<_, MainError>(())
        }));
        let threads = noted.lock().expect("nobody panicked").clone();
        assert_eq!(threads.len(), 2);
        assert_eq!(threads[0], threads[1]);
    }
}
