use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::clock::VirtualClock;
use super::event::{Event, EventKind};
use crate::panics;
use crate::random::{Purpose, Random};
use crate::task::wait_targets::WaitTargets;

/// The initial hash of a run: the offset basis of FNV-1a.
const HASH_SEED: u64 = 0xCBF2_9CE4_8422_2325;

/// A value that another crate keeps for the run.
type Value = Arc<dyn Any + Send + Sync>;

/// The state that the domains of a simulated run share.
pub(crate) struct SimulationState {
    clock: Arc<VirtualClock>,
    /// Draws the domain that runs the next tick.
    domain_choice: Random,
    /// Draws numbers for the leaf futures of other crates, for each domain.
    leaf_choices: Box<[Random]>,
    hash: Cell<u64>,
    events: Cell<u64>,
    /// The last events, at most `trace_max`.
    trace: RefCell<VecDeque<Event>>,
    trace_max: usize,
    /// In the order of creation. There are few.
    values: RefCell<Vec<(TypeId, Value)>>,
    /// Of all domains.
    pub(crate) wait_targets: RefCell<WaitTargets>,
}

impl SimulationState {
    pub(crate) fn new(
        seed: u64,
        domains: usize,
        clock: Arc<VirtualClock>,
        trace_max: usize,
    ) -> SimulationState {
        let leaf_choice = |domain| Random::for_purpose(seed, Purpose::LeafChoice, domain);
        SimulationState {
            clock,
            domain_choice: Random::for_purpose(seed, Purpose::DomainChoice, 0),
            leaf_choices: (0..domains).map(leaf_choice).collect(),
            hash: Cell::new(HASH_SEED),
            events: Cell::new(0),
            trace: RefCell::default(),
            trace_max,
            values: RefCell::default(),
            wait_targets: RefCell::default(),
        }
    }

    /// Adds an event to the hash of the run, and to its trace.
    pub(crate) fn record(&self, domain: usize, kind: EventKind) {
        let event = Event::new(self.clock.elapsed(), domain, kind);
        self.hash.set(event.hash(self.hash.get()));
        self.events.set(self.events.get() + 1);
        if self.trace_max > 0 {
            let mut trace = self.trace.borrow_mut();
            if trace.len() == self.trace_max {
                trace.pop_front();
            }
            trace.push_back(event);
        }
    }

    /// Draws one of `count` domains.
    pub(crate) fn choose_domain(&self, count: usize) -> usize {
        self.domain_choice.below(count)
    }

    /// Draws a number below `bound` for a leaf future on `domain`.
    pub(crate) fn leaf_choice(&self, domain: usize, bound: usize) -> usize {
        self.leaf_choices[domain].below(bound)
    }

    /// Returns the run's value of type `T`, and creates it if there is none.
    pub(crate) fn value<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let key = TypeId::of::<T>();
        let find = || {
            let values = self.values.borrow();
            values.iter().find(|(known, _)| *known == key).map(|(_, value)| Arc::clone(value))
        };
        let value = find().unwrap_or_else(|| {
            // Not under the borrow: `default` may request a value, even this one.
            let value: Value = Arc::new(T::default());
            find().unwrap_or_else(|| {
                self.values.borrow_mut().push((key, Arc::clone(&value)));
                value
            })
        });
        value.downcast().expect("the key is the type of the value")
    }

    /// Drops the values: before the end of the run, since they may hold wakers, and not under the
    /// borrow.
    pub(crate) fn drop_values(&self) {
        let values = self.values.take();
        panics::drop_each(values);
    }

    pub(crate) fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.get()
    }

    pub(crate) fn events(&self) -> u64 {
        self.events.get()
    }

    pub(crate) fn take_trace(&self) -> Vec<Event> {
        self.trace.take().into()
    }
}

impl fmt::Debug for SimulationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulationState")
            .field("clock", &self.clock)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}
