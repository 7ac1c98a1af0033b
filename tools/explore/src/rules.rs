//! Rules that random programs do not reach, each with a program of its own.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use matou_net::{TcpListener, TcpStream};
use matou_ownership::{Owned, disown};
use matou_runtime::signal::{self, Signal};
use matou_runtime::test::{Check, Trial, send_signal};
use matou_runtime::{
    MainError, NoDomainAvailable, Orphans, Promise, RunError, Task, TaskError, call, cancelled,
    deadline, now, remaining, shield, sleep, spawn, timeout, yield_now,
};
use matou_sync::{Mutex, Queue};

use crate::suite::{Failure, Passed, check_trial};

type Body = fn() -> Pin<Box<dyn Future<Output = Result<(), MainError>>>>;

/// The expected outcome of a run.
enum Expected {
    Success,
    /// A report whose violations all have this name.
    Violation(&'static str),
    /// A finalizer is still running when the grace period elapses.
    GraceElapsed,
    /// A deadlock, whose report contains these texts.
    Deadlock(&'static [&'static str]),
}

/// The rule, the number of domains, the program and its expected outcome.
const RULES: &[(&str, usize, Body, Expected)] = &[
    ("R2", 2, || Box::pin(await_the_promise_of_another_task()), Expected::Violation("NotAChild")),
    ("R5", 3, || Box::pin(unshielded_code_is_not_polled_after_a_cancel()), Expected::Success),
    ("R6", 3, || Box::pin(shielded_code_receives_the_reason()), Expected::Success),
    ("R6", 2, || Box::pin(a_cancelled_next_loses_no_outcome()), Expected::Success),
    ("R7", 3, || Box::pin(move_to_a_sibling_through_a_queue()), Expected::Success),
    ("R8", 2, || Box::pin(an_endless_finalizer()), Expected::GraceElapsed),
    ("R9", 1, || Box::pin(call_without_another_domain()), Expected::Success),
    ("R11", 2, || Box::pin(a_busy_domain_accepts()), Expected::Success),
    (
        "R12",
        2,
        || Box::pin(a_signal_handler_is_a_child_of_main()),
        Expected::Violation("StillHasChildren"),
    ),
    ("R12", 1, || Box::pin(a_stream_receives_each_signal()), Expected::Success),
    ("shield", 3, || Box::pin(a_shield_outlives_its_wrapper()), Expected::Success),
    ("deadline", 3, || Box::pin(the_earliest_deadline_applies()), Expected::Success),
    (
        "locks",
        3,
        || Box::pin(two_locks_in_opposite_orders()),
        Expected::Deadlock(&[
            "waits for lock",
            "held by task",
            "tools/explore/src/rules.rs",
            "cycle: ",
        ]),
    ),
];

const GRACE: Duration = Duration::from_secs(2);
/// The time of a few consecutive messages between domains.
const SLACK: Duration = Duration::from_millis(50);

/// Runs one of the programs under a seed.
pub(crate) fn run(seed: u64) -> Result<Passed, Failure> {
    let (rule, domains, body, expected) = &RULES[(seed % RULES.len() as u64) as usize];
    let check = Check::simulated().domains(*domains).grace(GRACE).on_report(|_| ());
    let trial = catch_unwind(AssertUnwindSafe(|| check.trial(seed, body())));
    check_trial(trial, |trial| expected.check(trial).map_err(|why| format!("{rule}: {why}")))
}

impl Expected {
    fn check(&self, trial: &Trial<()>) -> Result<(), String> {
        match (self, &trial.outcome) {
            (Expected::Success, Ok(())) => Ok(()),
            (Expected::Violation(name), Err(RunError::Violated(report)))
                if report.violations().iter().all(|violation| violation.name() == *name) =>
            {
                Ok(())
            }
            (Expected::GraceElapsed, Err(RunError::Violated(_))) => {
                Expected::Violation("FinalizerUnfinished").check(trial)?;
                let in_time = trial.elapsed >= GRACE && trial.elapsed < GRACE + SLACK;
                if in_time { Ok(()) } else { Err(format!("the run took {:?}", trial.elapsed)) }
            }
            (Expected::Deadlock(texts), Err(RunError::Deadlock(deadlock))) => {
                let report = deadlock.to_string();
                let missing = texts.iter().find(|text| !report.contains(**text));
                missing.map_or(Ok(()), |text| Err(format!("no `{text}` in {report}")))
            }
            (_, Ok(())) => Err("the run succeeded".into()),
            (_, Err(error)) => Err(error.to_string()),
        }
    }
}

async fn await_the_promise_of_another_task() -> Result<(), MainError> {
    let promise = spawn(pending::<()>());
    let other = spawn(async move {
        let _ = promise.await;
    });
    other.await?;
    Ok(())
}

async fn shielded_code_receives_the_reason() -> Result<(), MainError> {
    let reasons = Arc::new(Queue::bounded(1));
    let sender = Arc::clone(&reasons);
    let child: Promise<()> = call(move || async move {
        let shielded = shield(async move {
            let cancelled = cancelled().await;
            let reason = cancelled.reason().unwrap_or("none").to_owned();
            sender.push(reason).await.expect("the queue is open");
        });
        let _ = shielded.await;
    })?;
    // Long enough for the call to arrive.
    sleep(Duration::from_millis(50)).await;
    child.cancel_because("the end of the day").await;
    // The cancellation waits for the shield, so the reason is in the queue.
    let reason = reasons.try_pop().map_err(|_| "no reason received")?;
    assert_eq!(reason, "the end of the day");
    Ok(())
}

async fn unshielded_code_is_not_polled_after_a_cancel() -> Result<(), MainError> {
    let polled = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&polled);
    let child = call(move || async move {
        cancelled().await;
        flag.store(true, Ordering::Relaxed);
    })?;
    sleep(Duration::from_millis(50)).await;
    assert!(child.cancel().await.is_none());
    assert!(!polled.load(Ordering::Relaxed));
    Ok(())
}

async fn a_cancelled_next_loses_no_outcome() -> Result<(), MainError> {
    let orphans = Orphans::new();
    for _ in 0..3 {
        let body = async { sleep(Duration::from_millis(5)).await };
        Task::new().orphans(&orphans).spawn(body).map_err(|_| "the group has no capacity")?;
    }
    let mut received = 0;
    while !orphans.is_empty() {
        if let Ok(Some(outcome)) = timeout(Duration::from_millis(2), orphans.next()).await {
            outcome?;
            received += 1;
        }
    }
    if received == 3 { Ok(()) } else { Err(format!("{received} of 3 outcomes received").into()) }
}

async fn move_to_a_sibling_through_a_queue() -> Result<(), MainError> {
    let queue = Arc::new(Queue::bounded(1));
    let finalized = Arc::new(AtomicU32::new(0));
    let receiver = {
        let queue = Arc::clone(&queue);
        call(move || async move {
            let mut owned: Owned<u32> = queue.pop().await.expect("a value is pushed");
            let value = *owned.get_mut().expect("the first access makes the task the owner");
            drop(owned);
            value
        })?
    };
    let count = Arc::clone(&finalized);
    let owned = Owned::new(7, move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    disown(&owned)?;
    queue.push(owned).await.map_err(|_| "the queue is closed")?;
    assert_eq!(receiver.await?, 7);
    assert_eq!(finalized.load(Ordering::Relaxed), 1);
    Ok(())
}

/// Main is not resumed: `Expected::GraceElapsed` checks the duration of the run.
async fn an_endless_finalizer() -> Result<(), MainError> {
    let child = call(|| async {
        drop(Owned::with_async((), |()| pending::<()>()));
    })?;
    let _ = child.await;
    Ok(())
}

async fn call_without_another_domain() -> Result<(), MainError> {
    let NoDomainAvailable { .. } = call(|| async {}).expect_err("there is only one domain");
    Ok(())
}

/// Accepts a connection although other tasks of the domain are always ready.
async fn a_busy_domain_accepts() -> Result<(), MainError> {
    let mut listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let busy: Vec<_> = (0..10)
        .map(|_| {
            spawn(async {
                loop {
                    yield_now().await;
                }
                #[expect(unreachable_code, reason = "declares the type of the block")]
                ()
            })
        })
        .collect();
    let client = call(move || async move { TcpStream::connect(address).await.is_ok() })?;
    let (stream, _) = listener.accept().await?;
    drop(stream);
    assert!(client.await?);
    for task in busy {
        task.cancel().await;
    }
    Ok(())
}

async fn a_signal_handler_is_a_child_of_main() -> Result<(), MainError> {
    signal::on(Signal::Interrupt, || async {
        drop(spawn(pending::<()>()));
    })?;
    assert!(send_signal(Signal::Interrupt));
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

async fn a_stream_receives_each_signal() -> Result<(), MainError> {
    let mut signals = signal::stream(Signal::Terminate)?;
    for _ in 0..3 {
        assert!(send_signal(Signal::Terminate));
    }
    for _ in 0..3 {
        timeout(Duration::from_secs(1), signals.next()).await?;
    }
    Ok(())
}

async fn a_shield_outlives_its_wrapper() -> Result<(), MainError> {
    let written = Rc::new(Cell::new(false));
    let flag = Rc::clone(&written);
    let work = spawn(async move {
        let write = shield(async move {
            sleep(Duration::from_millis(50)).await;
            flag.set(true);
        });
        let _ = timeout(Duration::from_millis(1), write).await;
    });
    work.await?;
    assert!(written.get(), "the completion of the parent waits for the shield");
    Ok(())
}

async fn the_earliest_deadline_applies() -> Result<(), MainError> {
    let started_at = now();
    let near = started_at + Duration::from_millis(100);
    let far = started_at + Duration::from_secs(100);
    let work = deadline(near, async move {
        let child = call(move || async move {
            let _ = deadline(far, pending::<()>()).await;
            remaining()
        });
        child.map_err(MainError::from)?.await.map_err(MainError::from)
    });
    let result: Result<Result<_, MainError>, _> = work.await;
    let deadline_elapsed = match result {
        Err(_) => true,
        Ok(Err(error)) => {
            error.downcast_ref::<TaskError<Infallible>>().is_some_and(TaskError::is_cancelled)
        }
        Ok(Ok(_)) => false,
    };
    assert!(deadline_elapsed);
    assert!((now() - started_at).as_secs() < 1, "the far deadline applied");
    Ok(())
}

async fn two_locks_in_opposite_orders() -> Result<(), MainError> {
    let locks = Arc::new((Mutex::new(()), Mutex::new(())));
    // The number of tasks that hold their first lock. Each waits for the other to hold one.
    let holders = Arc::new(AtomicU32::new(0));
    let take = |first: bool| {
        let (locks, holders) = (Arc::clone(&locks), Arc::clone(&holders));
        move || async move {
            let (a, b) = if first { (&locks.0, &locks.1) } else { (&locks.1, &locks.0) };
            let _a = a.lock().await;
            holders.fetch_add(1, Ordering::Relaxed);
            while holders.load(Ordering::Relaxed) < 2 {
                sleep(Duration::from_millis(1)).await;
            }
            let _b = b.lock().await;
        }
    };
    let (one, two) = (call(take(true))?, call(take(false))?);
    one.await?;
    two.await?;
    Ok(())
}
