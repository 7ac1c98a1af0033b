//! R12 for signals other than those that ask the program to terminate.

use std::future::pending;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;

use matou_runtime::signal::{self, Signal};
use matou_runtime::test::{check, send_signal};
use matou_runtime::{MainError, RunError, yield_now};
use rustix::process::Signal as Number;

use crate::support::*;

#[test]
fn each_occurrence_of_another_signal_starts_its_handler() {
    check(0..10, || async {
        let reloads = Counter::new();
        count_signals(Signal::Hangup, &reloads)?;
        for round in 1..=3 {
            assert!(send_signal(Signal::Hangup));
            reloads.reaches(round).await;
        }
        Ok::<_, MainError>(())
    });
}

#[test]
fn any_signal_has_handlers_and_streams_in_a_live_process() {
    rerun_in_child_process!();
    run_on(1, || async {
        let handled = Counter::new();
        count_signals(Signal::Number(Number::USR2.as_raw()), &handled)?;
        let mut stream = signal::stream(Signal::User1)?;
        for round in 1..=3 {
            raise(Number::USR2);
            handled.reaches(round).await;
            raise(Number::USR1);
            stream.next().await;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_ignored_signal_has_no_effect_until_the_default_is_restored() {
    let Some(output) = child_output(this_test!()) else {
        let result: Result<(), RunError> = run_on(1, || async {
            signal::ignore(Signal::Hangup)?;
            // The stream shows that the signals before were delivered.
            let mut marker = signal::stream(Signal::User1)?;
            raise(Number::HUP);
            raise(Number::USR1);
            marker.next().await;
            writeln!(io::stdout(), "ignored")?;
            signal::default(Signal::Hangup)?;
            raise(Number::HUP);
            pending().await
        });
        panic!("the process outlives the signal: {result:?}");
    };
    assert_eq!(output.status.signal(), Some(Number::HUP.as_raw()));
    assert!(String::from_utf8_lossy(&output.stdout).contains("ignored"));
}

#[test]
fn the_end_of_a_child_process_after_the_run_that_watched_for_it_does_nothing() {
    rerun_in_child_process!();
    run_on(1, || async {
        drop(signal::stream(Signal::Child)?);
        Ok(())
    })
    .unwrap();
    raise(Number::CHILD);
    run_on(1, || async {
        // The signal thread delivers in order, so it has handled the one before.
        let mut marker = signal::stream(Signal::User1)?;
        raise(Number::USR1);
        marker.next().await;
        yield_now().await;
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_signal_that_cannot_be_handled_is_an_error() {
    run_on(1, || async {
        for number in [Number::KILL.as_raw(), Number::SEGV.as_raw(), 0, -1, 1000] {
            let signal = Signal::Number(number);
            assert!(signal::on(signal, || async {}).is_err(), "{number}");
            assert!(signal::stream(signal).is_err(), "{number}");
            assert!(signal::ignore(signal).is_err(), "{number}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn after_a_request_to_terminate_the_next_one_ends_the_process() {
    check(0..3, || async {
        for first in [Signal::Interrupt, Signal::Terminate] {
            let mut termination = signal::termination()?;
            assert!(send_signal(first));
            assert_eq!((&mut termination).await, first);
            assert!(!send_signal(Signal::Terminate), "the system would have ended the process");
            drop(termination);
        }
        Ok::<_, std::io::Error>(())
    });
}
