//! Blocking jobs: children that run on threads of a pool, on threads and in simulated runs.

use std::cell::RefCell;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use matou_runtime::test::{Check, check};
use matou_runtime::{
    AtCapacity, Builder, Diagnostic, Finding, MainError, Orphans, RunError, Stop, Task, TaskError,
    blocking, live_tasks, race, sleep, spawn, task_scope, try_blocking, try_spawn, yield_now,
};

use crate::support::*;

/// A job that says when it has begun, and ends when it is asked to stop.
fn until_stopped(began: mpsc::Sender<()>) -> impl FnOnce(Stop) + Send {
    move |stop| {
        began.send(()).unwrap();
        while !stop.wait(Duration::from_secs(1)) {}
    }
}

#[test]
fn a_job_is_a_child_with_a_value_an_error_or_a_panic() {
    run_on(1, || async {
        let here = thread::current().id();
        let there = blocking(|_| thread::current().id()).await?;
        assert_ne!(here, there);

        let error = try_blocking(|_| Err::<(), _>("no such file")).await.unwrap_err();
        assert_eq!(error.into_failure(), Some("no such file"));

        let line = line!() + 1;
        let error = blocking(|_| panic!("not on a domain")).await.unwrap_err();
        let TaskError::Panicked(panic) = error else { panic!("{error}") };
        assert_eq!(panic.message(), "not on a domain");
        let location = panic.location().unwrap();
        assert!(location.contains(&format!("blocking.rs:{line}:")), "{location}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn cancelling_a_running_job_sets_its_stop_flag_and_waits_for_it() {
    run_on(1, || async {
        let (sender, began) = mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let job_ended = ended.clone();
        let job = blocking(move |stop| {
            until_stopped(sender)(stop);
            job_ended.store(true, Ordering::SeqCst);
            7
        });
        blocking(move |_| began.recv().unwrap()).await?;
        // It ran to its end, so its value is not lost (R6).
        assert!(matches!(job.cancel().await, Some(Ok(7))));
        assert!(ended.load(Ordering::SeqCst));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_job_that_has_not_begun_is_dropped_when_its_task_is_cancelled() {
    run_with(strict().domains(1).blocking_threads(1), || async {
        let (sender, began) = mpsc::channel();
        let first = blocking(until_stopped(sender));
        while began.try_recv().is_err() {
            yield_now().await;
        }
        let guard = Arc::new(());
        let captured = guard.clone();
        let second = blocking(move |_| drop(captured));
        yield_now().await;
        assert!(second.cancel().await.is_none());
        assert_eq!(Arc::strong_count(&guard), 1, "dropped before the end of the task");
        first.cancel().await;
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_job_that_goes_on_after_the_grace_period_is_left_behind_and_reported() {
    let (builder, reports) = Reports::collected();
    let (release, released) = mpsc::channel::<()>();
    let line = Arc::new(AtomicUsize::new(0));
    let job_line = line.clone();
    run_with(builder.domains(1).grace(Duration::from_millis(1)), move || async move {
        let (sender, began) = mpsc::channel();
        job_line.store(line!() as usize + 1, Ordering::SeqCst);
        let job = Task::new().name("stuck").blocking(move |_| {
            sender.send(()).unwrap();
            let _ = released.recv();
        });
        blocking(move |_| began.recv().unwrap()).await?;
        let error = job.cancel().await.unwrap().unwrap_err();
        assert!(error.is_unfinished(), "{error}");
        // Other jobs go on.
        assert_eq!(blocking(|_| 1).await?, 1);
        Ok(())
    })
    .unwrap();
    let Diagnostic::Finding(Finding::JobUnfinished { task, .. }) = reports.one() else {
        panic!("{:?}", reports.all())
    };
    assert_eq!(task.name.as_deref(), Some("stuck"));
    assert_eq!(task.spawned_at.line() as usize, line.load(Ordering::SeqCst));
    drop(release);
}

#[test]
fn an_error_of_a_job_that_was_asked_to_stop_is_no_lost_failure() {
    let (builder, reports) = Reports::collected();
    run_with(builder.domains(1), || async {
        let stopped = |sender| {
            move |stop| {
                until_stopped(sender)(stop);
                Err::<(), _>("stopped")
            }
        };
        let (sender, began) = mpsc::channel();
        let given_up = spawn(async move {
            let job = try_blocking(stopped(sender));
            race(async { drop(job.await) }, sleep(Duration::from_secs(3600))).await;
        });
        blocking(move |_| began.recv().unwrap()).await?;
        given_up.cancel().await;

        let (sender, began) = mpsc::channel();
        let job = try_blocking(stopped(sender));
        blocking(move |_| began.recv().unwrap()).await?;
        let error = job.cancel().await.unwrap().unwrap_err();
        assert_eq!(error.into_failure(), Some("stopped"));
        Ok(())
    })
    .unwrap();
    assert_eq!(reports.names(), [""; 0]);
}

#[test]
fn inside_a_job_spawn_and_sleep_panic_with_a_clear_text() {
    fn message(outcome: Result<(), TaskError>) -> String {
        match outcome {
            Err(TaskError::Panicked(panic)) => panic.message().to_owned(),
            other => panic!("{other:?}"),
        }
    }
    check(0..3, || async {
        let spawned = message(blocking(|_| drop(spawn(async {}))).await);
        assert!(spawned.starts_with("spawn does not work inside a blocking job"), "{spawned}");
        let slept = message(blocking(|_| drop(sleep(Duration::ZERO))).await);
        assert!(slept.starts_with("`sleep` does not work inside a blocking job"), "{slept}");
    });
    run_on(1, || async {
        let nested = message(blocking(|_| drop(blocking(|_| ()))).await);
        assert!(nested.starts_with("`blocking` does not work inside a blocking job"), "{nested}");
        Ok(())
    })
    .unwrap();
}

/// Counts the threads that have ended.
struct CountEnd(Arc<AtomicUsize>);

impl Drop for CountEnd {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

thread_local! {
    static END: RefCell<Option<CountEnd>> = const { RefCell::new(None) };
}

#[test]
fn a_thousand_jobs_at_shutdown_are_done_or_dropped_and_the_threads_end_with_the_run() {
    let (ended_threads, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (threads, counts) = (ended_threads.clone(), dropped.clone());
    let result: Result<(), RunError> =
        run_with(strict().domains(1).blocking_threads(3), move || async move {
            let began = Arc::new(AtomicUsize::new(0));
            let _jobs: Vec<_> = (0..1000)
                .map(|_| {
                    let (threads, began) = (threads.clone(), began.clone());
                    let count = CountEnd(counts.clone());
                    blocking(move |stop| {
                        END.with_borrow_mut(|end| {
                            end.get_or_insert_with(|| CountEnd(threads));
                        });
                        began.fetch_add(1, Ordering::SeqCst);
                        while !stop.wait(Duration::from_secs(1)) {}
                        drop(count);
                    })
                })
                .collect();
            while began.load(Ordering::SeqCst) < 3 {
                yield_now().await;
            }
            Err::<(), MainError>("shut down".into())
        });
    assert!(matches!(result, Err(RunError::Failed(_))), "{result:?}");
    assert_eq!(dropped.load(Ordering::SeqCst), 1000);
    assert_eq!(ended_threads.load(Ordering::SeqCst), 3, "threads that ended with the run");
}

#[test]
fn a_parent_ends_after_its_jobs() {
    run_on(1, || async {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (sender, began) = mpsc::channel();
        let job_log = log.clone();
        let parent = try_spawn(async move {
            let _job = blocking(move |stop| {
                until_stopped(sender)(stop);
                job_log.lock().unwrap().push("the job ended");
            });
            while began.try_recv().is_err() {
                yield_now().await;
            }
            Err::<(), _>("failed")
        });
        assert!(parent.await.is_err());
        log.lock().unwrap().push("the parent ended");
        assert_eq!(*log.lock().unwrap(), ["the job ended", "the parent ended"]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_job_that_sends_to_a_task_wakes_it() {
    run_on(2, || async {
        let queue = Arc::new(matou_sync::Queue::bounded(1));
        let sender = queue.clone();
        let job = blocking(move |stop| {
            // The domain sleeps by then, or not.
            stop.wait(Duration::from_millis(1));
            sender.try_push(5).unwrap();
        });
        assert_eq!(queue.pop().await?, 5);
        job.await?;
        Ok(())
    })
    .unwrap();
}

/// The order of two jobs and a task of a simulated run.
fn order(seed: u64) -> (Vec<&'static str>, u64) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let run_log = log.clone();
    let trial = Check::simulated().trial(seed, async move {
        let logging = |name: &'static str| {
            let log = run_log.clone();
            move |stop: Stop| {
                log.lock().unwrap().push(name);
                stop.is_set();
                log.lock().unwrap().push(name);
            }
        };
        let (a, b) = (blocking(logging("a")), blocking(logging("b")));
        sleep(Duration::from_micros(500)).await;
        run_log.lock().unwrap().push("task");
        a.await?;
        b.await?;
        Ok::<_, MainError>(())
    });
    trial.outcome.unwrap();
    (log.lock().unwrap().clone(), trial.hash)
}

#[test]
fn simulated_jobs_run_at_moments_that_the_seed_draws() {
    let orders: Vec<_> = (0..15).map(order).collect();
    for (seed, expected) in orders.iter().enumerate() {
        assert_eq!(order(seed as u64), *expected);
    }
    let mut distinct: Vec<_> = orders.iter().map(|(log, _)| log).collect();
    distinct.sort();
    distinct.dedup();
    assert!(distinct.len() > 5, "{distinct:?}");
}

#[test]
fn a_simulated_job_waits_for_its_stop_flag_in_virtual_time() {
    let (mut begun, mut withdrawn) = (0, 0);
    for seed in 0..20 {
        let trial = Check::simulated().trial(seed, async {
            let waiting = blocking(|stop| while !stop.wait(Duration::from_secs(1)) {});
            let looking = blocking(|stop| while !stop.is_set() {});
            sleep(Duration::from_secs(60)).await;
            assert!(matches!(waiting.cancel().await, Some(Ok(()))));
            assert!(matches!(looking.cancel().await, Some(Ok(()))));
            let at_once = blocking(|stop| assert!(stop.is_set()));
            yield_now().await;
            Ok::<_, MainError>(at_once.cancel().await.is_some())
        });
        match trial.outcome.unwrap() {
            true => begun += 1,
            false => withdrawn += 1,
        }
    }
    assert!(begun > 0 && withdrawn > 0, "{begun} had begun, {withdrawn} had not");
}

#[test]
fn a_simulated_job_that_ignores_its_stop_flag_is_left_behind() {
    let findings = Findings::new();
    for seed in 0..3 {
        let recorded = findings.clone();
        let check = Check::simulated().on_report(move |diagnostic| recorded.record(diagnostic));
        let trial = check.trial(seed, async {
            let job = blocking(|stop| (0..200_000).for_each(|_| _ = stop.is_set()));
            sleep(Duration::from_millis(5)).await;
            let error = job.cancel().await.unwrap().unwrap_err();
            assert!(error.is_unfinished(), "{error}");
            Ok::<_, MainError>(())
        });
        trial.outcome.unwrap();
        let found = findings.take();
        assert!(matches!(&found[..], [Finding::JobUnfinished { .. }]), "{found:?}");
    }
}

#[test]
fn a_run_needs_a_thread_for_jobs() {
    let result = Builder::new().blocking_threads(0).run(async { Ok::<_, MainError>(()) });
    assert!(matches!(result, Err(RunError::Setup(_))), "{result:?}");
}

/// Jobs as children of groups: by the owner, by another task, and in a scope.
async fn jobs_in_groups() -> Result<(), MainError> {
    let group = Orphans::<u32, &str>::with_limit(3);
    group.try_blocking(|_| Ok(1));
    let spawner = group.spawner();
    let other = spawn(async move { spawner.try_blocking(|_| Ok(2)).is_ok() });
    assert!(other.await?);
    Task::new().orphans(&group).try_blocking(|_| Err("no disk"))?;
    assert_eq!(Task::new().orphans(&group).try_blocking(|_| Ok(4)), Err(AtCapacity));
    let mut ended = Vec::new();
    while let Some(outcome) = group.next().await {
        ended.push(outcome.map_err(|error| error.into_failure().expect("it failed")));
    }
    ended.sort_unstable();
    assert_eq!(ended, [Ok(1), Ok(2), Err("no disk")]);

    // The failure of one job stops the other one.
    let scope = task_scope(|scope| async move {
        let waits = scope.clone();
        waits.blocking(|stop| while !stop.wait(Duration::from_secs(1)) {});
        spawn(async move { scope.try_blocking(|_| Err("no disk")) }).await.expect("it submits");
        pending::<Result<(), _>>().await
    });
    assert_eq!(scope.await.unwrap_err().into_failure(), Some("no disk"));
    assert_eq!(live_tasks(), 1);
    Ok(())
}

#[test]
fn jobs_are_children_of_groups_and_scopes() {
    run_on(1, jobs_in_groups).unwrap();
    check(0..fewer(20), jobs_in_groups);
}
