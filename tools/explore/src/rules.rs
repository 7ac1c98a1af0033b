//! Rules that random programs do not reach, each as a body of its own.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use matou_net::{TcpListener, TcpStream};
use matou_ownership::{Owned, disown};
use matou_runtime::signal::{self, Signal};
use matou_runtime::test::{Check, Trial, note_acquired, note_released, note_wait, send_signal};
use matou_runtime::{
    MainError, NoDomainAvailable, Orphans, Promise, RunError, Task, TaskError, call, cancelled,
    deadline, now, remaining, shield, sleep, spawn, timeout, yield_now,
};
use matou_sync::{Hooks, Mutex, Queue, set_hooks};

use crate::trial::{Finding, Passed, conclude};

type Body = fn() -> std::pin::Pin<Box<dyn Future<Output = Result<(), MainError>>>>;

/// How a run of a body has to end.
enum End {
    Well,
    Violated(&'static str),
    /// A finalizer was given the grace period, and no more.
    OutOfGrace,
    /// Nothing can go on, and the report has these words.
    Deadlock(&'static [&'static str]),
}

const RULES: &[(&str, usize, Body, End)] = &[
    ("R2", 2, || Box::pin(a_promise_of_somebody_else()), End::Violated("NotAChild")),
    ("R5", 3, || Box::pin(code_without_a_shield_is_polled_no_more()), End::Well),
    ("R6", 3, || Box::pin(shielded_code_hears_why()), End::Well),
    ("R6", 2, || Box::pin(a_cancelled_next_leaves_nothing_behind()), End::Well),
    ("R7", 3, || Box::pin(sideways_through_a_queue()), End::Well),
    ("R8", 2, || Box::pin(an_endless_finalizer()), End::OutOfGrace),
    ("R9", 1, || Box::pin(no_other_domain()), End::Well),
    ("R11", 2, || Box::pin(a_busy_domain_accepts()), End::Well),
    ("R12", 2, || Box::pin(a_handler_is_a_child_of_main()), End::Violated("StillHasChildren")),
    ("R12", 1, || Box::pin(a_stream_hears_each_signal()), End::Well),
    ("shield", 3, || Box::pin(a_shield_outlives_its_wrapper()), End::Well),
    ("deadline", 3, || Box::pin(the_least_deadline_holds()), End::Well),
    (
        "locks",
        3,
        || Box::pin(two_locks_in_two_orders()),
        End::Deadlock(&["waits for lock", "held by task", "tools/explore/src/rules.rs", "cycle: "]),
    ),
];

const GRACE: Duration = Duration::from_secs(2);
/// What some messages between domains take, one after the other.
const SLACK: Duration = Duration::from_millis(50);

/// Runs one of the bodies under a seed.
pub(crate) fn explore(seed: u64) -> Result<Passed, Finding> {
    observe_locks();
    let (rule, domains, body, end) = &RULES[(seed % RULES.len() as u64) as usize];
    let check = Check::simulated().domains(*domains).grace(GRACE);
    let trial = catch_unwind(AssertUnwindSafe(|| check.trial(seed, body())));
    conclude(trial, |trial| end.judge(trial).map_err(|why| format!("{rule}: {why}")))
}

/// Lets the locks of `matou-sync` tell the runtime who waits and who holds.
fn observe_locks() {
    // It is the same for every run of the process, so the first one to say it is enough.
    let _ = set_hooks(Hooks {
        on_wait: note_wait,
        on_acquire: note_acquired,
        on_release: note_released,
    });
}

impl End {
    fn judge(&self, trial: &Trial<()>) -> Result<(), String> {
        match (self, &trial.outcome) {
            (End::Well, Ok(())) => Ok(()),
            (End::Violated(name), Err(RunError::Violated(report)))
                if report.violations().iter().all(|violation| violation.name() == *name) =>
            {
                Ok(())
            }
            (End::OutOfGrace, Err(RunError::Violated(_))) => {
                End::Violated("FinalizerUnfinished").judge(trial)?;
                let in_time = trial.elapsed >= GRACE && trial.elapsed < GRACE + SLACK;
                if in_time { Ok(()) } else { Err(format!("it took {:?}", trial.elapsed)) }
            }
            (End::Deadlock(words), Err(RunError::Deadlock(deadlock))) => {
                let text = deadlock.to_string();
                let missing = words.iter().find(|word| !text.contains(**word));
                missing.map_or(Ok(()), |word| Err(format!("no `{word}` in {text}")))
            }
            (_, Ok(())) => Err("it ended well".into()),
            (_, Err(error)) => Err(error.to_string()),
        }
    }
}

async fn a_promise_of_somebody_else() -> Result<(), MainError> {
    let mine = spawn(pending::<()>());
    let thief = spawn(async move {
        let _ = mine.await;
    });
    thief.await?;
    Ok(())
}

async fn shielded_code_hears_why() -> Result<(), MainError> {
    let heard = Arc::new(Queue::bounded(1));
    let tell = Arc::clone(&heard);
    let child: Promise<()> = call(move || async move {
        let hears = shield(async move {
            let why = cancelled().await;
            tell.push(why.reason().unwrap_or("none").to_owned()).await.expect("it is open");
        });
        let _ = hears.await;
    })?;
    // Long enough for the call to arrive.
    sleep(Duration::from_millis(50)).await;
    child.cancel_because("the day is over").await;
    // It was gone before the cancellation was over, so it has spoken.
    let heard = heard.try_pop().map_err(|_| "it heard nothing")?;
    assert_eq!(heard, "the day is over");
    Ok(())
}

async fn code_without_a_shield_is_polled_no_more() -> Result<(), MainError> {
    let heard = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let hears = Arc::clone(&heard);
    let child = call(move || async move {
        cancelled().await;
        hears.store(true, std::sync::atomic::Ordering::Relaxed);
    })?;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(child.cancel().await, None);
    assert!(!heard.load(std::sync::atomic::Ordering::Relaxed));
    Ok(())
}

async fn a_cancelled_next_leaves_nothing_behind() -> Result<(), MainError> {
    let orphans = Orphans::new();
    for _ in 0..3 {
        let nap = async { sleep(Duration::from_millis(5)).await };
        Task::new().orphans(&orphans).spawn(nap).map_err(|_| "it has no limit")?;
    }
    let mut ended = 0;
    while !orphans.is_empty() {
        if let Ok(Some(outcome)) = timeout(Duration::from_millis(2), orphans.next()).await {
            outcome?;
            ended += 1;
        }
    }
    if ended == 3 { Ok(()) } else { Err(format!("{ended} of 3 were handed out").into()) }
}

async fn sideways_through_a_queue() -> Result<(), MainError> {
    let queue = Arc::new(Queue::bounded(1));
    let finalized = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let receiver = {
        let queue = Arc::clone(&queue);
        call(move || async move {
            let mut owned: Owned<u32> = queue.pop().await.expect("one comes");
            let value = *owned.get_mut().expect("the first use adopts it");
            drop(owned);
            value
        })?
    };
    let count = Arc::clone(&finalized);
    let owned = Owned::new(7, move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    disown(&owned)?;
    queue.push(owned).await.map_err(|_| "the queue is closed")?;
    assert_eq!(receiver.await?, 7);
    assert_eq!(finalized.load(std::sync::atomic::Ordering::Relaxed), 1);
    Ok(())
}

/// How long it takes is for the end to judge: main is not resumed.
async fn an_endless_finalizer() -> Result<(), MainError> {
    let child = call(|| async {
        drop(Owned::with_async((), |()| pending::<()>()));
    })?;
    let _ = child.await;
    Ok(())
}

async fn no_other_domain() -> Result<(), MainError> {
    let NoDomainAvailable { .. } = call(|| async {}).expect_err("there is one domain");
    Ok(())
}

/// Others are always ready, and the accept happens all the same.
async fn a_busy_domain_accepts() -> Result<(), MainError> {
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    let address = listener.local_addr()?;
    let busy: Vec<_> = (0..10)
        .map(|_| {
            spawn(async {
                loop {
                    yield_now().await;
                }
                #[expect(unreachable_code, reason = "it says what the block returns")]
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

async fn a_handler_is_a_child_of_main() -> Result<(), MainError> {
    signal::on(Signal::Interrupt, || async {
        drop(spawn(pending::<()>()));
    })?;
    assert!(send_signal(Signal::Interrupt));
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

async fn a_stream_hears_each_signal() -> Result<(), MainError> {
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
    assert!(written.get(), "the parent's end waits for it");
    Ok(())
}

async fn the_least_deadline_holds() -> Result<(), MainError> {
    let begun = now();
    let near = begun + Duration::from_millis(100);
    let far = begun + Duration::from_secs(100);
    let work = deadline(near, async move {
        let child = call(move || async move {
            let _ = deadline(far, pending::<()>()).await;
            remaining()
        });
        child.map_err(MainError::from)?.await.map_err(MainError::from)
    });
    let result: Result<Result<_, MainError>, _> = work.await;
    let ended_by_it = match result {
        Err(_) => true,
        Ok(Err(error)) => {
            error.downcast_ref::<TaskError<Infallible>>().is_some_and(TaskError::is_cancelled)
        }
        Ok(Ok(_)) => false,
    };
    assert!(ended_by_it);
    assert!((now() - begun).as_secs() < 1, "not the far one");
    Ok(())
}

async fn two_locks_in_two_orders() -> Result<(), MainError> {
    let locks = Arc::new((Mutex::new(()), Mutex::new(())));
    // Both have their first one before either asks for the second one.
    let both = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let take = |first: bool| {
        let (locks, both) = (Arc::clone(&locks), Arc::clone(&both));
        move || async move {
            let (a, b) = if first { (&locks.0, &locks.1) } else { (&locks.1, &locks.0) };
            let _a = a.lock().await;
            both.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            while both.load(std::sync::atomic::Ordering::Relaxed) < 2 {
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
