//! R9: a call on a run that has no other domain is an error value, not a violation.
//!
//! And a call never goes to domain 0 nor to the caller's own domain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use matou_runtime::{NoDomainAvailable, Task, call, parallel, spawn, try_call};

use crate::support::*;

/// The domain that the caller is on: its thread tells.
fn domain() -> usize {
    let thread = thread::current();
    let name = thread.name().unwrap_or_default();
    name.strip_prefix("matou-").map_or(0, |number| number.parse().expect("a number"))
}

#[test]
fn a_run_with_one_domain_has_no_other_and_that_is_a_value() {
    let result = run_on(1, || async {
        let error: NoDomainAvailable = call(|| async {}).expect_err("there is none");
        assert!(error.to_string().contains("the run has 1"), "{error}");
        assert!(try_call(|| async { Ok::<_, ()>(()) }).is_err());
        assert!(parallel([1, 2], |n| async move { n }).is_err());
        assert!(parallel([0; 0], |n: i32| async move { n })?.await.is_empty());
        // Nothing was made, so nothing is left; the run is as sound as before.
        assert_eq!(spawn(async { 7 }).await?, 7);
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn the_only_other_domain_has_none_to_call() {
    let result = run_on(2, || async {
        let child = call(|| async {
            assert_eq!(domain(), 1);
            let refused = call(|| async {}).is_err();
            let spawned = spawn(async { domain() }).await;
            (refused, spawned.expect("it does not fail"))
        })?;
        assert_eq!(child.await?, (true, 1));
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn a_refused_call_takes_nothing_away() {
    let result = run_on(1, || async {
        let log = Log::new();
        let shared = Arc::new(log.resource("resource"));
        let theirs = shared.clone();
        let refused = Task::new().give(&shared).call(move || async move { drop(theirs) });
        assert!(refused.is_err());
        assert_eq!(*shared.get()?, "resource");
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn a_pin_is_refused_to_domain_0_to_ones_own_and_to_one_that_is_not_there() {
    let result = run_on(3, || async {
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
            (refused, other.expect("there is a third").await.ok())
        })?;
        assert_eq!(child.await?, (true, Some(2)));
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

/// How many of `calls` calls go to each domain.
async fn spread(calls: usize) -> BTreeMap<usize, usize> {
    let promises: Vec<_> = (0..calls)
        .map(|_| call(|| async { (domain(), thread::current().id()) }).expect("others"))
        .collect();
    let mut spread = BTreeMap::new();
    for promise in promises {
        let (domain, thread) = promise.await.expect("it does not fail");
        assert_ne!(thread, thread::current().id(), "it runs elsewhere");
        *spread.entry(domain).or_default() += 1;
    }
    spread
}

#[test]
fn calls_go_evenly_to_the_others_and_never_to_domain_0_nor_home() {
    let result = run_on(4, || async {
        assert_eq!(domain(), 0);
        assert_eq!(spread(300).await, BTreeMap::from([(1, 100), (2, 100), (3, 100)]));
        let from_2 = Task::new().pin(2).call(|| spread(300))?.await?;
        assert_eq!(from_2, BTreeMap::from([(1, 150), (3, 150)]));
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn parallel_spreads_evenly_and_keeps_the_order() {
    let result = run_on(3, || async {
        let outcomes = parallel(0..100, |n| async move { (n, domain()) })?.await;
        let mut spread = BTreeMap::<usize, usize>::new();
        for (index, outcome) in outcomes.into_iter().enumerate() {
            let (n, domain) = outcome?;
            assert_eq!(n, index);
            *spread.entry(domain).or_default() += 1;
        }
        assert_eq!(spread, BTreeMap::from([(1, 50), (2, 50)]));
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
}
