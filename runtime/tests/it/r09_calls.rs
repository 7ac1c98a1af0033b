//! R9: a call in a run that has no other domain returns an error; it is not a violation.
//!
//! A call never goes to domain 0, nor to the domain of the caller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use matou_runtime::{NoDomainAvailable, Task, call, parallel, spawn, try_call};

use crate::support::*;

/// The domain of the current thread, read from its name.
fn domain() -> usize {
    let thread = thread::current();
    let name = thread.name().unwrap_or_default();
    name.strip_prefix("matou-").map_or(0, |number| number.parse().expect("a number"))
}

#[test]
fn a_call_in_a_run_with_one_domain_is_an_error_value() {
    run_on(1, || async {
        let error: NoDomainAvailable = call(|| async {}).expect_err("there is no other domain");
        assert!(error.to_string().contains("the run has 1"), "{error}");
        assert!(try_call(|| async { Ok::<_, ()>(()) }).is_err());
        assert!(parallel([1, 2], |n| async move { n }).is_err());
        assert!(parallel([0; 0], |n: i32| async move { n })?.await.is_empty());
        // No task was made, so no child is left, and the run goes on.
        assert_eq!(spawn(async { 7 }).await?, 7);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_call_from_the_only_other_domain_is_an_error_value() {
    run_on(2, || async {
        let child = call(|| async {
            assert_eq!(domain(), 1);
            let refused = call(|| async {}).is_err();
            let spawned = spawn(async { domain() }).await;
            (refused, spawned.expect("it does not fail"))
        })?;
        assert_eq!(child.await?, (true, 1));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_call_that_fails_keeps_the_given_resources() {
    run_on(1, || async {
        let log = Log::new();
        let shared = Arc::new(log.resource("resource"));
        let theirs = shared.clone();
        let refused = Task::new().give(&shared).call(move || async move { drop(theirs) });
        assert!(refused.is_err());
        assert_eq!(*shared.get()?, "resource");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_task_cannot_be_pinned_to_domain_0_its_own_domain_or_a_missing_one() {
    run_on(3, || async {
        for pinned in [0, 3, usize::MAX] {
            let refused = Task::new().pin(pinned).call(|| async {});
            let error = refused.expect_err("it cannot go there");
            assert!(error.to_string().contains(&format!("domain {pinned}:")), "{error}");
        }
        for pinned in [1, 2] {
            assert_eq!(Task::new().pin(pinned).call(|| async { domain() })?.await?, pinned);
        }
        let child = Task::new().pin(1).call(|| async {
            let (own, zero) = (Task::new().pin(1), Task::new().pin(0));
            let refused = own.call(|| async {}).is_err() && zero.call(|| async {}).is_err();
            let other = Task::new().pin(2).call(|| async { domain() });
            (refused, other.expect("there is a third domain").await.ok())
        })?;
        assert_eq!(child.await?, (true, Some(2)));
        Ok(())
    })
    .unwrap();
}

/// Makes `calls` calls and counts how many go to each domain.
async fn spread(calls: usize) -> BTreeMap<usize, usize> {
    let promises: Vec<_> = (0..calls)
        .map(|_| {
            call(|| async { (domain(), thread::current().id()) }).expect("there are other domains")
        })
        .collect();
    let mut spread = BTreeMap::new();
    for promise in promises {
        let (domain, thread) = promise.await.expect("it does not fail");
        assert_ne!(thread, thread::current().id(), "it runs on another thread");
        *spread.entry(domain).or_default() += 1;
    }
    spread
}

#[test]
fn calls_are_spread_evenly_and_never_reach_domain_0_or_the_callers_domain() {
    run_on(4, || async {
        assert_eq!(domain(), 0);
        assert_eq!(spread(300).await, BTreeMap::from([(1, 100), (2, 100), (3, 100)]));
        let from_2 = Task::new().pin(2).call(|| spread(300))?.await?;
        assert_eq!(from_2, BTreeMap::from([(1, 150), (3, 150)]));
        Ok(())
    })
    .unwrap();
}

#[test]
fn parallel_spreads_evenly_and_keeps_the_order() {
    run_on(3, || async {
        let outcomes = parallel(0..100, |n| async move { (n, domain()) })?.await;
        let mut spread = BTreeMap::<usize, usize>::new();
        for (index, outcome) in outcomes.into_iter().enumerate() {
            let (n, domain) = outcome?;
            assert_eq!(n, index);
            *spread.entry(domain).or_default() += 1;
        }
        assert_eq!(spread, BTreeMap::from([(1, 50), (2, 50)]));
        Ok(())
    })
    .unwrap();
}
