//! A model that accepts everything would be of no use: what really happened is altered a little,
//! and has to be refused.

use std::sync::Arc;
use std::time::Duration;

use matou_runtime::test::Check;

use super::judge;
use crate::program::{World, generate, main};
use crate::record::{Entry, Event, Seen};

const PROGRAMS: u64 = 300;

/// What is changed in what happened.
enum Change {
    LeaveOut,
    Twice,
    /// Another event in its place.
    Other(Event),
    /// One more, right after it.
    Then(Event),
}

/// A change at an event, if it is one of those.
type Alter = fn(&[Entry], Event) -> Option<Change>;

/// What is altered, how many in a hundred of such changes have to be refused, and how.
const ALTERATIONS: &[(&str, usize, Alter)] = &[
    ("a finalizer does not end", 100, |_, event| match event {
        Event::Finalized { .. } => Some(Change::LeaveOut),
        _ => None,
    }),
    ("a finalizer begins twice", 100, |_, event| match event {
        Event::Begun { .. } => Some(Change::Twice),
        _ => None,
    }),
    ("a resource is nobody's until it is moved", 60, |_, event| match event {
        Event::Owned { .. } => Some(Change::LeaveOut),
        _ => None,
    }),
    ("a transfer leaves the owner as it was", 99, |_, event| match event {
        Event::Transferred { .. } => Some(Change::LeaveOut),
        _ => None,
    }),
    ("what was transferred is finalized at the child's end", 100, |_, event| match event {
        Event::Transferred { resource, .. } => Some(Change::Then(Event::Begun { resource })),
        _ => None,
    }),
    ("what was given is finalized before the child's end", 100, |events, event| match event {
        Event::Began { job } => {
            given_to(events, job).map(|resource| Change::Then(Event::Begun { resource }))
        }
        _ => None,
    }),
    ("an owner is refused, or another one is not", 100, |_, event| match event {
        Event::Used { job, resource, as_owner } => {
            Some(Change::Other(Event::Used { job, resource, as_owner: !as_owner }))
        }
        _ => None,
    }),
    ("a future is never dropped", 100, |events, event| match event {
        Event::Dropped { job } if began(events, job) => Some(Change::LeaveOut),
        _ => None,
    }),
    ("a future is dropped twice", 100, |_, event| match event {
        Event::Dropped { .. } => Some(Change::Twice),
        _ => None,
    }),
    ("a task runs after its end", 100, |_, event| match event {
        Event::Dropped { job } => Some(Change::Then(Event::Step { job })),
        _ => None,
    }),
    ("a task begins after its parent saw its end", 100, |events, event| match event {
        Event::Saw { child, .. } | Event::Lost { child } if !began(events, child) => {
            Some(Change::Then(Event::Began { job: child }))
        }
        _ => None,
    }),
    ("a task begins after its grandparent saw its parent's end", 100, |events, event| {
        let (Event::Saw { child, .. } | Event::CancelDone { child, .. }) = event else {
            return None;
        };
        let late = children(events, child).find(|&late| !began(events, late))?;
        Some(Change::Then(Event::Began { job: late }))
    }),
    ("a failure becomes a cancellation", 100, |_, event| match event {
        Event::Saw { child, what: Seen::Error | Seen::Panic } => {
            Some(Change::Other(Event::Saw { child, what: Seen::Cancelled }))
        }
        _ => None,
    }),
    ("a value is lost, or made up", 99, |_, event| match event {
        Event::CancelDone { child, value } => {
            Some(Change::Other(Event::CancelDone { child, value: !value }))
        }
        _ => None,
    }),
    ("a deadline is ignored", 100, |events, event| match event {
        Event::Limited { child, .. } => {
            let end = last_step(events, child)?.checked_sub(Duration::from_nanos(1))?;
            Some(Change::Other(Event::Limited { child, end }))
        }
        _ => None,
    }),
    ("a deadline ends somebody too early", 30, |events, event| match event {
        Event::Limited { child, .. } if cut_off(events, child) => {
            Some(Change::Other(Event::Limited { child, end: HOUR }))
        }
        _ => None,
    }),
    ("a shield is cut off with its parent", 90, |events, event| match event {
        Event::Shielded { child, .. } if cut_off(events, child) => {
            Some(Change::Other(Event::Shielded { child, limit: HOUR }))
        }
        _ => None,
    }),
    ("a shield goes on for too long", 10, |events, event| match event {
        Event::Shielded { child, .. } if cut_off(events, child) => {
            Some(Change::Other(Event::Shielded { child, limit: Duration::ZERO }))
        }
        _ => None,
    }),
    ("a racer is ended before the race is over", 50, |events, event| match event {
        Event::Races { child, .. } if cut_off(events, child) => Some(Change::LeaveOut),
        _ => None,
    }),
    ("a loser is still there", 100, |events, event| match event {
        Event::Lost { child } if began(events, child) => {
            Some(Change::Then(Event::Step { job: child }))
        }
        _ => None,
    }),
    ("nobody has the lock that is let go", 100, |_, event| match event {
        Event::Locked { .. } => Some(Change::LeaveOut),
        _ => None,
    }),
    ("a lock is never let go", 100, |_, event| match event {
        Event::Unlocked { .. } => Some(Change::LeaveOut),
        _ => None,
    }),
    ("somebody is woken without a signal", 80, |_, event| match event {
        Event::Signalled { called: true, .. } => Some(Change::LeaveOut),
        _ => None,
    }),
    ("a signal does not find who waits", 100, |_, event| match event {
        Event::Signalled { lock, called } => {
            Some(Change::Other(Event::Signalled { lock, called: !called }))
        }
        _ => None,
    }),
    ("a violation is nobody's", 100, |_, event| match event {
        Event::Broken { .. } => Some(Change::LeaveOut),
        _ => None,
    }),
];

const HOUR: Duration = Duration::from_secs(3600);

fn any(events: &[Entry], shows: impl Fn(Event) -> bool) -> bool {
    events.iter().any(|entry| shows(entry.event))
}

fn began(events: &[Entry], wanted: usize) -> bool {
    any(events, |event| event == Event::Began { job: wanted })
}

/// Whether it was ended before it returned.
fn cut_off(events: &[Entry], wanted: usize) -> bool {
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
        Event::Began { job } | Event::Step { job } | Event::Returned { job, .. } => job == wanted,
        _ => false,
    });
    steps.map(|entry| entry.at).next_back()
}

fn altered(events: &[Entry], index: usize, change: Change) -> Vec<Entry> {
    let mut events = events.to_vec();
    let at = events[index].at;
    match change {
        Change::LeaveOut => drop(events.remove(index)),
        Change::Twice => events.insert(index, events[index]),
        Change::Other(event) => events[index].event = event,
        Change::Then(event) => events.insert(index + 1, Entry { at, event }),
    }
    events
}

#[test]
fn what_did_not_happen_so_is_refused() {
    crate::silence_planned_panics();
    // For each alteration: how often it could be made, and how often it was refused.
    let mut counts = vec![(0, 0); ALTERATIONS.len()];
    for seed in 0..PROGRAMS {
        let (program, world) = (Arc::new(generate(seed)), World::new());
        let domains = 3 + (seed % 2) as usize;
        let trial = Check::simulated().domains(domains).trial(seed, main(&world, &program));
        let events = world.record.take();
        assert_eq!(judge(&events, &trial.outcome), Ok(()), "seed {seed}");
        for ((_, _, alter), (made, refused)) in ALTERATIONS.iter().zip(&mut counts) {
            for index in 0..events.len() {
                let Some(change) = alter(&events, events[index].event) else { continue };
                *made += 1;
                let verdict = judge(&altered(&events, index, change), &trial.outcome);
                *refused += usize::from(verdict.is_err());
            }
        }
    }
    for ((what, ..), (made, refused)) in ALTERATIONS.iter().zip(&counts) {
        println!("{refused} of {made}: {what}");
    }
    for ((what, percent, _), (made, refused)) in ALTERATIONS.iter().zip(counts) {
        assert!(made >= 10, "{what}: only {made}");
        assert!(refused * 100 >= made * percent, "{what}: refused {refused} of {made}");
    }
}
