//! No reader is left waiting, and the value is dropped once.

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use matou_sync::{Computation, ComputationError};

use crate::support::loom::explore;

#[test]
fn a_reader_that_begins_to_wait_gets_the_value() {
    explore(3, || {
        let (completer, computation) = Computation::create();
        let returning = thread::spawn(move || completer.try_return(7));
        assert_eq!(block_on(computation), Ok(7));
        assert_eq!(returning.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_reader_that_begins_to_wait_sees_that_the_completer_is_dropped() {
    explore(3, || {
        let (completer, computation) = Computation::<u8>::create();
        let dropping = thread::spawn(move || drop(completer));
        assert_eq!(block_on(computation.wait()), Err(ComputationError::Abandoned));
        dropping.join().unwrap();
    });
}

#[test]
fn m14_the_value_is_dropped_once_if_the_reader_is_dropped_as_it_is_written() {
    explore(3, || {
        // An `Arc` of loom's, which reports a value that is never dropped.
        let value = Arc::new(());
        let (completer, computation) = Computation::create();
        let returning = thread::spawn({
            let value = value.clone();
            move || completer.try_return(value).is_ok()
        });
        drop(computation);
        returning.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

#[test]
fn a_value_and_a_cancellation_at_the_same_time_have_one_winner() {
    explore(3, || {
        let (completer, computation) = Computation::create();
        let returning = thread::spawn(move || completer.try_return(7).is_ok());
        let cancelled = computation.try_cancel();
        let returned = returning.join().unwrap();
        assert!(returned != cancelled);
        let expected = if returned { Ok(7) } else { Err(ComputationError::Cancelled) };
        assert_eq!(block_on(computation), expected);
    });
}
