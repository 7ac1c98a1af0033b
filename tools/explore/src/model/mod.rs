//! The rules R1 to R8 and R10 once more, as naively as possible: a list of events is read from the
//! first to the last, and each must be allowed by those before it.
//!
//! `ends` knows when a job may end before it has returned, and when it must have ended; `things`
//! whose a resource is, and when it is finalized; `lines` who waits for a condition.

mod ends;
mod lines;
#[cfg(test)]
mod tests;
mod things;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use matou_runtime::{RunError, TaskId, Violation};

use crate::record::{Entry, Event, Rule, Seen};
use lines::Line;
use things::Thing;

/// What the model knows of a job.
#[derive(Debug, Default)]
struct Task {
    parent: usize,
    children: Vec<usize>,
    id: Option<TaskId>,
    begun: bool,
    dropped: bool,
    returned: Option<Seen>,
    returned_at: Option<Duration>,
    /// When it was told to end, itself and not only by an ancestor's end.
    asked_at: Option<Duration>,
    /// The least of the deadlines that it was born with.
    deadline: Option<Duration>,
    /// How long it may go on after its parent's end, if it is a shield.
    shield: Option<Duration>,
    /// The race it takes part in.
    race: Option<usize>,
    /// Whether its parent knows that it is over, or that of an ancestor does.
    over: bool,
    /// The resources it owns, and the futures it has put off, oldest first.
    owns: Vec<usize>,
    /// It has broken a rule in the middle, and must not go on.
    stopped: bool,
    /// It left a line although it was called in time.
    unheard: bool,
}

/// What is known so far.
#[derive(Debug, Default)]
struct Model {
    /// The moment of the present event.
    now: Duration,
    tasks: BTreeMap<usize, Task>,
    things: BTreeMap<usize, Thing>,
    /// Who holds which lock, and when that changed last.
    locks: BTreeMap<usize, usize>,
    lines: BTreeMap<usize, Line>,
    broken: Vec<(usize, Rule)>,
}

/// Judges a run of a program.
///
/// # Errors
///
/// Says which event broke which rule.
pub(crate) fn judge<T, E: Display>(
    events: &[Entry],
    outcome: &Result<T, RunError<E>>,
) -> Result<(), String> {
    let mut model = Model::default();
    for (index, entry) in events.iter().enumerate() {
        model.now = entry.at;
        model.see(&entry.event).map_err(|why| format!("event {index}, {entry:?}: {why}"))?;
    }
    // A run that hangs has not ended anything else either: that comes first.
    match outcome {
        Err(RunError::Deadlock(deadlock)) => Err(format!("nothing can go on: {deadlock}")),
        Err(RunError::TickLimit(turns)) => Err(format!("no end after {turns} turns")),
        _ => {
            model.end()?;
            model.judge_outcome(outcome)
        }
    }
}

type Verdict = Result<(), String>;

impl Model {
    fn task(&mut self, job: usize) -> &mut Task {
        self.tasks.entry(job).or_default()
    }

    fn see(&mut self, event: &Event) -> Verdict {
        match *event {
            Event::Limited { child, end } => self.task(child).deadline = Some(end),
            Event::Shielded { child, limit } => self.task(child).shield = Some(limit),
            Event::Races { child, race } => self.task(child).race = Some(race),
            Event::Spawned { parent, child, task } => return self.spawned(parent, child, task),
            Event::Began { job } => return self.began(job),
            Event::Step { job } => return self.may_run(job),
            Event::Returned { job, how } => return self.returned(job, how),
            Event::Dropped { job } => return self.dropped(job),
            Event::CancelAsked { child }
            | Event::GivenUp { child }
            | Event::Forgotten { child, .. } => self.ask(child),
            Event::LetGo { .. } => {}
            Event::CancelDone { child, value } => {
                self.over(child, "R6, cancel")?;
                let returned = self.task(child).returned == Some(Seen::Value);
                return ensure(value == returned || !self.broken.is_empty(), || {
                    format!("R6: job {child} returned a value: {returned}, cancel has it: {value}")
                });
            }
            Event::Saw { child, what } => return self.saw(child, what),
            Event::Lost { child } => return self.over(child, "the race is over"),
            Event::Broken { job, rule } => {
                self.broken.push((job, rule));
                if rule == Rule::NotOwner {
                    self.task(job).stopped = true;
                    self.ask(job);
                }
                self.ask(0);
            }
            _ => return self.see_of_things(event),
        }
        Ok(())
    }

    fn see_of_things(&mut self, event: &Event) -> Verdict {
        match *event {
            Event::Owned { job, resource } | Event::Deferred { job, resource } => {
                self.owned(job, resource);
                Ok(())
            }
            Event::Used { job, resource, as_owner } => self.used(job, resource, as_owner),
            Event::Given { child, resource } => self.moved(resource, child),
            Event::Transferred { child, resource } => {
                let parent = self.task(child).parent;
                self.moved(resource, parent)
            }
            Event::Released { resource } => self.released(resource),
            Event::Begun { resource } => self.finalizer_begins(resource),
            Event::Finalized { resource } => self.finalized(resource),
            Event::Locked { job, lock } => self.locked(job, lock),
            Event::Unlocked { job, lock } => self.unlocked(job, lock),
            Event::Waits { job, lock } => self.waits(job, lock),
            Event::Woken { job, lock } => self.woken(job, lock),
            Event::LeftLine { job, lock } => self.left_line(job, lock),
            Event::TimedOut { job, .. } => {
                ensure(!self.task(job).unheard, || "the signal was lost".into())
            }
            Event::Signalled { lock, called } => self.signalled(lock, called),
            _ => unreachable!("{event:?} is of jobs alone"),
        }
    }

    fn spawned(&mut self, parent: usize, child: usize, id: Option<TaskId>) -> Verdict {
        if child != 0 {
            self.may_run(parent)?;
            self.task(parent).children.push(child);
        }
        let inherited = self.task(parent).deadline;
        let task = self.task(child);
        task.parent = parent;
        task.id = id;
        task.deadline = match task.shield {
            Some(_) => None,
            None => task.deadline.into_iter().chain(inherited).min(),
        };
        Ok(())
    }

    fn began(&mut self, job: usize) -> Verdict {
        self.may_run(job)?;
        let task = self.task(job);
        ensure(!task.begun, || "a task begins once".into())?;
        task.begun = true;
        let owns = task.owns.clone();
        let gone = owns.into_iter().find(|resource| self.thing(*resource).begun);
        ensure(gone.is_none(), || format!("R7: {gone:?} of job {job} is finalized already"))
    }

    fn returned(&mut self, job: usize, how: Seen) -> Verdict {
        self.may_run(job)?;
        let now = self.now;
        let task = self.task(job);
        task.returned = Some(how);
        task.returned_at = Some(now);
        Ok(())
    }

    /// R3, R5, R10: a task that is over, gone, guilty or late runs no more.
    fn may_run(&mut self, job: usize) -> Verdict {
        let now = self.now;
        let latest = self.latest_end(job);
        let task = self.task(job);
        ensure(!task.over && !task.dropped, || format!("R3: job {job} runs after its end"))?;
        ensure(!task.stopped, || format!("R10: job {job} is guilty and runs on"))?;
        ensure(latest.is_none_or(|latest| now <= latest), || {
            format!("job {job} should have been ended by {latest:?}")
        })
    }

    fn dropped(&mut self, job: usize) -> Verdict {
        let task = self.task(job);
        ensure(!task.dropped, || "a future is dropped once".into())?;
        task.dropped = true;
        if task.returned.is_some() {
            return Ok(());
        }
        // R5: children first.
        let children = task.children.clone();
        self.may_end(job)?;
        children.into_iter().try_for_each(|child| self.is_gone(child, "R5, the guards are gone"))
    }

    /// R3: a task and all below it has ended, and what they own is settled.
    fn is_gone(&mut self, job: usize, what: &str) -> Verdict {
        let task = self.task(job);
        ensure(task.dropped || !task.begun, || format!("{what}, but job {job} is not"))?;
        let (owns, children) = (task.owns.clone(), task.children.clone());
        for resource in owns {
            let finalized = self.thing(resource).finalized;
            ensure(finalized, || format!("{what}, but {resource} of job {job} is not finalized"))?;
        }
        children.into_iter().try_for_each(|child| self.is_gone(child, what))
    }

    /// The same, and neither may begin from now on.
    fn over(&mut self, job: usize, what: &str) -> Verdict {
        self.is_gone(job, what)?;
        let mut left = vec![job];
        while let Some(job) = left.pop() {
            let task = self.task(job);
            task.over = true;
            left.extend(&task.children);
        }
        Ok(())
    }

    fn saw(&mut self, child: usize, what: Seen) -> Verdict {
        self.over(child, "R3, the parent sees the outcome")?;
        let returned = self.task(child).returned;
        let expected = returned.unwrap_or(Seen::Cancelled);
        ensure(what == expected, || format!("job {child} ended with {expected:?}"))?;
        if returned.is_none() { self.may_end(child) } else { Ok(()) }
    }

    /// After the run everything is gone.
    fn end(&mut self) -> Verdict {
        self.is_gone(0, "the run is over")?;
        let left: Vec<_> = self.things.iter().filter(|(_, thing)| !thing.finalized).collect();
        ensure(left.is_empty(), || format!("R8: never finalized: {left:?}"))?;
        ensure(self.locks.is_empty(), || format!("locks are held: {:?}", self.locks))?;
        let lines = self.lines.values().all(Line::is_empty);
        ensure(lines, || format!("somebody waits in a line: {:?}", self.lines))
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
