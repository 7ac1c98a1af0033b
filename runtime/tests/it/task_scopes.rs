//! Goal: a `task_scope` fails as one. The first failure wakes its owner, whatever that waits for,
//! cancels the other children, and is returned after they have ended.
//! Method: strict runs, on threads and simulated. Finalizers that take some time show whether the
//! scope waits.

use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::ops::ControlFlow;
use std::time::Duration;

use matou_runtime::test::Check;
use matou_runtime::{
    AllSucceed, Collect, FirstSuccess, MainError, Outcome, ScopePolicy, ScopeSpawner, TaskError,
    call, deadline, live_tasks, now, remaining, sleep, spawn, task_scope, task_scope_with, timeout,
    yield_now,
};

use crate::support::{Counter, Log, run_on};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs a program on threads and simulated, strictly.
fn everywhere<F: Future<Output = Result<(), MainError>> + 'static>(
    program: impl Fn() -> F + Copy + Send + Sync + 'static,
) {
    run_on(3, program).expect("the run succeeds");
    Check::simulated().run(0..10, program);
}

/// Never returns, and logs `name` when it has ended, after some time.
async fn endless<T>(log: Log, name: &'static str) -> T {
    let _resource = log.slow_resource(name, 5);
    pending().await
}

async fn yield_times(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

async fn fail<T>() -> Result<T, &'static str> {
    yield_times(3).await;
    Err("no disk")
}

#[test]
fn a_failure_wakes_the_body_whatever_it_waits_for_and_cancels_the_children() {
    everywhere(|| async {
        for wait in 0..3 {
            let log = Log::new();
            let in_scope = log.clone();
            let result = task_scope(|group| async move {
                group.spawn(endless(in_scope.clone(), "one"));
                group.spawn(endless(in_scope.clone(), "two"));
                group.try_spawn(fail());
                let _guard = in_scope.on_drop("body");
                match wait {
                    0 => pending().await,
                    1 => sleep(HOUR).await,
                    _ => call(pending::<()>).unwrap().await.unwrap(),
                }
                Ok(())
            });
            assert_eq!(result.await.unwrap_err().into_failure(), Some("no disk"));
            assert_eq!(live_tasks(), 1);
            let mut entries = log.entries();
            assert_eq!(entries[0], "body", "the body is dropped first");
            entries.sort();
            assert_eq!(entries, ["body", "one", "two"]);
        }
        Ok(())
    });
}

#[test]
fn an_error_of_the_body_cancels_the_children_and_waits_for_them() {
    everywhere(|| async {
        let log = Log::new();
        let in_scope = log.clone();
        let result = task_scope(|group| async move {
            group.spawn(endless(in_scope, "child"));
            yield_times(2).await;
            fail::<()>().await
        });
        assert!(matches!(result.await, Err(TaskError::Failed { error: "no disk", .. })));
        log.assert_is(&["child"]);
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_scope_returns_the_value_of_its_body_after_all_children_and_their_siblings() {
    everywhere(|| async {
        let ended = Counter::new();
        let count = ended.clone();
        let value = task_scope(|group: ScopeSpawner| async move {
            let (sibling, counting) = (group.clone(), count.clone());
            group.spawn(async move {
                yield_times(3).await;
                let inner = counting.clone();
                // From another task: the parent is the owner of the scope all the same.
                sibling.spawn(async move {
                    yield_times(3).await;
                    inner.add();
                });
                counting.add();
            });
            Ok::<_, Infallible>(count)
        });
        assert_eq!(value.await?.get(), 2);
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_failure_of_a_sibling_that_a_child_spawned_into_an_empty_scope_ends_it() {
    everywhere(|| async {
        let result = task_scope(|group| async move {
            let outside = group.clone();
            // Not a child of the scope, which is empty when the body waits.
            let stranger = spawn(async move {
                yield_times(5).await;
                outside.try_spawn(fail());
            });
            stranger.await.unwrap();
            pending::<()>().await;
            Ok(())
        });
        assert_eq!(result.await.unwrap_err().into_failure(), Some("no disk"));
        Ok(())
    });
}

#[test]
fn a_panic_of_a_child_is_a_failure() {
    everywhere(|| async {
        let result = task_scope(|group| async move {
            group.spawn(async { panic!("broken") });
            pending::<Result<(), Infallible>>().await
        });
        assert!(
            matches!(result.await, Err(TaskError::Panicked(panic)) if panic.message() == "broken")
        );
        Ok(())
    });
}

#[test]
fn the_policies_decide_when_a_scope_ends_and_what_it_returns() {
    async fn spawned<P: ScopePolicy<u32, &'static str>>(
        policy: P,
        children: &'static [Result<u32, &'static str>],
    ) -> Result<P::Output, TaskError<&'static str>> {
        let result = task_scope_with(policy, |group| async move {
            for (index, &child) in children.iter().enumerate() {
                group.try_spawn(async move {
                    // One after the other, also in a simulated run.
                    sleep(Duration::from_millis(index as u64)).await;
                    child
                });
            }
            Ok(())
        });
        result.await
    }
    everywhere(|| async {
        assert_eq!(spawned(AllSucceed::new(), &[Ok(1), Ok(2)]).await?, [1, 2]);
        let failed = spawned(AllSucceed::new(), &[Ok(1), Err("a"), Err("b")]).await;
        assert_eq!(failed.unwrap_err().into_failure(), Some("a"));

        assert_eq!(spawned(FirstSuccess::new(), &[Err("a"), Ok(2), Err("b")]).await?, Some(2));
        let failed = spawned(FirstSuccess::new(), &[Err("a"), Err("b")]).await;
        assert_eq!(failed.unwrap_err().into_failure(), Some("a"));
        assert_eq!(spawned(FirstSuccess::new(), &[]).await?, None);

        let outcomes = spawned(Collect::new(), &[Ok(1), Err("a"), Ok(3)]).await?;
        let values: Vec<_> = outcomes.into_iter().map(Result::ok).collect();
        assert_eq!(values, [Some(1), None, Some(3)]);
        Ok(())
    });
}

#[test]
fn a_policy_of_ones_own_ends_the_scope_at_the_second_failure() {
    #[derive(Default)]
    struct TwoStrikes(usize);
    impl ScopePolicy<(), ()> for TwoStrikes {
        type Output = usize;
        fn child_ended(&mut self, outcome: Outcome<(), ()>) -> ControlFlow<()> {
            self.0 += usize::from(outcome.is_err());
            if self.0 == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        fn finish(self) -> Result<usize, TaskError<()>> {
            Ok(self.0)
        }
    }
    everywhere(|| async {
        let strikes = task_scope_with(TwoStrikes::default(), |group| async move {
            group.spawn(pending());
            for _ in 0..2 {
                group.try_spawn(ready(Err(())));
            }
            pending().await
        });
        assert_eq!(strikes.await.unwrap(), 2);
        assert_eq!(live_tasks(), 1);
        Ok(())
    });
}

#[test]
fn a_scope_that_is_dropped_or_cancelled_gives_its_children_up() {
    everywhere(|| async {
        let log = Log::new();
        let scope = |log: Log| {
            task_scope(move |group| async move {
                group.spawn(endless(log, "child"));
                pending::<Result<(), Infallible>>().await
            })
        };
        assert!(timeout(Duration::from_millis(5), scope(log.clone())).await.is_err());
        let in_child = log.clone();
        let task = spawn(async move { scope(in_child).await.is_ok() });
        while live_tasks() < 3 {
            yield_now().await;
        }
        yield_times(2).await;
        task.cancel().await;
        while live_tasks() > 1 {
            yield_now().await;
        }
        log.assert_is(&["child", "child"]);
        // Never polled, so it has spawned nothing.
        drop(scope(log));
        Ok(())
    });
}

#[test]
fn a_future_for_a_scope_that_has_ended_is_dropped_unpolled() {
    everywhere(|| async {
        let mut kept = None;
        let keep = &mut kept;
        task_scope(|group: ScopeSpawner| async move {
            *keep = Some(group);
            Ok::<_, Infallible>(())
        })
        .await?;
        let log = Log::new();
        let guard = log.on_drop("dropped");
        kept.unwrap().spawn(async move {
            drop(guard);
            unreachable!("it is not polled");
        });
        log.assert_is(&["dropped"]);
        Ok(())
    });
}

#[test]
fn scopes_nest_and_the_children_inherit_the_deadline() {
    everywhere(|| async {
        let outer = task_scope(|group| async move {
            group.spawn(sleep(Duration::from_millis(1)));
            let inner = task_scope(|group| async move {
                group.spawn(pending());
                group.try_spawn(fail());
                pending::<Result<(), &str>>().await
            });
            assert!(inner.await.is_err());
            Ok::<_, &str>("outer")
        });
        assert_eq!(outer.await.map_err(|error| error.to_string())?, "outer");
        let limited = deadline(now() + HOUR, async {
            task_scope(|group| async move {
                group.spawn(async { assert!(remaining().is_some_and(|left| left <= HOUR)) });
                Ok::<_, Infallible>(())
            })
            .await
        });
        limited.await??;
        Ok(())
    });
}
