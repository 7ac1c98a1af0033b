//! The model must reject events that violate a rule: each test case alters the events of correct
//! runs.

use std::sync::Arc;
use std::time::Duration;

use super::check;
use crate::event::{Event, OutcomeKind, Report};
use crate::primitive_event::{ComputationEnd, PrimitiveEvent};
use crate::program::{Environment, generate, main};
use crate::record::Entry;
use crate::settings::Settings;

const PROGRAMS: u64 = 160;

/// The most changes of one alteration in one program.
const CHANGES_MAX: usize = 3;

/// A change of one event.
enum Change {
    Remove,
    Duplicate,
    Replace(Event),
    InsertAfter(Event),
}

/// Returns the change of an event, or `None` if the alteration does not apply to it.
type Alter = fn(&[Entry], Event) -> Option<Change>;

/// Each alteration, and the least percentage of its changes that the model must reject. Some
/// changes yield events of another correct run.
const ALTERATIONS: &[(&str, usize, Alter)] = &[
    ("a finalizer does not complete", 100, |_, event| match event {
        Event::Finalized { .. } => Some(Change::Remove),
        _ => None,
    }),
    ("a finalizer is started twice", 100, |_, event| match event {
        Event::FinalizerStarted { .. } => Some(Change::Duplicate),
        _ => None,
    }),
    ("a resource has no owner until it is moved", 60, |_, event| match event {
        Event::Owned { .. } => Some(Change::Remove),
        _ => None,
    }),
    // Unless its resources are strict, the child leaves the resource to its parent in any case.
    ("a transfer does not change the owner", 85, |_, event| match event {
        Event::Transferred { .. } => Some(Change::Remove),
        _ => None,
    }),
    ("a transferred resource is finalized when the child completes", 100, |_, event| match event {
        Event::Transferred { resource, .. } => {
            Some(Change::InsertAfter(Event::FinalizerStarted { resource }))
        }
        _ => None,
    }),
    (
        "a given resource is finalized before the child completes",
        100,
        |events, event| match event {
            Event::Started { job } => given_to(events, job)
                .map(|resource| Change::InsertAfter(Event::FinalizerStarted { resource })),
            _ => None,
        },
    ),
    ("the owner cannot use a resource, or another task can", 100, |_, event| match event {
        Event::Used { job, resource, as_owner } => {
            Some(Change::Replace(Event::Used { job, resource, as_owner: !as_owner }))
        }
        _ => None,
    }),
    ("a future is never dropped", 100, |events, event| match event {
        Event::Dropped { job } if started(events, job) => Some(Change::Remove),
        _ => None,
    }),
    ("a future is dropped twice", 100, |_, event| match event {
        Event::Dropped { .. } => Some(Change::Duplicate),
        _ => None,
    }),
    ("a task runs after its completion", 100, |_, event| match event {
        Event::Dropped { job } => Some(Change::InsertAfter(Event::StepCompleted { job })),
        _ => None,
    }),
    ("a task starts after its parent joined it", 100, |events, event| match event {
        Event::Joined { child, .. }
        | Event::CancelCompleted { child, .. }
        | Event::RaceLost { child }
            if !started(events, child) =>
        {
            Some(Change::InsertAfter(Event::Started { job: child }))
        }
        _ => None,
    }),
    ("a task starts after its grandparent joined its parent", 100, |events, event| {
        let (Event::Joined { child, .. } | Event::CancelCompleted { child, .. }) = event else {
            return None;
        };
        let late = children(events, child).find(|&late| !started(events, late))?;
        Some(Change::InsertAfter(Event::Started { job: late }))
    }),
    ("a failure becomes a cancellation", 100, |_, event| match event {
        Event::Joined { child, outcome: OutcomeKind::Error | OutcomeKind::Panic } => {
            Some(Change::Replace(Event::Joined { child, outcome: OutcomeKind::Cancelled }))
        }
        _ => None,
    }),
    ("a cancel loses an outcome, or invents one", 100, |_, event| match event {
        Event::CancelCompleted { child, outcome } => {
            let changed = if outcome.is_some() { None } else { Some(OutcomeKind::Value) };
            Some(Change::Replace(Event::CancelCompleted { child, outcome: changed }))
        }
        _ => None,
    }),
    ("a deadline is ignored", 100, |events, event| match event {
        Event::DeadlineSet { child, .. } => {
            let deadline = last_step(events, child)?.checked_sub(Duration::from_nanos(1))?;
            Some(Change::Replace(Event::DeadlineSet { child, deadline }))
        }
        _ => None,
    }),
    // The rest are children whose parents were cancelled.
    ("a deadline cancels a task too early", 65, |events, event| match event {
        Event::DeadlineSet { child, .. } if was_cancelled(events, child) => {
            Some(Change::Replace(Event::DeadlineSet { child, deadline: HOUR }))
        }
        _ => None,
    }),
    ("a shield is cancelled with its parent", 100, |events, event| match event {
        Event::Shielded { child, .. } if was_cancelled(events, child) => {
            Some(Change::Replace(Event::Shielded { child, limit: HOUR }))
        }
        _ => None,
    }),
    // Most shields do not use their time.
    ("a shield runs for too long", 10, |events, event| match event {
        Event::Shielded { child, .. } if was_cancelled(events, child) => {
            Some(Change::Replace(Event::Shielded { child, limit: Duration::ZERO }))
        }
        _ => None,
    }),
    ("a task is cancelled before its race is decided", 70, |events, event| match event {
        Event::RaceEntered { child, .. } if was_cancelled(events, child) => Some(Change::Remove),
        _ => None,
    }),
    ("the loser of a race still runs", 100, |events, event| match event {
        Event::RaceLost { child } if started(events, child) => {
            Some(Change::InsertAfter(Event::StepCompleted { job: child }))
        }
        _ => None,
    }),
    ("an unlocked lock has no holder", 100, |_, event| match event {
        Event::Locked { .. } => Some(Change::Remove),
        _ => None,
    }),
    ("a lock is never unlocked", 100, |_, event| match event {
        Event::Unlocked { .. } => Some(Change::Remove),
        _ => None,
    }),
    // Signals of other waiters may account for it.
    ("a waiter is woken without a signal", 75, |_, event| match event {
        Event::Signalled { woke: true, .. } => Some(Change::Remove),
        _ => None,
    }),
    ("a signal does not wake the waiter", 100, |_, event| match event {
        Event::Signalled { lock, woke } => {
            Some(Change::Replace(Event::Signalled { lock, woke: !woke }))
        }
        _ => None,
    }),
    ("a reader-writer lock is never unlocked", 100, |_, event| match event {
        Event::Primitive(PrimitiveEvent::Unlocked { .. }) => Some(Change::Remove),
        _ => None,
    }),
    ("a job reads while another one writes, or is not known to hold the lock", 100, |_, event| {
        match event {
            Event::Primitive(PrimitiveEvent::Locked { .. }) => Some(Change::Duplicate),
            _ => None,
        }
    }),
    ("a signal of a trigger is lost, or one too many is kept", 100, |_, event| match event {
        Event::Primitive(PrimitiveEvent::Triggered { trigger, had_effect }) => {
            let had_effect = !had_effect;
            let event = PrimitiveEvent::Triggered { trigger, had_effect };
            Some(Change::Replace(Event::Primitive(event)))
        }
        _ => None,
    }),
    ("a job passes a trigger without a signal", 60, |_, event| match event {
        Event::Primitive(PrimitiveEvent::Triggered { had_effect: true, .. }) => {
            Some(Change::Remove)
        }
        _ => None,
    }),
    ("another job leads at the barrier", 100, |_, event| match event {
        Event::Primitive(PrimitiveEvent::BarrierPassed { job, is_leader }) => {
            let event = PrimitiveEvent::BarrierPassed { job, is_leader: !is_leader };
            Some(Change::Replace(Event::Primitive(event)))
        }
        _ => None,
    }),
    ("two jobs compute the value of a cell", 100, |_, event| match event {
        Event::Primitive(PrimitiveEvent::InitStarted { .. }) => Some(Change::Duplicate),
        _ => None,
    }),
    ("a computation ends in another way", 100, |_, event| match event {
        Event::Primitive(PrimitiveEvent::ComputationRead { job, end }) => {
            let other = ComputationEnd::Returned(usize::MAX);
            assert_ne!(end, other, "no program uses this value");
            let event = PrimitiveEvent::ComputationRead { job, end: other };
            Some(Change::Replace(Event::Primitive(event)))
        }
        _ => None,
    }),
    ("a byte or a datagram is lost", 100, |_, event| match event {
        Event::UnixReceived { job, amount } => {
            Some(Change::Replace(Event::UnixReceived { job, amount: amount + 1 }))
        }
        _ => None,
    }),
    ("a violation has no author", 100, |_, event| match event {
        Event::Violated { .. } => Some(Change::Remove),
        _ => None,
    }),
    // A job that fails may give up the children that it forgets.
    ("a report is lost", 80, |_, event| match event {
        // Offers and circles are reported only if they last, and that is not always certain.
        Event::Reported(Report::DeclinedOffer { .. } | Report::WaitCycle { .. }) => None,
        Event::Reported(_) => Some(Change::Remove),
        _ => None,
    }),
    // It may name a child that a failing job gives up, and of which no report is due.
    ("a report is repeated", 90, |_, event| match event {
        Event::Reported(Report::DeclinedOffer { .. } | Report::WaitCycle { .. }) => None,
        Event::Reported(_) => Some(Change::Duplicate),
        _ => None,
    }),
    ("a report names another task", 100, |events, event| {
        let task = events.iter().find_map(|entry| match entry.event {
            Event::Spawned { child: 1.., task, .. } => task,
            _ => None,
        });
        let other = match event {
            Event::Reported(Report::Violation { task: named, kind }) if named != task => {
                Report::Violation { task, kind }
            }
            Event::Reported(Report::FailureUnseen { task: named }) if named != task => {
                Report::FailureUnseen { task }
            }
            _ => return None,
        };
        Some(Change::Replace(Event::Reported(other)))
    }),
];

const HOUR: Duration = Duration::from_secs(3600);

fn any(events: &[Entry], is: impl Fn(Event) -> bool) -> bool {
    events.iter().any(|entry| is(entry.event))
}

fn started(events: &[Entry], wanted: usize) -> bool {
    any(events, |event| event == Event::Started { job: wanted })
}

/// Whether the job was cancelled before it returned.
fn was_cancelled(events: &[Entry], wanted: usize) -> bool {
    any(events, |event| event == Event::Dropped { job: wanted })
        && !any(events, |event| matches!(event, Event::Returned { job, .. } if job == wanted))
}

fn children(events: &[Entry], of: usize) -> impl Iterator<Item = usize> + '_ {
    events.iter().filter_map(move |entry| match entry.event {
        Event::Spawned { parent, child, .. } if parent == of && child != of => Some(child),
        _ => None,
    })
}

fn given_to(events: &[Entry], wanted: usize) -> Option<usize> {
    events.iter().find_map(|entry| match entry.event {
        Event::Given { child, resource } if child == wanted => Some(resource),
        _ => None,
    })
}

fn last_step(events: &[Entry], wanted: usize) -> Option<Duration> {
    let steps = events.iter().filter(|entry| match entry.event {
        Event::Started { job } | Event::StepCompleted { job } | Event::Returned { job, .. } => {
            job == wanted
        }
        _ => false,
    });
    steps.map(|entry| entry.at).next_back()
}

fn altered(events: &[Entry], index: usize, change: Change) -> Vec<Entry> {
    let mut events = events.to_vec();
    let at = events[index].at;
    match change {
        Change::Remove => drop(events.remove(index)),
        Change::Duplicate => events.insert(index, events[index]),
        Change::Replace(event) => events[index].event = event,
        Change::InsertAfter(event) => events.insert(index + 1, Entry { at, event }),
    }
    events
}

#[test]
fn altered_events_are_rejected() {
    crate::silence_expected_panics();
    // For each alteration, the number of its changes, and of those that the model rejected.
    let mut counts = vec![(0, 0); ALTERATIONS.len()];
    for seed in 0..PROGRAMS {
        let settings = Settings::of(seed);
        let (program, environment) = (Arc::new(generate(seed)), Environment::new(settings));
        let record = environment.record.clone();
        let checked = settings.check().on_report(move |report| record.add_diagnostic(report));
        let trial = checked.trial(seed, main(&environment, &program));
        let events = environment.record.take();
        assert_eq!(check(settings, &events, &trial.outcome), Ok(()), "seed {seed}");
        for ((_, _, alter), (changes, rejected)) in ALTERATIONS.iter().zip(&mut counts) {
            let change_at = |index: usize| Some((index, alter(&events, events[index].event)?));
            for (index, change) in (0..events.len()).filter_map(change_at).take(CHANGES_MAX) {
                *changes += 1;
                let result = check(settings, &altered(&events, index, change), &trial.outcome);
                *rejected += usize::from(result.is_err());
            }
        }
    }
    for ((name, ..), (changes, rejected)) in ALTERATIONS.iter().zip(&counts) {
        println!("{rejected} of {changes}: {name}");
    }
    for ((name, percent, _), (changes, rejected)) in ALTERATIONS.iter().zip(counts) {
        assert!(changes >= 10, "{name}: only {changes}");
        assert!(rejected * 100 >= changes * percent, "{name}: rejected {rejected} of {changes}");
    }
}
