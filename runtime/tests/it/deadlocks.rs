//! Goal: a simulated run in which no task can make progress ends with a report that names each
//! task,
//! what it waits for, and the cycle if there is one.
//! Method: programs that deadlock, on locks, promises, task groups and sleeps.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use matou_hooks::{Holder, Target, Wait};
use matou_runtime::test::Check;
use matou_runtime::{
    MainError, Orphans, RunError, Task, await_all, await_first, await_one, call, defer, sleep,
    spawn, yield_now,
};

#[test]
fn a_task_that_is_never_woken_is_a_deadlock() {
    let trial = Check::simulated().trial(1, async {
        let child = Task::new().name("stuck").call(pending::<()>)?;
        child.await?;
        Ok::<_, MainError>(())
    });
    let error = trial.outcome.unwrap_err();
    let RunError::Deadlock(deadlock) = &error else { panic!("{error}") };
    let [main, stuck] = deadlock.tasks() else { panic!("{deadlock}") };
    assert_eq!(main.waits_for, [stuck.id]);
    assert_eq!(stuck.name.as_deref(), Some("stuck"));
    assert!(deadlock.cycle().is_empty());
    let text = error.to_string();
    assert!(text.contains("error[Deadlock]: no task can make progress"), "{text}");
    assert!(text.contains("waits for promise of task #2"), "{text}");
    assert!(text.contains("deadlocks.rs"), "{text}");
}

/// A primitive of another author that reports to the runtime, as the `Mutex` of `matou-sync` does.
#[derive(Default)]
struct Lock {
    holder: Cell<Option<Holder>>,
    waiting: RefCell<Vec<Waker>>,
}

impl Lock {
    #[track_caller]
    fn lock(self: &Rc<Self>) -> impl Future<Output = Held> + use<> {
        let (lock, at) = (Rc::clone(self), std::panic::Location::caller());
        poll_fn(move |cx| {
            if let Some(holder) = lock.holder.get() {
                lock.waiting.borrow_mut().push(cx.waker().clone());
                let wait = Wait::new("lock", at).on(lock.target()).held_by(holder);
                matou_hooks::on_wait(&wait, cx);
                return Poll::Pending;
            }
            let holder = Holder::new(matou_hooks::current_task(), at);
            lock.holder.set(Some(holder));
            matou_hooks::on_acquire(lock.target(), holder);
            Poll::Ready(Held(Rc::clone(&lock)))
        })
    }

    fn target(&self) -> Target {
        Target::new("lock", std::ptr::from_ref(self).addr())
    }
}

struct Held(Rc<Lock>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.holder.set(None);
        matou_hooks::on_release(self.0.target());
        self.0.waiting.take().into_iter().for_each(Waker::wake);
    }
}

#[test]
fn a_deadlock_of_two_locks_names_the_tasks_and_the_lines() {
    async fn philosophers() {
        let forks = [Rc::new(Lock::default()), Rc::new(Lock::default())];
        let eat = |name: &'static str, first: usize| {
            let forks = forks.clone();
            Task::new().name(name).spawn(async move {
                let left = forks[first].lock().await;
                yield_now().await;
                let right = forks[1 - first].lock().await;
                drop((left, right));
            })
        };
        await_all([eat("Plato", 0), eat("Kant", 1)]).await;
    }
    let outcomes = (0..20).map(|seed| {
        let trial = Check::simulated().trial(seed, async {
            philosophers().await;
            Ok::<_, MainError>(())
        });
        trial.outcome
    });
    let errors: Vec<RunError> = outcomes.filter_map(Result::err).collect();
    assert!(!errors.is_empty());
    for error in errors {
        let RunError::Deadlock(deadlock) = &error else { panic!("{error}") };
        assert_eq!(deadlock.cycle().len(), 2, "{deadlock}");
        let text = deadlock.to_string();
        assert!(text.contains("`Plato`"), "{text}");
        assert!(text.contains("waits for lock 2 at "), "{text}");
        assert!(text.contains("held by task #3 since "), "{text}");
        assert!(text.contains("cycle: #2 waits for #3 waits for #2"), "{text}");
    }
}

/// How `main` waits for its child while it holds the lock that the child waits for.
#[derive(Clone, Copy, Debug)]
enum JoinedBy {
    Promise,
    Orphans,
    One,
    First,
}

#[test]
fn a_cycle_is_found_through_every_way_to_wait_for_a_child() {
    for through in [JoinedBy::Promise, JoinedBy::Orphans, JoinedBy::One, JoinedBy::First] {
        let trial = Check::simulated().trial(1, async move {
            let lock = Rc::new(Lock::default());
            let held = lock.lock().await;
            let wants = || {
                let lock = Rc::clone(&lock);
                async move { drop(lock.lock().await) }
            };
            let task = || Task::new().name("wants the lock");
            match through {
                JoinedBy::Promise => drop(task().spawn(wants()).await),
                JoinedBy::Orphans => {
                    let orphans = Orphans::new();
                    task().orphans(&orphans).spawn(wants()).expect("it has no limit");
                    let _other = Task::new().spawn(pending::<()>());
                    drop(orphans.next().await);
                }
                JoinedBy::One => {
                    let mut promises = vec![task().spawn(wants()), spawn(pending())];
                    drop(await_one(&mut promises).await);
                }
                JoinedBy::First => {
                    drop(await_first([task().spawn(wants()), spawn(pending())]).await)
                }
            }
            drop(held);
            Ok::<_, MainError>(())
        });
        let error = trial.outcome.unwrap_err();
        let RunError::Deadlock(deadlock) = &error else { panic!("{through:?}: {error}") };
        let [main, child] = deadlock.cycle() else { panic!("{through:?}: {deadlock}") };
        assert_eq!((main.as_u64(), child.as_u64()), (1, 2), "{deadlock}");
        let [main, ..] = deadlock.tasks() else { panic!("{deadlock}") };
        let others = usize::from(matches!(through, JoinedBy::One | JoinedBy::First));
        assert_eq!(main.waits_for.len(), 1 + others, "{deadlock}");
        let text = deadlock.to_string();
        let waits = match through {
            JoinedBy::Promise => "waits for promise of task #2 (spawned at ",
            JoinedBy::Orphans => "waits for orphans at ",
            JoinedBy::One => "waits for one of several promises at ",
            JoinedBy::First => "waits for the first of several promises at ",
        };
        assert!(text.contains(waits), "{text}");
        assert!(others == 0 || text.contains(", of task #2 or #3"), "{text}");
        assert!(!text.contains("a signal that nobody sends"), "{text}");
    }
}

#[test]
fn a_deadlocked_program_is_cancelled_in_order() {
    let ended = Rc::new(Cell::new(0));
    let flag = Rc::clone(&ended);
    let trial = Check::simulated().trial(3, async move {
        let child = spawn(async move {
            let guard = matou_ownership::Owned::new((), |()| ());
            struct Count(Rc<Cell<u32>>);
            impl Drop for Count {
                fn drop(&mut self) {
                    self.0.set(self.0.get() + 1);
                }
            }
            let _count = Count(flag);
            pending::<()>().await;
            drop(guard);
        });
        child.await?;
        Ok::<_, MainError>(())
    });
    assert!(matches!(trial.outcome, Err(RunError::Deadlock(_))));
    assert_eq!(ended.get(), 1);
}

#[test]
fn a_deadlock_is_reported_although_its_cancellation_violates_a_rule() {
    let trial = Check::simulated().trial(1, async {
        let stuck = Task::new().name("stuck").spawn(async {
            defer(pending());
            pending::<()>().await;
        });
        stuck.await?;
        Ok::<_, MainError>(())
    });
    let error = trial.outcome.unwrap_err();
    let RunError::Deadlock(deadlock) = &error else { panic!("{error}") };
    assert_eq!(deadlock.tasks().len(), 2, "{deadlock}");
    assert_eq!(deadlock.tasks()[1].name.as_deref(), Some("stuck"));
}

#[test]
fn quick_finalizers_complete_after_a_deadlock() {
    for tasks in [100, 5000] {
        let finalized = Rc::new(Cell::new(0));
        let count = Rc::clone(&finalized);
        let trial = Check::simulated().trial(1, async move {
            let stuck = (0..tasks).map(|_| {
                let count = Rc::clone(&count);
                spawn(async move {
                    defer(async move {
                        for _ in 0..5 {
                            yield_now().await;
                        }
                        count.set(count.get() + 1);
                    });
                    pending::<()>().await;
                })
            });
            await_all(stuck).await;
            Ok::<_, MainError>(())
        });
        let error = trial.outcome.unwrap_err();
        assert!(matches!(error, RunError::Deadlock(_)), "{error}");
        assert_eq!(finalized.get(), tasks, "within {:?}", trial.elapsed);
    }
}

#[test]
fn a_deadlocked_run_ends_although_a_finalizer_never_does() {
    let trial = Check::simulated().max_ticks(1000).trial(1, async {
        let busy = spawn(async {
            defer(async {
                loop {
                    yield_now().await;
                }
            });
            pending::<()>().await;
        });
        busy.await?;
        Ok::<_, MainError>(())
    });
    assert!(matches!(trial.outcome, Err(RunError::Deadlock(_))), "{:?}", trial.outcome);
    assert!(trial.elapsed >= Duration::from_secs(5), "the grace period: {:?}", trial.elapsed);
}

#[test]
fn a_sleep_beyond_the_range_of_the_clock_is_a_deadlock() {
    let trial = Check::simulated().trial(1, async {
        sleep(Duration::from_millis(u64::MAX)).await;
        Ok::<_, MainError>(())
    });
    let error = trial.outcome.unwrap_err();
    assert!(matches!(error, RunError::Deadlock(_)), "{error}");
    assert!(error.to_string().contains("waits for sleep at "), "{error}");
}

#[test]
fn a_deadlock_names_no_complete_task() {
    let trial = Check::simulated().trial(1, async {
        let done = spawn(async {});
        let gone = call(async || {})?;
        let stuck = Task::new().name("stuck").spawn(pending::<()>());
        stuck.await?;
        drop((done, gone));
        Ok::<_, MainError>(())
    });
    let error = trial.outcome.unwrap_err();
    let RunError::Deadlock(deadlock) = &error else { panic!("{error}") };
    let names: Vec<_> = deadlock.tasks().iter().map(|task| task.name.as_deref()).collect();
    assert_eq!(names, [Some("main"), Some("stuck")], "{deadlock}");
}
