//! R11: a domain that does not handle a cancel request, because it stays in one poll, is a finding.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use matou_runtime::{Builder, Diagnostic, Finding, MainError, RunError, Task, call, sleep};

const LIMIT: Duration = Duration::from_millis(20);

/// Only so that a failing test ends.
const GIVE_UP: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Shared {
    is_spinning: AtomicBool,
    is_reported: AtomicBool,
    texts: Mutex<Vec<String>>,
}

impl Shared {
    /// Does not await until the domain is reported.
    fn spin(&self) {
        self.is_spinning.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        while !self.is_reported.load(Ordering::Relaxed) && begun.elapsed() < GIVE_UP {
            spin_loop();
        }
    }
}

fn builder(shared: &Arc<Shared>) -> Builder {
    let shared = Arc::clone(shared);
    Builder::new().domains(2).slow_poll(LIMIT).on_report(move |diagnostic| {
        if let Diagnostic::Finding(Finding::StuckDomain { .. }) = diagnostic {
            shared.texts.lock().expect("no panic").push(diagnostic.to_string());
            shared.is_reported.store(true, Ordering::Relaxed);
        }
    })
}

#[test]
fn r11_a_call_that_never_awaits_is_named_while_its_cancellation_waits() {
    let shared = Arc::<Shared>::default();
    let spinning = Arc::clone(&shared);
    let result: Result<(), RunError> = builder(&shared).run(async move {
        let started = Arc::clone(&spinning);
        let child = Task::new().name("indexer").call(move || async move { spinning.spin() })?;
        while !started.is_spinning.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(1)).await;
        }
        child.cancel().await;
        Ok::<_, MainError>(())
    });
    result.expect("the program succeeds");
    let texts = shared.texts.lock().expect("no panic");
    let [text] = &**texts else { panic!("{texts:?}") };
    for part in [
        "warning[StuckDomain]: domain 1 has been in one poll of task #",
        "`indexer` on domain 1 for ",
        "r11_stuck_domains.rs",
        "task #1 `main` on domain 0 has cancelled a child there",
        "help: ",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

/// The task that is polled need not be the one that is cancelled.
#[test]
fn r11_the_task_that_keeps_a_domain_from_cancelling_another_one_is_named() {
    let shared = Arc::<Shared>::default();
    let spinning = Arc::clone(&shared);
    let result: Result<(), RunError> = builder(&shared).run(async move {
        let started = Arc::clone(&spinning);
        let waiting = Task::new().name("waiting").call(std::future::pending::<()>)?;
        let spinner = Task::new().name("spinner").call(move || async move { spinning.spin() })?;
        while !started.is_spinning.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(waiting.cancel().await.is_none());
        spinner.await?;
        Ok::<_, MainError>(())
    });
    result.expect("the program succeeds");
    let texts = shared.texts.lock().expect("no panic");
    let [text] = &**texts else { panic!("{texts:?}") };
    assert!(
        text.contains("one poll of task #") && text.contains("`spinner` on domain 1"),
        "{text}"
    );
    assert!(text.contains("`waiting`"), "{text}");
}

/// A request that is handled is no finding, however long the child takes to end: it waits for a
/// shield.
#[test]
fn r11_a_child_that_ends_slowly_between_its_polls_is_not_reported() {
    let shared = Arc::<Shared>::default();
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let result: Result<(), RunError> = builder(&shared).run(async move {
        let started = Arc::clone(&counted);
        let child = call(move || async move {
            matou_runtime::shield(async move {
                for _ in 0..8 {
                    counted.fetch_add(1, Ordering::Relaxed);
                    sleep(LIMIT / 2).await;
                }
            })
            .await
        })?;
        while started.load(Ordering::Relaxed) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        child.cancel().await;
        Ok::<_, MainError>(())
    });
    result.expect("the program succeeds");
    assert_eq!(polls.load(Ordering::Relaxed), 8);
    assert_eq!(*shared.texts.lock().expect("no panic"), [] as [String; 0]);
}
