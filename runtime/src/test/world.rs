use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::Clock;
use super::event::{Event, Happening};
use super::locks::Locks;
use crate::domain::Domain;
use crate::random::{Purpose, Random};

/// Where the hash of a run begins: the offset basis of FNV-1a.
const HASH_START: u64 = 0xCBF2_9CE4_8422_2325;

/// Returns the world of the simulated run that the present task belongs to; `None` on real threads
/// and outside a run.
///
/// For the makers of leaf futures that would otherwise ask the system: `matou-net` finds its
/// in-memory network by it.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use matou_runtime::test::{check, simulation};
///
/// #[derive(Default)]
/// struct Total(AtomicU64);
///
/// check(0..3, || async {
///     let simulation = simulation().expect("this is a simulated run");
///     let eyes = 1 + simulation.random_below(6); // the same whenever the seed is the same
///     simulation.state::<Total>().0.fetch_add(eyes, Ordering::Relaxed);
///     assert_eq!(simulation.state::<Total>().0.load(Ordering::Relaxed), eyes);
/// });
/// assert!(simulation().is_none());
/// ```
pub fn simulation() -> Option<Simulation> {
    Domain::try_with(|domain| domain.world().cloned()).flatten().map(Simulation)
}

/// What the domains of a simulated run have in common; found by [`simulation`].
#[derive(Clone, Debug)]
pub struct Simulation(Rc<Shared>);

impl Simulation {
    /// Draws a number below `bound` from the run's seed; 0 if the bound is 0.
    ///
    /// Each domain has a stream of its own for it: drawing changes nothing about the choices of the
    /// scheduler, nor about what is drawn on other domains.
    pub fn random_below(&self, bound: u64) -> u64 {
        let domain = Domain::try_with(Domain::index).unwrap_or(0);
        self.0.leaves[domain].below(usize::try_from(bound).unwrap_or(usize::MAX)) as u64
    }

    /// Returns the run's value of a type. It is made when it is first asked for, and dropped with
    /// the run, unless somebody keeps it.
    pub fn state<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let key = TypeId::of::<T>();
        let known = || {
            let states = self.0.states.borrow();
            states.iter().find(|(known, _)| *known == key).map(|(_, state)| Arc::clone(state))
        };
        let state = known().unwrap_or_else(|| {
            // Made outside the borrow: a user's `default` may ask for a state, even for this one.
            let made: State = Arc::new(T::default());
            known().unwrap_or_else(|| {
                self.0.states.borrow_mut().push((key, Arc::clone(&made)));
                made
            })
        });
        state.downcast().expect("the key is the type")
    }

    /// Notes an event: it goes into the hash of the run, and into its trace.
    pub fn record_event(&self, what: &'static str, number: u64) {
        let domain = Domain::try_with(Domain::index).unwrap_or(0);
        self.0.witness(domain, Happening::Noted(what, number));
    }
}

/// What another crate keeps in a world.
type State = Arc<dyn Any + Send + Sync>;

/// The shared half of the domains of a simulated run.
pub(crate) struct Shared {
    clock: Arc<Clock>,
    /// Whose turn it is.
    pub(super) turns: Random,
    /// What leaf futures of other crates draw, by domains.
    leaves: Box<[Random]>,
    hash: Cell<u64>,
    events: Cell<u64>,
    /// The last events, so many as are wanted.
    trace: RefCell<VecDeque<Event>>,
    trace_max: usize,
    /// In the order of their making; there are few.
    states: RefCell<Vec<(TypeId, State)>>,
    pub(super) locks: RefCell<Locks>,
}

impl Shared {
    pub(super) fn new(seed: u64, domains: usize, clock: Arc<Clock>, trace_max: usize) -> Shared {
        let leaves = |domain| Random::for_purpose(seed, Purpose::Leaves, domain);
        Shared {
            clock,
            turns: Random::for_purpose(seed, Purpose::Turns, 0),
            leaves: (0..domains).map(leaves).collect(),
            hash: Cell::new(HASH_START),
            events: Cell::new(0),
            trace: RefCell::default(),
            trace_max,
            states: RefCell::default(),
            locks: RefCell::default(),
        }
    }

    /// Adds an event to the hash of the run, and to its trace.
    pub(crate) fn witness(&self, domain: usize, happening: Happening) {
        let event = Event { at: self.clock.elapsed(), domain, happening };
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

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.get()
    }

    pub(super) fn events(&self) -> u64 {
        self.events.get()
    }

    pub(super) fn take_trace(&self) -> Vec<Event> {
        self.trace.take().into()
    }

    /// Drops what other crates keep in the world: while nothing here is borrowed, and before the
    /// run is over, since it may hold wakers.
    pub(super) fn drop_states(&self) {
        let states = self.states.take();
        crate::panics::ignore(|| drop(states));
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("clock", &self.clock)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}
