//! R7: a resource that its task leaves behind is a leak, which is finalized and reported.
//!
//! Method: tasks leak resources in each possible way. Finalizers write into a log, and reports must
//! name the lines.

use std::future::pending;
use std::sync::{Arc, Mutex};

use matou_ownership::Owned;
use matou_runtime::{Task, TaskError, yield_now};

use crate::support::*;

#[test]
fn a_leaked_resource_is_finalized_once_and_reported_with_its_line() {
    let line = line!() + 4;
    let runs = scenario(|place, log| async move {
        let child = place.spawn_task(Task::new().name("leaker"), move || async move {
            yield_now().await;
            leak(log.resource("resource"));
        });
        child.await?;
        Ok(())
    })
    .runs();
    for run in runs {
        let (task, resources) = leaked(run.result);
        assert_eq!(task.name.as_deref(), Some("leaker"));
        assert_eq!(task.domain == 0, run.place == Place::Local);
        assert_eq!(resources.len(), 1);
        assert_eq!((resources[0].made_at.file(), resources[0].made_at.line()), (file!(), line));
        run.log.assert_is(&["resource"]);
    }
}

#[test]
fn a_resource_in_a_static_is_finalized_once_and_reported_with_its_line() {
    static STORE: Mutex<Vec<Owned<&'static str>>> = Mutex::new(Vec::new());
    let line = line!() + 3;
    let runs = scenario(|place, log| async move {
        let child = place.spawn(move || async move {
            let resource = log.resource("resource");
            STORE.lock().expect("not poisoned").push(resource);
        });
        child.await?;
        Ok(())
    })
    .runs();
    for run in runs {
        let (_, resources) = leaked(run.result);
        assert_eq!(resources[0].made_at.line(), line);
        run.log.assert_is(&["resource"]);
        // The handle still exists; dropping it does not finalize the resource again.
        assert_eq!(STORE.lock().expect("not poisoned").drain(..).count(), 1);
        run.log.assert_is(&["resource"]);
    }
}

#[test]
fn a_resource_in_a_cycle_is_finalized_once_and_reported_with_its_line() {
    struct Node {
        _resource: Owned<&'static str>,
        _next: Mutex<Option<Arc<Node>>>,
    }
    let line = line!() + 3;
    let runs = scenario(|place, log| async move {
        let child = place.spawn(move || async move {
            let resource = log.resource("resource");
            let node = Arc::new(Node { _resource: resource, _next: Mutex::default() });
            *node._next.lock().expect("not poisoned") = Some(node.clone());
            // Keeps the leak detector from reporting the cycle.
            leak(Arc::as_ptr(&node));
        });
        child.await?;
        Ok(())
    })
    .runs();
    for run in runs {
        let (_, resources) = leaked(run.result);
        assert_eq!(resources[0].made_at.line(), line);
        run.log.assert_is(&["resource"]);
    }
}

#[test]
fn main_leaks_like_any_other_task() {
    let runs = scenario(|_, log| async move {
        leak(log.resource("resource"));
        Ok(())
    })
    .on_one_domain()
    .runs();
    for run in runs {
        assert_eq!(leaked(run.result).0.name.as_deref(), Some("main"));
        run.log.assert_is(&["resource"]);
    }
}

#[test]
fn several_leaks_are_finalized_newest_first_and_all_reported() {
    let runs = scenario(|place, log| async move {
        let child = place.spawn(move || async move {
            for name in ["1", "2", "3", "4"] {
                leak(log.resource(name));
            }
            drop(log.resource("dropped"));
            leak(log.slow_resource("5", 10));
        });
        child.await?;
        Ok(())
    })
    .runs();
    for run in runs {
        assert_eq!(leaked(run.result).1.len(), 5);
        run.log.assert_is(&["dropped", "5", "4", "3", "2", "1"]);
    }
}

#[test]
fn an_abnormal_end_finalizes_each_resource_once_and_the_newest_first() {
    for how in ["fails", "panics", "is cancelled"] {
        scenario(move |place, log| async move {
            let begun = Counter::new();
            let child_begun = begun.clone();
            let child = place.try_spawn(move || async move {
                for name in ["1", "2", "3"] {
                    leak(log.resource(name));
                }
                let _dropped_with_the_future = log.resource("local");
                child_begun.add();
                match how {
                    "fails" => Err("on purpose"),
                    "panics" => panic!("on purpose"),
                    _ => pending().await,
                }
            });
            begun.reaches(1).await;
            if how == "is cancelled" {
                assert!(child.cancel().await.is_none());
            } else {
                let outcome: Result<(), TaskError<&str>> = child.await;
                assert!(outcome.is_err());
            }
            Ok(())
        })
        .expect(&["local", "3", "2", "1"]);
    }
}
