use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Instant;

use matou_runtime::futures::Sleep;
use matou_runtime::sleep_until;

/// Who waits for one thing, such as bytes to read at one end of a connection, and the alarm that
/// wakes them when that is due to arrive.
#[derive(Default)]
pub(super) struct Waiters {
    list: Arc<List>,
    alarm: Mutex<Option<Sleep>>,
}

#[derive(Default)]
struct List(Mutex<Vec<Waker>>);

impl Waiters {
    /// Adds the current task, which is woken at `until` at the latest.
    pub(super) fn wait(&self, cx: &mut Context<'_>, until: Option<Instant>) {
        self.list.add(cx.waker());
        let due = {
            let mut alarm = lock(&self.alarm);
            match until {
                None => {
                    *alarm = None;
                    false
                }
                Some(until) => {
                    if alarm.as_ref().and_then(Sleep::deadline) != Some(until) {
                        *alarm = Some(sleep_until(until));
                    }
                    let everybody = Waker::from(Arc::clone(&self.list));
                    let alarm = alarm.as_mut().expect("it was set just now");
                    Pin::new(alarm).poll(&mut Context::from_waker(&everybody)).is_ready()
                }
            }
        };
        if due {
            *lock(&self.alarm) = None;
            self.wake();
        }
    }

    /// Wakes them all. Not under a lock.
    pub(super) fn wake(&self) {
        self.list.wake_all();
    }
}

impl List {
    fn add(&self, waker: &Waker) {
        let mut list = lock(&self.0);
        if !list.iter().any(|known| known.will_wake(waker)) {
            list.push(waker.clone());
        }
    }

    fn wake_all(&self) {
        let list = std::mem::take(&mut *lock(&self.0));
        list.into_iter().for_each(Waker::wake);
    }
}

impl Wake for List {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}

/// All domains of a simulated run share one thread, and nothing here panics under a lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
