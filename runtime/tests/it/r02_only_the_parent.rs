//! R2: only the direct parent awaits or cancels a promise.
//!
//! Method: a promise travels to a task that is not its parent, by each road there is, and that
//! task uses it. The report has to name the user and the child, and the user is not resumed.

use std::future::{Future, pending};
use std::sync::{Arc, Mutex, mpsc};

use matou_runtime::{
    MainError, Orphans, Promise, RunError, Task, Violation, await_all, await_first, await_one,
    spawn, try_spawn, yield_now,
};

use crate::support::*;

/// Where a promise is put so that another task finds it.
type Drawer<T> = Arc<Mutex<Option<Promise<T>>>>;

fn drawer<T>() -> (Drawer<T>, Drawer<T>) {
    let drawer: Drawer<T> = Arc::default();
    (drawer.clone(), drawer)
}

fn put<T>(drawer: &Drawer<T>, promise: Promise<T>) {
    *drawer.lock().expect("nobody panicked") = Some(promise);
}

async fn take<T>(drawer: &Drawer<T>) -> Promise<T> {
    loop {
        let found = drawer.lock().expect("nobody panicked").take();
        match found {
            Some(promise) => return promise,
            None => yield_now().await,
        }
    }
}

/// What is done with somebody else's promise.
#[derive(Clone, Copy, Debug)]
enum Use {
    Await,
    Cancel,
    AwaitAll,
    AwaitFirst,
    AwaitOne,
}

const USES: [Use; 5] = [Use::Await, Use::Cancel, Use::AwaitAll, Use::AwaitFirst, Use::AwaitOne];

async fn employ(how: Use, promise: Promise<()>) {
    match how {
        Use::Await => drop(promise.await),
        Use::Cancel => drop(promise.cancel().await),
        Use::AwaitAll => drop(await_all([promise]).await),
        Use::AwaitFirst => drop(await_first([promise]).await),
        Use::AwaitOne => drop(await_one(&mut vec![promise]).await),
    }
}

/// The name of the task that used what was not its own, and the line that made the child.
#[track_caller]
fn culprit<T: std::fmt::Debug>(result: Result<T, RunError>) -> (String, u32) {
    match violation(result) {
        Violation::NotAChild { task, child } => {
            assert_eq!(child.spawned_at.file(), file!());
            let name = task.name.as_deref().unwrap_or_default().to_owned();
            (name, child.spawned_at.line())
        }
        other => panic!("another rule was broken:\n{other}"),
    }
}

#[test]
fn a_sibling_neither_awaits_nor_cancels() {
    for place in Place::BOTH {
        for how in USES {
            let line = line!() + 5;
            let resumed = Counter::new();
            let after = resumed.clone();
            let result = run_on(place.domains(), move || async move {
                let (ours, theirs) = drawer();
                put(&ours, spawn(pending()));
                let thief = place.make(Task::new().name("thief"), move || async move {
                    let promise = take(&theirs).await;
                    employ(how, promise).await;
                    after.add();
                });
                thief.await?;
                Ok(())
            });
            assert_eq!(culprit(result), ("thief".to_owned(), line), "{how:?}");
            assert_eq!(resumed.get(), 0, "{how:?}: the thief is not resumed");
        }
    }
}

#[test]
fn the_child_on_another_domain_has_the_same_parent() {
    for how in USES {
        let line = line!() + 3;
        let result = run_on(3, move || async move {
            let (ours, theirs) = drawer();
            put(&ours, Task::new().call(pending)?);
            let thief = Task::new().name("thief").spawn(async move {
                let promise = take(&theirs).await;
                employ(how, promise).await;
            });
            thief.await?;
            Ok(())
        });
        assert_eq!(culprit(result), ("thief".to_owned(), line), "{how:?}");
    }
}

#[test]
fn a_grandparent_does_not_await_its_grandchild() {
    for place in Place::BOTH {
        let line = line!() + 4;
        let result = run_on(place.domains(), move || async move {
            let (ours, theirs) = drawer();
            let child = place.spawn(move || async move {
                let promise = spawn(pending::<()>());
                put(&theirs, promise);
                pending::<()>().await;
            });
            let promise = take(&ours).await;
            drop(promise.await);
            child.await?;
            Ok(())
        });
        assert_eq!(culprit(result), ("main".to_owned(), line));
    }
}

#[test]
fn a_promise_that_outlived_its_parent_is_nobodys() {
    for place in Place::BOTH {
        for how in USES {
            let line = line!() + 4;
            let result = run_on(place.domains(), move || async move {
                let (ours, theirs) = drawer();
                let child = place.try_spawn(move || async move {
                    let promise = spawn(async {});
                    put(&theirs, promise);
                    Err::<(), _>("an abnormal end forgets nothing")
                });
                assert!(child.await.is_err());
                // A new task in the old one's place must not be taken for it.
                let other = spawn(async {});
                employ(how, take(&ours).await).await;
                other.await?;
                Ok(())
            });
            assert_eq!(culprit(result), ("main".to_owned(), line), "{how:?}");
        }
    }
}

#[test]
fn the_task_of_another_run_is_no_parent() {
    let (sender, receiver) = mpsc::channel();
    let (finish, finished) = mpsc::channel::<()>();
    let line = line!() + 3;
    let owner = std::thread::spawn(move || {
        run_on(1, move || async move {
            let child: Promise<()> = spawn(pending());
            sender.send(child)?;
            finished.recv()?;
            Err::<(), MainError>("an abnormal end".into())
        })
        .is_err()
    });
    let promise = receiver.recv().expect("the other run sends it");
    // The same slots and the same ids, but another run.
    let result = run_on(1, move || async move {
        let ours = spawn(pending::<()>());
        drop(promise.await);
        ours.cancel().await;
        Ok(())
    });
    assert_eq!(culprit(result), ("main".to_owned(), line));
    finish.send(()).expect("the other run waits");
    assert!(owner.join().expect("it does not panic"));
}

/// What is done with somebody else's collector.
#[derive(Clone, Copy, Debug)]
enum Visit {
    Put,
    Next,
    Care,
    Take,
}

#[test]
fn a_collector_belongs_to_the_task_that_first_used_it() {
    for visit in [Visit::Put, Visit::Next, Visit::Care, Visit::Take] {
        let resumed = Counter::new();
        let after = resumed.clone();
        let result = run_on(1, move || async move {
            let orphans = std::rc::Rc::new(Orphans::new());
            Task::new().orphans(&*orphans).spawn(pending::<()>())?;
            let theirs = orphans.clone();
            let thief = Task::new().name("thief").spawn(async move {
                match visit {
                    Visit::Put => drop(Task::new().orphans(&*theirs).spawn(async {})),
                    Visit::Next => drop(theirs.next().await),
                    Visit::Care => drop(theirs.care()),
                    Visit::Take => drop(theirs.take()),
                }
                yield_now().await;
                after.add();
            });
            thief.await?;
            Ok(())
        });
        let report = report(result);
        let first = &report.violations()[0];
        assert_eq!(first.name(), "NotAChild", "{visit:?}: {report}");
        assert_eq!(first.task().name.as_deref(), Some("thief"));
        assert_eq!(report.violations().len(), 1, "{visit:?}: {report}");
        assert_eq!(resumed.get(), 0, "{visit:?}: the thief is not resumed");
    }
}

#[test]
fn a_collector_is_not_used_on_another_domain() {
    // `Orphans` is `Send`; a task on another domain that holds it is not its owner.
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let result = run_on(2, || async {
        let orphans = Orphans::new();
        Task::new().orphans(&orphans).spawn(pending::<()>())?;
        let orphans = is_send(orphans);
        let thief = Task::new().name("thief").call(move || async move {
            drop(orphans.next().await);
        })?;
        thief.await?;
        Ok(())
    });
    let report = report(result);
    assert_eq!(report.violations()[0].name(), "NotAChild", "{report}");
    assert_eq!(report.violations()[0].task().domain, 1);
}

#[test]
fn the_parent_may_await_from_inside_any_combinator() {
    let result = run_on(3, || async {
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
    });
    assert!(result.is_ok(), "{result:?}");
}
