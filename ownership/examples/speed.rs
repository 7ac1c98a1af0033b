//! Measures the cost of the operations: `cargo run --release -p matou-ownership --example speed`.
//!
//! Each figure is the best of several rounds, in nanoseconds per iteration.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use matou_ownership::{
    FinalizeStatus, Ledger, Owned, Resource, ResourceHandle, Ticket, adopt, check, enter, own,
    release,
};

const ROUNDS: u32 = 20;
const ITERATIONS: u32 = 200_000;

struct Door {
    ticket: Ticket,
}

impl Resource for Door {
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn finalize(&self) -> FinalizeStatus {
        FinalizeStatus::Done
    }
}

struct DoorHandle(Arc<Door>);

impl DoorHandle {
    fn new() -> DoorHandle {
        DoorHandle(Arc::new(Door { ticket: Ticket::new("door") }))
    }
}

impl ResourceHandle for DoorHandle {
    fn ticket(&self) -> &Ticket {
        &self.0.ticket
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.0.clone()
    }
}

fn measure(name: &str, mut iteration: impl FnMut()) {
    let best = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        (0..ITERATIONS).for_each(|_| iteration());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(ITERATIONS)
    });
    let best = best.fold(f64::INFINITY, f64::min);
    eprintln!("{name:<44} {best:7.1} ns");
}

fn main() {
    let entered = enter(Some(Ledger::new()));
    measure("allocate and free a resource", || drop(black_box(DoorHandle::new())));
    measure("allocate, own, check, release, free", || {
        let door = DoorHandle::new();
        own(&door.resource());
        check(black_box(&door)).expect("the task owns it");
        black_box(release(&door));
    });
    measure("create an `Owned`, check, drop", || {
        let owned = Owned::new((), black_box);
        check(black_box(&owned)).expect("the task owns it");
    });
    let door = DoorHandle::new();
    own(&door.resource());
    measure("check of an owned resource", || check(black_box(&door)).expect("the task owns it"));
    measure("adopt of an owned resource", || adopt(black_box(&door)).expect("the task owns it"));
    release(&door);
    entered.leave();

    measure("enter and leave without a ledger", || drop(black_box(enter(None)).leave()));
    let mut ledger = Some(Ledger::new());
    measure("enter and leave a ledger", || ledger = black_box(enter(ledger.take())).leave());
}
