//! Time for hyper.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use matou_runtime::futures::Sleep;
use matou_runtime::{now, sleep, sleep_until};

/// The timer of the domain, as a timer of hyper. In simulated runs its time is virtual.
///
/// Without a timer, the time limits of hyper's builders have no effect or panic.
///
/// # Examples
///
/// ```
/// use hyper::server::conn::http1;
/// use matou_http::Timer;
///
/// let mut builder = http1::Builder::new();
/// builder.timer(Timer);
/// ```
#[doc(alias = "TokioTimer")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer;

struct TimerSleep(Sleep);

impl Future for TimerSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl hyper::rt::Sleep for TimerSleep {}

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(TimerSleep(sleep(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(TimerSleep(sleep_until(deadline)))
    }

    fn now(&self) -> Instant {
        now()
    }

    /// Reuses the allocation.
    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<TimerSleep>() {
            Some(mut sleep) => sleep.0 = sleep_until(deadline),
            None => *sleep = hyper::rt::Timer::sleep_until(self, deadline),
        }
    }
}
