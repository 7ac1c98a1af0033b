//! Runs with a deadline, and directories of their own.

use std::future::Future;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use matou_runtime::{Builder, Forgotten, Leaks, MainError, RunError, Violations};

/// Runs `main` with strict settings, and panics if it does not return.
#[track_caller]
pub(crate) fn run<M, F>(main: M)
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<(), MainError>> + 'static,
{
    let builder = Builder::new()
        .domains(1)
        .violations(Violations::FailRun)
        .forgotten(Forgotten::Strict)
        .leaks(Leaks::AtTaskEnd);
    run_with(builder, main).unwrap();
}

pub(crate) fn run_with<M, F>(builder: Builder, main: M) -> Result<(), RunError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<(), MainError>> + 'static,
{
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = sender.send(builder.run(async { main().await }));
    });
    let result = receiver.recv_timeout(Duration::from_secs(120));
    match result {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the run hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().unwrap_err())
        }
    }
}

/// A directory that is removed at the end of the test.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new(test: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("matou-os-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
