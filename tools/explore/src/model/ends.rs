//! When a job that has not returned may be ended, and when it must have been.

use std::time::Duration;

use super::{Model, Verdict, ensure};

/// How long it takes until the descendants of a job that is ended know of it on all domains: a
/// message takes 5 ms at most, and a tree is not deep.
const SLACK: Duration = Duration::from_millis(50);

impl Model {
    /// A job is told to end, or those who wait for it have given up.
    pub(super) fn ask(&mut self, job: usize) {
        let now = self.now;
        self.task(job).asked_at.get_or_insert(now);
    }

    /// R5: whoever is ended has been told to, or its time is over.
    pub(super) fn may_end(&self, job: usize) -> Verdict {
        let earliest = self.earliest_end(job);
        ensure(earliest.is_some_and(|earliest| earliest <= self.now), || {
            format!("nobody may end job {job} before {earliest:?}")
        })
    }

    /// When a job may be ended for the first time, as far as is known.
    fn earliest_end(&self, job: usize) -> Option<Duration> {
        let task = &self.tasks[&job];
        let with_parent = (job != 0).then(|| self.earliest_end_of_parent(task.parent)).flatten();
        let with_parent = match task.shield {
            Some(limit) => with_parent.map(|parent| parent + limit),
            None => with_parent,
        };
        let lost = task.race.and_then(|race| self.race_decided_at(race, job));
        [task.asked_at, task.deadline, with_parent, lost].into_iter().flatten().min()
    }

    /// R1, R4: the children of a job end with it, however it ends.
    fn earliest_end_of_parent(&self, parent: usize) -> Option<Duration> {
        let returned = self.tasks[&parent].returned_at;
        returned.into_iter().chain(self.earliest_end(parent)).min()
    }

    /// When one that races with a job had ended. Its own end may come with that of their parent,
    /// which is looked at elsewhere.
    fn race_decided_at(&self, race: usize, job: usize) -> Option<Duration> {
        let others = self.tasks.iter().filter(|(other, task)| {
            **other != job && task.race == Some(race) && task.returned.is_some() && task.dropped
        });
        others.filter_map(|(_, task)| task.returned_at).min()
    }

    /// When a job must not run any more, as far as is known: at its deadline, or when the time is
    /// over that a shield leaves it after its parent's end.
    pub(super) fn latest_end(&self, job: usize) -> Option<Duration> {
        let task = self.tasks.get(&job)?;
        let shield = match task.shield {
            Some(limit) => self.tasks[&task.parent].returned_at.map(|end| end + limit),
            None if job == 0 => None,
            None => self.latest_shield_around(task.parent).map(|end| end + SLACK),
        };
        task.deadline.into_iter().chain(shield).min()
    }

    fn latest_shield_around(&self, job: usize) -> Option<Duration> {
        let task = self.tasks.get(&job)?;
        match task.shield {
            Some(limit) => self.tasks[&task.parent].returned_at.map(|end| end + limit),
            None if job == 0 => None,
            None => self.latest_shield_around(task.parent),
        }
    }
}
