//! Resources and their owners.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use matou_ownership::Owned;
use matou_runtime::{MainError, Task, Violation, disown, spawn, transfer, try_spawn};

use super::{check, trials};
use crate::support::{leak, violation};

/// Counts the runs of a finalizer.
#[derive(Clone, Default)]
struct Finalized(Arc<AtomicU32>);

impl Finalized {
    fn resource(&self) -> Owned<u32> {
        let count = self.0.clone();
        Owned::new(7, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// In Miou a resource is released and then disowned; in matou the drop of its handle does both.
#[test]
fn a_resource_that_was_dropped_is_no_leak() {
    check(1, || async {
        let finalized = Finalized::default();
        let inner = finalized.clone();
        let task = spawn(async move {
            let resource = inner.resource();
            let value = *resource.get().expect("the task owns it");
            drop(resource);
            value
        });
        assert_eq!(task.await?, 7);
        assert_eq!(finalized.count(), 1);
        Ok::<_, MainError>(())
    });
}

#[test]
fn the_resources_of_a_failed_task_are_finalized() {
    check(1, || async {
        let finalized = Finalized::default();
        let inner = finalized.clone();
        let task = try_spawn(async move {
            leak(inner.resource());
            Err::<(), _>("p")
        });
        assert!(task.await.is_err());
        assert_eq!(finalized.count(), 1);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_leaked_resource_is_finalized_and_reported() {
    let finalized = Finalized::default();
    for trial in trials(1, 1, || {
        let finalized = finalized.clone();
        async move {
            let task = spawn(async move { leak(finalized.resource()) });
            task.await?;
            Ok(())
        }
    }) {
        let violation = violation(trial.outcome);
        assert!(matches!(violation, Violation::ResourceLeaked { .. }), "{violation}");
    }
    assert_eq!(finalized.count(), 1);
}

/// After `disown` no task owns the resource, and only the drop of its handle finalizes it.
#[test]
fn a_disowned_resource_is_no_leak() {
    check(1, || async {
        let finalized = Finalized::default();
        let inner = finalized.clone();
        let task = spawn(async move {
            let resource = inner.resource();
            disown(&resource).expect("the task owns it");
            resource
        });
        let resource = task.await?;
        assert_eq!(finalized.count(), 0);
        drop(resource);
        assert_eq!(finalized.count(), 1);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_child_transfers_a_resource_to_its_parent() {
    check(1, || async {
        let finalized = Finalized::default();
        let inner = finalized.clone();
        let task = spawn(async move {
            let resource = inner.resource();
            transfer(&resource).expect("the task owns it");
            resource
        });
        let resource = task.await?;
        assert_eq!(*resource.get()?, 7, "the parent owns it");
        Ok::<_, MainError>(())
    });
}

/// Miou always requires `give`. In matou a move transfers ownership, so only shared resources need
/// `give`.
#[test]
fn a_given_resource_belongs_to_the_child() {
    check(1, || async {
        let finalized = Finalized::default();
        let resource = Arc::new(finalized.resource());
        let shared = Arc::clone(&resource);
        let child = Task::new().give(&resource).spawn(async move {
            assert_eq!(*shared.get().expect("it was given"), 7);
            transfer(&*shared).expect("the task owns it");
        });
        child.await?;
        assert_eq!(*resource.get()?, 7, "the parent owns it again");
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_use_by_a_task_that_is_not_the_owner_is_a_violation() {
    for trial in trials(1, 20, || async {
        let resource = Arc::new(Finalized::default().resource());
        let shared = Arc::clone(&resource);
        let thief = spawn(async move { shared.get().is_ok() });
        thief.await?;
        drop(resource);
        Ok(())
    }) {
        let violation = violation(trial.outcome);
        assert!(matches!(violation, Violation::NotOwner { .. }), "{violation}");
    }
}

/// Finalizers in Miou cannot suspend. In matou they can, and the task waits for them.
#[test]
fn a_finalizer_may_suspend() {
    check(1, || async {
        let flag = Arc::new(AtomicU32::new(0));
        let inner = Arc::clone(&flag);
        let task = spawn(async move {
            drop(Owned::with_async((), move |()| async move {
                matou_runtime::yield_now().await;
                inner.fetch_add(1, Ordering::Relaxed);
            }));
        });
        task.await?;
        assert_eq!(flag.load(Ordering::Relaxed), 1);
        Ok::<_, MainError>(())
    });
}
