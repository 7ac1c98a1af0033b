//! Goal: what is shielded goes on, hears why, and ends in time; deadlines hold for whole subtrees;
//! a reason reaches whoever is concerned.
//! Method: bodies under many seeds, in virtual time, on three domains.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use matou_ownership::Owned;
use matou_runtime::test::{Check, check};
use matou_runtime::{
    Elapsed, MainError, Orphans, Promise, RunError, Task, TaskError, call, cancelled, deadline,
    defer, now, race, remaining, shield, sleep, sleep_until, spawn, timeout, try_shield, yield_now,
};

const SEEDS: std::ops::Range<u64> = 0..60;
const SECOND: Duration = Duration::from_secs(1);

/// What happened, in order, from any domain.
#[derive(Clone, Default)]
struct Story(Arc<Mutex<Vec<&'static str>>>);

impl Story {
    fn tell(&self, word: &'static str) {
        self.0.lock().unwrap().push(word);
    }

    fn told(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }

    /// Tells a word when it is dropped.
    fn last_word(&self, word: &'static str) -> LastWord {
        LastWord(self.clone(), word)
    }
}

struct LastWord(Story, &'static str);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.tell(self.1);
    }
}

/// Runs a task that fits both places, on this domain or on another one.
fn place<M, F>(away: bool, make: M) -> Result<Promise<F::Output>, MainError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let task = Task::new().name("placed");
    Ok(if away { task.call(make)? } else { task.spawn(make()) })
}

#[test]
fn a_shielded_task_goes_on_when_its_parent_is_cancelled_and_the_parents_guards_wait() {
    check(SEEDS, || async {
        for away in [false, true] {
            let story = Story::default();
            let inner = story.clone();
            let child = place(away, move || async move {
                let _guard = inner.last_word("guard dropped");
                let done = inner.clone();
                let _ = shield(async move {
                    sleep(SECOND).await;
                    done.tell("committed");
                })
                .await;
            })?;
            sleep(SECOND / 2).await;
            child.cancel().await;
            story.tell("gone");
            assert_eq!(story.told(), ["committed", "guard dropped", "gone"]);
        }
        Ok::<_, MainError>(())
    });
}

#[test]
fn the_time_of_a_shield_is_limited_once_its_end_was_asked_for() {
    check(SEEDS, || async {
        let ended = Rc::new(Cell::new(false));
        struct Flag(Rc<Cell<bool>>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let flag = Flag(Rc::clone(&ended));
        let child = spawn(async {
            let shield = shield(async move {
                let _flag = flag;
                pending::<()>().await;
            });
            let _ = shield.limit(3 * SECOND).await;
        });
        sleep(100 * SECOND).await;
        assert!(!ended.get(), "nobody has asked yet");
        let asked = now();
        child.cancel().await;
        assert_eq!(now() - asked, 3 * SECOND);
        assert!(ended.get());
    });
}

#[test]
fn without_a_limit_of_its_own_a_shield_has_the_grace_period() {
    Check::simulated().grace(7 * SECOND).run(SEEDS, || async {
        let child = spawn(async {
            let _ = shield(pending::<()>()).await;
        });
        yield_now().await;
        let asked = now();
        child.cancel().await;
        assert_eq!(now() - asked, 7 * SECOND);
    });
}

#[test]
fn a_dropped_shield_is_no_fault_and_the_parents_end_waits_for_it() {
    check(SEEDS, || async {
        for away in [false, true] {
            let story = Story::default();
            let inner = story.clone();
            let child = place(away, move || async move {
                let committed = inner.clone();
                let commit = shield(async move {
                    sleep(SECOND).await;
                    committed.tell("committed");
                });
                let given_up = timeout(SECOND / 10, commit).await;
                assert!(given_up.is_err());
                inner.tell("given up");
            })?;
            child.await?;
            story.tell("ended");
            assert_eq!(story.told(), ["given up", "committed", "ended"]);
        }
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_shield_that_was_given_up_has_no_limit_while_its_parent_lives() {
    check(SEEDS, || async {
        let committed = Rc::new(Cell::new(false));
        let commit = Rc::clone(&committed);
        let child = spawn(async move {
            drop(shield(async move {
                sleep(1000 * SECOND).await;
                commit.set(true);
            }));
            sleep(2000 * SECOND).await;
        });
        child.await?;
        assert!(committed.get());
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_shield_that_is_dropped_on_another_domain_goes_on() {
    check(SEEDS, || async {
        let committed = Rc::new(Cell::new(false));
        let commit = Rc::clone(&committed);
        let parent = spawn(async move {
            let shield = shield(async move {
                sleep(SECOND).await;
                commit.set(true);
            });
            call(move || async move { drop(shield) })?.await?;
            Ok::<_, MainError>(())
        });
        parent.await??;
        assert!(committed.get());
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_shield_yields_the_outcome_of_its_task() {
    check(SEEDS, || async {
        assert_eq!(shield(async { 7 }).await?, 7);
        let failed = try_shield(async { Err::<(), _>("no") }).await;
        assert!(matches!(failed, Err(TaskError::Failed("no"))));
        let ready = shield(async { 8 });
        sleep(SECOND).await;
        drop(ready);
        Ok::<_, MainError>(())
    });
}

#[test]
fn what_descends_from_a_shield_is_protected_and_hears_of_a_cancellation() {
    check(SEEDS, || async {
        let heard = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&heard);
        let parent = Task::new().name("parent").spawn(async move {
            let _ = shield(async move {
                let listen = |count: &Arc<AtomicU32>| {
                    let count = Arc::clone(count);
                    move || async move {
                        let cancelled = cancelled().await;
                        assert_eq!(cancelled.reason(), Some("closing"));
                        assert_eq!(cancelled.by_name(), Some("main"));
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                };
                let here = spawn(listen(&count)());
                let nested = listen(&count);
                let nested = spawn(async move { spawn(nested()).await });
                let there = call(listen(&count))?;
                let further = listen(&count);
                let further = call(move || async move {
                    spawn(further()).await.map_err(|error| error.to_string())
                })?;
                here.await?;
                nested.await??;
                there.await?;
                further.await??;
                // Those who are born now know it already.
                spawn(listen(&count)()).await?;
                call(listen(&count))?.await?;
                Ok::<_, MainError>(())
            })
            .await;
        });
        sleep(SECOND).await;
        let asked = now();
        parent.cancel_because("closing").await;
        assert_eq!(heard.load(Ordering::Relaxed), 6);
        assert!(now() - asked < SECOND, "nobody had to be ended by force");
    });
}

#[test]
fn a_task_that_nobody_shields_hears_nothing_and_is_ended() {
    check(SEEDS, || async {
        let child = spawn(async {
            cancelled().await;
            unreachable!("a cancelled task is polled no more")
        });
        sleep(SECOND).await;
        assert!(child.cancel().await.is_none());
    });
}

#[test]
fn a_shield_inside_a_shield_has_a_limit_of_its_own() {
    check(SEEDS, || async {
        let child = spawn(async {
            let outer = shield(async {
                let _ = shield(pending::<()>()).limit(5 * SECOND).await;
            });
            let _ = outer.limit(2 * SECOND).await;
        });
        yield_now().await;
        yield_now().await;
        let asked = now();
        child.cancel().await;
        // The outer one is ended after 2 seconds, and only then is the inner one asked.
        assert_eq!(now() - asked, 7 * SECOND);
    });
}

#[test]
fn a_shield_without_an_end_is_waited_for_until_it_is_done() {
    check(SEEDS, || async {
        let child = spawn(async {
            let _ = shield(sleep(1_000_000 * SECOND)).limit(Duration::MAX).await;
        });
        yield_now().await;
        let asked = now();
        child.cancel().await;
        assert!(now() - asked >= 999_999 * SECOND);
    });
}

#[test]
fn a_violation_ends_a_shield_too_when_its_limit_is_over() {
    for seed in SEEDS {
        let heard = Arc::new(Mutex::new(String::new()));
        let hears = Arc::clone(&heard);
        let trial = Check::simulated().trial(seed, async move {
            let shielded = Task::new().name("shielded").call(|| async {
                let _ = shield(async move {
                    *hears.lock().unwrap() = cancelled().await.to_string();
                    pending::<()>().await;
                })
                .limit(SECOND)
                .await;
            })?;
            sleep(SECOND).await;
            let culprit = Task::new().name("culprit").spawn(async {
                let _forgotten = spawn(pending::<()>());
            });
            culprit.await?;
            shielded.await?;
            Ok::<_, MainError>(())
        });
        let error = trial.outcome.unwrap_err();
        assert!(error.report().is_some(), "{error}");
        let heard = heard.lock().unwrap().clone();
        assert!(heard.contains("`culprit` broke a rule: StillHasChildren"), "{heard}");
        assert!(trial.elapsed < 3 * SECOND, "{:?}", trial.elapsed);
    }
}

#[test]
fn a_cancellation_says_who_asked_at_which_line_and_why() {
    check(SEEDS, || async {
        for away in [false, true] {
            let heard = Arc::new(Mutex::new(None));
            let hears = Arc::clone(&heard);
            let grandparent = place(away, move || async move {
                let child = spawn(async move {
                    let _ = shield(async move {
                        *hears.lock().unwrap() = Some(cancelled().await);
                    })
                    .await;
                });
                let _ = child.await;
            })?;
            sleep(SECOND).await;
            let line = line!() + 1;
            grandparent.cancel_because("the shop closes").await;
            let heard = heard.lock().unwrap().take().expect("it heard of it");
            assert_eq!(heard.at().expect("a line").line(), line);
            assert_eq!(heard.by().expect("a task").as_u64(), 1);
            assert_eq!((heard.by_name(), heard.reason()), (Some("main"), Some("the shop closes")));
            assert!(heard.is_inherited());
            let text = heard.to_string();
            let expected = "with an ancestor that was cancelled by task #1 `main` at ";
            assert!(text.contains(expected) && text.ends_with(": the shop closes"), "{text}");
        }
        Ok::<_, MainError>(())
    });
}

/// A task with a shielded child, which writes down what it hears.
fn with_a_listener(heard: &Rc<RefCell<String>>) -> Promise<(), String> {
    let hears = Rc::clone(heard);
    Task::new().name("parent").try_spawn(async move {
        drop(shield(async move {
            let why = cancelled().await;
            assert_eq!(why.at().expect("a line").file(), file!(), "{why}");
            *hears.borrow_mut() = why.to_string();
        }));
        sleep(10 * SECOND).await;
        Err::<(), _>("it fails".to_owned())
    })
}

/// What a shielded child of a task hears, when the task comes to the end that `end` makes.
async fn heard_when<F>(end: impl FnOnce(Promise<(), String>) -> F) -> String
where
    F: Future<Output = ()>,
{
    let heard = Rc::default();
    let child = with_a_listener(&heard);
    sleep(SECOND).await;
    end(child).await;
    sleep(100 * SECOND).await;
    heard.take()
}

#[test]
fn every_kind_of_end_has_its_reason() {
    check(SEEDS, || async {
        let failed = heard_when(|child| async { drop(child.await) }).await;
        assert!(failed.contains("because its parent, task #2 `parent` (made at "), "{failed}");
        assert!(failed.ends_with("), ended"), "{failed}");
        let asked = heard_when(|child| async {
            let _ = child.cancel().await;
        })
        .await;
        assert!(asked.contains("cancelled by task #1 `main` at "), "{asked}");
        let given_up = heard_when(|child| async {
            assert!(timeout(SECOND, child).await.is_err());
        });
        let given_up = given_up.await;
        let expected = "because task #1 `main` gave up the branch that held it at ";
        assert!(given_up.contains(expected), "{given_up}");

        let heard = Rc::default();
        let making = std::future::poll_fn(|_| std::task::Poll::Ready(with_a_listener(&heard)));
        let late = deadline(now() + SECOND, making).await?;
        sleep(2 * SECOND).await;
        drop(late.await);
        let late = heard.take();
        assert!(late.contains("its deadline passed, which was set by task #1 at "), "{late}");
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_broken_rule_is_a_reason() {
    for seed in SEEDS {
        let heard = Rc::new(RefCell::new(String::new()));
        let hears = Rc::clone(&heard);
        let trial = Check::simulated().trial(seed, async move {
            let listener = spawn(async move {
                let _ = shield(async move {
                    *hears.borrow_mut() = cancelled().await.to_string();
                })
                .await;
            });
            sleep(SECOND).await;
            let culprit = Task::new().name("culprit").spawn(async { drop(spawn(pending::<()>())) });
            culprit.await?;
            listener.await?;
            Ok::<_, MainError>(())
        });
        assert!(matches!(trial.outcome, Err(RunError::Violated(_))), "{:?}", trial.outcome);
        let heard = heard.take();
        assert!(heard.contains("`culprit` broke a rule: StillHasChildren"), "{heard}");
    }
}

#[test]
fn who_gives_up_a_branch_is_named_by_its_line() {
    check(SEEDS, || async {
        let heard = Rc::default();
        let child = with_a_listener(&heard);
        sleep(SECOND).await;
        let line = line!() + 1;
        race(async { drop(child.await) }, sleep(SECOND)).await;
        sleep(SECOND).await;
        let heard = heard.take();
        assert!(heard.contains(&format!("protection.rs:{line}:")), "{heard}");
        sleep(100 * SECOND).await;
    });
}

#[test]
fn a_dropped_promise_is_a_reason() {
    Check::simulated().forgotten(matou_runtime::Forgotten::Cancel).run(SEEDS, || async {
        let dropped = heard_when(|child| async { drop(child) }).await;
        assert!(
            dropped.contains("because task #1 `main` dropped its promise (made at "),
            "{dropped}"
        );
    });
}

#[test]
fn a_report_says_why_a_child_is_being_ended() {
    let trial = Check::simulated().trial(1, async {
        let parent = Task::new().name("parent").spawn(async {
            let child = Task::new().name("slow").spawn(async {
                let _ = shield(pending::<()>()).limit(SECOND).await;
            });
            yield_now().await;
            let _ = timeout(SECOND, child.cancel_because("too slow")).await;
            drop(spawn(pending::<()>()));
        });
        parent.await?;
        Ok::<_, MainError>(())
    });
    let text = trial.outcome.unwrap_err().to_string();
    assert!(text.contains("terminating (the task was cancelled because"), "{text}");
    assert!(text.contains("`parent` dropped its promise"), "{text}");
}

#[test]
fn a_deadline_ends_the_block_and_all_the_children_that_it_made() {
    check(SEEDS, || async {
        for away in [false, true] {
            let begun = now();
            let story = Story::default();
            let outer = story.clone();
            let ended: Result<(), Elapsed> = deadline(begun + SECOND, async move {
                let inner = outer.clone();
                let child = place(away, move || async move {
                    let _word = inner.last_word("child dropped");
                    let deeper = inner.clone();
                    spawn(async move {
                        let _word = deeper.last_word("grandchild dropped");
                        pending::<()>().await;
                    })
                    .await
                    .ok();
                });
                child.expect("there is a domain").await.ok();
                pending().await
            })
            .await;
            assert_eq!(ended, Err(Elapsed));
            assert_eq!(now() - begun, SECOND);
            sleep(SECOND).await;
            assert_eq!(story.told(), ["grandchild dropped", "child dropped"]);
        }
    });
}

#[test]
fn a_child_keeps_the_deadline_that_it_was_born_with() {
    check(SEEDS, || async {
        for away in [false, true] {
            let begun = now();
            let born = deadline(begun + SECOND, async move {
                place(away, move || async move {
                    // Its own children have it, too.
                    let inner = spawn(pending::<()>());
                    let outcome = inner.await;
                    panic!("it is ended with its child, which was {outcome:?}");
                })
            });
            let child: Promise<()> = born.await??;
            let Err(TaskError::Cancelled(cancelled)) = child.await else {
                panic!("it was cancelled");
            };
            let text = cancelled.to_string();
            assert!(
                text.contains("because its deadline passed, which was set by task #1 at"),
                "{text}"
            );
            assert_eq!(cancelled.at().expect("a line").file(), file!());
            assert!(now() - begun >= SECOND);
        }
        Ok::<_, MainError>(())
    });
}

#[test]
fn the_least_deadline_of_all_ancestors_holds() {
    check(SEEDS, || async {
        let begun = now();
        let (soon, late) = (begun + SECOND, begun + 10 * SECOND);
        let ended = deadline(soon, async move {
            let child = call(move || async move {
                deadline(late, async move {
                    assert!(remaining().expect("a deadline") <= SECOND);
                    let deeper = spawn(async { remaining() });
                    assert!(deeper.await.expect("it returns").expect("a deadline") <= SECOND);
                    pending::<()>().await;
                })
                .await
            });
            child.expect("there is a domain").await.is_ok()
        });
        assert!(matches!(ended.await, Err(Elapsed) | Ok(false)));
        assert_eq!(now() - begun, SECOND);

        let nearer = deadline(late, async move {
            let begun = now();
            let inner = deadline(begun + SECOND, pending::<()>()).await;
            (inner, now() - begun, remaining())
        });
        let (inner, took, left) = nearer.await?;
        assert_eq!((inner, took), (Err(Elapsed), SECOND));
        assert_eq!(left, Some(8 * SECOND), "the outer one is back");
        assert_eq!(remaining(), None);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_deadline_is_taken_back_by_a_panic_too() {
    check(0..3, || async {
        let child = spawn(async {
            let inner = std::panic::AssertUnwindSafe(deadline(now() + SECOND, async {
                assert!(remaining().is_none(), "it panics here");
            }));
            let caught = futures::FutureExt::catch_unwind(inner).await;
            assert!(caught.is_err());
            remaining()
        });
        assert_eq!(child.await?, None);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_shield_keeps_deadlines_out() {
    check(SEEDS, || async {
        let begun = now();
        let committed = Rc::new(Cell::new(false));
        let commit = Rc::clone(&committed);
        let child = spawn(async move {
            deadline(begun + SECOND, async move {
                let _ = shield(async move {
                    assert_eq!(remaining(), None);
                    sleep_until(begun + 5 * SECOND).await;
                    commit.set(true);
                })
                .await;
            })
            .await
        });
        assert_eq!(child.await?, Err(Elapsed));
        assert!(committed.get());
        assert_eq!(now() - begun, 5 * SECOND);
        Ok::<_, MainError>(())
    });
}

#[test]
fn a_task_that_ends_in_time_takes_its_timer_back() {
    let trial = Check::simulated().trace(usize::MAX).trial(1, async {
        let early = deadline(now() + 1000 * SECOND, async {
            for _ in 0..100 {
                spawn(yield_now()).await?;
                call(yield_now)?.await?;
            }
            Ok::<_, MainError>(())
        });
        early.await??;
        sleep(2000 * SECOND).await;
        Ok::<_, MainError>(())
    });
    trial.outcome.unwrap();
    let late = trial.trace.iter().filter(|event| event.at() >= 1000 * SECOND);
    let fired: Vec<String> = late.map(|event| event.to_string()).collect();
    let fired: Vec<_> = fired.iter().filter(|event| event.contains("timer")).collect();
    assert_eq!(fired.len(), 1, "only that of the last sleep: {fired:?}");
    assert!(fired[0].ends_with("a timer fires"), "{fired:?}");
}

/// How a task with deferred futures ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Normal,
    Failed,
    Panicked,
    Cancelled,
    Violated,
}

#[test]
fn deferred_futures_run_newest_first_however_the_task_ends() {
    for end in [End::Normal, End::Failed, End::Panicked, End::Cancelled, End::Violated] {
        for (seed, away) in (0..30).flat_map(|seed| [(seed, false), (seed, true)]) {
            let story = Story::default();
            let inner = story.clone();
            let trial = Check::simulated().trial(seed, async move {
                let make = move || async move {
                    let _guard = inner.last_word("guard");
                    let (first, last, between) = (inner.clone(), inner.clone(), inner.clone());
                    defer(async move {
                        sleep(SECOND).await;
                        first.tell("first");
                    });
                    drop(Owned::with_async(between, |between| async move {
                        yield_now().await;
                        between.tell("between");
                    }));
                    defer(async move {
                        yield_now().await;
                        last.tell("last");
                    });
                    match end {
                        End::Normal => Ok(()),
                        End::Failed => Err("failed".to_owned()),
                        End::Panicked => panic!("on purpose"),
                        End::Cancelled => pending().await,
                        End::Violated => {
                            drop(spawn(pending::<()>()));
                            Ok(())
                        }
                    }
                };
                let task = Task::new();
                let child = if away { task.try_call(make)? } else { task.try_spawn(make()) };
                sleep(SECOND).await;
                if end == End::Cancelled {
                    child.cancel().await;
                } else {
                    drop(child.await);
                }
                Ok::<_, MainError>(())
            });
            assert_eq!(trial.outcome.is_ok(), end != End::Violated, "{end:?}");
            assert_eq!(story.told(), ["guard", "last", "between", "first"], "{end:?} {away}");
        }
    }
}

#[test]
fn deferred_futures_of_a_main_that_fails_run_on_all_domains() {
    for seed in SEEDS {
        let story = Story::default();
        let (here, there) = (story.clone(), story.clone());
        let trial = Check::simulated().trial(seed, async move {
            defer(async move {
                sleep(SECOND).await;
                here.tell("main");
            });
            let _child = call(move || async move {
                defer(async move {
                    sleep(SECOND).await;
                    there.tell("child");
                });
                pending::<()>().await;
            })?;
            sleep(SECOND).await;
            Err::<(), MainError>("main fails".into())
        });
        assert!(matches!(trial.outcome, Err(RunError::Failed(_))));
        assert_eq!(story.told(), ["child", "main"]);
    }
}

#[test]
fn a_deferred_future_that_takes_longer_than_the_grace_is_dropped_and_reported() {
    let story = Story::default();
    let word = story.clone();
    let trial = Check::simulated().grace(SECOND).trial(1, async move {
        let child = spawn(async move {
            let word = word.last_word("dropped");
            defer(async move {
                let _word = word;
                pending::<()>().await;
            });
        });
        child.await?;
        Ok::<_, MainError>(())
    });
    let text = trial.outcome.unwrap_err().to_string();
    assert!(text.contains("error[FinalizerUnfinished]"), "{text}");
    assert!(text.contains("deferred future #"), "{text}");
    assert!(text.contains("protection.rs"), "{text}");
    assert_eq!(story.told(), ["dropped"]);
    assert_eq!(trial.elapsed.as_secs(), 1, "it had the grace period, and no more");
}

#[test]
fn a_deferred_future_that_panics_fails_its_task_and_no_other_future() {
    check(SEEDS, || async {
        let story = Story::default();
        let inner = story.clone();
        let child = spawn(async move {
            defer(async move { inner.tell("oldest") });
            defer(async { panic!("in a finalizer") });
        });
        let error = child.await.unwrap_err();
        assert!(error.is_panicked());
        assert!(error.to_string().contains("in a finalizer"), "{error}");
        assert_eq!(story.told(), ["oldest"]);
    });
}

#[test]
fn a_deferred_future_is_not_cancelled() {
    check(SEEDS, || async {
        let story = Story::default();
        let inner = story.clone();
        let parent = spawn(async move {
            let child = spawn(async move {
                defer(async move {
                    sleep(2 * SECOND).await;
                    inner.tell("done");
                });
            });
            // The child is over but for its finalizer when the cancellation comes.
            let _ = child.await;
        });
        sleep(SECOND).await;
        parent.cancel().await;
        assert_eq!(story.told(), ["done"]);
    });
}

#[test]
fn orphans_of_a_shield_are_protected_too() {
    check(SEEDS, || async {
        let served = Rc::new(Cell::new(0));
        let count = Rc::clone(&served);
        let server = spawn(async move {
            let _ = shield(async move {
                let clients = Orphans::new();
                for _ in 0..3 {
                    let count = Rc::clone(&count);
                    let client = Task::new().orphans(&clients).spawn(async move {
                        sleep(2 * SECOND).await;
                        count.set(count.get() + 1);
                    });
                    client.expect("there is no limit");
                }
                let stop = async {
                    cancelled().await;
                };
                race(stop, pending()).await;
                while clients.next().await.is_some() {}
            })
            .await;
        });
        sleep(SECOND).await;
        server.cancel().await;
        assert_eq!(served.get(), 3);
    });
}

#[test]
fn a_shield_may_be_named_and_given_a_resource() {
    check(SEEDS, || async {
        let story = Story::default();
        let word = story.clone();
        let shared = Arc::new(Owned::new((), move |()| word.tell("finalized")));
        let used = Arc::clone(&shared);
        let inner = story.clone();
        let worker = Task::new().give(&shared).spawn(async move {
            let shield = Task::new().name("commit").give(&shared).shield(async move {
                let why = cancelled().await.to_string();
                assert!(used.get().is_ok(), "it is the shield's");
                inner.tell("used");
                why
            });
            drop(shared);
            let _ = shield.await;
        });
        sleep(SECOND).await;
        worker.cancel().await;
        assert_eq!(story.told(), ["used", "finalized"]);
    });
}
