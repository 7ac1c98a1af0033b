//! Doubles that count and remember, and deadlines for everything.
//!
//! Nothing here sleeps or measures time: tests wait for what they ask about, and a deadline turns
//! a hang into a failure with a name.

#![allow(dead_code, unused_imports, unused_macros, reason = "each module uses what it needs")]

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use matou_ownership::Owned;
use matou_runtime::{
    Builder, Driver, ParkTimeout, Promise, Reactor, Report, RunError, Task, Unpark, Violation,
    yield_now,
};

/// A time that is not reached unless something hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// How long a test may take before it counts as hanging. Who looks for hangs, as `cargo xtask
/// mutants` does, makes it shorter.
fn deadline() -> Duration {
    let seconds = std::env::var("MATOU_TEST_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    seconds.map_or(DEADLINE, Duration::from_secs)
}

/// Where a test puts the children: a rule that can cross domains is tested in both places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Here,
    Away,
}

impl Place {
    pub(crate) const BOTH: [Place; 2] = [Place::Here, Place::Away];

    /// How many domains a run needs for it.
    pub(crate) fn domains(self) -> usize {
        match self {
            Place::Here => 1,
            Place::Away => 3,
        }
    }

    #[track_caller]
    pub(crate) fn spawn<M, F>(self, make: M) -> Promise<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        self.make(Task::new(), make)
    }

    #[track_caller]
    pub(crate) fn make<M, F>(self, task: Task, make: M) -> Promise<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        self.make_boxed(task, Box::new(move || Box::pin(make())))
    }

    #[track_caller]
    fn make_boxed<T: Send + 'static>(self, task: Task, make: Make<T>) -> Promise<T> {
        match self {
            Place::Here => task.spawn(make()),
            Place::Away => task.call(make).expect("there are several domains"),
        }
    }

    #[track_caller]
    pub(crate) fn try_spawn<M, F, T, E>(self, make: M) -> Promise<T, E>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<T, E>> + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        self.try_spawn_boxed(Box::new(move || Box::pin(make())))
    }

    #[track_caller]
    fn try_spawn_boxed<T, E>(self, make: Make<Result<T, E>>) -> Promise<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        match self {
            Place::Here => Task::new().try_spawn(make()),
            Place::Away => Task::new().try_call(make).expect("there are several domains"),
        }
    }
}

/// A number that tasks on all domains count up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<AtomicUsize>);

impl Counter {
    pub(crate) fn new() -> Counter {
        Counter::default()
    }

    pub(crate) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Lets others run until the number is at least `count`. Works inside a run.
    pub(crate) async fn reaches(&self, count: usize) {
        while self.get() < count {
            yield_now().await;
        }
    }
}

/// What happened, in order, on all domains.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn new() -> Log {
        Log::default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, entry: impl Into<String>) {
        self.lock().push(entry.into());
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// The place of an entry that happened exactly once.
    #[track_caller]
    pub(crate) fn at(&self, entry: &str) -> usize {
        let entries = self.entries();
        let mut places = (0..entries.len()).filter(|&place| entries[place] == entry);
        match (places.next(), places.next()) {
            (Some(place), None) => place,
            _ => panic!("`{entry}` did not happen exactly once: {entries:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn assert_is(&self, expected: &[&str]) {
        assert_eq!(self.entries(), expected);
    }

    /// Something that enters its name into the log when it is dropped.
    pub(crate) fn witness(&self, name: &str) -> Witness {
        Witness { log: self.clone(), name: name.to_owned() }
    }

    /// A resource that enters its name into the log when it is finalized.
    #[track_caller]
    pub(crate) fn resource(&self, name: &'static str) -> Owned<&'static str> {
        let log = self.clone();
        Owned::new(name, move |name| log.push(name))
    }

    /// A resource whose finalizer takes `steps` turns of its domain before it enters its name.
    #[track_caller]
    pub(crate) fn slow_resource(&self, name: &'static str, steps: usize) -> Owned<&'static str> {
        let log = self.clone();
        Owned::with_async(name, move |name| async move {
            for _ in 0..steps {
                yield_now().await;
            }
            log.push(name);
        })
    }
}

/// Forgets a value, as `std::mem::forget` does, where the leak detector takes it for kept: in a
/// static. So leaks that a test does not mean are still found.
pub(crate) fn lose<T>(value: T) {
    static LOST: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let address = Box::into_raw(Box::new(value)).expose_provenance();
    LOST.lock().unwrap_or_else(PoisonError::into_inner).push(address);
}

/// Enters its name into the log when it is dropped.
#[derive(Debug)]
pub(crate) struct Witness {
    log: Log,
    name: String,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.log.push(&*self.name);
    }
}

/// A future whose polls are counted.
pub(crate) struct Counted<F> {
    future: Pin<Box<F>>,
    polls: Counter,
}

pub(crate) fn counted<F: Future>(polls: &Counter, future: F) -> Counted<F> {
    Counted { future: Box::pin(future), polls: polls.clone() }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.add();
        self.future.as_mut().poll(cx)
    }
}

/// Counts the turns of all domains together: each ends with a wait.
pub(crate) fn count_waits(builder: Builder, waits: &Counter) -> Builder {
    with_counted_waits(builder, waits, None)
}

/// As [`count_waits`], with a clock that stands still: no turn is ended for its slowness.
pub(crate) fn count_waits_out_of_time(builder: Builder, waits: &Counter) -> Builder {
    with_counted_waits(builder, waits, Some(Instant::now()))
}

fn with_counted_waits(builder: Builder, waits: &Counter, still: Option<Instant>) -> Builder {
    let waits = waits.clone();
    let driver = move || Ok(CountedWaits { reactor: Reactor::new()?, waits: waits.clone(), still });
    builder.driver(move |_| driver())
}

/// The default reactor, whose waits are counted.
pub(crate) struct CountedWaits {
    reactor: Reactor,
    waits: Counter,
    still: Option<Instant>,
}

impl Driver for CountedWaits {
    fn now(&self) -> Instant {
        self.still.unwrap_or_else(|| self.reactor.now())
    }

    fn park(&self, timeout: ParkTimeout) -> io::Result<()> {
        self.waits.add();
        self.reactor.park(timeout)
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.reactor.unparker()
    }

    fn reactor(&self) -> Option<&Reactor> {
        Some(&self.reactor)
    }
}

/// Calls `body` on a thread of its own, and fails if it does not return in time.
#[track_caller]
pub(crate) fn in_time<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    in_time_with_stack(2 << 20, body)
}

/// As [`in_time`], on a thread with a stack of so many bytes.
#[track_caller]
pub(crate) fn in_time_with_stack<R: Send + 'static>(
    stack: usize,
    body: impl FnOnce() -> R + Send + 'static,
) -> R {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name(name.clone()).stack_size(stack);
    let thread = thread.spawn(move || drop(sender.send(body()))).expect("a thread for the test");
    match receiver.recv_timeout(deadline()) {
        Ok(result) => {
            thread.join().expect("it has returned");
            result
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(payload) => std::panic::resume_unwind(payload),
            Ok(()) => unreachable!("it sends before it returns"),
        },
        Err(mpsc::RecvTimeoutError::Timeout) => {
            panic!("{name} hangs: no result after {:?}", deadline())
        }
    }
}

/// Runs `main` on so many domains, in time. `main` makes the future where it is going to run.
#[track_caller]
pub(crate) fn run_on<M, F, T>(domains: usize, main: M) -> Result<T, RunError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<T, matou_runtime::MainError>> + 'static,
    T: Send + 'static,
{
    run_with(Builder::new().domains(domains), main)
}

/// Runs `main` with these settings, in time.
#[track_caller]
pub(crate) fn run_with<M, F, T>(builder: Builder, main: M) -> Result<T, RunError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<T, matou_runtime::MainError>> + 'static,
    T: Send + 'static,
{
    run_boxed(builder, Box::new(move || Box::pin(main())))
}

/// What makes a future on the thread where it is going to run. Boxed: otherwise all that becomes of
/// a future in a run would be compiled once for each test, which takes minutes.
type Make<T> = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = T>>> + Send>;

#[track_caller]
fn run_boxed<T: Send + 'static>(
    builder: Builder,
    main: Make<Result<T, matou_runtime::MainError>>,
) -> Result<T, RunError> {
    in_time(move || builder.run(async move { main().await }))
}

/// The report of a run that broke rules.
#[track_caller]
pub(crate) fn report<T: Debug>(result: Result<T, RunError>) -> Report {
    match result {
        Err(RunError::Violated(report)) => report,
        other => panic!("the run broke no rule: {other:?}"),
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

/// The name of the test that this is written in, as the test runner knows it.
macro_rules! this_test {
    () => {{
        fn here() {}
        let path = std::any::type_name_of_val(&here);
        let path = path.strip_suffix("::here").expect("it is in a function");
        path.split_once("::").expect("it is in a crate").1
    }};
}
pub(crate) use this_test;

const CHILD: &str = "MATOU_TEST_CHILD";

/// Runs the test named `test` in a process of its own and returns what it did; `None` if this is
/// that process, which then does the work.
#[track_caller]
pub(crate) fn in_child_process(test: &str) -> Option<Output> {
    in_child_process_with(test, &[])
}

/// As [`in_child_process`], with these variables in the environment.
#[track_caller]
pub(crate) fn in_child_process_with(test: &str, variables: &[(&str, String)]) -> Option<Output> {
    if std::env::var_os(CHILD).is_some_and(|name| name == test) {
        return None;
    }
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    command
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, test)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("the test binary starts");
    let id = child.id();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(deadline() * 2) {
        Ok(output) => Some(output.expect("the child was waited for")),
        Err(_) => {
            if let Some(pid) = rustix::process::Pid::from_raw(id as i32) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            panic!("the process of {test} hangs");
        }
    }
}

/// Runs the test in a process of its own, which has to succeed. Returns true in that process.
#[track_caller]
pub(crate) fn is_child_process(test: &str) -> bool {
    let Some(output) = in_child_process(test) else {
        return true;
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "the process of {test} ended with {}:\n{stdout}\n{stderr}",
        output.status,
    );
    false
}
