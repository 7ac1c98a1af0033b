//! Do all short sequences of operations behave like a naive model?
//!
//! The model searches plain lists. Every sequence up to a given length runs on both, and after each
//! operation the results and the observable state are compared.

use std::sync::Arc;

use matou_ownership::{
    AccessError, Ledger, ResourceHandle, adopt, check, disown, give, own, release, transfer,
};

use crate::support::{Probe, finalize, leaked, within};

/// The index of the current task, or `OUTSIDE` any task.
type Current = usize;
const OUTSIDE: Current = 2;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Own,
    Check,
    Adopt,
    Disown,
    Transfer,
    Give(usize),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// An operation on a resource, in a task or outside any task.
    Do(Current, Operation, usize),
    Release(usize),
    /// The transferred resources of a task are delivered to the other task.
    Deliver(usize),
    LeaveToParent(usize),
    FinalizeAll(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Fine,
    NotOwner,
    Finalized,
    Ids(u8),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Unowned,
    Owned(usize),
    /// In the ledger of a task that has inherited it, until the next use.
    Inherited(usize),
    InTransit(usize, Way),
    Finalized,
}

/// Why a resource is in transit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Transferred,
    Left,
}

#[derive(Default)]
struct ModelTask {
    owned: Vec<usize>,
    transferred: Vec<usize>,
    closed: bool,
    has_error: bool,
}

struct Model {
    places: Vec<Place>,
    given: Vec<bool>,
    finalized: Vec<usize>,
    tasks: [ModelTask; 2],
}

impl Model {
    fn new(resources: usize) -> Model {
        Model {
            places: vec![Place::Unowned; resources],
            given: vec![false; resources],
            finalized: vec![0; resources],
            tasks: Default::default(),
        }
    }

    fn step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Do(current, operation, resource) => {
                return self.act(current, operation, resource);
            }
            Step::Release(resource) => {
                if self.places[resource] == Place::Finalized {
                    return Outcome::Finalized;
                }
                self.finalize(resource);
            }
            Step::Deliver(from) => {
                for resource in self.tasks[from].transferred.clone() {
                    let is_left = self.places[resource] == Place::InTransit(from, Way::Left);
                    let owned = if is_left { Place::Inherited } else { Place::Owned };
                    self.move_to(resource, owned(1 - from));
                }
            }
            Step::LeaveToParent(task) => {
                for resource in self.tasks[task].owned.clone() {
                    if !self.given[resource] {
                        self.move_to(resource, Place::InTransit(task, Way::Left));
                    }
                }
            }
            Step::FinalizeAll(task) => {
                let mut ids = 0;
                while let Some(&newest) = self.tasks[task].owned.last() {
                    self.finalize(newest);
                    ids = ids * 4 + 1 + newest as u8;
                }
                self.tasks[task].closed = true;
                return Outcome::Ids(ids);
            }
        }
        Outcome::Fine
    }

    fn act(&mut self, current: Current, operation: Operation, resource: usize) -> Outcome {
        let place = self.places[resource];
        let here = if current == OUTSIDE { Place::Unowned } else { Place::Owned(current) };
        if place == Place::Finalized {
            return if operation == Operation::Own { Outcome::Fine } else { Outcome::Finalized };
        }
        match operation {
            Operation::Own if current == OUTSIDE => return Outcome::Fine,
            Operation::Own | Operation::Adopt => {
                if place != here {
                    self.move_to(resource, here);
                }
                return Outcome::Fine;
            }
            Operation::Transfer if current != OUTSIDE && !self.given[resource] => {
                if place != Place::InTransit(current, Way::Transferred) {
                    self.move_to(resource, Place::InTransit(current, Way::Transferred));
                }
                return Outcome::Fine;
            }
            Operation::Give(to) if self.given[resource] && place == Place::Owned(to) => {
                return Outcome::Fine;
            }
            _ => {}
        }
        let is_available =
            matches!(place, Place::Unowned | Place::Inherited(_) | Place::InTransit(_, Way::Left));
        if place != here && !is_available {
            if current != OUTSIDE {
                self.tasks[current].has_error = true;
            }
            return Outcome::NotOwner;
        }
        match operation {
            Operation::Check if place == here => {}
            Operation::Check if current == OUTSIDE => {}
            Operation::Check => self.move_to(resource, here),
            Operation::Disown => self.move_to(resource, Place::Unowned),
            Operation::Transfer if current == OUTSIDE => {}
            Operation::Transfer => {
                self.move_to(resource, Place::InTransit(current, Way::Transferred));
            }
            Operation::Give(to) => {
                self.move_to(resource, Place::Owned(to));
                self.given[resource] = self.places[resource] != Place::Unowned;
            }
            Operation::Own | Operation::Adopt => unreachable!("handled above"),
        }
        Outcome::Fine
    }

    fn finalize(&mut self, resource: usize) {
        self.move_to(resource, Place::Finalized);
        self.finalized[resource] += 1;
    }

    fn move_to(&mut self, resource: usize, place: Place) {
        for task in &mut self.tasks {
            task.owned.retain(|other| *other != resource);
            task.transferred.retain(|other| *other != resource);
        }
        self.places[resource] = match place {
            Place::Owned(task) | Place::Inherited(task) | Place::InTransit(task, _)
                if self.tasks[task].closed =>
            {
                Place::Unowned
            }
            place => place,
        };
        self.given[resource] = false;
        match self.places[resource] {
            Place::Owned(task) | Place::Inherited(task) => self.tasks[task].owned.push(resource),
            Place::InTransit(task, _) => self.tasks[task].transferred.push(resource),
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

    fn step(&self, step: Step) -> Outcome {
        match step {
            Step::Do(OUTSIDE, operation, resource) => return self.act(operation, resource),
            Step::Do(current, operation, resource) => {
                return within(&self.ledgers[current], || self.act(operation, resource));
            }
            Step::Release(resource) => {
                if release(&self.probes[resource]).is_none() {
                    return Outcome::Finalized;
                }
            }
            Step::Deliver(from) => {
                let transferred = self.ledgers[from].take_transferred();
                assert!(self.ledgers[1 - from].receive(transferred).is_empty());
            }
            Step::LeaveToParent(task) => self.ledgers[task].leave_to_parent(),
            Step::FinalizeAll(task) => {
                let report = finalize(&self.ledgers[task]);
                assert_eq!(report.finalized, leaked(&report));
                let indexes = report.finalized.iter().map(|info| self.index(info.id));
                return Outcome::Ids(indexes.fold(0, |ids, index| ids * 4 + 1 + index as u8));
            }
        }
        Outcome::Fine
    }

    fn act(&self, operation: Operation, resource: usize) -> Outcome {
        let probe = &self.probes[resource];
        let result = match operation {
            Operation::Own => {
                own(&probe.resource());
                Ok(())
            }
            Operation::Check => check(probe),
            Operation::Adopt => adopt(probe),
            Operation::Disown => disown(probe),
            Operation::Transfer => transfer(probe),
            Operation::Give(to) => give(probe, &self.ledgers[to]),
        };
        match result {
            Ok(()) => Outcome::Fine,
            Err(AccessError::NotOwner(_)) => Outcome::NotOwner,
            Err(AccessError::Finalized(_)) => Outcome::Finalized,
        }
    }

    fn index(&self, id: u64) -> usize {
        self.probes.iter().position(|probe| probe.ticket().id() == id).expect("a probe of this run")
    }

    fn assert_like(&self, model: &Model, steps: &[Step]) {
        for (ledger, task) in self.ledgers.iter().zip(&model.tasks) {
            let newest_first: Vec<_> =
                ledger.resources().iter().map(|info| self.index(info.id)).collect();
            assert!(newest_first.iter().eq(task.owned.iter().rev()), "{steps:?}");
            assert_eq!(ledger.len(), task.owned.len(), "{steps:?}");
            assert_eq!(ledger.take_not_owner().is_some(), task.has_error, "{steps:?}");
        }
        for (index, probe) in self.probes.iter().enumerate() {
            assert_eq!(probe.finalized(), model.finalized[index], "{steps:?}");
            let place = model.places[index];
            assert_eq!(probe.ticket().is_finalized(), place == Place::Finalized, "{steps:?}");
            // Only a ledger that lists it has a reference.
            let listed = !matches!(place, Place::Unowned | Place::Finalized);
            assert_eq!(probe.references(), 1 + usize::from(listed), "{steps:?}");
        }
    }
}

fn steps(resources: usize, operations: &[Operation]) -> Vec<Step> {
    let mut steps = Vec::new();
    for resource in 0..resources {
        for current in [0, 1, OUTSIDE] {
            steps
                .extend(operations.iter().map(|operation| Step::Do(current, *operation, resource)));
        }
        steps.push(Step::Release(resource));
    }
    for task in [0, 1] {
        steps.extend([Step::Deliver(task), Step::LeaveToParent(task), Step::FinalizeAll(task)]);
    }
    steps
}

/// Runs all sequences of exactly `length` steps, whose prefixes are all shorter sequences. Returns
/// the number of sequences.
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
            task.has_error = false;
        }
        assert_eq!(real.step(*step), model.step(*step), "{:?}", &sequence[..=index]);
        real.assert_like(&model, &sequence[..=index]);
    }
    // Break the reference cycles between the ledgers and their resources.
    real.probes.iter().for_each(|probe| drop(release(probe)));
}

const OPERATIONS: [Operation; 7] = [
    Operation::Own,
    Operation::Check,
    Operation::Adopt,
    Operation::Disown,
    Operation::Transfer,
    Operation::Give(0),
    Operation::Give(1),
];

#[test]
fn every_sequence_of_four_steps_with_one_resource_and_all_operations() {
    assert_eq!(run_all(1, &steps(1, &OPERATIONS), 4), 28usize.pow(4));
}

#[test]
fn every_sequence_of_five_steps_with_one_resource_and_the_operations_of_users() {
    let operations = [Operation::Check, Operation::Adopt, Operation::Transfer];
    assert_eq!(run_all(1, &steps(1, &operations), 5), 16usize.pow(5));
}

#[test]
fn every_sequence_of_three_steps_with_two_resources_and_all_operations() {
    assert_eq!(run_all(2, &steps(2, &OPERATIONS), 3), 50usize.pow(3));
}

#[test]
fn every_sequence_of_four_steps_with_two_resources_and_the_operations_of_users() {
    let operations = [Operation::Adopt, Operation::Transfer];
    assert_eq!(run_all(2, &steps(2, &operations), 4), 20usize.pow(4));
}
