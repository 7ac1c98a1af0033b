//! Goal: errors keep their sources on the way from a task through its ancestors to the result of
//! the run.
//! Method: errors with two sources, which pass through one task or several.

use std::error::Error;
use std::fmt;
use std::io;

use matou_runtime::{MainError, RunError, TaskError, try_spawn};

use crate::support::{run_on, strict, within_deadline};

/// An error with a source.
#[derive(Debug)]
struct Level(&'static str, Option<Box<dyn Error + Send + Sync>>);

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Level {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

fn three_levels() -> Level {
    let disk = Level("the disk is full", None);
    Level("no index", Some(Box::new(Level("cannot write", Some(Box::new(disk))))))
}

/// Returns the texts of an error's sources.
fn sources(error: &dyn Error) -> Vec<String> {
    let sources = std::iter::successors(error.source(), |error| (*error).source());
    sources.map(ToString::to_string).collect()
}

const SOURCES: [&str; 2] = ["cannot write", "the disk is full"];

#[test]
fn the_error_of_main_is_printed_with_its_sources() {
    let error = run_on(1, || async { Err::<(), MainError>(three_levels().into()) }).unwrap_err();
    assert_eq!(sources(&error), SOURCES);
    assert_eq!(error.to_string(), "main failed: no index");
    let printed = format!("{error:?}");
    let expected =
        "main failed: no index\n  caused by: cannot write\n  caused by: the disk is full";
    assert_eq!(printed, expected);
}

#[test]
fn an_error_that_passes_through_several_tasks_keeps_its_sources() {
    let error = run_on(1, || async {
        let child = try_spawn(async {
            let grandchild = try_spawn(async { Err::<(), MainError>(three_levels().into()) });
            Ok::<_, MainError>(grandchild.await?)
        });
        Ok(child.await?)
    })
    .unwrap_err();
    assert_eq!(sources(&error), SOURCES);
    assert!(
        format!("{error:?}")
            .ends_with("no index\n  caused by: cannot write\n  caused by: the disk is full")
    );
}

#[test]
fn the_error_of_a_task_has_sources_whatever_box_it_is_in() {
    run_on(1, || async {
        let error = try_spawn(async { Err::<(), Box<dyn Error>>(three_levels().into()) }).await;
        assert_eq!(sources(&error.unwrap_err()), SOURCES);
        let inner = try_spawn(async { Err::<(), _>(io::Error::other(three_levels())) }).await;
        assert_eq!(sources(&inner.unwrap_err()), SOURCES);
        let plain = try_spawn(async { Err::<(), _>("no index") }).await.unwrap_err();
        assert_eq!(sources(&plain).len(), 0);
        assert!(matches!(plain, TaskError::Failed("no index")));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_source_that_the_text_contains_is_printed_once() {
    let error = within_deadline(|| {
        let result = strict().domains(1).run(async {
            let child = try_spawn(async { Err::<(), _>(io::Error::other("no space")) });
            child.await?;
            Ok::<_, MainError>(())
        });
        format!("{:?}", result.unwrap_err())
    });
    assert_eq!(error, "main failed: the task failed: no space");
    let setup: RunError = RunError::Setup(io::Error::other("no descriptor"));
    assert_eq!(sources(&setup), ["no descriptor"]);
}
