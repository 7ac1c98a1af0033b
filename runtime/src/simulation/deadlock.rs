use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::SimulationState;
use crate::task::{
    BlockedOn, HandleState, Node, Slot, Stage, TaskId, TaskTree, WaitTarget, task_id,
};

/// The most tasks that the text of a deadlock names.
const NAMED_MAX: usize = 32;

/// No task can make progress: no task is ready, no message is in transit, no deadline is ahead, and
/// `main` is not complete.
///
/// It holds the wait-for graph: the task that waits, the target of its wait, the task that holds
/// the target, and the lines of both.
#[derive(Clone, Debug)]
pub struct Deadlock {
    tasks: Vec<BlockedTask>,
    cycle: Vec<TaskId>,
    cancelled: bool,
}

/// A task of a deadlocked run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BlockedTask {
    /// The task.
    pub id: TaskId,
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// Its domain.
    pub domain: usize,
    /// The line that spawned it.
    pub spawned_at: &'static Location<'static>,
    /// The operation that it is blocked on.
    pub blocked_on: BlockedOn,
    /// The tasks that it depends on: the child that it awaits, or the holder of the lock. There are
    /// several if any of them suffices, or if the task waits until all its children are complete.
    pub waits_for: Vec<TaskId>,
    /// The line that acquired the lock that it waits for.
    pub held_since: Option<&'static Location<'static>>,
}

impl Deadlock {
    /// Describes the deadlock of `tasks`, which are all the tasks of the run that have not
    /// completed. `cancelled` says that all of them had been cancelled.
    pub(crate) fn new(mut tasks: Vec<BlockedTask>, cancelled: bool) -> Deadlock {
        renumber(&mut tasks);
        guess_consumers(&mut tasks);
        let cycle = find_cycle(&tasks);
        Deadlock { tasks, cycle, cancelled }
    }

    /// Returns the tasks, domain by domain.
    pub fn tasks(&self) -> &[BlockedTask] {
        &self.tasks
    }

    /// Returns a cycle of tasks in which each task waits for the next one, and the last one for the
    /// first. Empty if the deadlock has another cause, such as a missing notification.
    pub fn cycle(&self) -> &[TaskId] {
        &self.cycle
    }
}

impl BlockedTask {
    /// Describes the task at `slot` of the tree of `domain`.
    pub(crate) fn new<O>(
        tree: &TaskTree<O>,
        slot: Slot,
        domain: usize,
        state: &SimulationState,
    ) -> BlockedTask {
        let node = &tree[slot];
        let holder = state.wait_targets.borrow().holder(node.blocked_on.get().target);
        let holder = holder.and_then(|holder| Some((task_id(holder.task?), holder.at)));
        let is_terminating = node.stage.get() != Stage::Running || node.cancel.is_some();
        let waits_for = match (holder, is_terminating) {
            // A task that terminates waits for its children, not for the target of its future.
            (_, true) => unfinished_children(tree, slot, |_| true),
            (Some((holder, _)), false) => vec![holder],
            (None, false) => awaited_children(tree, slot),
        };
        BlockedTask {
            id: node.id.get(),
            name: node.name(),
            domain,
            spawned_at: node.spawned_at.get(),
            blocked_on: node.blocked_on.get(),
            waits_for,
            held_since: holder.filter(|_| !is_terminating).map(|(_, at)| at),
        }
    }
}

/// Returns the children of a running task that its future waits for.
fn awaited_children<O>(tree: &TaskTree<O>, slot: Slot) -> Vec<TaskId> {
    match tree[slot].blocked_on.get().target {
        WaitTarget::Task { id, .. } => vec![id],
        WaitTarget::AnyPromise => unfinished_children(tree, slot, |child| {
            child.wake_parent.get() || child.join_waker.is_some()
        }),
        WaitTarget::TaskGroup(number) => unfinished_children(tree, slot, |child| {
            let state = child.handle_state.get();
            matches!(state, HandleState::InGroup { group, .. } if group == number)
        }),
        _ => Vec::new(),
    }
}

fn unfinished_children<O>(
    tree: &TaskTree<O>,
    slot: Slot,
    mut filter: impl FnMut(&Node<O>) -> bool,
) -> Vec<TaskId> {
    let children = tree.children(slot).map(|child| &tree[child]);
    let unfinished = children.filter(|child| !child.is_complete() && filter(child));
    unfinished.map(|child| child.id.get()).collect()
}

/// Numbers the locks, and the queues, in the order in which the report names them. The numbers from
/// their first use depend on their addresses, which may repeat.
fn renumber(tasks: &mut [BlockedTask]) {
    let (mut locks, mut queues) = (BTreeMap::new(), BTreeMap::new());
    for task in tasks {
        let (numbers, number) = match &mut task.blocked_on.target {
            WaitTarget::Lock(number) => (&mut locks, number),
            WaitTarget::Queue(number) => (&mut queues, number),
            _ => continue,
        };
        let next = numbers.len() as u64 + 1;
        *number = *numbers.entry(*number).or_insert(next);
    }
}

/// Completes the waits of tasks that push to full queues whose consumers are not known, because no
/// task has popped from them. In a deadlock the consumer of such a queue must be blocked too: each
/// other task that waits in the same way for another queue may be it.
fn guess_consumers(tasks: &mut [BlockedTask]) {
    let is_unknown = |task: &BlockedTask| {
        let is_push = task.blocked_on.site.operation == "push" && task.waits_for.is_empty();
        let target = task.blocked_on.target;
        matches!(target, WaitTarget::Queue(_) if is_push).then_some((task.id, target))
    };
    let unknown: Vec<(TaskId, WaitTarget)> = tasks.iter().filter_map(is_unknown).collect();
    for (id, target) in &unknown {
        let others = unknown.iter().filter(|(_, other)| other != target).map(|(id, _)| *id);
        if let Some(task) = tasks.iter_mut().find(|task| task.id == *id) {
            task.waits_for = others.collect();
        }
    }
}

/// Finds a cycle in the wait-for graph by a depth-first search with an explicit stack.
fn find_cycle(tasks: &[BlockedTask]) -> Vec<TaskId> {
    let edges: BTreeMap<TaskId, &[TaskId]> =
        tasks.iter().map(|task| (task.id, &*task.waits_for)).collect();
    let edge = |id: TaskId, index: usize| edges.get(&id).and_then(|ids| ids.get(index)).copied();
    let mut done = BTreeSet::new();
    for task in tasks {
        // The current path, with the index of the next edge of each task, and the position of each
        // task on it.
        let mut path = vec![(task.id, 0)];
        let mut positions = BTreeMap::from([(task.id, 0)]);
        while let Some((id, index)) = path.last_mut() {
            let Some(target) = edge(*id, *index).filter(|_| !done.contains(id)) else {
                done.insert(*id);
                positions.remove(id);
                path.pop();
                continue;
            };
            *index += 1;
            if let Some(&start) = positions.get(&target) {
                return path[start..].iter().map(|(id, _)| *id).collect();
            }
            positions.insert(target, path.len());
            path.push((target, 0));
        }
    }
    Vec::new()
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("error[Deadlock]: no task can make progress, and main is not complete")?;
        if self.cancelled {
            f.write_str("; every task had been cancelled")?;
        }
        for task in self.tasks.iter().take(NAMED_MAX) {
            write!(f, "\n  = {task}")?;
        }
        if let more @ 1.. = self.tasks.len().saturating_sub(NAMED_MAX) {
            write!(f, "\n  = .. and {more} more tasks")?;
        }
        if let Some(first) = self.cycle.first() {
            f.write_str("\n  = cycle: ")?;
            self.cycle.iter().try_for_each(|id| write!(f, "{id} waits for "))?;
            write!(f, "{first}")?;
        }
        f.write_str("\n  = help: ")?;
        f.write_str(if self.cycle.is_empty() {
            "look for a notification that is never sent, or that is sent before the wait begins"
        } else {
            "acquire locks in the same order everywhere, and do not hold one while waiting for a \
             task that needs it"
        })
    }
}

impl fmt::Display for BlockedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " `{name}`")?;
        }
        write!(f, " on domain {}, spawned at {}", self.domain, self.spawned_at)?;
        write!(f, ": waits for {}", self.blocked_on)?;
        if matches!(self.blocked_on.target, WaitTarget::AnyPromise | WaitTarget::TaskGroup(_)) {
            let mut separator = ", of task ";
            for id in self.waits_for.iter().take(NAMED_MAX) {
                write!(f, "{separator}{id}")?;
                separator = " or ";
            }
        }
        if let (Some(since), [holder]) = (self.held_since, &*self.waits_for) {
            write!(f, ", held by task {holder} since {since}")?;
        }
        Ok(())
    }
}

impl Error for Deadlock {}
