//! R12 at the beginning and at the end of a run: no signal is lost, and no task waits for one that
//! cannot come.

use std::future::{Future, pending};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use matou_runtime::signal::{self, Signal, Signals};
use matou_runtime::test::{Check, send_signal};
use matou_runtime::{Builder, MainError, RunError};
use rustix::process::Signal as Number;

use crate::support::*;

/// Waits for a signal without returning to the scheduler.
fn block_on_signal(signals: &mut Signals) {
    let mut next = pin!(signals.next());
    while next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        thread::yield_now();
    }
}

/// Receives a SIGTERM, whose handler cannot start because the main task returns in the same poll.
fn run_that_ends_before_its_handler_starts() {
    let result: Result<(), RunError> = Builder::new().domains(1).run(async {
        let mut signals = signal::stream(Signal::Terminate)?;
        signal::on(Signal::Terminate, || async { panic!("the handler starts") })?;
        raise(Number::TERM);
        block_on_signal(&mut signals);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_signal_whose_handler_cannot_start_any_more_is_not_lost() {
    let Some(output) = child_output(this_test!()) else {
        run_that_ends_before_its_handler_starts();
        panic!("the process outlives the signal");
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(Number::TERM.as_raw()), "{stderr}");
}

#[test]
fn a_signal_that_another_run_handles_does_not_end_the_process_with_the_first_run() {
    rerun_in_child_process!();
    let (ready, handled) = (Counter::new(), Counter::new());
    let other = thread::spawn({
        let (ready, handled) = (ready.clone(), handled.clone());
        move || {
            run_on(1, move || async move {
                count_signals(Signal::Terminate, &handled)?;
                ready.add();
                handled.reaches(2).await;
                Ok(())
            })
        }
    });
    while ready.get() == 0 {
        thread::yield_now();
    }
    run_that_ends_before_its_handler_starts();
    handled.add();
    other.join().expect("it does not panic").unwrap();
}

/// A stream of a run that is over, in which a test had sent `count` signals.
fn stream_of_a_past_run(count: usize) -> Signals {
    let result: Result<Signals, RunError> = Builder::new().domains(1).run(async move {
        let signals = signal::stream(Signal::Interrupt)?;
        (0..count).for_each(|_| assert!(send_signal(Signal::Interrupt)));
        Ok(signals)
    });
    result.unwrap()
}

/// Takes all signals of a stream of a past run, and returns their number and the panic message of
/// the next call.
async fn drain(mut signals: Signals) -> Result<(usize, String), MainError> {
    let mut count = 0;
    loop {
        let next = matou_runtime::try_spawn(async move {
            signals.next().await;
            Ok::<_, MainError>(signals)
        });
        match next.await {
            Ok(rest) => signals = rest,
            Err(matou_runtime::TaskError::Panicked(panic)) => {
                return Ok((count, panic.message().to_owned()));
            }
            Err(other) => return Err(other.to_string().into()),
        }
        count += 1;
    }
}

#[test]
fn a_stream_of_a_past_run_returns_its_signals_and_then_panics() {
    let expected_line = "r12_lost_signals.rs";
    let (count, message) = run_on(1, || async { drain(stream_of_a_past_run_on_a_thread()).await })
        .expect("the panic ends a child only");
    assert_eq!(count, 2);
    assert!(message.contains("after the end of the run"), "{message}");
    assert!(message.contains(expected_line), "{message}");
    let trial =
        Check::simulated().trial(1, async { drain(stream_of_a_past_run_on_a_thread()).await });
    let (count, again) = trial.outcome.expect("the panic ends a child only");
    assert_eq!((count, again), (2, message));
}

fn stream_of_a_past_run_on_a_thread() -> Signals {
    thread::spawn(|| stream_of_a_past_run(2)).join().expect("it does not panic")
}

#[test]
fn the_end_of_a_run_wakes_tasks_of_other_runs_that_wait_for_its_signals() {
    let (begun, over) = (Counter::new(), Counter::new());
    let (sender, receiver) = std::sync::mpsc::channel();
    let first = thread::spawn({
        let begun = begun.clone();
        move || {
            run_on(1, move || async move {
                sender.send(signal::stream(Signal::Interrupt)?)?;
                begun.reaches(1).await;
                Ok(())
            })
        }
    });
    let mut signals = receiver.recv().expect("the first run sends its stream");
    let second = run_on(1, {
        let over = over.clone();
        move || async move {
            let child = matou_runtime::spawn(async move { signals.next().await });
            matou_runtime::yield_now().await;
            begun.add();
            let outcome = child.await;
            over.add();
            Ok(outcome.unwrap_err().to_string())
        }
    });
    assert!(second.unwrap().contains("after the end of the run"));
    first.join().expect("it does not panic").unwrap();
    assert_eq!(over.get(), 1);
}

/// A waker that panics whenever it may. Its content is there for the leak detector, for which a
/// pointer to nothing points behind the allocation.
struct Hostile(#[allow(dead_code, reason = "see above")] u8);

impl Wake for Hostile {
    fn wake(self: Arc<Self>) {
        panic!("woken");
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("dropped");
        }
    }
}

#[test]
fn a_waker_that_panics_does_not_end_the_delivery_of_signals() {
    rerun_in_child_process!();
    run_on(1, || async {
        let mut signals = signal::stream(Signal::Interrupt)?;
        let mut others: Vec<Signals> =
            (0..3).map(|_| signal::stream(Signal::Interrupt)).collect::<Result<_, _>>()?;
        for other in &mut others {
            let waker = Waker::from(Arc::new(Hostile(0)));
            let mut next = pin!(other.next());
            let poll = next.as_mut().poll(&mut Context::from_waker(&waker));
            assert_eq!(poll, Poll::Pending);
            leak(waker);
        }
        for _ in 0..3 {
            raise(Number::INT);
            signals.next().await;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn signals_outside_a_run_panic() {
    let message = |result: std::thread::Result<()>| {
        let payload = result.expect_err("it panics");
        *payload.downcast::<String>().expect("a text")
    };
    let on = || signal::on(Signal::Terminate, pending::<()>).expect("it panics before");
    let stream = || drop(signal::stream(Signal::Terminate));
    let send = || assert!(!send_signal(Signal::Terminate));
    for call in [&on as &dyn Fn(), &stream, &send] {
        let text = message(catch_unwind(AssertUnwindSafe(call)));
        assert!(text.contains("only inside a matou run"), "{text}");
    }
}
