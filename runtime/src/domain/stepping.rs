//! Goal: a domain is a value, so that several of them can be stepped on one thread, in any order.
//! Method: two domains with drivers that never wait, turned by hand.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::Domain;
use crate::driver::{Driver, Interrupt, Until};
use crate::run::{Config, Forgotten, Run};
use crate::task::{About, Fallible, TaskError, allocate};
use crate::{call, sleep, spawn};

/// Never waits; its clock jumps to the deadline it is asked to wait for.
struct Jumping(Rc<Cell<Instant>>);

struct Nothing;

impl Interrupt for Nothing {
    fn interrupt(&self) {}
}

impl Driver for Jumping {
    fn now(&self) -> Instant {
        self.0.get()
    }

    fn wait(&self, until: Until) -> io::Result<()> {
        if let Until::Deadline(deadline) = until {
            self.0.set(self.0.get().max(deadline));
        }
        Ok(())
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::new(Nothing)
    }
}

/// Steps `main` on domain 0 and one other domain, in the order that `turns` tells, and returns the
/// outcome and the number of turns it took.
fn step<T: 'static>(
    main: impl Future<Output = Result<T, Box<dyn std::error::Error + Send + Sync>>> + 'static,
    mut turns: impl FnMut(usize) -> usize,
) -> (T, usize) {
    let (quantum, grace, forgotten) = (1, Duration::from_secs(1), Forgotten::default());
    let run = Run::new(2, Config { seed: 7, quantum, grace, forgotten });
    let clock = Rc::new(Cell::new(Instant::now()));
    let domains = [0, 1]
        .map(|index| Domain::new(Arc::clone(&run), index, Box::new(Jumping(Rc::clone(&clock)))));
    let about = About { spawned_at: std::panic::Location::caller(), name: None };
    let entry = domains[0].insert_root(about);
    let (runnable, mut handle) = allocate::<_, _, Fallible>(&run, 0, move || main);
    runnable.metadata().settle_at(entry.slot);
    domains[0].make_ready(runnable);

    let mut taken = 0;
    while !domains.iter().all(|domain| domain.stopped.get()) {
        let domain = &domains[turns(taken)];
        if !domain.stopped.get() {
            domain.turn();
        }
        taken += 1;
        assert!(taken < 10_000, "the run does not end");
    }
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(sealed) = Pin::new(&mut handle).poll(&mut cx) else { panic!("not ended") };
    let value = sealed.open().unwrap_or_else(|error: TaskError<_>| panic!("{error}"));
    (value, taken)
}

async fn program() -> Result<Vec<u32>, Box<dyn std::error::Error + Send + Sync>> {
    let away = call(|| async {
        let inner = spawn(async {
            sleep(Duration::from_secs(60)).await;
            2
        });
        inner.await.map_or(0, |two| two + 1)
    })?;
    let here = spawn(async { 1 });
    let endless = call(std::future::pending::<()>)?;
    endless.cancel().await;
    Ok(vec![here.await?, away.await?])
}

#[test]
fn two_domains_are_stepped_on_one_thread_in_any_order() {
    let fair = |taken: usize| taken % 2;
    let (values, taken) = step(program(), fair);
    assert_eq!(values, [1, 3]);
    assert_eq!(step(program(), fair).1, taken, "the same order takes the same turns");

    let first_much = |taken: usize| usize::from(taken % 7 == 6);
    assert_eq!(step(program(), first_much).0, [1, 3]);
    let second_much = |taken: usize| usize::from(!taken.is_multiple_of(5));
    assert_eq!(step(program(), second_much).0, [1, 3]);
}
