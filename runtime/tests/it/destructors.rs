//! Code that runs while a task ends: destructors of bodies, outcomes and wakers, and finalizers.
//! They drop the task's own promise (F2), and they spawn (F26).
//!
//! Method: each kind of such code does it, and afterwards tasks on the same domain must work: a
//! node that is freed twice belongs to two tasks at once.

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use matou_ownership::Owned;
use matou_runtime::test::Check;
use matou_runtime::{
    Builder, Finding, Forgotten, MainError, Orphans, Promise, Task, abandon, call, cancelled,
    defer, race, shield, spawn, yield_now,
};

use crate::support::*;

/// A place for the promise of a task that drops it while it ends.
#[derive(Clone, Default)]
struct OwnPromise(Arc<Mutex<Option<Promise<()>>>>);

impl OwnPromise {
    fn put(&self, promise: Promise<()>) {
        *self.0.lock().unwrap() = Some(promise);
    }

    fn is_kept(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }

    /// Drops the promise as a combinator does that gives it up.
    fn give_up(&self) {
        let promise = self.0.lock().unwrap().take();
        let loser = async move {
            let _promise = promise;
            pending::<()>().await;
        };
        let mut race = pin!(race(loser, std::future::ready(())));
        let _ = race.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Drops the promise without a combinator.
    fn drop(&self) {
        drop(self.0.lock().unwrap().take());
    }
}

/// Gives the promise up when it is dropped.
struct OnDrop(OwnPromise);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// A waker whose last clone gives the promise up when it is dropped, or when it is woken.
struct Keeper {
    own: OwnPromise,
    on_wake: bool,
}

impl Wake for Keeper {
    fn wake(self: Arc<Self>) {
        if self.on_wake {
            self.own.drop();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.own.give_up();
    }
}

fn keeper(own: &OwnPromise, on_wake: bool) -> Waker {
    Waker::from(Arc::new(Keeper { own: own.clone(), on_wake }))
}

/// Polls a future once with a waker.
fn poll_with(waker: &Waker, future: Pin<&mut impl Future>) {
    let _ = future.poll(&mut Context::from_waker(waker));
}

/// Runs tasks that would collide if a node had been freed twice.
async fn check_nodes() -> Result<(), MainError> {
    for _ in 0..4 {
        yield_now().await;
    }
    let number = |number| async move {
        yield_now().await;
        number
    };
    let tasks: Vec<_> = (0..64).map(|n| spawn(number(n))).collect();
    for (expected, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await?, expected);
    }
    Ok(())
}

type Body = Pin<Box<dyn Future<Output = ()>>>;

/// A way to drop a task's own promise: its name, and the body of the task.
type Way = (&'static str, fn(OwnPromise) -> Body);

/// The ways in which a task drops its own promise while it ends.
const WAYS: &[Way] = &[
    ("the drop of a waker that waits for a cancel request", |own| {
        Box::pin(async move {
            let waker = keeper(&own, false);
            poll_with(&waker, pin!(cancelled()));
        })
    }),
    ("the drop of the body", |own| {
        let held = OnDrop(own);
        // The closure is dropped after it has returned.
        Box::pin(poll_fn(move |_| {
            let _held = &held;
            Poll::Ready(())
        }))
    }),
    ("a finalizer", |own| {
        Box::pin(async move {
            defer(async move { own.give_up() });
        })
    }),
    ("an asynchronous finalizer", |own| {
        Box::pin(async move {
            defer(async move {
                yield_now().await;
                own.drop();
                yield_now().await;
            });
        })
    }),
    ("the drop of a waker that waits for a child", |own| {
        Box::pin(async move {
            let mut child = spawn(yield_now());
            let waker = keeper(&own, false);
            poll_with(&waker, pin!(&mut child));
            drop(waker);
            drop(abandon(child));
        })
    }),
    ("the drop of the waker of a leaked wait for a cancel request", |own| {
        Box::pin(async move {
            let mut wait = Box::pin(cancelled());
            let waker = keeper(&own, false);
            poll_with(&waker, wait.as_mut());
            drop(waker);
            // The waker is dropped with the task's state, after its last poll.
            leak(wait);
        })
    }),
    ("the waker of a future that waits for a child", |own| {
        Box::pin(async move {
            let mut child = spawn(yield_now());
            let waker = keeper(&own, true);
            poll_with(&waker, pin!(&mut child));
            drop(waker);
            yield_now().await;
            yield_now().await;
            let _ = child.await;
        })
    }),
];

#[test]
fn f02_a_task_that_drops_its_own_promise_while_it_ends_is_freed_once() {
    for (way, body) in WAYS {
        for forgotten in [Forgotten::Report, Forgotten::Cancel] {
            let (builder, monitor) = monitored();
            let builder = builder.domains(1).forgotten(forgotten);
            let result = run_with(builder, move || async move {
                let own = OwnPromise::default();
                let promise = spawn(body(own.clone()));
                own.put(promise);
                drop(own);
                check_nodes().await
            });
            result.unwrap_or_else(|error| panic!("{way}: {error}"));
            monitor.assert_freed();
        }
    }
}

#[test]
fn f02_a_task_on_another_domain_that_drops_its_own_promise_while_it_ends_is_freed_once() {
    for (way, body) in WAYS {
        let (builder, monitor) = monitored();
        let builder = builder.domains(2).forgotten(Forgotten::Report);
        let result = run_with(builder, move || async move {
            let own = OwnPromise::default();
            let stored = Latch::new();
            let (inside, may_run) = (own.clone(), stored.clone());
            let promise = call(move || async move {
                may_run.await;
                body(inside).await;
            })?;
            own.put(promise);
            stored.open();
            while own.is_kept() {
                yield_now().await;
            }
            check_nodes().await
        });
        result.unwrap_or_else(|error| panic!("{way}: {error}"));
        monitor.assert_freed();
    }
}

/// The outcome contains the promise of another task, which has ended in the meantime.
#[test]
fn f02_the_drop_of_an_outcome_gives_another_promise_up() {
    let (builder, monitor) = monitored();
    let result = run_with(builder.domains(1), || async {
        let other = OwnPromise::default();
        let outcome = OnDrop(other.clone());
        let child = spawn(async move { outcome });
        other.put(spawn(async {}));
        yield_now().await;
        yield_now().await;
        drop(abandon(child));
        check_nodes().await
    });
    result.unwrap();
    monitor.assert_freed();
}

/// Calls a function when it is dropped.
struct Finally<F: FnMut()>(F);

impl<F: FnMut()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The body of a child that is refused.
async fn not_started() {
    unreachable!("a refused child does not start");
}

/// The lines of the children that were refused.
#[track_caller]
fn refused(findings: &Findings) -> Vec<u32> {
    let found = findings.take();
    let line = |finding: &Finding| match finding {
        Finding::SpawnRefused { child, .. } => child.spawned_at.line(),
        other => panic!("another finding:\n{other}"),
    };
    found.iter().map(line).collect()
}

/// A pool whose guard returns a value and starts a sweep.
#[test]
fn f26_a_shield_in_the_drop_of_a_cancelled_task_poisons_no_lock() {
    struct Pooled(Arc<Mutex<Vec<u32>>>);
    impl Drop for Pooled {
        fn drop(&mut self) {
            let mut idle = self.0.lock().unwrap();
            idle.push(7);
            drop(shield(not_started()));
        }
    }
    for place in Place::BOTH {
        let findings = Findings::new();
        let builder = findings.of(Builder::new().domains(place.domains()));
        let result = run_with(builder, move || async move {
            let pool: Arc<Mutex<Vec<u32>>> = Arc::default();
            let (held, begun) = (Arc::clone(&pool), Counter::new());
            let inside = begun.clone();
            let user = place.spawn(move || async move {
                let _held = Pooled(held);
                inside.add();
                pending::<()>().await;
            });
            begun.reaches(1).await;
            assert!(user.cancel().await.is_none());
            assert_eq!(*pool.lock().expect("it is not poisoned"), [7]);
            Ok(())
        });
        result.unwrap();
        assert_eq!(refused(&findings).len(), 1);
    }
}

#[test]
fn f26_destructors_of_one_future_that_spawn_do_not_abort_the_process() {
    for place in Place::BOTH {
        let findings = Findings::new();
        let builder = findings.of(Builder::new().domains(place.domains()));
        let line = line!() + 7;
        let result = run_with(builder, move || async move {
            let (drops, begun) = (Counter::new(), Counter::new());
            let (inside, counted) = (begun.clone(), drops.clone());
            let child = place.spawn(move || async move {
                let spawns = || {
                    let drop_of_the_future = CountsDrop(counted.clone());
                    drop(spawn(async move { drop(drop_of_the_future) }));
                };
                let _first = Finally(spawns);
                let _second = Finally(spawns);
                inside.add();
                pending::<()>().await;
            });
            begun.reaches(1).await;
            assert!(child.cancel().await.is_none());
            assert_eq!(drops.get(), 2, "the futures are dropped before the task is complete");
            Ok(())
        });
        result.unwrap();
        assert_eq!(refused(&findings), [line, line]);
    }
}

#[test]
fn a_child_that_a_finalizer_spawns_does_not_start() {
    let findings = Findings::new();
    let result = run_with(findings.of(Builder::new().domains(2)), || async {
        let log = Log::new();
        let inside = log.clone();
        let task = spawn(async move {
            let log = inside.clone();
            // Finalized with the body of the task.
            let _owned = Owned::new((), move |()| {
                let log = log.clone();
                drop(spawn(async move { log.push("a child of a finalizer starts") }));
            });
            let log = inside.clone();
            defer(async move {
                let child = call(pending::<()>).expect("there is another domain");
                let outcome = child.await;
                log.push(format!("cancelled: {}", outcome.is_err_and(|e| e.is_cancelled())));
            });
            pending::<()>().await;
        });
        yield_now().await;
        assert!(task.cancel().await.is_none());
        log.assert_is(&["cancelled: true"]);
        Ok(())
    });
    result.unwrap();
    assert_eq!(refused(&findings).len(), 2);
}

#[test]
fn a_task_is_complete_after_the_children_that_its_finalizers_spawn() {
    // A child on another domain takes several turns to end.
    let check = Check::simulated().domains(2).forgotten(Forgotten::Report).on_report(|_| ());
    check.run(0..20, || async {
        let drops = Counter::new();
        let counted = drops.clone();
        let task = spawn(async move {
            defer(async move {
                let future = CountsDrop(counted);
                drop(call(move || async move { drop(future) }));
            });
            pending::<()>().await;
        });
        yield_now().await;
        assert!(task.cancel().await.is_none());
        assert_eq!(drops.get(), 1);
        Ok::<(), MainError>(())
    });
}

#[test]
fn a_child_that_the_drop_of_an_outcome_spawns_does_not_start() {
    let (builder, monitor) = monitored();
    let findings = Findings::new();
    let result = run_with(findings.of(builder.domains(1)), || async {
        // The shield goes on, and no task takes its outcome.
        drop(shield(async { Finally(|| drop(spawn(not_started()))) }));
        check_nodes().await
    });
    result.unwrap();
    assert_eq!(refused(&findings).len(), 1);
    monitor.assert_freed();
}

#[test]
fn a_task_that_ends_while_a_destructor_spawns_into_its_group_ends() {
    let findings = Findings::new();
    let result = run_with(findings.of(Builder::new().domains(1)), || async {
        let task: Promise<()> = spawn(async {
            let group = Arc::new(Orphans::new());
            let inside = Arc::clone(&group);
            let _spawns = Finally(move || {
                drop(Task::new().orphans(&*inside).spawn(not_started()));
            });
            pending::<()>().await;
            drop(group);
        });
        yield_now().await;
        assert!(task.cancel().await.is_none());
        Ok(())
    });
    result.unwrap();
    assert_eq!(refused(&findings).len(), 1);
}

#[test]
fn the_report_of_a_refused_child_names_the_spawner() {
    let findings = Findings::new();
    let result = run_with(findings.of(Builder::new().domains(1)), || async {
        let task = Task::new().name("ending").spawn(async {
            let _spawns = Finally(|| drop(spawn(async {})));
            pending::<()>().await;
        });
        yield_now().await;
        assert!(task.cancel().await.is_none());
        Ok(())
    });
    result.unwrap();
    let text = findings.take()[0].to_string();
    for part in ["`ending`", "Orphans::spawner", file!()] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

/// The destructor of a waker belongs to no task. The panic is printed, and says what to do.
#[test]
fn spawning_where_no_task_runs_panics_with_advice() {
    let message = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&message);
    run_on(1, move || async move {
        struct Spawns(Arc<Mutex<String>>);
        impl Wake for Spawns {
            fn wake(self: Arc<Self>) {
                let panic = std::panic::catch_unwind(|| drop(spawn(async {}))).unwrap_err();
                let text = panic.downcast_ref::<String>().expect("a text");
                *self.0.lock().unwrap() = text.clone();
            }
        }
        let waker = Waker::from(Arc::new(Spawns(seen)));
        let mut sleep = pin!(matou_runtime::sleep(std::time::Duration::from_millis(1)));
        poll_with(&waker, sleep.as_mut());
        matou_runtime::sleep(std::time::Duration::from_millis(5)).await;
        Ok(())
    })
    .unwrap();
    let message = message.lock().unwrap();
    assert!(message.contains("Orphans::spawner"), "{message}");
}
