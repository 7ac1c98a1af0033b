//! R1: dropping a promise gives the child up, except where it is forgetting, which is a finding.
//!
//! Method: a promise or a group is dropped in each way that is forgetting, with children on the
//! same domain and on another one. All these runs succeed, and the finding names the line.
//! `r01_giving_up` tests the other drops, and `r01_children_are_awaited` the violations.

use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use matou_runtime::{Builder, Finding, Forgotten, Orphans, Task, sleep, spawn, yield_now};

use crate::support::*;

const SHORT: Duration = Duration::from_millis(1);

#[test]
fn a_promise_dropped_at_once_is_reported_with_the_line_that_spawned_the_child() {
    let line = line!() + 2;
    let found = forgotten(|place| async move {
        drop(place.spawn(pending::<()>));
        yield_now().await;
        Ok(())
    });
    assert_eq!(found, [(line, 1)]);
}

#[test]
fn the_report_says_that_the_promise_was_dropped_and_what_to_do() {
    let findings = Findings::new();
    let line = line!() + 2;
    let result = run_with(findings.of(Builder::new().domains(1)), || async {
        drop(Task::new().name("prefetch").spawn(pending::<()>()));
        yield_now().await;
        Ok(())
    });
    result.unwrap();
    let found = findings.take();
    let [finding] = &found[..] else { panic!("{found:?}") };
    let text = finding.to_string();
    let spawned_at = format!("{}:{line}", file!());
    for part in ["dropped", "`prefetch`", &spawned_at, "abandon", "race", "Orphans", "Forgotten"] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn a_promise_that_the_last_poll_drops_unpolled_is_reported() {
    let line = line!() + 2;
    let found = forgotten(|place| async move {
        let _child = place.spawn(pending::<()>);
        yield_now().await;
        Ok(())
    });
    assert_eq!(found, [(line, 1)]);
}

#[test]
fn a_promise_that_is_dropped_with_the_returned_body_is_reported() {
    let line = line!() + 6;
    let found = forgotten(|place| {
        let mut child = None;
        let mut polls = 0;
        // The promise belongs to the future itself, which is dropped after it has returned.
        poll_fn(move |cx| {
            child.get_or_insert_with(|| place.spawn(pending::<()>));
            polls += 1;
            cx.waker().wake_by_ref();
            if polls < 3 { Poll::Pending } else { Poll::Ready(Ok(())) }
        })
    });
    assert_eq!(found, [(line, 1)]);
}

#[test]
fn a_complete_child_that_was_never_awaited_is_reported() {
    let line = line!() + 4;
    let found = forgotten(|place| async move {
        let done = Counter::new();
        let counter = done.clone();
        let _child = place.spawn(move || async move { counter.add() });
        done.reaches(1).await;
        sleep(SHORT).await;
        Ok(())
    });
    assert_eq!(found, [(line, 1)]);
}

#[test]
fn a_group_that_the_last_poll_drops_with_children_in_it_is_reported() {
    let findings = Findings::new();
    let line = line!() + 4;
    let result = run_with(findings.of(Builder::new().domains(1)), || async {
        let orphans = Orphans::new();
        for _ in 0..3 {
            Task::new().orphans(&orphans).spawn(pending::<()>())?;
        }
        yield_now().await;
        Ok(())
    });
    result.unwrap();
    assert_eq!(findings.forgotten(), [(line, 3)]);
}

#[test]
fn the_children_of_one_line_are_counted() {
    let line = line!() + 3;
    let found = forgotten(|place| async move {
        for _ in 0..100 {
            drop(place.spawn(pending::<()>));
        }
        yield_now().await;
        Ok(())
    });
    assert_eq!(found, [(line, 100)]);
}

#[test]
fn forgotten_cancel_reports_nothing() {
    for place in Place::BOTH {
        let findings = Findings::new();
        let builder = Builder::new().domains(place.domains()).forgotten(Forgotten::Cancel);
        let result = run_with(findings.of(builder), move || async move {
            drop(place.spawn(pending::<()>));
            let _child = place.spawn(pending::<()>);
            yield_now().await;
            Ok(())
        });
        result.unwrap();
        assert_eq!(findings.forgotten(), []);
    }
}

#[test]
fn a_forgotten_child_is_cancelled_and_waited_for() {
    scenario(|place, log| async move {
        let child_log = log.clone();
        let task = spawn(async move {
            let begun = Counter::new();
            let child_begun = begun.clone();
            let _child = place.spawn(move || async move {
                let _resource = child_log.slow_resource("child is finalized", 20);
                child_begun.add();
                pending::<()>().await;
            });
            begun.reaches(1).await;
        });
        task.await?;
        log.push("task is complete");
        Ok(())
    })
    .settings(|builder| builder.forgotten(Forgotten::Report))
    .expect(&["child is finalized", "task is complete"]);
}

#[test]
fn findings_name_the_parent() {
    let findings = Findings::new();
    let result = run_with(findings.of(Builder::new().domains(1)), || async {
        let parent = Task::new().name("parent").spawn(async {
            let _child = Task::new().name("child").spawn(pending::<()>());
        });
        parent.await?;
        Ok(())
    });
    result.unwrap();
    match &findings.take()[..] {
        [Finding::Forgotten { child, parent, .. }] => {
            assert_eq!(parent.name.as_deref(), Some("parent"));
            assert_eq!(child.name.as_deref(), Some("child"));
        }
        other => panic!("{other:?}"),
    }
}
