//! R11: system events are looked at after every quantum, and the runtime's own leaf operations
//! spend a budget and yield when it is used up.
//!
//! Method: a domain is filled with tasks that are always ready, more of them than a quantum; an
//! event has to get through. Then one task does nothing but operations that never wait; the
//! others have to get their turns.

use std::future::{Future, poll_fn};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use matou_runtime::{
    Builder, Direction, IoSource, Orphans, Promise, Task, await_all, call, poll_proceed, signal,
    sleep, sleep_until, spawn, yield_now,
};

use crate::support::*;

/// Fills the current domain with children that are ready at every turn.
fn crowd(polls: &Counter) -> Vec<Promise<()>> {
    let busy = |polls: Counter| async move {
        loop {
            polls.add();
            yield_now().await;
        }
    };
    (0..300).map(|_| spawn(busy(polls.clone()))).collect()
}

async fn disperse(crowd: Vec<Promise<()>>) {
    for member in crowd {
        member.cancel().await;
    }
}

#[test]
fn timers_fire_on_a_domain_that_is_full_of_ready_tasks() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let busy = place.spawn(|| async {
                let crowd = crowd(&Counter::new());
                sleep(Duration::from_millis(5)).await;
                disperse(crowd).await;
            });
            busy.await?;
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

#[test]
fn descriptors_are_served_on_a_domain_that_is_full_of_ready_tasks() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
            let busy = place.spawn(|| async {
                let polls = Counter::new();
                let crowd = crowd(&polls);
                let (ours, mut theirs) = UnixStream::pair().expect("a pair");
                ours.set_nonblocking(true).expect("non-blocking");
                let reader = spawn(read_byte(IoSource::new(ours.into())));
                // By then the reader waits for an event.
                polls.reaches(1000).await;
                theirs.write_all(b"m").expect("there is room");
                let byte = reader.await.expect("it does not fail");
                disperse(crowd).await;
                byte
            });
            assert_eq!(busy.await?, b'm');
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}

async fn read_byte(io: Arc<IoSource>) -> u8 {
    let here = Location::caller();
    let mut byte = [0];
    let read = poll_fn(|cx| {
        io.poll(Direction::Read, "read", here, cx, |fd| Ok(rustix::io::read(fd, &mut byte)?))
    });
    assert_eq!(read.await.expect("it is readable"), 1);
    io.close();
    byte[0]
}

/// Tasks that compute for half a millisecond at a stretch and yield. A quantum of them would take
/// thirty milliseconds.
#[test]
fn a_client_waits_for_one_stretch_of_those_who_compute_and_not_for_a_quantum() {
    let result = run_on(1, || async {
        let polls = Counter::new();
        let (ours, mut theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut sent = Some(move || theirs.write_all(b"m"));
        let hogs: Vec<_> = (0..4)
            .map(|_| {
                let (polls, mut send) = (polls.clone(), sent.take());
                spawn(async move {
                    loop {
                        let since = Instant::now();
                        while since.elapsed() < Duration::from_micros(500) {
                            std::hint::spin_loop();
                        }
                        // The domain has long seen by then what it has to do with.
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
        let mut hogs = hogs.into_iter();
        let sender = hogs.next().expect("the first one sends");
        let reader = spawn(read_byte(IoSource::new(ours.into())));
        reader.await?;
        let after = polls.get();
        let before = sender.await?;
        for hog in hogs {
            hog.cancel().await;
        }
        assert!(after - before <= 8, "{before} stretches when it was sent, {after} when read");
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn messages_arrive_on_a_domain_that_is_full_of_ready_tasks() {
    let result = run_on(3, || async {
        // The end of a child, a wake and a cancellation, from another domain to a full one.
        let crowd_here = crowd(&Counter::new());
        assert_eq!(call(|| async { 7 })?.await?, 7);
        let (begun, gone) = (Counter::new(), Counter::new());
        let (child_begun, child_gone) = (begun.clone(), gone.clone());
        let full = Task::new().pin(1).call(move || async move {
            let crowd = crowd(&Counter::new());
            child_begun.reaches(1).await;
            disperse(crowd).await;
            child_gone.add();
        })?;
        let there = Task::new().pin(1).call(std::future::pending::<()>)?;
        assert_eq!(there.cancel().await, None);
        let there = Task::new().pin(1).call(|| async { 8 })?;
        assert_eq!(there.await?, 8);
        begun.add();
        full.await?;
        assert_eq!(gone.get(), 1);
        disperse(crowd_here).await;
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn signals_are_taken_by_a_domain_that_is_full_of_ready_tasks() {
    if !is_child_process(this_test!()) {
        return;
    }
    let result = run_on(1, || async {
        let crowd = crowd(&Counter::new());
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
        disperse(crowd).await;
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn a_quantum_is_as_many_polls_as_were_set() {
    for quantum in [1, 4, 64] {
        let (waits, polls) = (Counter::new(), Counter::new());
        let builder = count_waits_out_of_time(Builder::new().domains(1).quantum(quantum), &waits);
        let main_polls = polls.clone();
        let result = run_with(builder, move || async move {
            let crowd = crowd(&main_polls);
            main_polls.reaches(10_000).await;
            let turns = waits.get();
            disperse(crowd).await;
            Ok(turns)
        });
        let turns = result.expect("no rule is broken");
        // A task that yielded may be polled beyond it, if none was among the others.
        assert!(turns >= 9_500 / quantum, "{turns} turns with a quantum of {quantum}");
        // Nor is it looked more often than that.
        assert!(turns <= 10_400 / quantum + 10, "{turns} turns with a quantum of {quantum}");
    }
}

/// An operation that never has to wait, done again and again.
#[derive(Clone, Copy, Debug)]
enum Leaf {
    EndedPromises,
    EndedPromisesTogether,
    EndedOrphans,
    PastDeadlines,
    ReadableDescriptor,
    ForeignOperation,
}

const LEAVES: [Leaf; 6] = [
    Leaf::EndedPromises,
    Leaf::EndedPromisesTogether,
    Leaf::EndedOrphans,
    Leaf::PastDeadlines,
    Leaf::ReadableDescriptor,
    Leaf::ForeignOperation,
];

const TIMES: usize = 2000;

/// Prepares `TIMES` operations, and returns how to do them.
async fn prepare(leaf: Leaf) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
    match leaf {
        Leaf::EndedPromises | Leaf::EndedPromisesTogether => {
            let promises: Vec<_> = (0..TIMES).map(|_| spawn(async {})).collect();
            let all = spawn(async {});
            all.await.expect("it is the last one");
            Box::pin(async move {
                if matches!(leaf, Leaf::EndedPromisesTogether) {
                    drop(await_all(promises).await);
                    return;
                }
                for promise in promises {
                    promise.await.expect("it has ended");
                }
            })
        }
        Leaf::EndedOrphans => {
            let orphans = Orphans::new();
            for _ in 0..TIMES {
                Task::new().orphans(&orphans).spawn(async {}).expect("no limit");
            }
            spawn(async {}).await.expect("it is the last one");
            Box::pin(async move { while orphans.next().await.is_some() {} })
        }
        Leaf::PastDeadlines => Box::pin(async {
            let past = Instant::now();
            for _ in 0..TIMES {
                sleep_until(past).await;
            }
        }),
        Leaf::ReadableDescriptor => {
            let zeros = std::fs::File::open("/dev/zero").expect("it is always readable");
            let io = IoSource::new(OwnedFd::from(zeros));
            Box::pin(async move {
                let here = Location::caller();
                for _ in 0..TIMES {
                    let mut byte = [0];
                    let read = poll_fn(|cx| {
                        io.poll(Direction::Read, "read", here, cx, |fd| {
                            Ok(rustix::io::read(fd, &mut byte)?)
                        })
                    });
                    read.await.expect("it is always readable");
                }
                io.close();
            })
        }
        Leaf::ForeignOperation => Box::pin(async {
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
fn a_task_of_operations_that_never_wait_yields_to_the_others() {
    for place in Place::BOTH {
        for leaf in LEAVES {
            let result = run_on(place.domains(), move || async move {
                let busy = place.spawn(move || async move {
                    let operations = prepare(leaf).await;
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
                    counted(&polls, operations).await;
                    let turns_of_others = ticks.get();
                    ticker.cancel().await;
                    (turns_of_others, polls.get())
                });
                Ok(busy.await?)
            });
            let (turns_of_others, polls) = result.expect("no rule is broken");
            // 128 operations in a poll.
            assert!(turns_of_others >= TIMES / 128 - 1, "{leaf:?}: {turns_of_others} turns");
            // And the task does not yield more often than it has to.
            assert!(polls <= TIMES / 128 + 3, "{leaf:?}: {polls} polls");
        }
    }
}

#[test]
fn an_endless_task_of_leaf_operations_can_be_cancelled() {
    for place in Place::BOTH {
        let result = run_on(place.domains(), move || async move {
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
            let _: Option<()> = child.cancel().await;
            Ok(())
        });
        assert!(result.is_ok(), "{result:?}");
    }
}
