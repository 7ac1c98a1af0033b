//! Do all short sequences of operations do what a naive model says?
//!
//! The model keeps plain lists and searches them. Every sequence up to the given length is run on
//! both, and after each operation the answers and all that can be seen from outside are compared.

use std::sync::Arc;

use futures::executor::block_on;
use matou_ownership::{
    AccessError, Ledger, ResourceHandle, adopt, check, disown, give, own, release, transfer,
};

use crate::doubles::{Probe, within};

/// Who runs: one of the two tasks, or (`OUTSIDE`) none.
type Runner = usize;
const OUTSIDE: Runner = 2;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Own,
    Check,
    Adopt,
    Disown,
    Transfer,
    Give(usize),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A task, or nobody, does something with a resource.
    Do(Runner, Verb, usize),
    Release(usize),
    /// The bequest of a task is delivered to the other one.
    Deliver(usize),
    Inherit(usize),
    FinalizeAll(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Fine,
    NotOwner,
    Finalized,
    Ids(u8),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Unowned,
    Owned(usize),
    InTransit(usize),
    Finalized,
}

#[derive(Default)]
struct ModelTask {
    owned: Vec<usize>,
    bequest: Vec<usize>,
    closed: bool,
    fault: bool,
}

struct Model {
    places: Vec<Place>,
    finalized: Vec<usize>,
    tasks: [ModelTask; 2],
}

impl Model {
    fn new(resources: usize) -> Model {
        Model {
            places: vec![Place::Unowned; resources],
            finalized: vec![0; resources],
            tasks: Default::default(),
        }
    }

    fn step(&mut self, step: Step) -> Answer {
        match step {
            Step::Do(runner, verb, resource) => return self.act(runner, verb, resource),
            Step::Release(resource) => {
                if self.places[resource] == Place::Finalized {
                    return Answer::Finalized;
                }
                self.finalize(resource);
            }
            Step::Deliver(from) => {
                for resource in self.tasks[from].bequest.clone() {
                    self.move_to(resource, Place::Unowned);
                    self.move_to(resource, Place::Owned(1 - from));
                }
            }
            Step::Inherit(task) => {
                for resource in self.tasks[task].owned.clone() {
                    self.move_to(resource, Place::InTransit(task));
                }
            }
            Step::FinalizeAll(task) => {
                let mut ids = 0;
                while let Some(&newest) = self.tasks[task].owned.last() {
                    self.finalize(newest);
                    ids = ids * 4 + 1 + newest as u8;
                }
                self.tasks[task].closed = true;
                return Answer::Ids(ids);
            }
        }
        Answer::Fine
    }

    fn act(&mut self, runner: Runner, verb: Verb, resource: usize) -> Answer {
        let place = self.places[resource];
        let here = if runner == OUTSIDE { Place::Unowned } else { Place::Owned(runner) };
        if place == Place::Finalized {
            return if verb == Verb::Own { Answer::Fine } else { Answer::Finalized };
        }
        match verb {
            Verb::Own if runner == OUTSIDE => return Answer::Fine,
            Verb::Own | Verb::Adopt => {
                if place != here {
                    self.move_to(resource, here);
                }
                return Answer::Fine;
            }
            Verb::Transfer if runner != OUTSIDE && place == Place::InTransit(runner) => {
                return Answer::Fine;
            }
            _ => {}
        }
        if place != here && place != Place::Unowned {
            if runner != OUTSIDE {
                self.tasks[runner].fault = true;
            }
            return Answer::NotOwner;
        }
        match verb {
            Verb::Check if place == here => {}
            Verb::Check => self.move_to(resource, here),
            Verb::Disown => self.move_to(resource, Place::Unowned),
            Verb::Transfer if runner == OUTSIDE => {}
            Verb::Transfer => self.move_to(resource, Place::InTransit(runner)),
            Verb::Give(to) => self.move_to(resource, Place::Owned(to)),
            Verb::Own | Verb::Adopt => unreachable!("done above"),
        }
        Answer::Fine
    }

    fn finalize(&mut self, resource: usize) {
        self.move_to(resource, Place::Finalized);
        self.finalized[resource] += 1;
    }

    fn move_to(&mut self, resource: usize, place: Place) {
        for task in &mut self.tasks {
            task.owned.retain(|other| *other != resource);
            task.bequest.retain(|other| *other != resource);
        }
        self.places[resource] = match place {
            Place::Owned(task) | Place::InTransit(task) if self.tasks[task].closed => {
                Place::Unowned
            }
            place => place,
        };
        match self.places[resource] {
            Place::Owned(task) => self.tasks[task].owned.push(resource),
            Place::InTransit(task) => self.tasks[task].bequest.push(resource),
            Place::Unowned | Place::Finalized => {}
        }
    }
}

struct Real {
    probes: Vec<Probe>,
    ledgers: [Arc<Ledger>; 2],
}

impl Real {
    fn new(resources: usize) -> Real {
        Real {
            probes: (0..resources).map(|_| Probe::new()).collect(),
            ledgers: [Ledger::new(), Ledger::new()],
        }
    }

    fn step(&self, step: Step) -> Answer {
        match step {
            Step::Do(OUTSIDE, verb, resource) => return self.act(verb, resource),
            Step::Do(runner, verb, resource) => {
                return within(&self.ledgers[runner], || self.act(verb, resource));
            }
            Step::Release(resource) => {
                if release(&self.probes[resource]).is_none() {
                    return Answer::Finalized;
                }
            }
            Step::Deliver(from) => {
                self.ledgers[1 - from].receive(self.ledgers[from].take_transferred());
            }
            Step::Inherit(task) => self.ledgers[task].transfer_all(),
            Step::FinalizeAll(task) => {
                let settled = block_on(self.ledgers[task].finalize_all());
                assert_eq!(settled.finalized, settled.leaked);
                let indexes = settled.finalized.iter().map(|info| self.index(info.id));
                return Answer::Ids(indexes.fold(0, |ids, index| ids * 4 + 1 + index as u8));
            }
        }
        Answer::Fine
    }

    fn act(&self, verb: Verb, resource: usize) -> Answer {
        let probe = &self.probes[resource];
        let result = match verb {
            Verb::Own => {
                own(&probe.resource());
                Ok(())
            }
            Verb::Check => check(probe),
            Verb::Adopt => adopt(probe),
            Verb::Disown => disown(probe),
            Verb::Transfer => transfer(probe),
            Verb::Give(to) => give(probe, &self.ledgers[to]),
        };
        match result {
            Ok(()) => Answer::Fine,
            Err(AccessError::NotOwner(_)) => Answer::NotOwner,
            Err(AccessError::Finalized(_)) => Answer::Finalized,
        }
    }

    fn index(&self, id: u64) -> usize {
        self.probes.iter().position(|probe| probe.ticket().id() == id).expect("one of ours")
    }

    fn assert_like(&self, model: &Model, steps: &[Step]) {
        for (ledger, task) in self.ledgers.iter().zip(&model.tasks) {
            let newest_first: Vec<_> =
                ledger.resources().iter().map(|info| self.index(info.id)).collect();
            assert!(newest_first.iter().eq(task.owned.iter().rev()), "{steps:?}");
            assert_eq!(ledger.len(), task.owned.len(), "{steps:?}");
            assert_eq!(ledger.take_not_owner().is_some(), task.fault, "{steps:?}");
        }
        for (index, probe) in self.probes.iter().enumerate() {
            assert_eq!(probe.finalized(), model.finalized[index], "{steps:?}");
            let place = model.places[index];
            assert_eq!(probe.ticket().is_finalized(), place == Place::Finalized, "{steps:?}");
            // Whoever keeps it counts it, and nobody else.
            let kept = matches!(place, Place::Owned(_) | Place::InTransit(_));
            assert_eq!(probe.references(), 1 + usize::from(kept), "{steps:?}");
        }
    }
}

fn steps(resources: usize, verbs: &[Verb]) -> Vec<Step> {
    let mut steps = Vec::new();
    for resource in 0..resources {
        for runner in [0, 1, OUTSIDE] {
            steps.extend(verbs.iter().map(|verb| Step::Do(runner, *verb, resource)));
        }
        steps.push(Step::Release(resource));
    }
    for task in [0, 1] {
        steps.extend([Step::Deliver(task), Step::Inherit(task), Step::FinalizeAll(task)]);
    }
    steps
}

/// Runs all sequences of exactly `length` steps, which begin with all the shorter ones. Returns how
/// many there were.
fn run_all(resources: usize, steps: &[Step], length: u32) -> usize {
    let count = steps.len().pow(length);
    let mut sequence = Vec::new();
    for mut number in 0..count {
        sequence.clear();
        for _ in 0..length {
            sequence.push(steps[number % steps.len()]);
            number /= steps.len();
        }
        run(resources, &sequence);
    }
    count
}

fn run(resources: usize, sequence: &[Step]) {
    let (real, mut model) = (Real::new(resources), Model::new(resources));
    for (index, step) in sequence.iter().enumerate() {
        for task in &mut model.tasks {
            task.fault = false;
        }
        assert_eq!(real.step(*step), model.step(*step), "{:?}", &sequence[..=index]);
        real.assert_like(&model, &sequence[..=index]);
    }
    // Break the cycles between what is left and its ledgers.
    real.probes.iter().for_each(|probe| drop(release(probe)));
}

const VERBS: [Verb; 7] = [
    Verb::Own,
    Verb::Check,
    Verb::Adopt,
    Verb::Disown,
    Verb::Transfer,
    Verb::Give(0),
    Verb::Give(1),
];

#[test]
fn every_sequence_of_four_with_one_resource_and_every_verb() {
    assert_eq!(run_all(1, &steps(1, &VERBS), 4), 28usize.pow(4));
}

#[test]
fn every_sequence_of_five_with_one_resource_and_the_verbs_of_users() {
    let verbs = [Verb::Check, Verb::Adopt, Verb::Transfer];
    assert_eq!(run_all(1, &steps(1, &verbs), 5), 16usize.pow(5));
}

#[test]
fn every_sequence_of_three_with_two_resources_and_every_verb() {
    assert_eq!(run_all(2, &steps(2, &VERBS), 3), 50usize.pow(3));
}

#[test]
fn every_sequence_of_four_with_two_resources_and_the_verbs_of_users() {
    let verbs = [Verb::Adopt, Verb::Transfer];
    assert_eq!(run_all(2, &steps(2, &verbs), 4), 20usize.pow(4));
}
