//! R2: only the direct parent of a task awaits or cancels it.
//!
//! Method: a promise is passed to a task that is not the parent, and that task uses it. The report
//! must name that task and the child, and the task must not be resumed.

use std::future::{Future, pending};
use std::sync::{Arc, Mutex, mpsc};

use matou_runtime::{
    MainError, Orphans, Promise, RunError, Task, Violation, await_all, await_first, await_one,
    spawn, try_spawn, yield_now,
};

use crate::support::*;

/// Passes a promise to another task.
type Slot<T> = Arc<Mutex<Option<Promise<T>>>>;

fn slot<T>() -> (Slot<T>, Slot<T>) {
    let slot: Slot<T> = Arc::default();
    (slot.clone(), slot)
}

fn put<T>(slot: &Slot<T>, promise: Promise<T>) {
    *slot.lock().expect("not poisoned") = Some(promise);
}

async fn take<T>(slot: &Slot<T>) -> Promise<T> {
    loop {
        let found = slot.lock().expect("not poisoned").take();
        match found {
            Some(promise) => return promise,
            None => yield_now().await,
        }
    }
}

/// An operation on the promise of another task's child.
#[derive(Clone, Copy, Debug)]
enum Use {
    Await,
    Cancel,
    AwaitAll,
    AwaitFirst,
    AwaitOne,
}

const USES: [Use; 5] = [Use::Await, Use::Cancel, Use::AwaitAll, Use::AwaitFirst, Use::AwaitOne];

async fn apply(how: Use, promise: Promise<()>) {
    match how {
        Use::Await => drop(promise.await),
        Use::Cancel => drop(promise.cancel().await),
        Use::AwaitAll => drop(await_all([promise]).await),
        Use::AwaitFirst => drop(await_first([promise]).await),
        Use::AwaitOne => drop(await_one(&mut vec![promise]).await),
    }
}

/// The name of the task that used the promise, and the line that spawned the child.
#[track_caller]
fn offender<T: std::fmt::Debug>(result: Result<T, RunError>) -> (String, u32) {
    match violation(result) {
        Violation::NotAChild { task, child, .. } => {
            assert_eq!(child.spawned_at.file(), file!());
            let name = task.name.as_deref().unwrap_or_default().to_owned();
            (name, child.spawned_at.line())
        }
        other => panic!("another rule was violated:\n{other}"),
    }
}

#[test]
fn a_sibling_may_neither_await_nor_cancel() {
    for how in USES {
        let line = line!() + 3;
        let runs = scenario(move |place, log| async move {
            let (ours, theirs) = slot();
            put(&ours, spawn(pending()));
            let stranger = place.spawn_task(Task::new().name("stranger"), move || async move {
                let promise = take(&theirs).await;
                apply(how, promise).await;
                log.push("resumed");
            });
            stranger.await?;
            Ok(())
        })
        .runs();
        for run in runs {
            assert_eq!(offender(run.result), ("stranger".to_owned(), line), "{how:?}");
            assert!(run.log.is_empty(), "{how:?}: the offender is not resumed");
        }
    }
}

#[test]
fn a_sibling_may_not_use_a_child_on_another_domain() {
    for how in USES {
        let line = line!() + 3;
        let result = run_on(3, move || async move {
            let (ours, theirs) = slot();
            put(&ours, Task::new().call(pending)?);
            let stranger = Task::new().name("stranger").spawn(async move {
                let promise = take(&theirs).await;
                apply(how, promise).await;
            });
            stranger.await?;
            Ok(())
        });
        assert_eq!(offender(result), ("stranger".to_owned(), line), "{how:?}");
    }
}

#[test]
fn a_grandparent_may_not_await_its_grandchild() {
    let line = line!() + 4;
    let runs = scenario(|place, _| async move {
        let (ours, theirs) = slot();
        let child = place.spawn(move || async move {
            let promise = spawn(pending::<()>());
            put(&theirs, promise);
            pending::<()>().await;
        });
        let promise = take(&ours).await;
        drop(promise.await);
        child.await?;
        Ok(())
    })
    .runs();
    for run in runs {
        assert_eq!(offender(run.result), ("main".to_owned(), line));
    }
}

#[test]
fn a_promise_that_outlives_the_parent_may_be_used_by_no_task() {
    for how in USES {
        let line = line!() + 4;
        let runs = scenario(move |place, _| async move {
            let (ours, theirs) = slot();
            let child = place.try_spawn(move || async move {
                let promise = spawn(async {});
                put(&theirs, promise);
                Err::<(), _>("on purpose")
            });
            assert!(child.await.is_err());
            // A new task that reuses the slot of the old parent is not its parent.
            let other = spawn(async {});
            apply(how, take(&ours).await).await;
            other.await?;
            Ok(())
        })
        .runs();
        for run in runs {
            assert_eq!(offender(run.result), ("main".to_owned(), line), "{how:?}");
        }
    }
}

#[test]
fn a_task_of_another_run_is_not_the_parent() {
    let (sender, receiver) = mpsc::channel();
    let (finish, finished) = mpsc::channel::<()>();
    let line = line!() + 3;
    let owner = std::thread::spawn(move || {
        run_on(1, move || async move {
            let child: Promise<()> = spawn(pending());
            sender.send(child)?;
            finished.recv()?;
            Err::<(), MainError>("on purpose".into())
        })
        .is_err()
    });
    let promise = receiver.recv().expect("the other run sends it");
    // The main task of another run has the same slot and the same id.
    let result = run_on(1, move || async move {
        let ours = spawn(pending::<()>());
        drop(promise.await);
        ours.cancel().await;
        Ok(())
    });
    assert_eq!(offender(result), ("main".to_owned(), line));
    finish.send(()).expect("the other run waits");
    assert!(owner.join().expect("it does not panic"));
}

/// An operation on the task group of another task.
#[derive(Clone, Copy, Debug)]
enum Visit {
    Put,
    Next,
    TryNext,
    Take,
}

#[test]
fn a_group_belongs_to_the_task_that_used_it_first() {
    for visit in [Visit::Put, Visit::Next, Visit::TryNext, Visit::Take] {
        let resumed = Counter::new();
        let after = resumed.clone();
        let result = run_on(1, move || async move {
            let orphans = std::rc::Rc::new(Orphans::new());
            Task::new().orphans(&*orphans).spawn(pending::<()>())?;
            let theirs = orphans.clone();
            let stranger = Task::new().name("stranger").spawn(async move {
                match visit {
                    Visit::Put => drop(Task::new().orphans(&*theirs).spawn(async {})),
                    Visit::Next => drop(theirs.next().await),
                    Visit::TryNext => drop(theirs.care()),
                    Visit::Take => drop(theirs.take()),
                }
                yield_now().await;
                after.add();
            });
            stranger.await?;
            Ok(())
        });
        let report = report(result);
        let first = &report.violations()[0];
        assert_eq!(first.name(), "NotAChild", "{visit:?}: {report}");
        assert_eq!(first.task().name.as_deref(), Some("stranger"));
        assert_eq!(report.violations().len(), 1, "{visit:?}: {report}");
        assert_eq!(resumed.get(), 0, "{visit:?}: the offender is not resumed");
    }
}

#[test]
fn a_group_may_not_be_used_on_another_domain() {
    // `Orphans` is `Send`, but a task on another domain that holds it is not its owner.
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let result = run_on(2, || async {
        let orphans = Orphans::new();
        Task::new().orphans(&orphans).spawn(pending::<()>())?;
        let orphans = is_send(orphans);
        let stranger = Task::new().name("stranger").call(move || async move {
            drop(orphans.next().await);
        })?;
        stranger.await?;
        Ok(())
    });
    let report = report(result);
    assert_eq!(report.violations()[0].name(), "NotAChild", "{report}");
    assert_eq!(report.violations()[0].task().domain, 1);
}

#[test]
fn the_parent_may_await_from_inside_any_combinator() {
    run_on(3, || async {
        let waits: Vec<std::pin::Pin<Box<dyn Future<Output = bool>>>> = vec![
            Box::pin({
                let promise = spawn(async {});
                async move { promise.await.is_ok() }
            }),
            Box::pin({
                let promise = Task::new().call(|| async {})?;
                async move { promise.await.is_ok() }
            }),
        ];
        assert_eq!(futures::future::join_all(waits).await, [true, true]);
        let failed = try_spawn(async { Err::<(), _>("no") });
        let ended = futures::future::select(failed, pending::<()>()).await;
        assert!(matches!(ended, futures::future::Either::Left((Err(_), _))));
        Ok(())
    })
    .unwrap();
}
