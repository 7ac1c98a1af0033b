use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Instant;

use matou_runtime::futures::Sleep;
use matou_runtime::{IoWait, WakerKey, WakerSet, now, sleep_until};

use super::locks::{assert_none_held, lock};

/// The wakers of the futures that wait for one event, such as bytes to read at one endpoint, and
/// the timer that wakes them when the next event is due.
#[derive(Default)]
pub(super) struct WakerList {
    wakers: Arc<Wakers>,
    timer: Mutex<Option<Sleep>>,
}

#[derive(Default)]
struct Wakers(Mutex<WakerSet>);

impl WakerList {
    /// Adds a future of the current task. The list is woken at `until` or earlier.
    pub(super) fn add(&self, mut wait: IoWait<'_>, cx: &mut Context<'_>, until: Option<Instant>) {
        self.wakers.add(wait.key(), cx.waker());
        wait.site().note();
        if self.set_timer(until) {
            self.wake_all();
        }
    }

    /// Removes the waker of a future that does not wait any more.
    pub(super) fn remove(&self, key: &mut WakerKey) {
        let Some(waker) = lock(&self.wakers.0).remove(key) else { return };
        assert_none_held();
        // A set of its own, from whose drop no panic of the waker comes.
        drop(WakerSet::new().register(&mut WakerKey::new(), waker));
    }

    /// Sets the timer. Returns `true` if `until` has passed already.
    fn set_timer(&self, until: Option<Instant>) -> bool {
        let mut timer = lock(&self.timer);
        let Some(until) = until else {
            *timer = None;
            return false;
        };
        if timer.as_ref().and_then(Sleep::deadline) != Some(until) {
            *timer = Some(sleep_until(until));
        }
        let sleep = timer.as_mut().expect("it was set above");
        let wake_all = Waker::from(Arc::clone(&self.wakers));
        let due = Pin::new(sleep).poll(&mut Context::from_waker(&wake_all)).is_ready();
        if due {
            *timer = None;
        }
        due
    }

    /// Wakes all tasks. The caller must not hold a lock, because a waker may run user code.
    pub(super) fn wake_all(&self) {
        self.wakers.wake_all();
    }
}

impl Wakers {
    fn add(&self, key: Option<&mut WakerKey>, waker: &Waker) {
        let wakers = lock(&self.0);
        let is_known = match &key {
            Some(key) => wakers.is_registered(key, waker),
            None => wakers.contains_unkeyed(waker),
        };
        drop(wakers);
        if is_known {
            return;
        }
        // A waker may run any code when it is cloned, woken or dropped: not under the lock.
        assert_none_held();
        let waker = waker.clone();
        match key {
            Some(key) => {
                let replaced = lock(&self.0).register(key, waker);
                drop(replaced);
            }
            None => {
                let evicted = lock(&self.0).insert_unkeyed(waker, now);
                evicted.wake_all();
            }
        }
    }

    fn wake_all(&self) {
        let wakers = lock(&self.0).take();
        // fault: simulated-wakers-woken-under-lock
        assert_none_held();
        wakers.wake_all();
    }
}

/// The waker of the timer.
impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}
