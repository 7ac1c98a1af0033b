//! Other domains: that they are there, and that they are others.

use std::sync::{Arc, Mutex};
use std::thread;

use matou_runtime::{MainError, NoDomainAvailable, call, parallel};
use matou_sync::{Condition, Mutex as AsyncMutex};

use super::check;
use crate::support::{Latch, run_on};

#[test]
fn a_parallel_task_is_awaited_like_any_other() {
    check(2, || async {
        call(|| async {})?.await?;
        Ok::<_, MainError>(())
    });
}

/// An error, and no panic: how many domains there are is for the program's user to say.
#[test]
fn without_other_domains_none_is_available() {
    check(1, || async {
        assert!(matches!(call(|| async {}), Err(NoDomainAvailable { .. })));
        Ok::<_, MainError>(())
    });
}

/// Nothing is ever called to domain 0, so a task of the only other domain finds no third one.
#[test]
fn a_task_of_the_only_other_domain_finds_none() {
    check(2, || async {
        let task = call(|| async { call(|| async {}).map(drop).is_err() })?;
        assert!(task.await?);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_parallel_task_is_really_elsewhere() {
    for _ in 0..20 {
        let result = run_on(3, || async {
            let main = thread::current().id();
            let task = call(|| async {
                let inner = call(|| async { thread::current().id() }).expect("a third domain");
                (thread::current().id(), inner.await.expect("it returns"))
            })?;
            let (outer, inner) = task.await?;
            assert!(outer != main && inner != main && outer != inner);
            Ok(())
        });
        result.unwrap();
    }
}

/// Whoever wakes a task need not be one: here it is a thread of no run.
#[test]
fn a_foreign_thread_wakes_a_task() {
    let result = run_on(1, || async {
        let latch = Latch::new();
        let opener = latch.clone();
        let thread = thread::spawn(move || opener.open());
        latch.await;
        thread.join().map_err(|_| "the thread has panicked")?;
        Ok(())
    });
    result.unwrap();
}

/// A stream that holds so many items, of a mutex and two conditions.
struct Stream {
    items: AsyncMutex<std::collections::VecDeque<u32>>,
    limit: usize,
    not_empty: Condition,
    not_full: Condition,
}

impl Stream {
    fn with_limit(limit: usize) -> Arc<Stream> {
        let (not_empty, not_full) = (Condition::new(), Condition::new());
        Arc::new(Stream { items: AsyncMutex::default(), limit, not_empty, not_full })
    }

    async fn put(&self, item: u32) {
        let items = self.items.lock().await;
        let full = |items: &mut std::collections::VecDeque<u32>| items.len() == self.limit;
        let mut items = self.not_full.wait_while(items, full).await;
        items.push_back(item);
        self.not_empty.signal();
    }

    async fn get(&self) -> u32 {
        let items = self.items.lock().await;
        let mut items = self.not_empty.wait_while(items, |items| items.is_empty()).await;
        let item = items.pop_front().expect("it was waited for");
        self.not_full.signal();
        item
    }
}

/// What one of the domains does to a stream.
#[derive(Clone)]
enum Job {
    Produce(Arc<Stream>, u32),
    Consume(Arc<Stream>, u32),
}

impl Job {
    async fn perform(self) {
        match self {
            Job::Produce(stream, count) => {
                for item in 0..count {
                    stream.put(item).await;
                }
            }
            Job::Consume(stream, count) => {
                for item in 0..count {
                    assert_eq!(stream.get().await, item, "in order, and none is lost");
                }
            }
        }
    }
}

async fn two_streams(count: u32) -> Result<(), MainError> {
    let (one, two) = (Stream::with_limit(20), Stream::with_limit(30));
    let here = matou_runtime::spawn(Job::Consume(Arc::clone(&two), count).perform());
    let jobs =
        [Job::Produce(Arc::clone(&one), count), Job::Produce(two, count), Job::Consume(one, count)];
    let there = parallel(jobs, |job| async move { job.perform().await })?.await;
    here.await?;
    for outcome in there {
        outcome?;
    }
    Ok(())
}

#[test]
fn a_bounded_stream_between_domains_loses_nothing() {
    for domains in [2, 3, 4] {
        check(domains, || two_streams(60));
        run_on(domains, || two_streams(4000)).unwrap();
    }
}

/// Each of the inputs is somewhere, and the outcomes come in the order of the inputs.
#[test]
fn parallel_spreads_its_inputs() {
    let places = Arc::new(Mutex::new(std::collections::HashSet::new()));
    let seen = Arc::clone(&places);
    let result = run_on(3, move || async move {
        let numbers = parallel(0..6, move |number: u32| {
            let seen = Arc::clone(&seen);
            async move {
                seen.lock().unwrap().insert(thread::current().id());
                number
            }
        })?;
        let numbers: Result<Vec<_>, _> = numbers.await.into_iter().collect();
        assert_eq!(numbers?, [0, 1, 2, 3, 4, 5]);
        Ok(())
    });
    result.unwrap();
    assert_eq!(places.lock().unwrap().len(), 2);
}
