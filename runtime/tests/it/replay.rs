//! Goal: the environment variable in the report of a failure replays exactly that failure, and a
//! run that is not a replay fails.
//! Method: tests that fail in a child process, once to learn the variable and once with it; and the
//! example of `runtime/docs/testing.md`, whose printed report must be accurate.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use matou_runtime::test::{Check, check, check_on_threads};
use matou_runtime::{MainError, call, sleep, spawn, yield_now};

use crate::support::{child_output_with, this_test};

fn message_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it fails");
    payload.downcast_ref::<String>().expect("a text").clone()
}

/// The value of `MATOU_SEED` in a report.
fn variable_of(report: &str) -> String {
    let (_, rest) = report.split_once("replay it with MATOU_SEED=").expect("a variable");
    rest.split_whitespace().next().expect("a value").to_owned()
}

/// Runs a test in a child process, with this value of `MATOU_SEED` if there is one. Returns its
/// output and whether it succeeded; `None` in the child process, which does the work.
fn run_in_child(test: &str, seed: Option<&str>) -> Option<(String, bool)> {
    let variable = seed.map(|seed| ("MATOU_SEED", seed.to_owned()));
    let output = child_output_with(test, variable.as_slice())?;
    let text = [output.stdout, output.stderr].concat();
    Some((String::from_utf8_lossy(&text).into_owned(), output.status.success()))
}

fn sold_once(sold: usize) -> Result<(), String> {
    if sold == 1 { Ok(()) } else { Err(format!("sold {sold} times")) }
}

/// Three checks in one place: two succeed, and the third fails for some seeds.
fn three_checks() {
    for number in 1..=3 {
        Check::simulated().domains(2).run(0..100, move || async move {
            let seats = Rc::new(Cell::new(0));
            let buy = |seats: Rc<Cell<usize>>| async move {
                let free = seats.get() == 0;
                yield_now().await;
                if free && (number == 3 || seats.get() == 0) {
                    seats.set(seats.get() + 1);
                }
            };
            let others = (0..number).map(|_| spawn(buy(Rc::clone(&seats))));
            let others: Vec<_> = others.collect();
            for other in others {
                other.await.map_err(|error| error.to_string())?;
            }
            sold_once(seats.get())
        });
    }
}

#[test]
fn the_variable_replays_the_check_that_failed_and_no_other() {
    let Some((output, _)) = run_in_child(this_test!(), None) else { return three_checks() };
    let variable = variable_of(&output);
    assert!(variable.ends_with("/3"), "{output}");
    let (replay, succeeded) =
        run_in_child(this_test!(), Some(&variable)).expect("the child process");
    assert!(!succeeded, "{replay}");
    assert_eq!(variable_of(&replay), variable);
    assert!(replay.contains(": main failed: sold "), "{replay}");
    assert!(!replay.contains("made another run"), "{replay}");
    let command = format!("cargo test {} -- --exact", this_test!());
    assert!(replay.contains(&command), "{replay}");
}

#[test]
fn every_check_runs_a_seed_without_a_hash() {
    let runs = AtomicUsize::new(0);
    let count = || {
        runs.fetch_add(1, Ordering::Relaxed);
        async {}
    };
    let Some((output, succeeded)) = run_in_child(this_test!(), Some("17")) else {
        check(0..100, count);
        check_on_threads(0..100, count);
        assert_eq!(runs.into_inner(), 2);
        return;
    };
    assert!(succeeded, "{output}");
}

#[test]
fn a_replay_that_differs_from_the_failed_run_fails() {
    let Some((output, succeeded)) = run_in_child(this_test!(), Some("3/00ff")) else {
        check(0..1, || async {});
        return;
    };
    assert!(!succeeded && output.contains("seed 3 made another run"), "{output}");
}

#[test]
fn a_replay_that_succeeds_fails_and_says_so() {
    let hash = Check::simulated().trial(3, async { Ok::<_, MainError>(()) }).hash;
    let Some((output, succeeded)) = run_in_child(this_test!(), Some(&format!("3/{hash:016x}")))
    else {
        check(0..1, || async {});
        return;
    };
    assert!(!succeeded && output.contains("seed 3 made the same run"), "{output}");
}

#[test]
fn a_failure_that_does_not_repeat_is_reported_as_not_repeatable() {
    static FAILED: AtomicBool = AtomicBool::new(false);
    let text = message_of(|| {
        check(0..1, || async { assert!(FAILED.swap(true, Ordering::Relaxed), "the first time") });
    });
    assert!(text.contains("seed 0 is not repeatable"), "{text}");
    assert!(text.contains("twice, but its result differed"), "{text}");
    assert!(text.contains("the second time: it succeeded"), "{text}");
    assert!(!text.contains("replay it"), "{text}");
}

#[test]
fn a_failure_on_real_threads_is_reported_without_a_replay() {
    let runs = AtomicUsize::new(0);
    let text = message_of(|| {
        check_on_threads(7..9, || {
            runs.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), _>("lost a byte") }
        });
    });
    assert_eq!(text, "failed with seed 7, on real threads: main failed: lost a byte");
    assert_eq!(runs.into_inner(), 1);
}

const CHAPTER: &str = include_str!("../../docs/testing.md");
const README: &str = include_str!("../../../README.md");

/// The example of the chapter on testing.
async fn buy(seats: Rc<Cell<u32>>) -> Result<bool, MainError> {
    if seats.get() == 0 {
        return Ok(false);
    }
    call(|| async { /* the bank */ })?.await?;
    seats.set(seats.get() - 1);
    Ok(true)
}

async fn a_seat_is_sold_once() -> Result<(), MainError> {
    let seats = Rc::new(Cell::new(1));
    let first = spawn(buy(seats.clone()));
    sleep(Duration::from_millis(1)).await;
    let second = spawn(buy(seats.clone()));
    assert!(first.await??, "the first buyer gets the seat");
    assert!(!second.await??, "the seat was sold twice");
    Ok(())
}

#[test]
fn the_report_in_the_chapter_on_testing_is_accurate() {
    let report = message_of(|| check(0..100, a_seat_is_sold_once));
    let variable = variable_of(&report);
    assert!(CHAPTER.contains(&format!("MATOU_SEED={variable} cargo test")), "{report}");
    let begin = &variable["4/".len() + "c3704cae".len()..];
    assert!(README.contains(&format!("MATOU_SEED={}..", variable.trim_end_matches(begin))));
    let (_, events) = report.split_once("--exact\n").expect("the events");
    // The chapter omits the last events.
    let (printed, rest): (Vec<_>, Vec<_>) = {
        let mut lines = events.lines();
        let printed = lines.by_ref().take_while(|line| CHAPTER.contains(line)).collect();
        (printed, lines.collect())
    };
    assert!(printed.len() >= 11, "{} lines of:\n{report}", printed.len());
    assert!(CHAPTER.contains(&format!("{}\n    ..", printed.join("\n"))), "{rest:?}");
}
