//! Goal: the end of a run restores the process: descriptors, threads, memory, signals and the exit
//! status (scenarios X7, X11 and X13).
//! Method: child processes, of which the test checks the resources, the signals and the status.

use std::fs;
use std::future::pending;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::{Builder, RunError, call, signal, sleep};
use rustix::process::{Signal, getpid, kill_process};

use crate::support::{
    Counter, Latch, PanicsOnDrop, Place, child_output, fewer, io_pair, monitored, read_byte,
    rerun_in_child_process, run_on, run_with, this_test, within_deadline,
};

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc").count()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("/proc").count()
}

/// The mapped memory in KiB.
fn mapped_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A run of two domains in which a byte is echoed.
fn short_run() {
    let result: Result<(), RunError> = Builder::new().domains(2).run(async {
        let (io, mut peer) = io_pair();
        let echo = call(move || async move {
            let byte = read_byte(io.clone()).await;
            io.close();
            byte
        })?;
        sleep(Duration::ZERO).await;
        peer.write_all(b"m")?;
        assert_eq!(echo.await??, b'm');
        Ok(())
    });
    result.unwrap();
}

/// In a child process, where no other test opens descriptors.
#[test]
fn x7_a_thousand_runs_leak_nothing() {
    rerun_in_child_process!();
    (0..100).for_each(|_| short_run());
    let (fds, memory) = (open_descriptors(), mapped_kib());
    let alive = threads();
    (0..fewer(1_000)).for_each(|_| short_run());
    assert_eq!(open_descriptors(), fds);
    // A joined thread may stay in the list for a moment; the deadline of the process bounds this
    // loop.
    while threads() > alive {
        thread::yield_now();
    }
    let grown = mapped_kib().saturating_sub(memory);
    // Other tests find leaks of tasks and runs. This one finds leaked stacks of threads, which
    // would be 2 GiB. It does not measure resident memory, because AddressSanitizer keeps freed
    // memory.
    assert!(grown < 512 << 10, "{grown} KiB more after 1,000 runs");
}

/// Runs a main task that sleeps until a signal arrives. Calls `send` when domain 0 is asleep.
fn end_by_signal(send: impl FnOnce() + Send + 'static) {
    let (builder, monitor) = monitored();
    let drained = Counter::new();
    let seen = drained.clone();
    let endless = monitor.endless.clone();
    run_with(builder.domains(2), move || async move {
        let latch = Latch::new();
        let opener = latch.clone();
        signal::on(signal::Signal::Interrupt, move || {
            let opener = opener.clone();
            async move { opener.open() }
        })?;
        let before = endless.get();
        let sender = thread::spawn(move || {
            while endless.get() == before {
                thread::yield_now();
            }
            send();
        });
        let busy = call(|| async { pending::<()>().await })?;
        latch.await;
        busy.cancel().await;
        sender.join().expect("it does not panic");
        seen.add();
        Ok(())
    })
    .unwrap();
    assert_eq!(drained.get(), 1);
    // The thread that watches for signals may keep the run alive for a moment after it has notified
    // the run.
    while !monitor.is_freed() {
        thread::yield_now();
    }
}

/// In a child process, since a signal is sent to the whole process. Each run receives only its own
/// signal.
#[test]
fn x11_a_signal_on_any_thread_wakes_a_sleeping_main() {
    rerun_in_child_process!();
    // To the process: the system chooses the thread.
    end_by_signal(|| kill_process(getpid(), Signal::INT).expect("the process exists"));
    // To a thread that does not belong to matou.
    end_by_signal(|| signal_hook::low_level::raise(2).expect("the process exists"));
    // To the thread of a domain, by a task on it.
    run_on(2, || async {
        let latch = Latch::new();
        let opener = latch.clone();
        signal::on(signal::Signal::Interrupt, move || {
            let opener = opener.clone();
            async move { opener.open() }
        })?;
        let raised = call(|| async { signal_hook::low_level::raise(2) })?;
        latch.await;
        Ok(raised.await??)
    })
    .unwrap();
}

/// A waker keeps the memory of the run alive, but not its signal handlers.
#[test]
fn x11_a_signal_after_the_run_ends_the_process_although_a_waker_remains() {
    let Some(output) = child_output(this_test!()) else {
        let latch = Latch::new();
        let waits = latch.clone();
        run_on(1, move || async move {
            signal::on(signal::Signal::Interrupt, || async {})?;
            waits.open();
            waits.await;
            Ok(())
        })
        .unwrap();
        assert!(latch.waker().is_some());
        eprintln!("the run has returned");
        kill_process(getpid(), Signal::INT).expect("the process exists");
        return thread::park();
    };
    assert!(String::from_utf8_lossy(&output.stderr).contains("the run has returned"));
    assert_eq!(output.status.signal(), Some(Signal::INT.as_raw()), "{}", output.status);
}

/// Values that tasks store here are not dropped at the end of the run.
static STORED: Mutex<Vec<Box<dyn Send>>> = Mutex::new(Vec::new());

fn store(thing: impl Send + 'static) {
    STORED.lock().unwrap().push(Box::new(thing));
}

/// Runs a main task that panics, with drops and finalizers that panic too.
fn panic_in_main(finalized: Counter) -> Result<(), RunError> {
    Builder::new().domains(2).run(async move {
        let started = Counter::new();
        for place in Place::BOTH {
            let (started, finalized) = (started.clone(), finalized.clone());
            store(place.spawn(move || async move {
                let _panics = PanicsOnDrop;
                // Not dropped with the future, but finalized afterwards: two panics in one drop
                // would abort.
                store(Owned::new(finalized, |finalized| {
                    finalized.add();
                    panic!("a finalizer that panics");
                }));
                started.add();
                pending::<()>().await
            }));
        }
        store(Owned::new(finalized, |finalized| {
            finalized.add();
            panic!("the finalizer of main panics");
        }));
        started.reaches(2).await;
        panic!("main panics");
    })
}

#[test]
fn x13_a_panic_of_main_finalizes_everything_and_is_the_error_of_the_run() {
    let finalized = Counter::new();
    let inside = finalized.clone();
    let result = within_deadline(move || panic_in_main(inside));
    match result {
        Err(RunError::Panicked(panic)) => assert_eq!(panic.message(), "main panics"),
        other => panic!("{other:?}"),
    }
    assert_eq!(finalized.get(), 3);
}

/// Returns the result of the run, as a `fn main` does: the process exits with a status, not by a
/// signal.
#[test]
fn x13_a_program_whose_main_panics_exits_with_a_status_and_does_not_abort() -> Result<(), RunError>
{
    let Some(output) = child_output(this_test!()) else {
        return panic_in_main(Counter::new());
    };
    assert_eq!(output.status.signal(), None);
    assert_eq!(output.status.code(), Some(101));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stdout.contains("main panics") || stderr.contains("main panics"));
    Ok(())
}
