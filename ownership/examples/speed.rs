//! Measures what the verbs cost: `cargo run --release -p matou-ownership --example speed`.
//!
//! Each figure is the best of several rounds, in nanoseconds for one turn of the loop.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use matou_ownership::{
    FinalizeStatus, Ledger, Owned, Resource, ResourceHandle, Ticket, adopt, check, enter, own,
    release,
};

const ROUNDS: u32 = 20;
const TURNS: u32 = 200_000;

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

impl ResourceHandle for DoorHandle {
    fn ticket(&self) -> &Ticket {
        &self.0.ticket
    }

    fn resource(&self) -> Arc<dyn Resource> {
        self.0.clone()
    }
}

fn door() -> DoorHandle {
    DoorHandle(Arc::new(Door { ticket: Ticket::new("door") }))
}

fn measure(what: &str, mut turn: impl FnMut()) {
    let best = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        (0..TURNS).for_each(|_| turn());
        start.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS)
    });
    let best = best.fold(f64::INFINITY, f64::min);
    eprintln!("{what:<44} {best:7.1} ns");
}

fn main() {
    let ledger = Ledger::new();
    let entered = enter(Some(ledger));

    measure("allocate a resource, and free it", || drop(black_box(door())));
    measure("allocate, own, check, release, free", || {
        let door = door();
        own(&door.resource());
        check(black_box(&door)).expect("it is ours");
        black_box(release(&door));
    });
    measure("make an `Owned`, check, drop", || {
        let owned = Owned::new((), black_box);
        check(black_box(&owned)).expect("it is ours");
    });
    let door = door();
    own(&door.resource());
    measure("check of one's own", || check(black_box(&door)).expect("it is ours"));
    measure("adopt of one's own", || adopt(black_box(&door)).expect("it is ours"));
    release(&door);
    entered.leave();

    measure("enter and leave without a ledger", || drop(black_box(enter(None)).leave()));
    let mut ledger = Some(Ledger::new());
    measure("enter and leave a ledger", || ledger = black_box(enter(ledger.take())).leave());
}
