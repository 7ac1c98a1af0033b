//! Calls to other domains.

use std::sync::{Arc, Mutex};
use std::thread;

use matou_runtime::{MainError, NoDomainAvailable, call, parallel};
use matou_sync::{Condition, Mutex as AsyncMutex};

use super::check;
use crate::support::{Latch, run_on};

#[test]
fn a_task_on_another_domain_is_awaited_like_any_other() {
    check(2, || async {
        call(|| async {})?.await?;
        Ok::<_, MainError>(())
    });
}

/// An error and no panic: the number of domains is a setting of the program's user.
#[test]
fn a_call_without_other_domains_is_an_error() {
    check(1, || async {
        assert!(matches!(call(|| async {}), Err(NoDomainAvailable { .. })));
        Ok::<_, MainError>(())
    });
}

/// No call goes to domain 0, so a task on the only other domain finds no target.
#[test]
fn a_call_from_the_only_other_domain_is_an_error() {
    check(2, || async {
        let task = call(|| async { call(|| async {}).map(drop).is_err() })?;
        assert!(task.await?);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_call_runs_on_another_thread() {
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

/// A waker may be used by a thread that belongs to no run.
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

/// A bounded queue made of a mutex and two conditions.
struct BoundedQueue {
    items: AsyncMutex<std::collections::VecDeque<u32>>,
    limit: usize,
    not_empty: Condition,
    not_full: Condition,
}

impl BoundedQueue {
    fn with_limit(limit: usize) -> Arc<BoundedQueue> {
        let (not_empty, not_full) = (Condition::new(), Condition::new());
        Arc::new(BoundedQueue { items: AsyncMutex::default(), limit, not_empty, not_full })
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
        let item = items.pop_front().expect("the queue is not empty");
        self.not_full.signal();
        item
    }
}

/// The work of one domain on a queue.
#[derive(Clone)]
enum Job {
    Produce(Arc<BoundedQueue>, u32),
    Consume(Arc<BoundedQueue>, u32),
}

impl Job {
    async fn perform(self) {
        match self {
            Job::Produce(queue, count) => {
                for item in 0..count {
                    queue.put(item).await;
                }
            }
            Job::Consume(queue, count) => {
                for item in 0..count {
                    assert_eq!(queue.get().await, item, "in order, and no item is lost");
                }
            }
        }
    }
}

async fn two_queues(count: u32) -> Result<(), MainError> {
    let (one, two) = (BoundedQueue::with_limit(20), BoundedQueue::with_limit(30));
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
fn a_bounded_queue_between_domains_loses_no_item() {
    for domains in [2, 3, 4] {
        check(domains, || two_queues(60));
        run_on(domains, || two_queues(4000)).unwrap();
    }
}

/// Each input goes to one of the other domains, and the outcomes are in the order of the inputs.
#[test]
fn parallel_spreads_its_inputs_over_domains() {
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
