//! The step that gives up the losers of a race.

use std::time::Duration;

use matou_runtime::{Either, race_all, race_either, select, sleep};

use super::Child;
use super::interpreter::Interpreter;
use crate::event::Event;

/// How a job waits for the first of two children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RaceKind {
    Either,
    All,
    /// By `select!`, together with a timer.
    Select,
    SelectBiased,
}

impl RaceKind {
    /// Whether the race ends although no child completes.
    pub(crate) fn has_timer(self) -> bool {
        matches!(self, RaceKind::Select | RaceKind::SelectBiased)
    }
}

impl Interpreter<'_> {
    pub(super) async fn race(&mut self, children: &[Child; 2], kind: RaceKind, millis: u64) {
        let [one, other] = [self.spawn(&children[0]), self.spawn(&children[1])];
        let timer = sleep(Duration::from_millis(millis));
        let first = match kind {
            RaceKind::Either => Some(match race_either(one, other).await {
                Either::Left(outcome) => (0, outcome),
                Either::Right(outcome) => (1, outcome),
            }),
            RaceKind::All => {
                let promises = [one, other].into_iter().enumerate();
                let race = promises.map(|(index, promise)| async move { (index, promise.await) });
                Some(race_all(race).await)
            }
            RaceKind::Select => select! {
                outcome = one => Some((0, outcome)),
                outcome = other => Some((1, outcome)),
                () = timer => None,
            },
            RaceKind::SelectBiased => select! {
                biased;
                () = timer => None,
                outcome = one => Some((0, outcome)),
                outcome = other => Some((1, outcome)),
            },
        };
        let winner = first.as_ref().map(|(index, _)| *index);
        for (index, child) in children.iter().enumerate() {
            if Some(index) != winner {
                self.record(Event::LoserGivenUp { child: child.job.id });
            }
        }
        if let Some((index, outcome)) = first {
            self.joined(children[index].job.id, outcome);
        }
    }
}
