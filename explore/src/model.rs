//! The rules R1 to R8 and R10 once more, as naively as possible: a list of events is read from the
//! first to the last, and each must be allowed by those before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use matou_runtime::{RunError, TaskId, Violation};

use crate::program::{Job, Step};
use crate::record::{Event, Rule, Seen};

/// What the model knows of a job.
#[derive(Debug, Default)]
struct Task {
    parent: usize,
    children: Vec<usize>,
    id: Option<TaskId>,
    begun: bool,
    dropped: bool,
    returned: Option<Seen>,
    /// Whether it, or an ancestor, was told to end, or may have been.
    may_be_cancelled: bool,
    /// Whether its parent knows that it is over.
    over: bool,
    /// The resources it owns, and the futures it has put off, oldest first.
    owns: Vec<usize>,
    /// It has broken a rule in the middle, and must not go on.
    stopped: bool,
}

#[derive(Debug, Default)]
struct Thing {
    /// Whether its finalizer takes its place among those of the owner's end.
    in_order: bool,
    begun: bool,
    finalized: bool,
}

/// What is known so far.
#[derive(Debug, Default)]
struct Model {
    tasks: BTreeMap<usize, Task>,
    things: BTreeMap<usize, Thing>,
    locks: BTreeMap<usize, usize>,
    broken: Vec<(usize, Rule)>,
    /// Jobs that a deadline or a shield's wrapper may end, or keep.
    under_deadline: BTreeSet<usize>,
}

/// Judges a run of a program.
///
/// # Errors
///
/// Says which event broke which rule.
pub(crate) fn judge<T, E: Display>(
    program: &Job,
    events: &[Event],
    outcome: &Result<T, RunError<E>>,
) -> Result<(), String> {
    let mut model = Model::default();
    mark_deadlines(program, false, &mut model.under_deadline);
    for (index, event) in events.iter().enumerate() {
        let fault = |why| format!("event {index}, {event:?}: {why}");
        model.see(event).map_err(fault)?;
    }
    // A run that hangs has not ended anything else either: that comes first.
    match outcome {
        Err(RunError::Deadlock(deadlock)) => Err(format!("nothing can go on: {deadlock}")),
        Err(RunError::Endless(turns)) => Err(format!("no end after {turns} turns")),
        _ => {
            model.end()?;
            model.judge_outcome(outcome)
        }
    }
}

/// Jobs that a deadline of an ancestor may end at any moment.
fn mark_deadlines(job: &Job, under: bool, marked: &mut BTreeSet<usize>) {
    if under {
        marked.insert(job.id);
    }
    for step in &job.steps {
        let under = under || matches!(step, Step::Deadline(..));
        for inner in step.jobs() {
            mark_deadlines(inner, under, marked);
        }
    }
}

type Verdict = Result<(), String>;

impl Model {
    fn task(&mut self, job: usize) -> &mut Task {
        self.tasks.entry(job).or_default()
    }

    fn thing(&mut self, number: usize) -> &mut Thing {
        self.things.entry(number).or_default()
    }

    fn see(&mut self, event: &Event) -> Verdict {
        match *event {
            Event::Spawned { parent, child, task } => self.spawned(parent, child, task),
            Event::Began { job } => {
                self.may_run(job)?;
                let task = self.task(job);
                ensure(!task.begun, || "a task begins once".into())?;
                task.begun = true;
                Ok(())
            }
            Event::Step { job } => self.may_run(job),
            Event::Returned { job, how } => {
                self.may_run(job)?;
                self.task(job).returned = Some(how);
                Ok(())
            }
            Event::Dropped { job } => self.dropped(job),
            Event::CancelAsked { child } | Event::GivenUp { child } => {
                self.mark_cancelled(child);
                Ok(())
            }
            Event::CancelDone { child, value } => {
                self.over(child, "R6, cancel")?;
                let returned = self.task(child).returned == Some(Seen::Value);
                ensure(value == returned || !self.broken.is_empty(), || {
                    format!("R6: job {child} returned a value: {returned}, cancel has it: {value}")
                })
            }
            Event::Saw { child, what } => self.saw(child, what),
            Event::Owned { job, resource } | Event::Deferred { job, resource } => {
                self.thing(resource).in_order = true;
                self.task(job).owns.push(resource);
                Ok(())
            }
            Event::Given { child, resource } => self.moved(resource, child),
            Event::Transferred { parent: job, resource } => {
                let parent = self.task(job).parent;
                self.moved(resource, parent)
            }
            Event::Released { resource } => {
                self.thing(resource).in_order = false;
                Ok(())
            }
            Event::Begun { resource } => self.finalizer_begins(resource),
            Event::Finalized { resource } => {
                let thing = self.thing(resource);
                ensure(thing.begun && !thing.finalized, || "R8: a finalizer ends once".into())?;
                thing.finalized = true;
                Ok(())
            }
            Event::Locked { job, lock } => match self.locks.insert(lock, job) {
                Some(other) => Err(format!("lock {lock} is held by job {other}")),
                None => Ok(()),
            },
            Event::Unlocked { job, lock } => {
                let holder = self.locks.remove(&lock);
                ensure(holder == Some(job), || format!("lock {lock} is held by {holder:?}"))
            }
            Event::Broken { job, rule } => {
                self.broken.push((job, rule));
                self.task(job).stopped |= rule == Rule::NotOwner;
                self.mark_cancelled(0);
                Ok(())
            }
        }
    }

    fn spawned(&mut self, parent: usize, child: usize, id: Option<TaskId>) -> Verdict {
        let under_deadline = self.under_deadline.contains(&child);
        let inherited = child != 0 && self.task(parent).may_be_cancelled;
        let task = self.task(child);
        task.parent = parent;
        task.id = id;
        task.may_be_cancelled |= under_deadline || inherited;
        if child != 0 {
            self.may_run(parent)?;
            self.task(parent).children.push(child);
        }
        Ok(())
    }

    /// R3, R5, R10: a task that is over, gone or guilty runs no more.
    fn may_run(&mut self, job: usize) -> Verdict {
        let task = self.task(job);
        ensure(!task.over && !task.dropped, || format!("R3: job {job} runs after its end"))?;
        ensure(!task.stopped, || format!("R10: job {job} is guilty and runs on"))
    }

    fn mark_cancelled(&mut self, job: usize) {
        let task = self.task(job);
        task.may_be_cancelled = true;
        for child in task.children.clone() {
            self.mark_cancelled(child);
        }
    }

    fn dropped(&mut self, job: usize) -> Verdict {
        let task = self.task(job);
        ensure(!task.dropped, || "a future is dropped once".into())?;
        task.dropped = true;
        let (cancelled, children) = (task.returned.is_none(), task.children.clone());
        if cancelled {
            // R5: children first.
            ensure(task.may_be_cancelled, || format!("nobody has cancelled job {job}"))?;
            for child in children {
                self.is_gone(child, "R5, the parent's guards are gone")?;
            }
        } else if task.returned != Some(Seen::Value) {
            // R4: an abnormal end cancels the children.
            self.mark_cancelled(job);
        } else {
            for child in children {
                if !self.tasks[&child].over {
                    self.mark_cancelled(child);
                }
            }
        }
        Ok(())
    }

    /// R3: a task and all below it has ended, and what they own is settled.
    fn is_gone(&mut self, job: usize, what: &str) -> Verdict {
        let task = self.task(job);
        ensure(task.dropped || !task.begun, || format!("{what}, but job {job} is not"))?;
        let (owns, children) = (task.owns.clone(), task.children.clone());
        for resource in owns {
            let finalized = self.things[&resource].finalized;
            ensure(finalized, || format!("{what}, but {resource} of job {job} is not finalized"))?;
        }
        children.into_iter().try_for_each(|child| self.is_gone(child, what))
    }

    fn over(&mut self, job: usize, what: &str) -> Verdict {
        self.is_gone(job, what)?;
        self.task(job).over = true;
        Ok(())
    }

    fn saw(&mut self, child: usize, what: Seen) -> Verdict {
        self.over(child, "R3, the parent sees the outcome")?;
        let task = &self.tasks[&child];
        match what {
            Seen::Cancelled => {
                ensure(task.may_be_cancelled, || format!("nobody has cancelled job {child}"))?;
                ensure(task.returned != Some(Seen::Value), || "the value is lost".into())
            }
            _ => ensure(task.returned == Some(what), || {
                format!("job {child} ended with {:?}", task.returned)
            }),
        }
    }

    /// R7: one owner at a time.
    fn moved(&mut self, resource: usize, to: usize) -> Verdict {
        self.tasks.values_mut().for_each(|task| task.owns.retain(|&owned| owned != resource));
        // Between two domains it may come after what was made later.
        self.thing(resource).in_order = false;
        self.task(to).owns.push(resource);
        Ok(())
    }

    /// R8: each once, newest first, and after the future is gone unless it was let go before.
    fn finalizer_begins(&mut self, resource: usize) -> Verdict {
        let thing = self.thing(resource);
        ensure(!thing.begun, || "R8: it is finalized twice".into())?;
        thing.begun = true;
        if !thing.in_order {
            return Ok(());
        }
        let owner = self.tasks.iter().find(|(_, task)| task.owns.contains(&resource));
        let Some((job, task)) = owner else { return Err("R7: nobody owns it".into()) };
        ensure(task.dropped || !task.begun, || format!("R5: job {job} still has its locals"))?;
        let newer = task.owns.iter().skip_while(|&&owned| owned != resource).skip(1);
        let waiting = |number: &&usize| {
            let thing = &self.things[*number];
            thing.in_order && !thing.begun
        };
        let newer: Vec<_> = newer.filter(waiting).collect();
        ensure(newer.is_empty(), || format!("R8: {newer:?} of job {job} are newer"))
    }

    /// After the run everything is gone.
    fn end(&mut self) -> Verdict {
        self.is_gone(0, "the run is over")?;
        let left: Vec<_> = self.things.iter().filter(|(_, thing)| !thing.finalized).collect();
        ensure(left.is_empty(), || format!("R8: never finalized: {left:?}"))?;
        ensure(self.locks.is_empty(), || format!("locks are held: {:?}", self.locks))
    }

    /// R10: the report has what was broken, and nothing else.
    fn judge_outcome<T, E: Display>(&self, outcome: &Result<T, RunError<E>>) -> Verdict {
        let expected = self.tasks[&0].returned;
        match outcome {
            Err(RunError::Violated(report)) => {
                // Only main has no number of its own here.
                let is = |job: &usize, task| self.tasks[job].id.is_none_or(|id| id == task);
                let same = |(job, rule): &(usize, Rule), violation: &Violation| {
                    rule.name() == violation.name() && is(job, violation.task().id)
                };
                for violation in report.violations() {
                    let known = self.broken.iter().any(|broken| same(broken, violation));
                    ensure(known, || format!("R10: nobody did that: {violation}"))?;
                }
                for broken in &self.broken {
                    let told = report.violations().iter().any(|told| same(broken, told));
                    ensure(told, || format!("R10: not told: {broken:?}"))?;
                }
                Ok(())
            }
            _ if !self.broken.is_empty() => {
                Err(format!("R10: {:?} hidden from the report", self.broken))
            }
            Ok(_) if expected == Some(Seen::Value) => Ok(()),
            Err(RunError::Failed(_)) if expected == Some(Seen::Error) => Ok(()),
            Err(RunError::Panicked(_)) if expected == Some(Seen::Panic) => Ok(()),
            Ok(_) => Err(format!("main ended with {expected:?}, the run well")),
            Err(error) => Err(format!("main ended with {expected:?}, the run: {error}")),
        }
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}
