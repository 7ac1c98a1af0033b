//! R11: a domain receives system events after every quantum, and the runtime's own leaf operations
//! spend a budget and yield when it is exhausted.
//!
//! Method: a domain has more ready tasks than a quantum, and an event must get through. Then one
//! task performs operations that are always ready, and the other tasks must be polled in between.

use std::future::{Future, poll_fn};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use matou_runtime::{
    Direction, IoSource, Orphans, Promise, Task, WaitSite, await_all, call, poll_proceed, signal,
    sleep, sleep_until, spawn, yield_now,
};

use crate::support::*;

/// Spawns children that are ready at every tick, more than a quantum of them.
fn spawn_crowd(polls: &Counter) -> Vec<Promise<()>> {
    let busy = |polls: Counter| async move {
        loop {
            polls.add();
            yield_now().await;
        }
    };
    (0..300).map(|_| spawn(busy(polls.clone()))).collect()
}

async fn cancel_all(crowd: Vec<Promise<()>>) {
    for member in crowd {
        member.cancel().await;
    }
}

#[test]
fn timers_fire_on_a_domain_with_many_ready_tasks() {
    scenario(|place, _| async move {
        let busy = place.spawn(|| async {
            let crowd = spawn_crowd(&Counter::new());
            sleep(Duration::from_millis(5)).await;
            cancel_all(crowd).await;
        });
        busy.await?;
        Ok(())
    })
    .succeeds();
}

#[test]
fn descriptors_are_polled_on_a_domain_with_many_ready_tasks() {
    scenario(|place, _| async move {
        let busy = place.spawn(|| async {
            let polls = Counter::new();
            let crowd = spawn_crowd(&polls);
            let (io, mut peer) = io_pair();
            let reader = spawn(read_byte(io));
            // The reader is waiting for an event by now.
            polls.reaches(1000).await;
            peer.write_all(b"m").expect("there is room");
            let byte = reader.await.expect("it does not fail").expect("it is readable");
            cancel_all(crowd).await;
            byte
        });
        assert_eq!(busy.await?, b'm');
        Ok(())
    })
    .succeeds();
}

/// Each poll of the computing tasks takes half a millisecond. A quantum of them would take thirty
/// milliseconds.
#[test]
fn a_client_waits_for_one_slow_poll_and_not_for_a_quantum_of_them() {
    run_on(1, || async {
        let polls = Counter::new();
        let (io, mut peer) = io_pair();
        let mut sent = Some(move || peer.write_all(b"m"));
        let computing: Vec<_> = (0..4)
            .map(|_| {
                let (polls, mut send) = (polls.clone(), sent.take());
                spawn(async move {
                    loop {
                        let since = Instant::now();
                        while since.elapsed() < Duration::from_micros(500) {
                            std::hint::spin_loop();
                        }
                        // By now the domain has measured that the polls are slow.
                        if polls.add() >= 400
                            && let Some(mut send) = send.take()
                        {
                            send().expect("there is room");
                            return polls.get();
                        }
                        yield_now().await;
                    }
                })
            })
            .collect();
        let mut computing = computing.into_iter();
        let sender = computing.next().expect("the first one sends");
        let reader = spawn(read_byte(io));
        reader.await??;
        let after = polls.get();
        let before = sender.await?;
        for task in computing {
            task.cancel().await;
        }
        assert!(after - before <= 8, "{before} stretches when it was sent, {after} when read");
        Ok(())
    })
    .unwrap();
}

#[test]
fn messages_arrive_on_a_domain_with_many_ready_tasks() {
    run_on(3, || async {
        // A completion, a wake-up and a cancel request arrive from another domain.
        let local_crowd = spawn_crowd(&Counter::new());
        assert_eq!(call(|| async { 7 })?.await?, 7);
        let (begun, gone) = (Counter::new(), Counter::new());
        let (child_begun, child_gone) = (begun.clone(), gone.clone());
        let full = Task::new().pin(1).call(move || async move {
            let crowd = spawn_crowd(&Counter::new());
            child_begun.reaches(1).await;
            cancel_all(crowd).await;
            child_gone.add();
        })?;
        let there = Task::new().pin(1).call(std::future::pending::<()>)?;
        assert!(there.cancel().await.is_none());
        let there = Task::new().pin(1).call(|| async { 8 })?;
        assert_eq!(there.await?, 8);
        begun.add();
        full.await?;
        assert_eq!(gone.get(), 1);
        cancel_all(local_crowd).await;
        Ok(())
    })
    .unwrap();
}

#[test]
fn signals_are_handled_on_a_domain_with_many_ready_tasks() {
    rerun_in_child_process!();
    run_on(1, || async {
        let crowd = spawn_crowd(&Counter::new());
        let handled = Counter::new();
        let seen = handled.clone();
        signal::on(signal::Signal::Terminate, move || {
            let seen = seen.clone();
            async move {
                let _ = seen.add();
            }
        })?;
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::TERM)?;
        handled.reaches(1).await;
        cancel_all(crowd).await;
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_tick_polls_as_many_tasks_as_the_quantum_setting_says() {
    for quantum in [1, 4, 64] {
        let (waits, polls) = (Counter::new(), Counter::new());
        let builder = count_waits_with_stopped_clock(strict().domains(1).quantum(quantum), &waits);
        let main_polls = polls.clone();
        let result = run_with(builder, move || async move {
            let crowd = spawn_crowd(&main_polls);
            main_polls.reaches(10_000).await;
            let ticks = waits.get();
            cancel_all(crowd).await;
            Ok(ticks)
        });
        let ticks = result.expect("no violation");
        // A task that yielded may be polled beyond the quantum, one in each tick.
        assert!(ticks >= 9_500 / quantum, "{ticks} ticks with a quantum of {quantum}");
        // Upper bound: events are not received more often than once per quantum.
        assert!(ticks <= 10_400 / quantum + 10, "{ticks} ticks with a quantum of {quantum}");
    }
}

/// An operation that is ready at every poll.
#[derive(Clone, Copy, Debug)]
enum Operation {
    CompletePromises,
    CompletePromisesTogether,
    CompleteGroup,
    PastDeadlines,
    ReadableDescriptor,
    OwnLeafFuture,
}

const OPERATIONS: [Operation; 6] = [
    Operation::CompletePromises,
    Operation::CompletePromisesTogether,
    Operation::CompleteGroup,
    Operation::PastDeadlines,
    Operation::ReadableDescriptor,
    Operation::OwnLeafFuture,
];

const TIMES: usize = 2000;

/// Prepares `TIMES` operations and returns the future that performs them.
async fn prepare(operation: Operation) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
    match operation {
        Operation::CompletePromises | Operation::CompletePromisesTogether => {
            let promises: Vec<_> = (0..TIMES).map(|_| spawn(async {})).collect();
            let all = spawn(async {});
            all.await.expect("it does not fail");
            Box::pin(async move {
                if matches!(operation, Operation::CompletePromisesTogether) {
                    drop(await_all(promises).await);
                    return;
                }
                for promise in promises {
                    promise.await.expect("it has ended");
                }
            })
        }
        Operation::CompleteGroup => {
            let orphans = Orphans::new();
            for _ in 0..TIMES {
                Task::new().orphans(&orphans).spawn(async {}).expect("no limit");
            }
            spawn(async {}).await.expect("it does not fail");
            Box::pin(async move { while orphans.next().await.is_some() {} })
        }
        Operation::PastDeadlines => Box::pin(async {
            let past = Instant::now();
            for _ in 0..TIMES {
                sleep_until(past).await;
            }
        }),
        Operation::ReadableDescriptor => {
            let zeros = std::fs::File::open("/dev/zero").expect("it is always readable");
            let io = IoSource::new(OwnedFd::from(zeros)).expect("its mode can be set");
            Box::pin(async move {
                let site = WaitSite::here("read");
                for _ in 0..TIMES {
                    let mut byte = [0];
                    let read = poll_fn(|cx| {
                        io.poll(Direction::Read, site, cx, |fd| {
                            Ok(rustix::io::read(fd, &mut byte)?)
                        })
                    });
                    read.await.expect("it is always readable");
                }
                io.close();
            })
        }
        Operation::OwnLeafFuture => Box::pin(async {
            for _ in 0..TIMES {
                poll_fn(|cx| {
                    ready!(poll_proceed(cx));
                    Poll::Ready(())
                })
                .await;
            }
        }),
    }
}

#[test]
fn a_task_whose_operations_are_always_ready_yields_to_other_tasks() {
    for operation in OPERATIONS {
        let outcomes = scenario(move |place, _| async move {
            let busy = place.spawn(move || async move {
                let operations = prepare(operation).await;
                let ticks = Counter::new();
                let ticker = spawn({
                    let ticks = ticks.clone();
                    async move {
                        loop {
                            ticks.add();
                            yield_now().await;
                        }
                    }
                });
                let polls = Counter::new();
                count_polls(&polls, operations).await;
                let ticks_of_others = ticks.get();
                ticker.cancel().await;
                (ticks_of_others, polls.get())
            });
            Ok(busy.await?)
        })
        .succeeds();
        for (ticks_of_others, polls) in outcomes {
            // The budget is 128 operations in a poll.
            assert!(ticks_of_others >= TIMES / 128 - 1, "{operation:?}: {ticks_of_others} ticks");
            // The task does not yield more often than necessary.
            assert!(polls <= TIMES / 128 + 3, "{operation:?}: {polls} polls");
        }
    }
}

#[test]
fn an_endless_task_of_ready_operations_can_be_cancelled() {
    scenario(|place, _| async move {
        let begun = Counter::new();
        let child_begun = begun.clone();
        let child = place.spawn(move || async move {
            let past = Instant::now();
            loop {
                sleep_until(past).await;
                child_begun.add();
            }
        });
        begun.reaches(1000).await;
        drop(child.cancel().await);
        Ok(())
    })
    .succeeds();
}
