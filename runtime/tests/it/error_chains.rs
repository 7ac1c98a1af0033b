//! Goal: errors keep their sources on the way from a task through its ancestors to the result of
//! the run.
//! Method: errors with two sources, which pass through one task or several.

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::io;

use matou_runtime::{Builder, MainError, RunError, Task, TaskError, spawn, try_spawn};

use crate::support::{leak, run_on, strict, within_deadline};

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

/// The spawn lines of the tasks of `through_two_tasks`, as the texts name them.
fn spawned_at(line: u32, column: u32) -> String {
    format!("spawned at {}:{line}:{column}", file!())
}

/// Fails with an error that a task and its parent have returned. Returns the error, and the names
/// of the two tasks in texts, the parent's first.
fn through_two_tasks() -> (RunError, [String; 2]) {
    let (parent, child) = (line!() + 2, line!() + 4);
    let error = run_on(1, || async {
        let parent = Task::new().name("index").try_spawn(async {
            // Without a name.
            let child = try_spawn(async { Err::<(), MainError>(three_levels().into()) });
            Ok::<_, MainError>(child.await?)
        });
        Ok(parent.await?)
    });
    let parent = format!("task #2 `index`, {},", spawned_at(parent, 22));
    (error.unwrap_err(), [parent, format!("task #3, {},", spawned_at(child, 25))])
}

#[test]
fn an_error_that_passes_through_several_tasks_keeps_its_sources() {
    let (error, [parent, child]) = through_two_tasks();
    assert_eq!(sources(&error), SOURCES);
    let line = format!("main failed: {parent} failed: {child} failed: no index");
    assert_eq!(error.to_string(), line);
    let lines = format!(
        "main failed: {parent} failed\n  caused by: {child} failed\n  caused by: no index\n  \
         caused by: cannot write\n  caused by: the disk is full"
    );
    assert_eq!(format!("{error:?}"), lines);
    assert_eq!(format!("{error:#}"), lines);
}

#[test]
fn a_boxed_error_of_a_run_prints_the_tasks_and_the_sources() {
    let (error, [parent, child]) = through_two_tasks();
    let boxed: Box<dyn Error> = error.into();
    // Rust prints this if `fn main` returns the box.
    let printed = format!("{boxed:?}");
    assert!(printed.starts_with(&format!("main failed: {parent} failed\n")), "{printed}");
    // Error reporters, such as that of `anyhow`, print the first line and the sources.
    assert!(boxed.to_string().ends_with(&format!("{child} failed: no index")), "{boxed}");
    assert_eq!(sources(&*boxed), SOURCES);
}

#[test]
fn the_failure_of_a_child_is_an_io_error_of_the_same_kind() {
    let failed = run_on(1, || async {
        let child = Task::new().name("reader");
        let child = child.try_spawn(async { Err::<(), _>(io::ErrorKind::NotFound.into()) });
        let result: io::Result<()> = async { Ok(child.await?) }.await;
        result.map_err(MainError::from)
    });
    let RunError::Failed(error) = failed.unwrap_err() else { panic!("main did not fail") };
    let error = error.downcast_ref::<io::Error>().expect("an I/O error");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().starts_with("task #2 `reader`, "), "{error}");
}

#[test]
fn a_panic_and_a_violation_name_their_task() {
    let printed = within_deadline(|| {
        let builder = Builder::new().domains(1).on_report(|_| ());
        let result: Result<_, RunError> = builder.run(async {
            let line = line!() + 1;
            let broken = Task::new().name("broken").spawn(async { panic!("no index") });
            let leaking = spawn(async { leak(spawn(pending::<()>())) });
            let panicked = broken.await.unwrap_err();
            let violated = leaking.await.unwrap_err();
            assert_eq!(panicked.task().expect("a task").name(), Some("broken"));
            assert_eq!(violated.task().expect("a task").spawned_at().line(), line + 1);
            let first = format!("task #2 `broken`, {}, panicked at ", spawned_at(line, 26));
            assert!(panicked.to_string().starts_with(&first), "{panicked}");
            let first = format!("task #3, {}, violated a rule:\n", spawned_at(line + 1, 27));
            assert!(violated.to_string().starts_with(&first), "{violated}");
            // The error of `main` is a panic here, and names `main`.
            drop(three_levels());
            panic!("the end");
            #[expect(unreachable_code, reason = "it gives the result a type")]
            Ok(())
        });
        result.unwrap_err().to_string()
    });
    assert!(printed.starts_with("task #1 `main`, spawned at "), "{printed}");
    assert!(printed.ends_with(": the end"), "{printed}");
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
        assert!(matches!(plain, TaskError::Failed { error: "no index", .. }));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_source_that_the_text_contains_is_printed_once() {
    let line = line!() + 3;
    let error = within_deadline(|| {
        let result = strict().domains(1).run(async {
            let child = try_spawn(async { Err::<(), _>(io::Error::other("no space")) });
            child.await?;
            Ok::<_, MainError>(())
        });
        format!("{:?}", result.unwrap_err())
    });
    let task = format!("task #2, {}, failed", spawned_at(line, 25));
    assert_eq!(error, format!("main failed: {task}\n  caused by: no space"));
    let setup: RunError = RunError::Setup(io::Error::other("no descriptor"));
    assert_eq!(sources(&setup), ["no descriptor"]);
}
