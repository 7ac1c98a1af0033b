//! Child processes.

use std::future::pending;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use matou_os::process::{Child, Command, Stdio};
use matou_runtime::signal::Signal;
use matou_runtime::test::check;
use matou_runtime::{Builder, Leaks, MainError, blocking, sleep, spawn, try_spawn, yield_now};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, test_kill_process};

use crate::support::*;

/// Starts a shell that writes a line when it has begun.
#[track_caller]
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Waits until a process has written a line, and returns it.
async fn line(child: &mut Child) -> Result<String, MainError> {
    let mut line = Vec::new();
    let mut byte = [0];
    let stdout = child.stdout.as_mut().ok_or("no pipe")?;
    while stdout.read(&mut byte).await? == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    Ok(String::from_utf8(line)?)
}

/// Returns whether a process exists, as a zombie at least.
fn exists(id: u32) -> bool {
    Pid::from_raw(id as i32).is_some_and(|pid| test_kill_process(pid).is_ok())
}

#[test]
fn a_process_has_a_status_and_streams() {
    run(|| async {
        let status = Command::new("sh").args(["-c", "exit 3"]).status().await?;
        assert_eq!(status.code(), Some(3));

        let mut child =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().await?;
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let text = vec![b'x'; 300_000];
        let sent = text.clone();
        let writer = try_spawn(async move {
            input.write_all(&sent).await?;
            input.close().await
        });
        let mut received = Vec::new();
        output.read_to_end(&mut received).await?;
        writer.await?;
        assert!(received == text);
        assert!(child.wait().await?.success());
        assert!(child.wait().await?.success(), "the status is kept");

        let error = Command::new("/no/such/program").status().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        Ok(())
    });
}

#[test]
fn a_cancelled_process_is_asked_to_end_first() {
    run(|| async {
        let mut child =
            shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done")
                .spawn()
                .await?;
        assert_eq!(line(&mut child).await?, "ready");
        let (id, mut stdout) = (child.id(), child.stdout.take().unwrap());
        assert!(child.cancel().await.is_none());
        assert!(!exists(id), "it was reaped");
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).await?;
        assert_eq!(rest, "bye\n");
        Ok(())
    });
}

#[test]
fn a_process_that_does_not_end_is_killed_after_the_grace_period() {
    run(|| async {
        let mut stubborn = shell("trap '' TERM; echo ready; while :; do sleep 0.01; done");
        let mut child = stubborn.grace(Duration::from_millis(20)).spawn().await?;
        assert_eq!(line(&mut child).await?, "ready");
        let id = child.id();
        assert!(child.cancel().await.is_none());
        assert!(!exists(id));
        Ok(())
    });
}

#[test]
fn a_process_is_killed_within_the_grace_period_of_the_run() {
    let builder = Builder::new().domains(1).grace(Duration::from_millis(100)).on_report(|_| ());
    run_with(builder, || async {
        let mut child = shell("trap '' TERM; echo ready; while :; do sleep 0.01; done")
            .grace(Duration::from_secs(1000))
            .spawn()
            .await?;
        assert_eq!(line(&mut child).await?, "ready");
        let id = child.id();
        // On a busy machine it is killed by the end of the period only, which is reported.
        child.cancel().await;
        assert!(!exists(id));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_task_that_fails_ends_after_its_processes() {
    run(|| async {
        let parent = try_spawn(async {
            let child = Command::new("sleep").arg("1000").spawn().await.map_err(|_| 0_u32)?;
            let id = child.id();
            assert!(exists(id));
            Err::<(), u32>(id)
        });
        let id = parent.await.unwrap_err().into_failure().unwrap();
        assert!(!exists(id));
        Ok(())
    });
}

#[test]
fn a_process_group_is_cancelled_as_a_whole() {
    run(|| async {
        // The shell ends by SIGTERM at once; its child ignores the signal.
        let script = "(trap '' TERM; echo ready; while :; do sleep 0.01; done) & wait";
        let mut child =
            shell(script).process_group().grace(Duration::from_millis(20)).spawn().await?;
        assert_eq!(line(&mut child).await?, "ready");
        let mut stdout = child.stdout.take().unwrap();
        assert!(child.cancel().await.is_none());
        // The pipe ends when the last process that has it is gone.
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).await?;
        Ok(())
    });
}

#[test]
fn the_output_of_a_process_is_limited() {
    run(|| async {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2"]);
        let output = command.output().await?;
        assert_eq!((&*output.stdout, &*output.stderr), (&b"out\n"[..], &b"err\n"[..]));
        let mut long = Command::new("sh");
        long.args(["-c", "i=0; while [ $i -lt 2000 ]; do echo endless; i=$((i+1)); done"])
            .output_limit(1000);
        let error = long.output().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        Ok(())
    });
}

#[test]
fn a_process_inherits_no_descriptor_but_the_standard_streams() {
    run(|| async {
        // As another library may have opened it.
        let inheritable = rustix::pipe::pipe()?;
        let number = inheritable.0.as_raw_fd();
        let script = format!("if [ -e /dev/fd/{number} ]; then echo open; else echo closed; fi");
        let output = Command::new("sh").args(["-c", &script]).output().await?;
        assert_eq!(output.stdout, b"closed\n");
        Ok(())
    });
}

#[test]
fn a_signal_reaches_the_process_and_fails_after_its_end() {
    run(|| async {
        let mut child = Command::new("sleep").arg("1000").spawn().await?;
        child.signal(Signal::User1)?;
        assert_eq!(child.wait().await?.signal(), Some(Signal::User1.number()));
        assert_eq!(child.kill().unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(child.signal(Signal::Number(-1)).unwrap_err().kind(), ErrorKind::InvalidInput);
        Ok(())
    });
}

#[test]
fn a_hundred_cancelled_processes_leave_no_process_and_no_descriptor() {
    run(|| async {
        let descriptors = || std::fs::read_dir("/dev/fd").map_or(0, Iterator::count);
        let round = || async {
            let mut children = Vec::new();
            for _ in 0..25 {
                children
                    .push(Command::new("sleep").arg("1000").stdin(Stdio::piped()).spawn().await?);
            }
            let ids: Vec<_> = children.iter().map(Child::id).collect();
            for child in children {
                assert!(child.cancel().await.is_none());
            }
            assert!(!ids.into_iter().any(exists));
            Ok::<_, MainError>(())
        };
        round().await?;
        let before = descriptors();
        for _ in 0..3 {
            round().await?;
        }
        // Other tests of this process open and close a few.
        assert!(descriptors() < before + 40, "{before} descriptors, then {}", descriptors());
        Ok(())
    });
}

#[test]
fn no_domain_starts_a_process() {
    // The only thread for jobs is busy: no process starts, and the domain goes on.
    let builder = Builder::new().domains(1).blocking_threads(1);
    run_with(builder, || async {
        let job = blocking(|stop| while !stop.wait(Duration::from_secs(60)) {});
        let start = try_spawn(async { Command::new("true").status().await });
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!start.is_finished());
        job.cancel().await;
        assert!(start.await?.success());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_start_that_is_given_up_leaves_no_process() {
    run(|| async {
        // Some of the starts are given up while the job forks.
        for yields in (0..3000).step_by(60) {
            let (reader, writer) = rustix::pipe::pipe()?;
            fcntl_setfl(&reader, OFlags::NONBLOCK)?;
            let start = spawn(async move {
                let child = Command::new("sleep").arg("60").stdout(writer).spawn().await;
                pending::<()>().await;
                drop(child);
            });
            for _ in 0..yields {
                yield_now().await;
            }
            start.cancel().await;
            // The pipe ends with the last process that has it. A process that another test starts
            // has it, too, between its fork and its exec.
            let mut attempts = 0;
            while rustix::io::read(&reader, &mut [0]) != Ok(0) {
                attempts += 1;
                assert!(attempts < 2000, "the process was left behind");
                sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(())
    });
}

#[test]
fn a_pipe_of_a_process_has_an_owner() {
    let builder = Builder::new().domains(1).on_report(|_| ());
    let result = run_with(builder.leaks(Leaks::AtTaskEnd), || async {
        let child = try_spawn(async {
            let mut child = shell("echo ready").spawn().await?;
            std::mem::forget(child.stdout.take());
            child.wait().await
        });
        child.await?;
        Ok(())
    });
    let error = result.unwrap_err().to_string();
    assert!(error.contains("process output"), "{error}");
}

#[test]
fn each_job_of_a_run_that_ends_has_ended_or_is_reported() {
    assert!(crate::jobs::is_each_accounted_for(30, 12));
}

#[test]
fn a_simulated_run_has_no_processes() {
    check(0..3, || async {
        let error = Command::new("true").status().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("simulated run"), "{error}");
    });
}
