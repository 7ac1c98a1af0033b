//! Resources and their owners.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use matou_ownership::Owned;
use matou_runtime::{MainError, Task, Violation, disown, spawn, transfer, try_spawn};

use super::{check, trials};
use crate::support::{leak, violation};

/// How often a finalizer ran.
#[derive(Clone, Default)]
struct Finalized(Arc<AtomicU32>);

impl Finalized {
    fn resource(&self) -> Owned<u32> {
        let count = self.0.clone();
        Owned::new(7, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn times(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// In the original a resource is disowned when it was released; here the drop of its handle does
/// both.
#[test]
fn a_resource_that_was_released_is_nobodys_worry() {
    check(1, || async {
        let finalized = Finalized::default();
        let inner = finalized.clone();
        let task = spawn(async move {
            let resource = inner.resource();
            let value = *resource.get().expect("it is ours");
            drop(resource);
            value
        });
        assert_eq!(task.await?, 7);
        assert_eq!(finalized.times(), 1);
        Ok::<_, MainError>(())
    });
}

#[test]
fn what_a_failed_task_owned_is_finalized() {
    check(1, || async {
        let finalized = Finalized::default();
        let inner = finalized.clone();
        let task = try_spawn(async move {
            leak(inner.resource());
            Err::<(), _>("p")
        });
        assert!(task.await.is_err());
        assert_eq!(finalized.times(), 1);
        Ok::<_, MainError>(())
    });
}

#[test]
fn what_a_task_leaks_is_finalized_and_reported() {
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
    assert_eq!(finalized.times(), 1);
}

/// `disown` alone: nobody answers for it any more, and nobody finalizes it but its handle.
#[test]
fn what_was_disowned_is_not_leaked() {
    check(1, || async {
        let finalized = Finalized::default();
        let inner = finalized.clone();
        let task = spawn(async move {
            let resource = inner.resource();
            disown(&resource).expect("it is ours");
            resource
        });
        let resource = task.await?;
        assert_eq!(finalized.times(), 0);
        drop(resource);
        assert_eq!(finalized.times(), 1);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_child_transfers_what_it_made_to_its_parent() {
    check(1, || async {
        let finalized = Finalized::default();
        let inner = finalized.clone();
        let task = spawn(async move {
            let resource = inner.resource();
            transfer(&resource).expect("it is ours");
            resource
        });
        let resource = task.await?;
        assert_eq!(*resource.get()?, 7, "now it is the parent's");
        Ok::<_, MainError>(())
    });
}

/// The original asks for `give` always. Here a move is a gift, so only what is shared needs it.
#[test]
fn what_was_given_belongs_to_the_child() {
    check(1, || async {
        let finalized = Finalized::default();
        let resource = Arc::new(finalized.resource());
        let lent = Arc::clone(&resource);
        let child = Task::new().give(&resource).spawn(async move {
            assert_eq!(*lent.get().expect("it was given to us"), 7);
            transfer(&*lent).expect("it is ours");
        });
        child.await?;
        assert_eq!(*resource.get()?, 7, "and came back");
        Ok::<_, MainError>(())
    });
}

#[test]
fn who_is_not_the_owner_must_not_use_it() {
    for trial in trials(1, 20, || async {
        let resource = Arc::new(Finalized::default().resource());
        let lent = Arc::clone(&resource);
        let thief = spawn(async move { lent.get().is_ok() });
        thief.await?;
        drop(resource);
        Ok(())
    }) {
        let violation = violation(trial.outcome);
        assert!(matches!(violation, Violation::NotOwner { .. }), "{violation}");
    }
}

/// The original's finalizers cannot wait. Here they may, and are waited for.
#[test]
fn a_finalizer_may_wait() {
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
