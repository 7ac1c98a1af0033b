//! Runs with a deadline, and helpers that read their results.

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use matou_ownership::ResourceInfo;
use matou_runtime::{
    Builder, Diagnostic, Finding, Forgotten, Leaks, MainError, Report, RunError, TaskInfo,
    Violation, Violations,
};

use super::MakeFuture;

/// A time limit that only a hanging test reaches.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// The number of repetitions of a test: a tenth of `count` where each access to memory is checked,
/// which takes long and finds nothing more in the other nine.
pub(crate) const fn fewer(count: u64) -> u64 {
    if option_env!("MATOU_TEST_FEWER").is_some() { count / 10 } else { count }
}

/// Calls `body` on a new thread and panics if it does not return before the deadline.
#[track_caller]
pub(crate) fn within_deadline<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    within_deadline_on_stack(2 << 20, body)
}

/// As [`within_deadline`], on a thread with a stack of `stack` bytes.
#[track_caller]
pub(crate) fn within_deadline_on_stack<R: Send + 'static>(
    stack: usize,
    body: impl FnOnce() -> R + Send + 'static,
) -> R {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name(name.clone()).stack_size(stack);
    let thread = thread.spawn(move || drop(sender.send(body()))).expect("a thread for the test");
    match receiver.recv_timeout(DEADLINE) {
        Ok(result) => {
            thread.join().expect("the body has returned");
            result
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(payload) => std::panic::resume_unwind(payload),
            Ok(()) => unreachable!("the thread sends before it returns"),
        },
        Err(mpsc::RecvTimeoutError::Timeout) => {
            panic!("{name} hangs: no result after {:?}", DEADLINE)
        }
    }
}

/// Strict settings: every violation is the error of the run, so that no test overlooks one.
pub(crate) fn strict() -> Builder {
    Builder::new()
        .violations(Violations::FailRun)
        .forgotten(Forgotten::Strict)
        .leaks(Leaks::AtTaskEnd)
}

/// Runs `main` with [`strict`] settings on `domains` domains, within the deadline. `main` makes the
/// future on domain 0.
#[track_caller]
pub(crate) fn run_on<M, F, T>(domains: usize, main: M) -> Result<T, RunError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<T, MainError>> + 'static,
    T: Send + 'static,
{
    run_with(strict().domains(domains), main)
}

/// Runs `main` with the settings of `builder`, within the deadline.
#[track_caller]
pub(crate) fn run_with<M, F, T>(builder: Builder, main: M) -> Result<T, RunError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<T, MainError>> + 'static,
    T: Send + 'static,
{
    run_boxed(builder, Box::new(move || Box::pin(main())))
}

#[track_caller]
fn run_boxed<T: Send + 'static>(
    builder: Builder,
    main: MakeFuture<Result<T, MainError>>,
) -> Result<T, RunError> {
    within_deadline(move || builder.run(async move { main().await }))
}

/// The diagnostics of a run, from all its domains.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports(Arc<Mutex<Vec<Diagnostic>>>);

impl Reports {
    /// Default settings, with reports that are collected instead of printed.
    pub(crate) fn collected() -> (Builder, Reports) {
        Reports::collect(Builder::new())
    }

    pub(crate) fn collect(builder: Builder) -> (Builder, Reports) {
        let reports = Reports::default();
        (builder.on_report(reports.hook()), reports)
    }

    /// A function for `on_report`. It ignores slow polls: on a busy machine any poll may be slow.
    pub(crate) fn hook(&self) -> impl Fn(&Diagnostic) + Send + Sync + 'static {
        let reports = self.clone();
        move |diagnostic| {
            if !matches!(diagnostic, Diagnostic::Finding(Finding::SlowPoll { .. })) {
                reports.push(diagnostic.clone());
            }
        }
    }

    fn push(&self, diagnostic: Diagnostic) {
        self.0.lock().unwrap().push(diagnostic);
    }

    pub(crate) fn all(&self) -> Vec<Diagnostic> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(Diagnostic::name).collect()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(ToString::to_string).collect()
    }

    /// The only one.
    #[track_caller]
    pub(crate) fn one(&self) -> Diagnostic {
        match &**self.0.lock().unwrap() {
            [diagnostic] => diagnostic.clone(),
            all => panic!("expected one diagnostic: {all:?}"),
        }
    }

    /// The causes of the only one, which is a failure that no task received.
    #[track_caller]
    pub(crate) fn unseen(&self) -> (TaskInfo, Vec<String>) {
        match self.one() {
            Diagnostic::Finding(Finding::FailureUnseen { task, causes, .. }) => {
                (task, causes.iter().map(ToString::to_string).collect())
            }
            other => panic!("another diagnostic: {other}"),
        }
    }
}

/// The report of a run that violated rules.
#[track_caller]
pub(crate) fn report<T: Debug>(result: Result<T, RunError>) -> Report {
    match result {
        Err(RunError::Violated(report)) => report,
        other => panic!("the run violated no rule: {other:?}"),
    }
}

/// The only violation of a run.
#[track_caller]
pub(crate) fn violation<T: Debug>(result: Result<T, RunError>) -> Violation {
    let report = report(result);
    match report.violations() {
        [violation] => violation.clone(),
        _ => panic!("expected one violation:\n{report}"),
    }
}

/// The task and its resources in the only violation of a run, which is a leak.
#[track_caller]
pub(crate) fn leaked<T: Debug>(result: Result<T, RunError>) -> (TaskInfo, Vec<ResourceInfo>) {
    match violation(result) {
        Violation::ResourceLeaked { task, resources } => (task, resources),
        other => panic!("another rule was violated:\n{other}"),
    }
}
