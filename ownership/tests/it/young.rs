//! Does a value that was only just made behave like any other, though its ledger does not list it
//! yet?

use std::mem;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use matou_ownership::{
    Ledger, Owned, ResourceHandle, adopt, check, disown, enter, give, own, transfer,
};

use crate::doubles::{Gate, Log, Probe, within};

/// What a task does within one poll. The newest is the one that it made last, of those it has.
#[derive(Clone, Copy, Debug)]
enum Step {
    Make,
    DropNewest,
    DropOldest,
    Forget,
    Disown,
    Transfer,
    Give,
    /// Another task runs in between, and shares the newest.
    Nest,
    Look,
}

const STEPS: [Step; 9] = [
    Step::Make,
    Step::DropNewest,
    Step::DropOldest,
    Step::Forget,
    Step::Disown,
    Step::Transfer,
    Step::Give,
    Step::Nest,
    Step::Look,
];

/// The task's values that have a handle, and where all its values should be.
#[derive(Default)]
struct Poll {
    handles: Vec<Owned<usize>>,
    listed: Vec<usize>,
    given: Vec<usize>,
    transferred: usize,
    dropped: Vec<usize>,
    made: usize,
}

impl Poll {
    /// `None` if there is nothing to do it with.
    fn step(
        &mut self,
        step: Step,
        mine: &Arc<Ledger>,
        yours: &Arc<Ledger>,
        finalized: &Arc<Mutex<Vec<usize>>>,
    ) -> Option<()> {
        match step {
            Step::Make => {
                let finalized = Arc::clone(finalized);
                let finalizer = move |number| finalized.lock().unwrap().push(number);
                self.handles.push(Owned::new(self.made, finalizer));
                self.listed.push(self.made);
                self.made += 1;
                return Some(());
            }
            Step::Look => {
                assert_eq!(mine.len(), self.listed.len());
                return Some(());
            }
            _ => {}
        }
        let index = if matches!(step, Step::DropOldest) { 0 } else { self.handles.len() - 1 };
        let number = self.number(self.handles.get(index)?);
        match step {
            Step::DropNewest | Step::DropOldest => {
                drop(self.handles.remove(index));
                self.dropped.push(number);
            }
            Step::Forget => return self.handles.pop().map(mem::forget),
            Step::Disown => disown(&self.handles[index]).ok()?,
            Step::Transfer => {
                transfer(&self.handles[index]).ok()?;
                self.transferred += 1;
            }
            Step::Give => {
                give(&self.handles[index], yours).ok()?;
                self.given.push(number);
            }
            Step::Nest => {
                let theirs = Ledger::new();
                let shared = within(&theirs, || check(&self.handles[index]));
                assert!(shared.is_err());
                return Some(());
            }
            Step::Make | Step::Look => unreachable!("done above"),
        }
        // Where it is now, only the handle is left to be dropped.
        self.listed.retain(|other| *other != number);
        if !matches!(step, Step::DropNewest | Step::DropOldest) {
            self.handles.pop().map(mem::forget)?;
        }
        Some(())
    }

    fn number(&self, owned: &Owned<usize>) -> usize {
        *owned.get().expect("it is ours")
    }
}

fn run(sequence: &[Step]) {
    let (mine, yours) = (Ledger::new(), Ledger::new());
    let finalized = Arc::new(Mutex::new(Vec::new()));
    let mut poll = Poll::default();
    let entered = enter(Some(Arc::clone(&mine)));
    for step in sequence {
        if matches!(step, Step::Make | Step::Look) || !poll.handles.is_empty() {
            poll.step(*step, &mine, &yours, &finalized).expect("all that it uses is its own");
        }
    }
    entered.leave();
    assert_eq!((mine.len(), yours.len()), (poll.listed.len(), poll.given.len()), "{sequence:?}");
    assert_eq!(*finalized.lock().unwrap(), poll.dropped, "{sequence:?}");
    poll.handles.drain(..).for_each(mem::forget);
    assert_eq!(mine.take_transferred().len(), poll.transferred, "{sequence:?}");
    for (ledger, numbers) in [(mine, poll.listed), (yours, poll.given)] {
        finalized.lock().unwrap().clear();
        drop(block_on(ledger.finalize_all()));
        assert!(finalized.lock().unwrap().iter().eq(numbers.iter().rev()), "{sequence:?}");
    }
}

#[test]
fn every_sequence_of_six_steps_of_a_poll_keeps_the_books() {
    const LENGTH: u32 = 6;
    let mut sequence = Vec::new();
    for mut number in 0..STEPS.len().pow(LENGTH - 1) {
        sequence.clear();
        // Before the first value there is nothing to do.
        sequence.push(Step::Make);
        for _ in 1..LENGTH {
            sequence.push(STEPS[number % STEPS.len()]);
            number /= STEPS.len();
        }
        run(&sequence);
    }
}

#[test]
fn a_value_is_listed_when_its_maker_leaves() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let owned = within(&ledger, || log.owned("once"));
    thread::scope(|scope| scope.spawn(|| assert_eq!(ledger.len(), 1)).join().unwrap());
    drop(owned);
    assert_eq!((ledger.len(), log.take()), (0, vec![String::from("once")]));
}

#[test]
fn what_another_thread_drops_during_the_poll_is_not_listed_later() {
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || {
        let owned = log.owned("once");
        thread::spawn(move || drop(owned)).join().unwrap();
        assert_eq!(log.take(), ["once"]);
        assert!(ledger.is_empty());
    });
    assert!(block_on(ledger.finalize_all()).finalized.is_empty());
    assert!(log.take().is_empty());
}

#[test]
fn what_another_task_takes_during_the_poll_and_transfers_stays_on_its_way() {
    let (mine, yours) = (Ledger::new(), Ledger::new());
    let owned = within(&mine, || {
        let owned = Owned::new(7, drop);
        thread::scope(|scope| {
            let (yours, owned) = (&yours, &owned);
            let taker = move || adopt(owned).and_then(|()| transfer(owned));
            scope.spawn(move || within(yours, taker)).join().unwrap().unwrap();
        });
        owned
    });
    assert_eq!((mine.len(), yours.len(), yours.take_transferred().len()), (0, 0, 1));
    drop(owned);
}

#[test]
fn what_enters_after_a_young_value_is_finalized_before_it() {
    let (ledger, log) = (Ledger::new(), Log::default());
    let (made, adopted) = (Probe::new(), log.owned("last"));
    within(&ledger, || {
        mem::forget(log.owned("first"));
        own(&made.resource());
        mem::forget(log.owned("second"));
        adopt(&adopted).unwrap();
    });
    mem::forget(adopted);
    let settled = block_on(ledger.finalize_all());
    assert_eq!(log.take(), ["last", "second", "first"]);
    assert_eq!(settled.finalized[2], made.ticket().info());
}

#[test]
fn what_is_made_in_a_closed_ledger_and_dropped_elsewhere_is_finalized_all_the_same() {
    let ledger = Ledger::new();
    drop(block_on(ledger.finalize_all()));
    let (sender, receiver) = mpsc::channel();
    within(&ledger, || {
        let owned = Owned::with_async(7, |value| async move { sender.send(value).unwrap() });
        thread::spawn(move || drop(owned)).join().unwrap();
    });
    assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(7));
}

#[test]
fn an_asynchronous_finalizer_of_a_young_value_waits_for_the_owner() {
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || drop(log.owned_async("once", &Gate::open())));
    assert!(log.take().is_empty());
    assert!(block_on(ledger.finalize_all()).leaked.is_empty());
    assert_eq!(log.take(), ["begin", "once"]);
}

#[test]
fn a_leaked_guard_does_not_keep_the_maker_from_dropping_its_value() {
    let (ledger, log) = (Ledger::new(), Log::default());
    within(&ledger, || {
        let owned = log.owned("once");
        mem::forget(owned.get().unwrap());
        drop(owned);
    });
    assert_eq!((ledger.len(), log.take()), (0, vec![String::from("once")]));
}
