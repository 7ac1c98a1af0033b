//! The frame of most tests: a main task with children, run once with the children on its own
//! domain and once with the children on other domains.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use matou_runtime::{Builder, MainError, RunError};

use super::{Log, Place, run_with, strict};

type Main<T> =
    dyn Fn(Place, Log) -> Pin<Box<dyn Future<Output = Result<T, MainError>>>> + Send + Sync;

/// A main task, and the settings of its runs.
#[must_use = "it runs when its result is asked for"]
pub(crate) struct Scenario<T> {
    main: Arc<Main<T>>,
    places: &'static [Place],
    settings: fn(Builder) -> Builder,
}

/// Makes a scenario of `main`, which receives the place of its children and a log. Each run has a
/// new log.
pub(crate) fn scenario<F, T>(main: impl Fn(Place, Log) -> F + Send + Sync + 'static) -> Scenario<T>
where
    F: Future<Output = Result<T, MainError>> + 'static,
{
    let main = Arc::new(move |place, log| Box::pin(main(place, log)) as Pin<Box<_>>);
    Scenario { main, places: &Place::BOTH, settings: |builder| builder }
}

impl<T: Debug + Send + 'static> Scenario<T> {
    /// Runs it only with children on the domain of `main`, which is the only domain.
    pub(crate) fn on_one_domain(self) -> Scenario<T> {
        Scenario { places: &[Place::Local], ..self }
    }

    /// Sets the number of domains, among other settings.
    pub(crate) fn settings(self, settings: fn(Builder) -> Builder) -> Scenario<T> {
        Scenario { settings, ..self }
    }

    /// Runs the scenario in each place, one at a time as the iterator advances.
    pub(crate) fn runs(self) -> impl Iterator<Item = Run<T>> {
        self.places.iter().map(move |&place| self.run(place))
    }

    fn run(&self, place: Place) -> Run<T> {
        let log = Log::new();
        let builder = (self.settings)(strict().domains(place.domains()));
        let (main, main_log) = (Arc::clone(&self.main), log.clone());
        let result = run_with(builder, move || main(place, main_log));
        Run { place, log, result }
    }

    /// Asserts that each run succeeds, and returns what the main tasks returned.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Vec<T> {
        let mut values = Vec::new();
        for run in self.runs() {
            values.push(run.value().1);
        }
        values
    }

    /// Asserts that each run succeeds and that its log then has these entries.
    #[track_caller]
    pub(crate) fn expect(self, entries: &[&str]) {
        for run in self.runs() {
            run.value().0.assert_is(entries);
        }
    }
}

/// A run of a scenario that has ended.
pub(crate) struct Run<T> {
    pub(crate) place: Place,
    pub(crate) log: Log,
    pub(crate) result: Result<T, RunError>,
}

impl<T: Debug> Run<T> {
    /// The log, and what `main` returned.
    #[track_caller]
    pub(crate) fn value(self) -> (Log, T) {
        match self.result {
            Ok(value) => (self.log, value),
            Err(error) => panic!("with {:?} children the run fails:\n{error}", self.place),
        }
    }
}
