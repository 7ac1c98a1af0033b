//! The features that a minimum of the runs must cover: a rule that no run comes close to is not
//! tested.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::event::{Event, OutcomeKind, Report, Target, ViolationKind};
use crate::primitive_event::{ComputationEnd, PrimitiveEvent};
use crate::program::LATCHED;
use crate::record::Entry;

/// Behaviour that a run may cover.
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// The number of runs in a thousand that must cover it.
    pub(crate) per_mille: u64,
}

const fn feature(name: &'static str, per_mille: u64) -> Feature {
    Feature { name, per_mille }
}

/// With fewer runs, any number of them may cover a feature.
const RUNS_MIN: u64 = 500;

/// Features of random programs, in the order of `of_program`.
pub(crate) const PROGRAM_FEATURES: &[Feature] = &[
    feature("spawn a child", 1000),
    feature("violate a rule by a child that is not joined", 20),
    feature("report a forgotten child without a violation", 20),
    feature("report an unseen failure", 80),
    feature("report a living resource", 100),
    feature("contain a violation", 80),
    feature("forget a child and fail or panic", 100),
    feature("give a child up", 100),
    feature("violate a rule by the use of another task's resource", 20),
    feature("violate a rule by a leaked resource", 20),
    feature("give to a child", 250),
    feature("transfer to a parent", 250),
    feature("use an own resource", 250),
    feature("cancel a running child", 250),
    feature("cancel a child that has returned", 150),
    feature("join a child that panicked", 100),
    feature("cancel the loser of a race", 200),
    feature("reach a deadline", 150),
    feature("stop waiting for a shield", 100),
    feature("reach the limit of a shield", 80),
    feature("are woken by a signal", 80),
    feature("time out waiting for a signal", 250),
    feature("signal without a waiter", 250),
    feature("set a lock aside", 80),
    feature("set a push aside", 100),
    feature("set a pop aside", 100),
    feature("set a request for permits aside", 80),
    feature("decline a lock", 20),
    feature("decline a slot of a queue", 20),
    feature("decline a value of a queue", 20),
    feature("decline permits", 20),
    feature("acquire permits", 250),
    feature("submit a child by a spawner", 100),
    feature("run a blocking job", 150),
    feature("receive a datagram", 150),
    feature("push to a queue", 250),
    feature("pop from a queue", 250),
    feature("report a circle of waits", 100),
    feature("have a strict task", 100),
    feature("become the owner of a received handle", 50),
    feature("drop a received handle", 50),
    feature("acquire a lock that another job has set aside", 50),
    feature("read under a reader-writer lock", 250),
    feature("write under a reader-writer lock", 200),
    feature("make a writer a reader", 100),
    feature("set a reader or a writer aside", 80),
    feature("pass a latched trigger", 100),
    feature("pass a counted trigger", 100),
    feature("signal a trigger without effect", 80),
    feature("reset a trigger that is signalled", 80),
    feature("decline a signal of a trigger", 20),
    feature("meet at a barrier", 100),
    feature("compute the value of a cell", 100),
    feature("fail to compute the value of a cell", 100),
    feature("receive the value of a computation", 100),
    feature("learn that a computation has no value", 100),
    feature("give the losers of a race up", 100),
    feature("receive from a Unix socket", 150),
];

/// Features of the echo server, in the order in which `echo` lists them.
pub(crate) const ECHO_FEATURES: &[Feature] = &[
    feature("refuse a connection", 800),
    feature("reset a connection", 900),
    feature("fail to accept", 500),
    feature("abort a connection during the accept", 300),
    feature("stall a connection", 900),
    feature("have a failed client", 800),
    feature("shut down early", 150),
    feature("have a client that fails during the shutdown", 100),
];

/// The features that a run covered, one bit for each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Covered(u64);

impl FromIterator<bool> for Covered {
    fn from_iter<I: IntoIterator<Item = bool>>(covered: I) -> Covered {
        let bits = covered.into_iter().enumerate().map(|(index, is)| u64::from(is) << index);
        Covered(bits.fold(0, |all, bit| all | bit))
    }
}

/// The number of runs that covered each feature.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Vec<u64>);

impl Counts {
    pub(crate) fn add_run(&mut self, covered: Covered) {
        let bits = (0..u64::from(u64::BITS)).map(|index| covered.0 >> index & 1);
        self.merge(&Counts(bits.collect()));
    }

    pub(crate) fn merge(&mut self, other: &Counts) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(count, more)| *count += more);
    }

    /// Returns an error that names a feature that too few of the runs covered.
    pub(crate) fn check(&self, features: &[Feature], runs: u64) -> Result<(), String> {
        if runs < RUNS_MIN {
            return Ok(());
        }
        for (feature, &count) in features.iter().zip(&self.0) {
            if count * 1000 < feature.per_mille * runs {
                return Err(format!("only {count} of {runs} runs {}", feature.name));
            }
        }
        Ok(())
    }

    /// One line for each feature.
    pub(crate) fn lines(&self, features: &[Feature]) -> String {
        let mut text = String::new();
        for (feature, count) in features.iter().zip(&self.0) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{count:>17} {}", feature.name);
        }
        text
    }
}

/// The features that the events of a random program cover.
pub(crate) fn of_program(events: &[Entry]) -> Covered {
    let all = || events.iter().map(|entry| entry.event);
    let returned: BTreeSet<usize> = all().filter_map(returned).collect();
    let was_cancelled = |child: usize| {
        all().any(|event| matches!(event, Event::Dropped { job } if job == child))
            && !returned.contains(&child)
    };
    let failed: BTreeSet<usize> = all().filter_map(failed).collect();
    let violated = |wanted: ViolationKind| {
        all().any(|event| matches!(event, Event::Violated { kind, .. } if kind == wanted))
    };
    let any = |covers: &dyn Fn(Event) -> bool| all().any(covers);
    let sets_aside = |operation: &str| {
        any(&|event| match event {
            Event::SetAside { target, .. } => !is_shared(target) && target.operation() == operation,
            _ => false,
        })
    };
    let declines = |wanted: &str| {
        any(&|event| match event {
            Event::Reported(Report::DeclinedOffer { operation, .. }) => operation == wanted,
            _ => false,
        })
    };
    [
        any(&|event| matches!(event, Event::Spawned { child: 1.., .. } | Event::Submitted { .. })),
        violated(ViolationKind::StillHasChildren),
        any(&|event| matches!(event, Event::Reported(Report::Forgotten { .. }))),
        any(&|event| matches!(event, Event::Reported(Report::FailureUnseen { .. }))),
        any(&|event| matches!(event, Event::Reported(Report::ResourceAlive { .. }))),
        any(&|event| matches!(event, Event::Joined { outcome: OutcomeKind::Violation, .. })),
        any(&|event| matches!(event, Event::Forgotten { parent, .. } if failed.contains(&parent))),
        any(&|event| matches!(event, Event::GivenUp { .. })),
        violated(ViolationKind::NotOwner),
        violated(ViolationKind::ResourceLeaked),
        any(&|event| matches!(event, Event::Given { .. })),
        any(&|event| matches!(event, Event::Transferred { .. })),
        any(&|event| matches!(event, Event::Used { as_owner: true, .. })),
        any(&|event| matches!(event, Event::CancelCompleted { child, .. } if was_cancelled(child))),
        any(&|event| matches!(event, Event::CancelCompleted { outcome: Some(_), .. })),
        any(&|event| matches!(event, Event::Joined { outcome: OutcomeKind::Panic, .. })),
        any(&|event| matches!(event, Event::RaceLost { child } if was_cancelled(child))),
        any(&|event| matches!(event, Event::DeadlineSet { child, .. } if was_cancelled(child))),
        any(&|event| matches!(event, Event::ShieldAbandoned { .. })),
        any(&|event| matches!(event, Event::Shielded { child, .. } if was_cancelled(child))),
        any(&|event| matches!(event, Event::Woken { .. })),
        any(&|event| matches!(event, Event::WaitTimedOut { .. })),
        any(&|event| matches!(event, Event::Signalled { woke: false, .. })),
        sets_aside("lock"),
        sets_aside("push"),
        sets_aside("pop"),
        sets_aside("acquire"),
        declines("lock"),
        declines("push"),
        declines("pop"),
        declines("acquire"),
        any(&|event| matches!(event, Event::PermitsAcquired { .. })),
        any(&|event| matches!(event, Event::Submitted { .. })),
        any(&|event| matches!(event, Event::BlockingEnded { .. })),
        any(&|event| matches!(event, Event::DatagramReceived { .. })),
        any(&|event| matches!(event, Event::Pushed { .. })),
        any(&|event| matches!(event, Event::Popped { .. })),
        any(&|event| matches!(event, Event::Reported(Report::WaitCycle { .. }))),
        any(&|event| matches!(event, Event::StrictResources { .. })),
        any(&|event| matches!(event, Event::Adopted { .. })),
        any(&|event| matches!(event, Event::HandleDropped { .. })),
        overtakes(events),
    ]
    .into_iter()
    .chain(of_primitives(events))
    .collect()
}

/// The features from "read under a reader-writer lock" on.
fn of_primitives(events: &[Entry]) -> [bool; 16] {
    let any = |covers: &dyn Fn(Event) -> bool| events.iter().any(|entry| covers(entry.event));
    let primitive = |covers: &dyn Fn(PrimitiveEvent) -> bool| {
        any(&|event| matches!(event, Event::Primitive(event) if covers(event)))
    };
    [
        primitive(&|event| matches!(event, PrimitiveEvent::Locked { writes: false, .. })),
        primitive(&|event| matches!(event, PrimitiveEvent::Locked { writes: true, .. })),
        primitive(&|event| matches!(event, PrimitiveEvent::Downgraded { .. })),
        any(&|event| match event {
            Event::SetAside { target, .. } => is_shared(target),
            _ => false,
        }),
        primitive(&|event| matches!(event, PrimitiveEvent::TriggerPassed { trigger: LATCHED, .. })),
        primitive(&|event| match event {
            PrimitiveEvent::TriggerPassed { trigger, .. } => trigger != LATCHED,
            _ => false,
        }),
        primitive(&|event| matches!(event, PrimitiveEvent::Triggered { had_effect: false, .. })),
        primitive(&|event| {
            matches!(event, PrimitiveEvent::TriggerReset { was_signaled: true, .. })
        }),
        any(&|event| match event {
            Event::Reported(Report::DeclinedOffer { operation, .. }) => operation == "trigger",
            _ => false,
        }),
        primitive(&|event| matches!(event, PrimitiveEvent::BarrierPassed { .. })),
        primitive(&|event| matches!(event, PrimitiveEvent::InitEnded { value: Some(_), .. })),
        primitive(&|event| matches!(event, PrimitiveEvent::InitEnded { value: None, .. })),
        primitive(&|event| match event {
            PrimitiveEvent::ComputationRead { end, .. } => {
                matches!(end, ComputationEnd::Returned(_))
            }
            _ => false,
        }),
        primitive(&|event| match event {
            PrimitiveEvent::ComputationRead { end, .. } => {
                !matches!(end, ComputationEnd::Returned(_))
            }
            _ => false,
        }),
        any(&|event| matches!(event, Event::LoserGivenUp { .. })),
        any(&|event| matches!(event, Event::UnixReceived { .. })),
    ]
}

/// Whether it is a reader-writer lock.
fn is_shared(target: Target) -> bool {
    matches!(target, Target::Read(_) | Target::Write(_))
}

/// Whether a job acquired a lock while another one kept a future that waits for it.
fn overtakes(events: &[Entry]) -> bool {
    let mut set_aside = BTreeSet::new();
    events.iter().any(|entry| match entry.event {
        Event::SetAside { job, target: Target::Lock(lock) } => {
            set_aside.insert((lock, job));
            false
        }
        Event::SetAsideEnded { job, target: Target::Lock(lock) } => {
            set_aside.remove(&(lock, job));
            false
        }
        Event::Locked { job, lock } => {
            set_aside.iter().any(|&(waits_for, other)| waits_for == lock && other != job)
        }
        _ => false,
    })
}

fn returned(event: Event) -> Option<usize> {
    match event {
        Event::Returned { job, .. } => Some(job),
        _ => None,
    }
}

/// The job, if it returned an error or panicked.
fn failed(event: Event) -> Option<usize> {
    match event {
        Event::Returned { job, outcome: OutcomeKind::Error | OutcomeKind::Panic } => Some(job),
        _ => None,
    }
}
