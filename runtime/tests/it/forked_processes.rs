//! Goal: a process that is forked inside a run takes nothing from its parent, and a run in the new
//! process works or says why not (scenario F25).
//! Method: child processes that fork.

use std::io::Write;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use matou_runtime::{Builder, RunError, signal, sleep, spawn, timeout, yield_now};

use crate::support::{DEADLINE, io_pair, read_byte, rerun_in_child_process, run_on};

/// Forks. The new process calls `child` and exits with its result.
fn fork(child: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the new process only runs `child` and exits. It has one thread, and the allocator of
    // the C library works in it.
    match unsafe { libc::fork() } {
        0 => {
            let status = child();
            // SAFETY: it ends the process at once.
            unsafe { libc::_exit(status) }
        }
        pid => pid,
    }
}

/// Returns the status of a process as `waitpid` reports it.
fn wait_for(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: the pointer refers to a variable.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    status
}

#[test]
fn f25_a_forked_process_takes_nothing_from_its_parent() {
    rerun_in_child_process!();
    run_on(2, || async {
        let (io, mut peer) = io_pair();
        let waiting = spawn(read_byte(io.clone()));
        yield_now().await;
        yield_now().await; // it is registered now
        let closed_there = io.clone();
        let child = fork(move || i32::from(!closed_there.close()));
        assert_eq!(wait_for(child), 0);
        peer.write_all(b"m")?;
        assert_eq!(timeout(DEADLINE, waiting).await???, b'm');
        // Messages between domains arrive, too.
        assert_eq!(matou_runtime::call(|| async { 2 })?.await?, 2);
        io.close();
        Ok(())
    })
    .unwrap();
}

#[test]
fn f25_a_run_of_a_forked_process_works() {
    rerun_in_child_process!();
    run_on(2, || async {
        let _signals = signal::stream(signal::Signal::Terminate)?;
        let (io, mut peer) = io_pair();
        assert!(futures::poll!(pin!(read_byte(io.clone()))).is_pending());
        let inherited = io.clone();
        let child = fork(move || {
            let result: Result<u8, RunError> = Builder::new().domains(2).run(async move {
                let mut signals = signal::stream(signal::Signal::Terminate)?;
                // A source of the parent's run, used in the new one.
                let byte = read_byte(inherited.clone()).await?;
                inherited.close();
                let sent = matou_runtime::call(|| async {
                    rustix::process::kill_process(
                        rustix::process::getpid(),
                        rustix::process::Signal::TERM,
                    )
                })?;
                signals.next().await;
                sent.await??;
                Ok(byte)
            });
            i32::from(!matches!(result, Ok(b'm')))
        });
        peer.write_all(b"m")?;
        let status = matou_runtime::call(move || async move { wait_for(child) })?.await?;
        assert_eq!(status, 0);
        peer.write_all(b"n")?;
        assert_eq!(timeout(DEADLINE, read_byte(io.clone())).await??, b'n');
        io.close();
        Ok(())
    })
    .unwrap();
}

#[test]
fn f25_the_run_of_the_parent_ends_with_an_error_in_a_forked_process() {
    rerun_in_child_process!();
    let (io, mut peer) = io_pair();
    let inherited = io.clone();
    let parent = std::process::id();
    let result: Result<(), RunError> = Builder::new().domains(2).run(async move {
        let other = spawn(async move {
            sleep(Duration::from_millis(1)).await;
            std::process::id()
        });
        assert!(futures::poll!(pin!(read_byte(inherited.clone()))).is_pending());
        // SAFETY: the new process leaves the run, and ends below.
        let child = unsafe { libc::fork() };
        if child != 0 {
            assert_eq!(libc::WEXITSTATUS(wait_for(child)), 42);
            peer.write_all(b"m")?;
            assert_eq!(read_byte(inherited).await?, b'm');
        }
        assert_eq!(other.await?, parent, "the other task runs in the parent only");
        Ok(())
    });
    if std::process::id() != parent {
        let is_explained = matches!(&result, Err(error @ RunError::Forked)
            if error.to_string().contains("forked"));
        // SAFETY: it ends the process at once.
        unsafe { libc::_exit(if is_explained { 42 } else { 1 }) }
    }
    result.unwrap();
    io.close();
}

#[test]
fn f25_a_signal_ends_a_forked_process_that_does_not_handle_it() {
    rerun_in_child_process!();
    run_on(1, || async {
        let mut signals = signal::stream(signal::Signal::Terminate)?;
        let child = fork(|| {
            thread::sleep(DEADLINE);
            7
        });
        // SAFETY: it sends a signal to the child of this process.
        assert_eq!(unsafe { libc::kill(child, libc::SIGTERM) }, 0);
        let status = wait_for(child);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGTERM);
        // The parent still handles it.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)?;
        timeout(DEADLINE, signals.next()).await?;
        Ok(())
    })
    .unwrap();
}
