//! Runs with the default settings, which pass resources on and report findings. Each program runs
//! on threads and under seeds, with the children on their parent's domain and on others.

use std::fmt;
use std::future::{Future, pending};

use matou_runtime::test::Check;
use matou_runtime::{Builder, Diagnostic, Leaks, MainError, Promise, RunError, Violations};

use super::{Log, Place, Reports, fewer, run_with};

const SEEDS: u64 = fewer(20);

/// Runs `main` in each place, on threads and under seeds, and calls `verify` with the result, the
/// log and the reports.
#[track_caller]
pub(crate) fn in_default_runs<F>(
    main: impl Fn(Place, Log) -> F + Clone + Send + 'static,
    verify: impl Fn(Result<(), RunError>, Log, Vec<Diagnostic>),
) where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    for place in Place::BOTH {
        default_run_on_threads(place, main.clone(), &verify);
        for seed in 0..SEEDS {
            let (log, reports) = (Log::new(), Reports::default());
            let check = Check::simulated()
                .domains(place.domains())
                .violations(Violations::FailTask)
                .leaks(Leaks::AtRunEnd)
                .on_report(reports.hook());
            let outcome = check.trial(seed, main(place, log.clone())).outcome;
            verify(outcome, log, reports.all());
        }
    }
}

/// As [`in_default_runs`], on threads only.
#[track_caller]
pub(crate) fn in_default_runs_on_threads<F>(
    main: impl Fn(Place, Log) -> F + Clone + Send + 'static,
    verify: impl Fn(Result<(), RunError>, Log, Vec<Diagnostic>),
) where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    Place::BOTH.iter().for_each(|&place| default_run_on_threads(place, main.clone(), &verify));
}

#[track_caller]
pub(crate) fn default_run_on_threads<F>(
    place: Place,
    main: impl FnOnce(Place, Log) -> F + Send + 'static,
    verify: impl Fn(Result<(), RunError>, Log, Vec<Diagnostic>),
) where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    let log = Log::new();
    let (builder, reports) = Reports::collect(Builder::new().domains(place.domains()));
    let main_log = log.clone();
    let result = run_with(builder, move || main(place, main_log));
    verify(result, log, reports.all());
}

/// Asserts that the runs of `main` succeed, report nothing, and have these entries in their logs.
#[track_caller]
pub(crate) fn default_runs_log<F>(
    entries: &[&str],
    main: impl Fn(Place, Log) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    in_default_runs(main, |result, log, reports| {
        succeeds(result);
        assert_silent(&reports);
        log.assert_is(entries);
    });
}

#[track_caller]
pub(crate) fn succeeds<T>(result: Result<T, RunError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
pub(crate) fn assert_silent(reports: &[impl fmt::Display]) {
    if let Some(report) = reports.first() {
        panic!("{report}");
    }
}

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Normal,
    Failed,
    Panicked,
    Cancelled,
}

impl End {
    pub(crate) const ALL: [End; 4] = [End::Normal, End::Failed, End::Panicked, End::Cancelled];

    /// The last step of a task that ends so.
    pub(crate) async fn reach(self) -> Result<(), &'static str> {
        match self {
            End::Normal => Ok(()),
            End::Failed => Err("on purpose"),
            End::Panicked => panic!("on purpose"),
            End::Cancelled => pending().await,
        }
    }

    /// Waits for the end of a task that ends so, or cancels it.
    pub(crate) async fn await_in(self, task: Promise<(), &'static str>) {
        match self {
            End::Cancelled => assert!(task.cancel().await.is_none()),
            _ => assert_eq!(task.await.is_ok(), self == End::Normal),
        }
    }
}
