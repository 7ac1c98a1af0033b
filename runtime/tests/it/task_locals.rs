//! Goal: task-local values are inherited by children at the moment of the spawn, on any domain, and
//! are set only inside their scope.
//! Method: strict runs, on threads and simulated, with the children on one domain and on several.

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use matou_runtime::test::Check;
use matou_runtime::{MainError, Orphans, TaskLocal, join, shield, spawn, task_scope, yield_now};

use crate::support::{Log, Place, run_on};

static NUMBER: TaskLocal<u32> = TaskLocal::new();
static NAME: TaskLocal<Arc<str>> = TaskLocal::new();

/// Runs a program on threads and simulated, strictly, with its children on one domain and on
/// several.
fn everywhere<F: Future<Output = Result<(), MainError>> + 'static>(
    program: impl Fn(Place) -> F + Copy + Send + Sync + 'static,
) {
    for place in Place::BOTH {
        run_on(3, move || program(place)).expect("the run succeeds");
        Check::simulated().run(0..10, move || program(place));
    }
}

#[test]
fn a_child_and_its_children_inherit_the_values_of_the_spawn() {
    everywhere(|place| async move {
        let before = place.spawn(|| async {
            yield_now().await;
            NUMBER.get()
        });
        let inside = NUMBER.scope(1, async {
            NAME.scope("cat".into(), async {
                let child = place.spawn(move || async move {
                    let grandchild = place.spawn(|| async { (NUMBER.get(), NAME.get()) });
                    NUMBER
                        .scope(2, async {
                            yield_now().await;
                            NUMBER.get()
                        })
                        .await;
                    (grandchild.await.unwrap(), NUMBER.get())
                });
                let later = NUMBER.sync_scope(3, || place.spawn(|| async { NUMBER.get() }));
                yield_now().await;
                assert_eq!(NUMBER.get(), Some(1));
                (child.await.unwrap(), later.await.unwrap())
            })
            .await
        });
        let ((of_grandchild, of_child), later) = inside.await;
        assert_eq!(of_grandchild, (Some(1), Some("cat".into())));
        assert_eq!((of_child, later), (Some(1), Some(3)));
        assert_eq!((NUMBER.get(), NAME.get()), (None, None));
        assert_eq!(before.await?, None);
        Ok(())
    });
}

#[test]
fn branches_of_one_task_have_their_own_values() {
    everywhere(|_| async {
        let branch = |n: u32| {
            NUMBER.scope(n, async move {
                for _ in 0..5 {
                    assert_eq!(NUMBER.get(), Some(n));
                    yield_now().await;
                }
                // An inner scope replaces the value, and the outer one is restored.
                assert_eq!(NUMBER.scope(n + 10, async { NUMBER.get() }).await, Some(n + 10));
                NUMBER.get()
            })
        };
        let none = async {
            yield_now().await;
            NUMBER.get()
        };
        assert_eq!(join!(branch(1), none, branch(2)), (Some(1), None, Some(2)));
        Ok(())
    });
}

#[test]
fn shields_scopes_and_submitted_children_inherit_values() {
    everywhere(|_| async {
        let child = NUMBER.sync_scope(5, || {
            spawn(async {
                let shielded = shield(async { NUMBER.get() }).await.unwrap();
                // The owner of the group has inherited the value.
                let group = Orphans::new();
                let spawner = group.spawner();
                spawner.spawn(async { NUMBER.get() }).unwrap();
                let submitted = group.next().await.unwrap().unwrap();
                let scoped = NUMBER.scope(
                    6,
                    task_scope(|group| async move {
                        group.try_spawn(async {
                            if NUMBER.get() == Some(6) { Ok(()) } else { Err("not inherited") }
                        });
                        Ok(())
                    }),
                );
                scoped.await.unwrap();
                (shielded, submitted)
            })
        });
        assert_eq!(child.await?, (Some(5), Some(5)));
        Ok(())
    });
}

#[test]
fn a_value_is_there_in_destructors_and_after_a_panic_it_is_not() {
    struct ReadsOnDrop(Log);
    impl Drop for ReadsOnDrop {
        fn drop(&mut self) {
            self.0.push(format!("{:?}", NUMBER.get()));
        }
    }
    everywhere(|_| async {
        let log = Log::new();
        let guard = ReadsOnDrop(log.clone());
        let child = spawn(NUMBER.scope(7, async move {
            let _guard = guard;
            pending::<()>().await;
        }));
        yield_now().await;
        yield_now().await;
        child.cancel().await;
        log.assert_is(&["Some(7)"]);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            NUMBER.sync_scope(8, || panic!("inside"));
        }));
        assert!(panicked.is_err());
        assert_eq!(NUMBER.get(), None);
        Ok(())
    });
}

#[test]
fn outside_a_task_there_is_no_value_and_none_can_be_set() {
    assert_eq!(NUMBER.get(), None);
    assert!(catch_unwind(|| NUMBER.sync_scope(1, || ())).is_err());
    drop(NUMBER.scope(1, pending::<()>()));
}

#[test]
fn a_value_lives_as_long_as_the_tasks_that_inherit_it() {
    static SHARED: TaskLocal<Arc<u8>> = TaskLocal::new();
    everywhere(|place| async move {
        let value = Arc::new(7);
        let child = SHARED.sync_scope(Arc::clone(&value), || {
            place.spawn(|| async { SHARED.with(|value| value.map(|value| **value)) })
        });
        assert_eq!(child.await?, Some(7));
        while Arc::strong_count(&value) > 1 {
            yield_now().await;
        }
        Ok(())
    });
}
