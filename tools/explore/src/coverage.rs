//! What many runs have to show between them: a rule that no run comes near is not explored.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::record::{Entry, Event, Rule, Seen};

/// Something that a run may show.
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// In how many of a thousand runs it has to be seen.
    pub(crate) per_mille: u64,
}

const fn feature(name: &'static str, per_mille: u64) -> Feature {
    Feature { name, per_mille }
}

/// With fewer runs nothing is demanded.
const RUNS_MIN: u64 = 500;

/// Of random programs; in the order of `of_program`.
pub(crate) const PROGRAMS: &[Feature] = &[
    feature("have children", 1000),
    feature("forget a child and are told", 30),
    feature("forget a child in an abnormal end", 100),
    feature("use what is not theirs and are told", 20),
    feature("leave a resource behind and are told", 20),
    feature("give to a child", 250),
    feature("transfer to a parent", 250),
    feature("use their own resources", 250),
    feature("cancel a child half-way", 250),
    feature("cancel a child that had returned", 150),
    feature("see a panic", 150),
    feature("lose a race", 200),
    feature("give up at a deadline", 150),
    feature("let a shield go", 100),
    feature("cut a shield off", 80),
    feature("are woken by a signal", 200),
    feature("wait for a signal in vain", 250),
    feature("signal nobody", 250),
];

/// Of the echo server; in the order in which `echo` notes them.
pub(crate) const ECHO: &[Feature] = &[
    feature("refuse a connection", 800),
    feature("break a connection", 900),
    feature("fail to accept", 500),
    feature("lose a connection at the accept", 300),
    feature("stall", 900),
    feature("fail a client", 800),
    feature("end early", 150),
    feature("fail a client at the end", 100),
];

/// Which features a run showed, one bit for each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shown(u64);

impl FromIterator<bool> for Shown {
    fn from_iter<I: IntoIterator<Item = bool>>(shown: I) -> Shown {
        let bits = shown.into_iter().enumerate().map(|(place, shown)| u64::from(shown) << place);
        Shown(bits.fold(0, |all, bit| all | bit))
    }
}

/// How many runs showed each feature.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Vec<u64>);

impl Counts {
    pub(crate) fn count(&mut self, shown: Shown) {
        let bits = (0..u64::from(u64::BITS)).map(|place| shown.0 >> place & 1);
        self.add(&Counts(bits.collect()));
    }

    pub(crate) fn add(&mut self, other: &Counts) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(count, more)| *count += more);
    }

    /// Says which feature too few of the runs showed.
    pub(crate) fn demand(&self, features: &[Feature], runs: u64) -> Result<(), String> {
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

    pub(crate) fn tell(&self, features: &[Feature]) -> String {
        let mut text = String::new();
        for (feature, count) in features.iter().zip(&self.0) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{count:>17} {}", feature.name);
        }
        text
    }
}

/// What the events of a program show.
pub(crate) fn of_program(events: &[Entry]) -> Shown {
    let all = || events.iter().map(|entry| entry.event);
    let returned: BTreeSet<usize> = all().filter_map(returned).collect();
    let cut_off = |child: usize| {
        all().any(|event| matches!(event, Event::Dropped { job } if job == child))
            && !returned.contains(&child)
    };
    let abnormal: BTreeSet<usize> = all().filter_map(abnormal).collect();
    let broken = |wanted: Rule| {
        all().any(|event| matches!(event, Event::Broken { rule, .. } if rule == wanted))
    };
    let any = |shows: &dyn Fn(Event) -> bool| all().any(shows);
    [
        any(&|event| matches!(event, Event::Spawned { child: 1.., .. })),
        broken(Rule::StillHasChildren),
        any(
            &|event| matches!(event, Event::Forgotten { parent, .. } if abnormal.contains(&parent)),
        ),
        broken(Rule::NotOwner),
        broken(Rule::ResourceLeaked),
        any(&|event| matches!(event, Event::Given { .. })),
        any(&|event| matches!(event, Event::Transferred { .. })),
        any(&|event| matches!(event, Event::Used { as_owner: true, .. })),
        any(&|event| matches!(event, Event::CancelDone { child, .. } if cut_off(child))),
        any(&|event| matches!(event, Event::CancelDone { value: true, .. })),
        any(&|event| matches!(event, Event::Saw { what: Seen::Panic, .. })),
        any(&|event| matches!(event, Event::Lost { child } if cut_off(child))),
        any(&|event| matches!(event, Event::Limited { child, .. } if cut_off(child))),
        any(&|event| matches!(event, Event::LetGo { .. })),
        any(&|event| matches!(event, Event::Shielded { child, .. } if cut_off(child))),
        any(&|event| matches!(event, Event::Woken { .. })),
        any(&|event| matches!(event, Event::TimedOut { .. })),
        any(&|event| matches!(event, Event::Signalled { called: false, .. })),
    ]
    .into_iter()
    .collect()
}

fn returned(event: Event) -> Option<usize> {
    match event {
        Event::Returned { job, .. } => Some(job),
        _ => None,
    }
}

fn abnormal(event: Event) -> Option<usize> {
    match event {
        Event::Returned { job, how: Seen::Error | Seen::Panic } => Some(job),
        _ => None,
    }
}
