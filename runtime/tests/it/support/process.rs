//! Tests that run themselves again in a child process, because they affect the whole process:
//! signals, descriptors, limits, aborts.

use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use matou_runtime::signal::{self, Signal};
use rustix::process::{Signal as Number, getpid, kill_process};

use super::Counter;
use super::run::DEADLINE;

/// The name of the test that contains this macro, as the test runner knows it.
macro_rules! this_test {
    () => {{
        fn here() {}
        let path = std::any::type_name_of_val(&here);
        let path = path.strip_suffix("::here").expect("the path of a function");
        path.split_once("::").expect("the path begins with the crate").1
    }};
}
pub(crate) use this_test;

/// Runs the test that contains this macro in a child process, which must succeed, and returns from
/// the test. In the child process it does nothing, so that the rest of the test runs there.
macro_rules! rerun_in_child_process {
    () => {
        if !$crate::support::is_child_process($crate::support::this_test!()) {
            return;
        }
    };
}
pub(crate) use rerun_in_child_process;

const CHILD: &str = "MATOU_TEST_CHILD";

/// Runs the test `test` in a child process and returns its output. Returns `None` in that process.
#[track_caller]
pub(crate) fn child_output(test: &str) -> Option<Output> {
    child_output_with(test, &[])
}

/// As [`child_output`], with additional environment variables.
#[track_caller]
pub(crate) fn child_output_with(test: &str, variables: &[(&str, String)]) -> Option<Output> {
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
    match receiver.recv_timeout(DEADLINE * 2) {
        Ok(output) => Some(output.expect("the output of the child process")),
        Err(_) => {
            if let Some(pid) = rustix::process::Pid::from_raw(id as i32) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            panic!("the process of {test} hangs");
        }
    }
}

/// Runs the test `test` in a child process, which must succeed. Returns `true` in that process.
#[track_caller]
pub(crate) fn is_child_process(test: &str) -> bool {
    let Some(output) = child_output(test) else {
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

/// Sends a signal to this process.
pub(crate) fn raise(number: Number) {
    kill_process(getpid(), number).expect("it is our own process");
}

/// Installs a handler in the current run that counts its signals.
pub(crate) fn count_signals(signal: Signal, count: &Counter) -> io::Result<()> {
    let count = count.clone();
    signal::on(signal, move || {
        let count = count.clone();
        async move {
            let _ = count.add();
        }
    })
}
