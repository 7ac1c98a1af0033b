//! Goal: a program sees its domains, chooses among them by their load, and is called when they
//! start, stop, and begin a tick.
//! Method: counters and latches; the load of a domain changes only when the program makes it.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use matou_runtime::test::Check;
use matou_runtime::{
    Builder, MainError, Task, call, current_domain, domain_count, domain_load, live_tasks, spawn,
    tick_hook, yield_now,
};

use crate::support::{Counter, Log, run_on, run_with, strict, within_deadline};

#[test]
fn each_task_knows_its_domain_and_how_many_there_are() {
    let program = || async {
        assert_eq!((current_domain(), domain_count()), (Some(0), 3));
        for domain in [1, 2] {
            let child =
                Task::new().pin(domain).call(|| async { (current_domain(), domain_count()) });
            assert_eq!(child?.await?, (Some(domain), 3));
        }
        assert_eq!(domain_load(3), None);
        Ok::<_, MainError>(())
    };
    run_on(3, program).unwrap();
    Check::simulated().domains(3).run(0..5, program);
    assert_eq!((current_domain(), domain_count(), domain_load(0)), (None, 0, None));
}

#[test]
fn the_load_of_a_domain_is_the_number_of_tasks_that_live_on_it() {
    run_on(2, || async {
        assert_eq!(domain_load(0), Some(1));
        let here: Vec<_> = (0..3).map(|_| spawn(pending::<()>())).collect();
        assert_eq!(domain_load(0), Some(4));
        let there = call(|| async {
            let children: Vec<_> = (0..2).map(|_| spawn(pending::<()>())).collect();
            pending::<()>().await;
            drop(children);
        })?;
        while domain_load(1) != Some(3) {
            yield_now().await;
        }
        assert_eq!((domain_load(0), live_tasks()), (Some(4), 7));
        there.cancel().await;
        for child in here {
            child.cancel().await;
        }
        while domain_load(1) != Some(0) {
            yield_now().await;
        }
        assert_eq!(domain_load(0), Some(1));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_call_goes_to_the_domain_with_the_fewest_tasks() {
    let program = || async {
        let busy: Vec<_> =
            (0..4).map(|_| Task::new().pin(1).call(pending::<()>).unwrap()).collect();
        while domain_load(1) != Some(4) {
            yield_now().await;
        }
        // A burst: the domains have published nothing in the meantime.
        let calls: Vec<_> = (0..6)
            .map(|_| {
                Task::new()
                    .least_loaded()
                    .call(|| async {
                        let domain = current_domain();
                        pending::<()>().await;
                        domain
                    })
                    .unwrap()
            })
            .collect();
        while live_tasks() < 11 || domain_load(1).unwrap() + domain_load(2).unwrap() < 10 {
            yield_now().await;
        }
        assert_eq!((domain_load(1), domain_load(2)), (Some(5), Some(5)));
        for child in calls {
            child.cancel().await;
        }
        for child in busy {
            child.cancel().await;
        }
        Ok::<_, MainError>(())
    };
    run_on(3, program).unwrap();
    Check::simulated().domains(3).run(0..10, program);
}

#[test]
fn r09_calls_reach_domain_0_only_where_that_is_permitted() {
    run_on(2, || async {
        let child = call(|| async {
            let pinned = Task::new().pin(0).call(|| async {}).is_err();
            pinned
                && call(|| async {}).is_err()
                && Task::new().least_loaded().call(|| async {}).is_err()
        });
        assert!(child?.await?);
        Ok(())
    })
    .unwrap();
    run_with(strict().domains(2).calls_to_domain_0(true), || async {
        assert!(Task::new().pin(0).call(|| async {}).is_err(), "the caller's own");
        let child = call(|| async {
            let pinned = Task::new().pin(0).call(|| async { current_domain() }).unwrap().await;
            let called = call(|| async { current_domain() }).unwrap().await;
            matches!((pinned, called), (Ok(Some(0)), Ok(Some(0))))
        });
        assert!(child?.await?);
        Ok(())
    })
    .unwrap();
}

#[test]
fn each_domain_starts_and_stops_once_on_its_own_thread() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let record = |event: &'static str| {
        let events = Arc::clone(&events);
        move |domain: usize| {
            events.lock().unwrap().push((event, domain, std::thread::current().id()));
        }
    };
    let builder = Builder::new().domains(3).on_start(record("start")).on_stop(record("stop"));
    within_deadline(move || {
        builder.run(async { Ok::<_, MainError>(call(|| async {})?.await?) }).unwrap();
    });
    let mut events = std::mem::take(&mut *events.lock().unwrap());
    events.sort_by_key(|&(event, domain, _)| (domain, event));
    let names: Vec<_> = events.iter().map(|&(event, domain, _)| (event, domain)).collect();
    let expected = [0, 1, 2].map(|domain| [("start", domain), ("stop", domain)]);
    assert_eq!(names, expected.concat());
    for pair in events.chunks(2) {
        assert_eq!(pair[0].2, pair[1].2, "one thread for each domain");
    }
}

#[test]
fn a_panic_when_a_domain_stops_hides_no_result() {
    let builder = Builder::new().domains(2).on_stop(|_| panic!("at the stop"));
    let value = within_deadline(move || builder.run(async { Ok::<_, MainError>(7) }).unwrap());
    assert_eq!(value, 7);
}

#[test]
fn a_tick_hook_is_called_until_it_is_dropped_and_may_add_and_remove_hooks() {
    let program = || async {
        let log = Log::new();
        let (ticks, nested) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
        let hook = tick_hook({
            let (ticks, nested, log) = (ticks.clone(), nested.clone(), log.clone());
            let guard = log.on_drop("hook dropped");
            move || {
                let _guard = &guard;
                ticks.set(ticks.get() + 1);
                if ticks.get() == 2 {
                    let log = log.clone();
                    *nested.borrow_mut() = Some(tick_hook(move || {
                        log.push("nested");
                        panic!("ignored");
                    }));
                }
            }
        });
        while log.entries().len() < 3 {
            yield_now().await;
        }
        drop(nested.take());
        let calls = log.entries().len();
        drop(hook);
        let before = ticks.get();
        assert!(before >= 4);
        for _ in 0..200 {
            yield_now().await;
        }
        assert_eq!(ticks.get(), before);
        assert_eq!(log.entries().len(), calls + 1);
        assert_eq!(log.position("hook dropped"), calls);
        Ok::<_, MainError>(())
    };
    run_on(1, program).unwrap();
    Check::simulated().domains(1).run(0..5, program);
}

#[test]
fn tick_hooks_that_are_left_are_dropped_with_their_domain() {
    let dropped = Counter::new();
    struct CountsDrop(Counter);
    impl Drop for CountsDrop {
        fn drop(&mut self) {
            self.0.add();
        }
    }
    let guard = CountsDrop(dropped.clone());
    run_on(1, || async move {
        std::mem::forget(tick_hook(move || {
            let _guard = &guard;
        }));
        Ok(())
    })
    .unwrap();
    assert_eq!(dropped.get(), 1);
}
