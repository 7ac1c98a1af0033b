use std::any::Any;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crate::domain::Domain;
use crate::simulation::{EventKind, SimulationState};

/// Returns the simulation that the current task runs in; `None` on real threads and outside a run.
///
/// For leaf futures that would otherwise call the operating system: `matou-net` finds its in-memory
/// network by it.
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
    Domain::try_with(|domain| domain.simulation().cloned()).flatten().map(Simulation)
}

/// A handle to the state that the domains of a simulated run share; returned by [`simulation`].
#[derive(Clone)]
pub struct Simulation(Rc<SimulationState>);

impl Simulation {
    /// Draws a number below `bound` from the run's seed; 0 if `bound` is 0.
    ///
    /// Each domain has a separate stream for it, so drawing a number affects neither the choices of
    /// the scheduler nor the numbers that are drawn on other domains.
    ///
    /// # Panics
    ///
    /// Outside the run that the simulation belongs to.
    #[track_caller]
    pub fn random_below(&self, bound: u64) -> u64 {
        self.0.leaf_choice(self.domain(), usize::try_from(bound).unwrap_or(usize::MAX)) as u64
    }

    /// Returns the run's value of type `T`.
    ///
    /// The value is created at the first call, and dropped at the end of the run unless the program
    /// keeps a reference.
    pub fn state<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        self.0.value()
    }

    /// Records an event: it becomes part of the run's hash and trace.
    ///
    /// # Panics
    ///
    /// Outside the run that the simulation belongs to.
    #[track_caller]
    pub fn record_event(&self, name: &'static str, number: u64) {
        self.0.record(self.domain(), EventKind::Custom(name, number));
    }

    /// Returns the current domain, which is a domain of this simulation.
    #[track_caller]
    fn domain(&self) -> usize {
        let index = |domain: &Domain| {
            let is_own = |state: &&Rc<SimulationState>| Rc::ptr_eq(state, &self.0);
            domain.simulation().filter(is_own).map(|_| domain.index())
        };
        match Domain::try_with(index).flatten() {
            Some(index) => index,
            None => panic!("a `Simulation` is used outside its run"),
        }
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Simulation").field(&self.0).finish()
    }
}
