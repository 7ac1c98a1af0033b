//! R10 with `Violations::FailRun`: a violation is recorded when it happens, so that `catch_unwind`
//! cannot hide it. The offending task is not resumed, the root is cancelled, every finalizer runs,
//! and `run` returns the report, as text and as data.

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;

use futures::FutureExt;
use matou_runtime::{
    ChildState, MainError, Orphans, Promise, RunError, Task, Violation, race, spawn, yield_now,
};

use crate::support::*;

/// Commits one of the violations that are possible before the end of a task.
fn offend(what: &'static str, log: Log) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        match what {
            "NotOwner" => {
                let shared = Arc::new(log.resource("shared"));
                let theirs = shared.clone();
                let giver = Task::new().give(&shared).spawn(async move {
                    let _theirs = theirs;
                    pending::<()>().await;
                });
                let _ = shared.get().expect("it was given away");
                drop(giver);
            }
            "NotAChild" => {
                let (sender, receiver) = std::sync::mpsc::channel::<Promise<()>>();
                let _other = spawn(async move {
                    sender.send(spawn(pending())).expect("there is a receiver");
                    pending::<()>().await;
                });
                yield_now().await;
                let promise = receiver.recv().expect("it was sent");
                let _ = promise.await;
            }
            "StillHasChildren" => drop(spawn(pending::<()>())),
            other => panic!("{other}"),
        }
    })
}

const KINDS: [&str; 3] = ["NotOwner", "NotAChild", "StillHasChildren"];

#[test]
fn catch_unwind_does_not_hide_a_violation_and_the_offender_is_not_resumed() {
    for kind in KINDS {
        let runs = scenario(move |place, log| async move {
            let offender = Task::new().name("offender");
            let child = place.spawn_task(offender, move || async move {
                let offence = AssertUnwindSafe(offend(kind, log.clone()));
                let caught = offence.catch_unwind().await;
                drop(caught);
                yield_now().await;
                if kind != "StillHasChildren" {
                    log.push("resumed");
                }
            });
            drop(child.await);
            Ok(())
        })
        .runs();
        for run in runs {
            let violation = violation(run.result);
            assert_eq!(violation.name(), kind);
            assert_eq!(violation.task().name.as_deref(), Some("offender"));
            assert!(!run.log.entries().contains(&"resumed".to_owned()), "{kind}");
        }
    }
}

#[test]
fn a_violation_in_a_closure_whose_panic_is_caught_fails_the_run() {
    let result = run_on(1, || async {
        let log = Log::new();
        let shared = Arc::new(log.resource("shared"));
        let child = Task::new().give(&shared).spawn(pending::<()>());
        let caught = catch_unwind(AssertUnwindSafe(|| {
            shared.get().expect("it was given away");
        }));
        assert!(caught.is_err());
        child.cancel().await;
        Ok(())
    });
    assert_eq!(violation(result).name(), "NotOwner");
}

#[test]
fn an_offender_in_a_combinator_is_not_polled_again() {
    let polls = Counter::new();
    let main_polls = polls.clone();
    let result = run_on(1, move || async move {
        let offender = spawn(async move {
            // The other branch is ready at every poll and never ends.
            let other = count_polls(&main_polls, async {
                loop {
                    yield_now().await;
                }
            });
            race(offend("NotAChild", Log::new()), other).await;
        });
        drop(offender.await);
        Ok(())
    });
    assert_eq!(violation(result).name(), "NotAChild");
    assert!(polls.get() <= 2, "{} polls", polls.get());
}

#[test]
fn the_root_is_cancelled_and_every_finalizer_runs_on_every_domain() {
    for kind in KINDS {
        let runs = scenario(move |place, log| async move {
            let begun = Counter::new();
            let _others: Vec<Promise<()>> = (0..4)
                .map(|_| {
                    let (log, begun) = (log.clone(), begun.clone());
                    place.spawn(move || async move {
                        let _local = log.resource("finalized");
                        leak(log.slow_resource("finalized", 20));
                        begun.add();
                        pending::<()>().await;
                    })
                })
                .collect();
            leak(log.slow_resource("finalized", 20));
            begun.reaches(4).await;
            let _offender = place.spawn(move || offend(kind, Log::new()));
            // Never returns: only the violation ends it.
            pending().await
        })
        .runs();
        for run in runs {
            let result: Result<(), RunError> = run.result;
            assert_eq!(violation(result).name(), kind);
            run.log.assert_is(&["finalized"; 9]);
        }
    }
}

#[test]
fn a_foreign_use_is_reported_and_not_its_consequences_in_the_same_poll() {
    let runs = scenario(|place, _| async move {
        let shared = Arc::new(Log::new().resource("shared"));
        let stranger = place.spawn(move || async move {
            let owner = Task::new().give(&shared).spawn(pending::<()>());
            drop(shared.get());
            drop(owner);
        });
        stranger.await?;
        Ok(())
    })
    .runs();
    for run in runs {
        assert_eq!(violation(run.result).name(), "NotOwner");
    }
}

#[test]
fn a_foreign_use_by_a_task_with_resources_is_reported_after_that_poll() {
    let runs = scenario(|place, _| async move {
        let shared = Arc::new(Log::new().resource("shared"));
        let theirs = shared.clone();
        let stranger = place.spawn(move || async move {
            let _own = Log::new().resource("own");
            yield_now().await;
            drop(theirs.get());
            pending::<()>().await;
        });
        stranger.await?;
        drop(shared);
        Ok(())
    })
    .runs();
    for run in runs {
        assert_eq!(violation(run.result).name(), "NotOwner");
    }
}

#[test]
fn a_violation_takes_precedence_over_the_outcome_of_main() {
    for panics in [false, true] {
        let result: Result<(), RunError> = run_on(1, move || async move {
            drop(spawn(offend("StillHasChildren", Log::new())).await);
            assert!(!panics, "main panics");
            Err::<(), MainError>("main fails".into())
        });
        assert_eq!(violation(result).name(), "StillHasChildren");
    }
}

#[test]
fn a_report_keeps_the_first_violations_and_counts_the_rest() {
    let builder = strict().domains(1).quantum(1000);
    let result = run_with(builder, || async {
        let offenders: Vec<_> =
            (0..100).map(|_| spawn(async { drop(spawn(pending::<()>())) })).collect();
        pending::<()>().await;
        drop(offenders);
        Ok(())
    });
    let report = report(result);
    assert_eq!(report.violations().len(), 64);
    assert!(report.to_string().ends_with(".. and 36 more violations"), "{report}");
}

/// The location as a report prints it.
#[track_caller]
fn position(location: &Location<'_>, line: u32) -> String {
    assert_eq!((location.file(), location.line()), (file!(), line));
    format!("{}:{line}:{}", file!(), location.column())
}

#[test]
fn a_report_of_children_left_behind_reads_like_a_compiler_error() {
    let line = line!() + 3;
    let result = run_on(1, move || async {
        // The lines of the following statements are counted.
        let leaver = Task::new().name("leaver").spawn(async {
            let waiting = Task::new().name("waiting").spawn(async {
                drop(spawn(pending::<()>()).await);
            });
            let ended = spawn(async {});
            yield_now().await;
            yield_now().await;
            leak((waiting, ended));
        });
        leaver.await?;
        Ok(())
    });
    let violation = violation(result);
    let Violation::StillHasChildren { task, children } = &violation else {
        panic!("{violation}");
    };
    assert_eq!((children[0].state, children[1].state), (ChildState::Running, ChildState::Complete));
    let (main, grandchild) = (&task.parents[0], children[0].blocked_on);
    let expected = format!(
        "error[StillHasChildren]: task #2 `leaver` on domain 0 ended and left 2 children that \
         were neither awaited nor cancelled\n  \
         --> {leaver} (where task #2 `leaver` on domain 0 was spawned)\n  \
         = child: task #3 `waiting`, spawned at {waiting}: waiting for {grandchild}\n  \
         = child: task #4, spawned at {ended}: finished but never joined\n  \
         = child of task #1 `main`, spawned at {main}\n  \
         = help: await each promise or `cancel().await` it before the task ends; children that \
         run in the background go into `Orphans`, which is drained with `next`",
        leaver = position(task.spawned_at, line),
        waiting = position(children[0].spawned_at, line + 1),
        ended = position(children[1].spawned_at, line + 4),
        main = main.spawned_at.expect("it is here"),
    );
    assert_eq!(violation.to_string(), expected);
    let grandchild = grandchild.to_string();
    let made =
        grandchild.strip_prefix("promise of task #5 (spawned at ").expect("the line of the child");
    assert!(made.contains(&format!("{}:{}:", file!(), line + 2)), "{made}");
}

#[test]
fn a_report_of_a_leak_reads_like_a_compiler_error() {
    let line = line!() + 2;
    let result = run_on(2, || async {
        let leaker = Task::new().name("leaker").call(|| async {
            leak(Log::new().resource("resource"));
        })?;
        leaker.await?;
        Ok(())
    });
    let violation = violation(result);
    let Violation::ResourceLeaked { task, resources } = &violation else {
        panic!("{violation}");
    };
    let expected = format!(
        "error[ResourceLeaked]: task #2 `leaker` on domain 1 ended while it still owned 1 \
         resource\n  \
         --> {leaker} (where task #2 `leaker` on domain 1 was spawned)\n  \
         = resource: &str #{id} made at {made}\n  \
         = child of a task on domain 0\n  \
         = help: drop or release it before the task ends; if it was meant for the parent, \
         `transfer` it, or build the task with `inherit` unless it was given",
        leaker = position(task.spawned_at, line),
        id = resources[0].id,
        made = position(resources[0].made_at, line + 1),
    );
    assert_eq!(violation.to_string(), expected);
}

#[test]
fn a_report_of_a_foreign_use_reads_like_a_compiler_error() {
    let line = line!() + 2;
    let result = run_on(1, || async {
        let shared = Arc::new(Log::new().resource("resource"));
        let theirs = shared.clone();
        let stranger = Task::new().name("stranger").spawn(async move {
            drop(theirs.get());
        });
        stranger.await?;
        drop(shared);
        Ok(())
    });
    let violation = violation(result);
    let Violation::NotOwner { task, error } = &violation else {
        panic!("{violation}");
    };
    let main = task.parents[0].spawned_at.expect("it is here");
    let expected = format!(
        "error[NotOwner]: task #2 `stranger` on domain 0 used &str #{id} made at {made} without \
         owning it\n  \
         --> {stranger} (where task #2 `stranger` on domain 0 was spawned)\n  \
         = used at {used}\n  \
         = made at {made}\n  \
         = owner: task `main`, spawned at {main}\n  \
         = child of task #1 `main`, spawned at {main}\n  \
         = help: pass it to the child with `Task::new().give(&resource)` when it is spawned, or \
         move the value itself into the child",
        id = error.resource.id,
        made = position(error.resource.made_at, line),
        stranger = position(task.spawned_at, line + 2),
        used = position(error.used_at, line + 3),
    );
    assert_eq!(violation.to_string(), expected);
}

#[test]
fn a_report_of_a_task_that_is_not_the_parent_reads_like_a_compiler_error() {
    let line = line!() + 2;
    let result = run_on(1, || async {
        let ours = spawn(pending::<()>());
        let stranger = Task::new().name("stranger").spawn(async move {
            drop(ours.await);
        });
        stranger.await?;
        Ok(())
    });
    let violation = violation(result);
    let Violation::NotAChild { task, child, used_at, .. } = &violation else {
        panic!("{violation}");
    };
    let expected = format!(
        "error[NotAChild]: task #3 `stranger` on domain 0 is not the parent of task #2\n  \
         --> {stranger} (where task #3 `stranger` on domain 0 was spawned)\n  \
         = child: task #2, spawned at {ours}\n  \
         = used at {used}\n  \
         = child of task #1 `main`, spawned at {main}\n  \
         = help: only the task that spawned a child may await or cancel it; send its result \
         through a queue instead of its promise",
        stranger = position(task.spawned_at, line + 1),
        ours = position(child.spawned_at, line),
        used = position(used_at.expect("an await has a line"), line + 2),
        main = task.parents[0].spawned_at.expect("it is here"),
    );
    assert_eq!(violation.to_string(), expected);
}

#[test]
fn the_error_of_a_run_prints_its_report() {
    let result = run_on(1, || async {
        let orphans: Orphans<()> = Orphans::new();
        Task::new().orphans(&orphans).spawn(pending())?;
        Ok(())
    });
    let error = result.expect_err("a child is left");
    let report = error.report().expect("a violation");
    assert_eq!(error.to_string(), report.to_string());
    assert_eq!(format!("{error:?}"), report.to_string());
    assert_eq!(report.to_string(), report.violations()[0].to_string());
}
