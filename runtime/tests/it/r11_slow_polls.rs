//! R11: a poll that takes longer than `Builder::slow_poll` is a finding that names its task.
//!
//! Method: a driver whose clock only the test advances.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use matou_runtime::{Builder, Diagnostic, Finding, MainError, RunError, Task, spawn, yield_now};

use crate::support::ManualClock;

const MS: Duration = Duration::from_millis(1);

/// A slow poll as it was reported: the name of the task, and how long it took.
type Reported = (String, Duration);

/// Runs `main` and returns the slow polls that were reported.
fn slow_polls(
    limit: Option<Duration>,
    main: impl Future<Output = Result<(), MainError>> + 'static,
) -> Vec<Reported> {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&reports);
    let mut builder = ManualClock::install(Builder::new()).on_report(move |diagnostic| {
        let Diagnostic::Finding(Finding::SlowPoll { task, took, polls, .. }) = diagnostic else {
            panic!("{diagnostic}");
        };
        let name = match polls {
            1 => task.name.as_deref().unwrap_or("?"),
            _ => "one of several",
        };
        let name = name.to_owned();
        seen.lock().expect("no panic").push((name, *took));
    });
    if let Some(limit) = limit {
        builder = builder.slow_poll(limit);
    }
    let result: Result<(), RunError> = builder.run(main);
    result.expect("the program succeeds");
    let reports = reports.lock().expect("no panic");
    reports.clone()
}

#[test]
fn r11_a_slow_poll_of_the_only_ready_task_is_reported() {
    let reports = slow_polls(None, async {
        yield_now().await;
        matou_runtime::sleep(MS).await;
        ManualClock::advance(150 * MS);
        matou_runtime::sleep(MS).await;
        Ok(())
    });
    assert_eq!(reports, [("main".to_owned(), 150 * MS)]);
}

#[test]
fn r11_a_poll_within_the_limit_is_not_reported() {
    for (limit, time) in [(None, 99 * MS), (Some(300 * MS), 150 * MS)] {
        let reports = slow_polls(limit, async move {
            for _ in 0..10 {
                ManualClock::advance(time);
                yield_now().await;
            }
            Ok(())
        });
        assert_eq!(reports, []);
    }
}

#[test]
fn r11_the_text_of_a_slow_poll_names_the_task_and_where_it_waits() {
    let texts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&texts);
    let builder = ManualClock::install(Builder::new())
        .on_report(move |diagnostic| seen.lock().expect("no panic").push(diagnostic.to_string()));
    let result: Result<(), RunError> = builder.run(async {
        let slow = Task::new().name("slow").spawn(async {
            ManualClock::advance(150 * MS);
            matou_runtime::sleep(MS).await;
        });
        slow.await?;
        Ok::<_, MainError>(())
    });
    result.expect("the program succeeds");
    let texts = texts.lock().expect("no panic");
    let [text] = &**texts else { panic!("{texts:?}") };
    for part in ["warning[SlowPoll]: ", "`slow`", "150ms", "r11_slow_polls.rs", "sleep at"] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

/// Among many fast polls the clock is not read after each one. A task that is slow again and again
/// is known exactly.
#[test]
fn r11_a_slow_task_among_fast_ones_is_named() {
    let reports = slow_polls(None, async {
        let fast: Vec<_> = (0..40)
            .map(|number| {
                Task::new().name(format!("fast {number}")).spawn(async {
                    for _ in 0..100 {
                        yield_now().await;
                    }
                })
            })
            .collect();
        let slow = Task::new().name("slow").spawn(async {
            for poll in 0..100 {
                if poll % 10 == 0 {
                    ManualClock::advance(200 * MS);
                }
                yield_now().await;
            }
        });
        for task in fast {
            task.await?;
        }
        slow.await?;
        Ok(())
    });
    assert!(reports.len() >= 5, "{reports:?}");
    assert!(reports.iter().all(|(_, took)| *took == 200 * MS), "{reports:?}");
    let (first, later) = reports.split_first().expect("there are at least five");
    assert_eq!(first.0, "one of several");
    assert!(later.iter().all(|(name, _)| name == "slow"), "{reports:?}");
}

#[test]
fn r11_a_task_that_has_ended_in_its_slow_poll_is_known_by_its_line() {
    let reports = slow_polls(None, async {
        let ended = spawn(async { ManualClock::advance(150 * MS) });
        ended.await?;
        yield_now().await;
        Ok(())
    });
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!(reports[0].1, 150 * MS);
}

#[test]
fn r11_the_text_of_several_polls_accuses_no_task() {
    let texts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&texts);
    let builder = ManualClock::install(Builder::new())
        .on_report(move |diagnostic| seen.lock().expect("no panic").push(diagnostic.to_string()));
    let result: Result<(), RunError> = builder.run(async {
        let tasks = (0..40).map(|number| {
            Task::new().name(format!("task {number}")).spawn(async move {
                if number == 30 {
                    ManualClock::advance(150 * MS);
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await?;
        }
        Ok::<_, MainError>(())
    });
    result.expect("the program succeeds");
    let texts = texts.lock().expect("no panic");
    let [text] = &**texts else { panic!("{texts:?}") };
    for part in ["warning[SlowPoll]: ", " polls of tasks took 150ms together", "polled last"] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}
