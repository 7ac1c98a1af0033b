//! Goal: every panic that a program causes names a line of the program, the right one, and no line
//! of matou or of the standard library.
//! Method: each public function that can panic is called on a line that is known, and the line of
//! the panic is compared.

use std::cell::Cell;
use std::future::{Future, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Once;
use std::task::{Context, Waker};
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::signal::{self, Signal};
use matou_runtime::test::{Check, check_on_threads, send_signal};
use matou_runtime::{
    MainError, Orphans, Outcome, Promise, Task, TaskError, await_all, await_first, await_one, call,
    deadline, defer, now, parallel, race, shield, sleep, spawn, timeout, try_call, try_shield,
    try_spawn,
};

use crate::support::*;

thread_local! {
    static PANICKED_AT: Cell<Option<(String, u32)>> = const { Cell::new(None) };
}

/// Calls `f`, which must panic, and returns the file and the line that the panic names.
fn panics_at(f: impl FnOnce()) -> (String, u32) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let location = info.location().map(|at| (at.file().to_owned(), at.line()));
            PANICKED_AT.set(location);
            previous(info);
        }));
    });
    catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
    PANICKED_AT.take().expect("the hook has seen it")
}

/// Expands to the line of its call, and a closure that evaluates the expression.
macro_rules! case {
    ($call:expr) => {
        (
            line!(),
            stringify!($call),
            Box::new(|| {
                #[allow(clippy::let_underscore_future, reason = "the call itself is tested")]
                let _ = $call;
            }) as Box<dyn Fn()>,
        )
    };
}

type Case = (u32, &'static str, Box<dyn Fn()>);

/// Asserts that each case panics on its own line.
fn assert_panics(cases: Vec<Case>) {
    for (line, name, call) in cases {
        assert_eq!(panics_at(call), (file!().to_owned(), line), "{name}");
    }
}

#[test]
fn f9_panics_outside_a_run_name_the_caller() {
    assert_panics(vec![
        case!(spawn(async {})),
        case!(try_spawn(async { Ok::<(), ()>(()) })),
        case!(call(|| async {})),
        case!(try_call(|| async { Ok::<(), ()>(()) })),
        case!(parallel([1], |_| async {})),
        case!(shield(async {})),
        case!(try_shield(async { Ok::<(), ()>(()) })),
        case!(defer(async {})),
        case!(Task::new().spawn(async {})),
        case!(Task::new().try_spawn(async { Ok::<(), ()>(()) })),
        case!(Task::new().call(|| async {})),
        case!(Task::new().try_call(|| async { Ok::<(), ()>(()) })),
        case!(Task::new().shield(async {})),
        case!(Task::new().try_shield(async { Ok::<(), ()>(()) })),
        case!(Task::new().orphans(&Orphans::new()).spawn(async {})),
        case!(Task::new().orphans(&Orphans::new()).try_spawn(async { Ok::<(), ()>(()) })),
        case!(now()),
        case!(sleep(Duration::ZERO)),
        case!(timeout(Duration::ZERO, async {})),
        case!(signal::on(Signal::Terminate, || async {})),
        case!(signal::stream(Signal::Terminate)),
        case!(signal::termination()),
        case!(send_signal(Signal::Terminate)),
        case!(await_first(Vec::<Promise<()>>::new())),
    ]);
}

#[test]
fn f9_panics_in_a_finalizer_name_the_caller() {
    fn forbidden() {
        assert_panics(vec![
            case!(defer(async {})),
            case!(Owned::new(1, drop)),
            case!(Owned::with_async(1, |_| async {})),
        ]);
    }
    run_on(1, || async {
        let checked = Rc::new(Cell::new(0));
        let owned = Owned::new(1, |_| forbidden());
        drop(owned);
        checked.set(1);
        defer({
            let checked = checked.clone();
            async move {
                forbidden();
                checked.set(2);
            }
        });
        Ok(())
    })
    .unwrap();
}

/// Polls a future to completion and then once more, on the line of the caller.
macro_rules! twice {
    ($future:expr) => {{
        let mut future = Box::pin($future);
        let _ = future.as_mut().await;
        (line!(), stringify!($future), panics_at(|| poll(future.as_mut())))
    }};
}

fn poll<F: Future>(future: Pin<&mut F>) {
    let _ = future.poll(&mut Context::from_waker(Waker::noop()));
}

#[test]
fn f9_a_future_that_is_polled_again_names_the_line_that_polls() {
    run_on(1, || async {
        let mut promises = vec![spawn(async {})];
        let panics = [
            twice!(spawn(async {})),
            twice!(spawn(pending::<()>()).cancel()),
            twice!(await_all([spawn(async {})])),
            twice!(await_first([spawn(async {})])),
            twice!(await_one(&mut promises)),
            twice!(shield(async {})),
            twice!(race(ready(1), ready(2))),
            twice!(timeout(Duration::ZERO, pending::<()>())),
            twice!(deadline(now(), pending::<()>())),
        ];
        for (_, name, (file, _)) in panics {
            assert_eq!(file, file!(), "{name}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn f9_checks_fail_on_their_own_line() {
    let fails = || async { Err::<(), MainError>("on purpose".into()) };
    let (file, line) = panics_at(|| check_on_threads(0..1, fails));
    assert_eq!((&*file, line), (file!(), line!() - 1));
    let (file, line) = panics_at(|| matou_runtime::test::check(0..1, fails));
    assert_eq!((&*file, line), (file!(), line!() - 1));
    let (file, line) = panics_at(|| Check::simulated().run(0..1, fails));
    assert_eq!((&*file, line), (file!(), line!() - 1));
}

#[test]
fn f9_a_resumed_panic_does_not_name_the_line_of_an_older_one() {
    run_on(1, || async {
        let location = |outcome: Outcome<(), std::convert::Infallible>| match outcome {
            Err(TaskError::Panicked(panic)) => {
                (panic.message().to_owned(), panic.location().map(str::to_owned))
            }
            other => panic!("{other:?}"),
        };
        let other = spawn(async {
            let _ = catch_unwind(|| panic!("caught"));
            resume_unwind(Box::new("resumed"))
        });
        assert_eq!(location(other.await), ("resumed".to_owned(), None));
        let other = spawn(async {
            let _ = catch_unwind(|| panic!("caught {}", 1));
            resume_unwind(Box::new(String::from("resumed")))
        });
        assert_eq!(location(other.await), ("resumed".to_owned(), None));
        let other = spawn(async {
            let _ = catch_unwind(|| panic!("caught"));
            resume_unwind(Box::new(7))
        });
        assert_eq!(location(other.await).1, None);
        // The panic that is resumed is the caught one itself: its own line is right.
        for text in ["same", "other"] {
            let line = line!() + 2;
            let same = spawn(async move {
                let caught = catch_unwind(|| panic!("{text} {}", 1)).expect_err("it panics");
                resume_unwind(caught)
            });
            let (message, at) = location(same.await);
            assert_eq!(message, format!("{text} 1"));
            assert!(at.expect("a line").starts_with(&format!("{}:{line}:", file!())));
        }
        let line = line!() + 1;
        let plain = spawn(async { panic!("plain") });
        let at = location(plain.await).1.expect("a line");
        assert!(at.starts_with(&format!("{}:{line}:", file!())), "{at}");
        Ok(())
    })
    .unwrap();
}
