use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::world::Shared;
use crate::domain::{Domain, Node, Tree};
use crate::task::{BlockedOn, HandleState, Slot, Stage, TaskId, WaitTarget};

/// How many tasks the text of a deadlock names.
const NAMED_MAX: usize = 32;

/// Nothing can ever run again: no task is ready, no message is under way, no deadline is to come,
/// and `main` is not done.
///
/// It holds the wait-for graph: who waits for what, held by whom, since which line.
#[derive(Clone, Debug)]
pub struct Deadlock {
    tasks: Vec<BlockedTask>,
    cycle: Vec<TaskId>,
    ending: bool,
}

/// A task that waits in vain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BlockedTask {
    /// The task.
    pub id: TaskId,
    /// Its name, if it was given one.
    pub name: Option<Arc<str>>,
    /// The domain that it lives on.
    pub domain: usize,
    /// The line that made it.
    pub spawned_at: &'static Location<'static>,
    /// What it waits for.
    pub blocked_on: BlockedOn,
    /// Whom that depends on: a child that it waits for, or who holds the lock; several if any of
    /// them will do, or if it waits for the end of all its children.
    pub waits_for: Vec<TaskId>,
    /// The line since which the lock that it waits for is held.
    pub held_since: Option<&'static Location<'static>>,
}

impl Deadlock {
    /// Looks at all the tasks of a run. `ending` says that they had all been told to end.
    pub(super) fn find(domains: &[Domain], world: &Shared, ending: bool) -> Deadlock {
        let mut tasks = Vec::new();
        for domain in domains {
            domain
                .for_each_task(|tree, slot| tasks.push(waiting(tree, slot, domain.index(), world)));
        }
        number_locks(&mut tasks);
        let cycle = cycle(&tasks);
        Deadlock { tasks, cycle, ending }
    }

    /// Returns the tasks that wait, domain by domain.
    pub fn tasks(&self) -> &[BlockedTask] {
        &self.tasks
    }

    /// Returns tasks each of which waits for the next one, and the last one for the first; empty if
    /// the deadlock has another reason, such as a wake-up that never comes.
    pub fn cycle(&self) -> &[TaskId] {
        &self.cycle
    }
}

fn waiting(tree: &Tree, slot: Slot, domain: usize, world: &Shared) -> BlockedTask {
    let node = &tree[slot];
    let mut held_since = None;
    let living = |wanted: &dyn Fn(&Node) -> bool| -> Vec<TaskId> {
        let nodes = tree.children(slot).map(|child| &tree[child]);
        nodes.filter(|node| !node.is_complete() && wanted(node)).map(|node| node.id.get()).collect()
    };
    let waits_for = match node.blocked_on.get().target {
        _ if node.stage.get() != Stage::Running || node.cancel.is_some() => living(&|_| true),
        WaitTarget::Task { id, .. } => vec![id],
        WaitTarget::AnyPromise => {
            living(&|child| child.wake_parent.get() || child.join_waker.is_some())
        }
        WaitTarget::TaskGroup(number) => living(&|child| lies_in(child, number)),
        WaitTarget::Lock(number) => {
            let holder = world.locks.borrow().holder(number);
            held_since = holder.map(|holder| holder.at);
            holder.map(|holder| holder.task).into_iter().collect()
        }
        _ => Vec::new(),
    };
    BlockedTask {
        id: node.id.get(),
        name: node.name(),
        domain,
        spawned_at: node.spawned_at.get(),
        blocked_on: node.blocked_on.get(),
        waits_for,
        held_since,
    }
}

/// Whether a child lies in that collector.
fn lies_in(child: &Node, wanted: u32) -> bool {
    matches!(child.handle_state.get(), HandleState::InGroup { group: collector, .. } if collector == wanted)
}

/// Numbers the locks anew, in the order in which they are told of: the numbers that they had when
/// they were first used depend on addresses.
fn number_locks(tasks: &mut [BlockedTask]) {
    let mut numbers = BTreeMap::new();
    for task in tasks {
        if let WaitTarget::Lock(number) = &mut task.blocked_on.target {
            let next = numbers.len() as u64 + 1;
            *number = *numbers.entry(*number).or_insert(next);
        }
    }
}

/// Finds tasks that wait for each other in a circle, by a search in depth that needs no stack of
/// the machine.
fn cycle(tasks: &[BlockedTask]) -> Vec<TaskId> {
    let edges: BTreeMap<TaskId, &[TaskId]> =
        tasks.iter().map(|task| (task.id, &*task.waits_for)).collect();
    let next = |id: TaskId, index: usize| edges.get(&id).and_then(|ids| ids.get(index)).copied();
    let mut done = BTreeSet::new();
    for task in tasks {
        // The path from `task`, with the number of the edge that each one on it follows next, and
        // where on the path each one is.
        let mut path = vec![(task.id, 0)];
        let mut places = BTreeMap::from([(task.id, 0)]);
        while let Some((id, index)) = path.last_mut() {
            let Some(target) = next(*id, *index).filter(|_| !done.contains(id)) else {
                done.insert(*id);
                places.remove(id);
                path.pop();
                continue;
            };
            *index += 1;
            if let Some(&start) = places.get(&target) {
                return path[start..].iter().map(|(id, _)| *id).collect();
            }
            places.insert(target, path.len());
            path.push((target, 0));
        }
    }
    Vec::new()
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("error[Deadlock]: no task can make progress, and main is not complete")?;
        if self.ending {
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
            let mut before = ", of task ";
            for id in self.waits_for.iter().take(NAMED_MAX) {
                write!(f, "{before}{id}")?;
                before = " or ";
            }
        }
        if let (Some(since), [holder]) = (self.held_since, &*self.waits_for) {
            write!(f, ", held by task {holder} since {since}")?;
        }
        Ok(())
    }
}

impl Error for Deadlock {}
