//! Goal: every report that a program causes names a line of the program, the right one, and no line
//! of matou or of the standard library.
//! Method: each public function that can report is called on a line that is known, and the line of
//! the report or of the recorded wait is compared.

use std::cell::RefCell;
use std::future::{Future, pending, ready};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use matou_ownership::Owned;
use matou_runtime::signal::{self, Signal};
use matou_runtime::test::Check;
use matou_runtime::{
    BlockedOn, Builder, Cancelled, ChildInfo, MainError, Orphans, Outcome, Promise, RunError, Task,
    TaskError, Violation, Violations, await_all, await_first, await_one, call, cancelled, deadline,
    defer, disown, now, parallel, race, shield, sleep, sleep_until, spawn, timeout, try_call,
    try_shield, try_spawn, yield_now,
};
use matou_sync::{Condition, Mutex, Queue};

use crate::support::*;

#[track_caller]
fn assert_line(at: &Location<'_>, line: u32) {
    assert_eq!((at.file(), at.line()), (file!(), line));
}

/// Runs `main`, which leaks the promise of one child, and returns the description of that child.
fn leaked_child<F>(main: impl FnOnce() -> F + Send + 'static) -> ChildInfo
where
    F: Future<Output = Result<(), MainError>> + 'static,
{
    // Some children are shields, which are cancelled only then.
    let grace = Duration::from_millis(5);
    match violation(run_with(strict().domains(3).grace(grace), main)) {
        Violation::StillHasChildren { children, .. } => children[0].clone(),
        other => panic!("{other}"),
    }
}

/// A function that spawns a child and leaks its handle, and the line that it names.
macro_rules! leak_case {
    ($handle:expr) => {
        (line!(), stringify!($handle), || leak($handle))
    };
}

#[test]
fn f9_reports_of_children_name_the_line_that_spawned_them() {
    let cases: [(u32, &str, fn()); 14] = [
        leak_case!(spawn(async {})),
        leak_case!(try_spawn(async { Ok::<(), ()>(()) })),
        leak_case!(call(|| async {})),
        leak_case!(try_call(|| async { Ok::<(), ()>(()) })),
        leak_case!(parallel([1], |_| async {})),
        leak_case!(shield(async {})),
        leak_case!(try_shield(async { Ok::<(), ()>(()) })),
        leak_case!(Task::new().spawn(async {})),
        leak_case!(Task::new().name("child").try_spawn(async { Ok::<(), ()>(()) })),
        leak_case!(Task::new().call(|| async {})),
        leak_case!(Task::new().try_call(|| async { Ok::<(), ()>(()) })),
        leak_case!(Task::new().shield(async {})),
        leak_case!(Task::new().try_shield(async { Ok::<(), ()>(()) })),
        leak_case!(with_orphans(|orphans| drop(Task::new().orphans(orphans).spawn(async {})))),
    ];
    for (line, name, spawn) in cases {
        let child = leaked_child(move || async move {
            spawn();
            Ok(())
        });
        assert_eq!((child.spawned_at.file(), child.spawned_at.line()), (file!(), line), "{name}");
    }
}

fn with_orphans(f: impl FnOnce(&Orphans<()>)) -> Orphans<()> {
    let orphans = Orphans::new();
    f(&orphans);
    orphans
}

/// Runs a child that waits in `wait` until it cannot go on, and returns what it waits for.
fn blocked_on<F>(wait: fn() -> F) -> BlockedOn
where
    F: Future<Output = ()> + 'static,
{
    let child = leaked_child(move || async move {
        leak(spawn(wait()));
        for _ in 0..10 {
            yield_now().await;
        }
        Ok(())
    });
    child.blocked_on
}

macro_rules! wait_case {
    ($(let $name:ident = $value:expr;)? $wait:expr) => {
        (
            line!(),
            stringify!($wait),
            blocked_on(|| async {
                $(#[allow(unused_mut)] let mut $name = $value;)?
                let _ = $wait.await;
            }),
        )
    };
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn f9_reports_of_waits_name_the_line_that_waits() {
    let cases = [
        wait_case!(sleep(HOUR)),
        wait_case!(sleep_until(now() + HOUR)),
        wait_case!(timeout(HOUR, sleep(HOUR))),
        wait_case!(shield(pending::<()>())),
        wait_case!(await_all([spawn(pending::<()>())])),
        wait_case!(await_first([spawn(pending::<()>())])),
        wait_case!(let promises = vec![spawn(pending::<()>())]; await_one(&mut promises)),
        wait_case!(let orphans = busy_orphans(); orphans.next()),
        wait_case!(let signals = signal::stream(Signal::Interrupt).unwrap(); signals.next()),
        wait_case!(signal::termination().unwrap()),
        wait_case!(cancelled()),
        wait_case!(let promise = spawn(shielding()); settled(promise).await.cancel()),
        wait_case!(spawn(pending::<()>())),
    ];
    for (line, name, blocked) in cases {
        let at = blocked.site.location.unwrap_or_else(|| panic!("{name}: no line: {blocked}"));
        assert_eq!((at.file(), at.line()), (file!(), line), "{name}: {blocked}");
    }
}

fn busy_orphans() -> Orphans<()> {
    with_orphans(|orphans| drop(Task::new().orphans(orphans).spawn(pending())))
}

/// A task that ends only after the time limit of its shield.
async fn shielding() {
    drop(shield(pending::<()>()).limit(Duration::from_millis(50)).await);
}

async fn settled<T>(promise: Promise<T>) -> Promise<T> {
    yield_now().await;
    promise
}

/// The reason of a child's cancellation.
fn reason<T>(outcome: Outcome<T, std::convert::Infallible>) -> Cancelled {
    match outcome {
        Err(TaskError::Cancelled(cancelled)) => cancelled,
        _ => panic!("it was not cancelled"),
    }
}

#[test]
fn f9_reasons_of_cancellations_name_the_line_that_cancels() {
    /// A child that stores the reason of the request that reaches it.
    fn listener(reasons: &Rc<RefCell<Vec<Cancelled>>>) -> impl Future<Output = ()> + 'static {
        let reasons = Rc::clone(reasons);
        async move {
            let listening = shield(async move {
                let reason = cancelled().await;
                reasons.borrow_mut().push(reason);
            });
            drop(listening.await);
        }
    }
    run_on(1, || async {
        let reasons = Rc::default();
        let mut lines = Vec::new();
        let child = spawn(listener(&reasons));
        yield_now().await;
        lines.push(line!() + 1);
        child.cancel().await;
        let child = spawn(listener(&reasons));
        yield_now().await;
        lines.push(line!() + 1);
        child.cancel_because("the test says so").await;
        let children = [spawn(listener(&reasons)), spawn(yield_now())];
        lines.push(line!() + 1);
        await_first(children).await?;
        let child = spawn(listener(&reasons));
        yield_now().await;
        lines.push(line!() + 1);
        race(async { drop(child.await) }, ready(())).await;
        let child = spawn(listener(&reasons));
        yield_now().await;
        lines.push(line!() + 1);
        let _ = timeout(Duration::ZERO, async { drop(child.await) }).await;
        while reasons.borrow().len() < lines.len() {
            yield_now().await;
        }
        for (reason, line) in reasons.borrow().iter().zip(lines) {
            assert_line(reason.at().expect("a line"), line);
        }
        let line = line!() + 1;
        let late = deadline(now(), ready(()).map(|()| spawn(pending::<()>()))).await?;
        assert_line(reason(late.await).at().expect("a line"), line);
        Ok(())
    })
    .unwrap();
}

/// The used and the creating line of the resource in the only violation of a run, `NotOwner`.
fn misused(result: Result<(), RunError>) -> [&'static Location<'static>; 2] {
    match violation(result) {
        Violation::NotOwner { error, .. } => [error.used_at, error.resource.made_at],
        other => panic!("{other}"),
    }
}

type MisuseCase = (u32, &'static str, fn(Arc<Owned<i32>>));

macro_rules! misuse_case {
    (| $owned:ident | $use:expr) => {
        (line!(), stringify!($use), |$owned: Arc<Owned<i32>>| {
            let _ = $use;
        })
    };
}

#[test]
fn f9_reports_of_resources_name_the_line_that_uses_and_the_line_that_made_them() {
    let cases: [MisuseCase; 6] = [
        misuse_case!(|owned| owned.get().is_ok()),
        misuse_case!(|owned| disown(&owned)),
        misuse_case!(|owned| matou_ownership::check(&owned)),
        misuse_case!(|owned| leak(Task::new().give(&owned).spawn(async {}))),
        misuse_case!(|owned| leak(Task::new().name("child").give(&owned).call(|| async {}))),
        misuse_case!(|owned| leak(shield(async move { owned.get().is_ok() }))),
    ];
    for (line, name, misuse) in cases {
        let (sender, receiver) = std::sync::mpsc::channel();
        let made = line!() + 2;
        let result = run_on(3, move || async move {
            let owned = Arc::new(Owned::new(1, drop));
            sender.send(()).expect("the test receives it");
            owned.get().expect("this task owns it");
            let theirs = Arc::clone(&owned);
            let child = spawn(async move {
                misuse(theirs);
                pending::<()>().await;
            });
            drop(child.await);
            Ok(())
        });
        receiver.recv().expect("the run has begun");
        let [used_at, made_at] = misused(result);
        assert_eq!((used_at.file(), used_at.line()), (file!(), line), "{name}");
        assert_line(made_at, made);
    }
}

/// The line that the first violation of a run, `NotAChild`, names, and the line that spawned the
/// child.
fn not_a_child(result: Result<(), RunError>) -> [u32; 2] {
    match &report(result).violations()[0] {
        Violation::NotAChild { child, used_at, .. } => {
            let used_at = used_at.expect("a line");
            assert_eq!([used_at.file(), child.spawned_at.file()], [file!(); 2]);
            [used_at.line(), child.spawned_at.line()]
        }
        other => panic!("{other}"),
    }
}

#[test]
fn f9_reports_of_foreign_children_name_the_line_that_uses_them() {
    let strict = || Builder::new().domains(1).violations(Violations::FailRun);
    let line = line!() + 2;
    let result = run_with(strict(), || async {
        let theirs = spawn(pending::<()>());
        drop(spawn(async { drop(theirs.await) }).await);
        Ok(())
    });
    assert_eq!(not_a_child(result), [line + 1, line]);
    let result = run_with(strict(), || async {
        let theirs = spawn(pending::<()>());
        drop(spawn(async { drop(theirs.cancel().await) }).await);
        Ok(())
    });
    assert_eq!(not_a_child(result), [line!() - 3, line!() - 4]);
    let result = run_with(strict(), || async {
        let theirs = shield(pending::<()>()).limit(Duration::from_millis(1));
        drop(spawn(async { drop(theirs.await) }).await);
        Ok(())
    });
    // A shield remembers the line that made it.
    assert_eq!(not_a_child(result), [line!() - 5, line!() - 5]);
    let result = run_with(strict(), || async {
        let theirs = busy_orphans();
        drop(spawn(async move { drop(theirs.next().await) }).await);
        Ok(())
    });
    assert_eq!(not_a_child(result)[0], line!() - 3);
    let result = run_with(strict(), || async {
        let theirs = busy_orphans();
        drop(spawn(async move { drop(Task::new().orphans(&theirs).spawn(async {})) }).await);
        Ok(())
    });
    assert_eq!(not_a_child(result)[0], line!() - 3);
}

#[test]
fn f9_a_use_through_a_trait_object_or_another_crate_says_so() {
    let strict = || Builder::new().domains(1).violations(Violations::FailRun);
    let text = |result: Result<(), RunError>| violation(result).to_string();
    let result = run_with(strict(), || async {
        let theirs: Pin<Box<dyn Future<Output = _>>> = Box::pin(spawn(pending::<()>()));
        drop(spawn(async { drop(theirs.await) }).await);
        Ok(())
    });
    let report = text(result);
    assert!(report.contains("used through a function pointer or a trait object"), "{report}");
    let result = run_with(strict(), || async {
        let theirs = spawn(pending::<()>());
        drop(spawn(async { futures::future::join(theirs, ready(1)).await }).await);
        Ok(())
    });
    let report = text(result);
    assert!(report.contains("used through futures-util"), "{report}");
    assert!(report.contains(&format!("--> {}:{}", file!(), line!() - 5)), "{report}");
}

#[test]
fn f9_a_builder_on_several_lines_names_the_line_of_the_give() {
    let result = run_on(1, || async {
        let owned = Arc::new(Owned::new(1, drop));
        owned.get().expect("this task owns it");
        let child = spawn(async move {
            let task = Task::new().name("child");
            let task = task.give(&owned);
            drop(task.spawn(async {}).await);
        });
        drop(child.await);
        Ok(())
    });
    assert_line(misused(result)[0], line!() - 6);
}

#[test]
fn f9_reports_of_unfinished_finalizers_name_the_line_that_made_them() {
    let line = line!() + 3;
    let builder = Builder::new().domains(1).grace(Duration::from_millis(5));
    let result = run_with(builder, || async {
        let _owned = Owned::with_async(1, |_| pending());
        defer(pending());
        Ok(())
    });
    match violation(result) {
        Violation::FinalizerUnfinished { resources, .. } => {
            let lines: Vec<u32> =
                resources.iter().map(|resource| resource.made_at.line()).collect();
            assert_eq!(resources[0].made_at.file(), file!());
            assert!(lines.contains(&line) && lines.contains(&(line + 1)), "{lines:?}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn f9_a_task_is_named_by_the_line_that_started_its_run() {
    let violations = [
        (line!(), Builder::new().domains(1).run(leaks())),
        (line!(), matou_runtime::run(leaks())),
        (line!(), Check::simulated().trial(1, leaks()).outcome),
        (line!(), Check::threaded().trial(1, leaks()).outcome),
    ];
    for (line, result) in violations {
        assert_line(violation(result).task().spawned_at, line);
    }
    async fn leaks() -> Result<(), MainError> {
        leak(spawn(pending::<()>()));
        Ok(())
    }
}

#[test]
fn f9_waits_for_primitives_name_the_line_that_waits() {
    let cases = [
        wait_case!(let mutex = locked(); mutex.lock()),
        wait_case!(let mutex = Mutex::new(1); Condition::new().wait(mutex.lock().await)),
        wait_case!(let queue = full(); queue.push(2)),
        wait_case!(let queue = Queue::<i32>::unbounded(); queue.pop()),
    ];
    for (line, name, blocked) in cases {
        let at = blocked.site.location.unwrap_or_else(|| panic!("{name}: no line: {blocked}"));
        assert_eq!((at.file(), at.line()), (file!(), line), "{name}: {blocked}");
    }
}

fn locked() -> Mutex<i32> {
    let mutex = Mutex::new(1);
    leak(mutex.try_lock());
    mutex
}

fn full() -> Queue<i32> {
    let queue = Queue::bounded(1);
    assert!(queue.try_push(1).is_ok());
    queue
}
