//! Tasks that the runtime itself spawns: `main` and signal handlers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::task_future::{MayFail, NeverFails, TaskFuture};
use crate::domain::{Domain, OutcomeHandle};
use crate::task::raw::allocate;
use crate::task::{HandleState, Parent, Slot, SpawnParams, Stage, TaskId, TaskMeta};

/// Spawns the task of `main` on domain 0.
pub(crate) fn spawn_root<F, T, E>(domain: &Domain, meta: TaskMeta, main: F) -> OutcomeHandle<T, E>
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: 'static,
{
    let id = domain.next_task_id();
    assert_eq!(id, TaskId::ROOT, "the root is the first task of domain 0");
    let remote = Arc::clone(domain.remote());
    let (owner, outcome) = allocate(remote, || TaskFuture::<fn() -> F, F, MayFail>::new(main));
    let (_, node) = domain.insert_task(id, meta.spawned_at, Parent::None, owner);
    node.apply(SpawnParams { name: meta.name, ..SpawnParams::default() });
    outcome
}

/// Spawns a signal handler as a child of the root (R12), unless the root is ending. `handler`
/// returns how to make its future; it is called only if the root is there.
pub(crate) fn spawn_signal_handler<H>(
    domain: &Domain,
    handler: impl FnOnce() -> Option<(H, TaskMeta)>,
) where
    H: FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + 'static,
{
    let is_running = |root: &Slot| domain.stage_of(*root) == Stage::Running;
    let Some(root) = domain.root().filter(is_running) else {
        return;
    };
    let Some((make, meta)) = handler() else {
        return;
    };
    let id = domain.next_task_id();
    let remote = Arc::clone(domain.remote());
    let (owner, outcome) = allocate(remote, || TaskFuture::<_, _, NeverFails>::lazy(make));
    // No task awaits it: its node says so, and the domain drops the outcome.
    drop(outcome);
    let (_, node) = domain.insert_task(id, meta.spawned_at, Parent::Local(root), owner);
    node.handle_state.set(HandleState::SignalHandler);
    node.apply(SpawnParams { name: meta.name, ..SpawnParams::default() });
}
