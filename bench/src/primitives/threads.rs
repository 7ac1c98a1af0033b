use std::sync::{Arc, Condvar, Mutex};

use super::Row;
use crate::meter::{Cost, Meter};

pub(super) const PROGRAMS: &[Row] = &[("threads", "notify-2", notify)];

/// A ball between two players.
#[derive(Default)]
struct Table {
    turn: Mutex<bool>,
    moved: Condvar,
}

fn play(table: &Table, n: u64, me: bool) {
    for _ in 0..n {
        let turn = table.turn.lock().expect("nobody panics");
        let mut turn = table.moved.wait_while(turn, |turn| *turn != me).expect("nobody panics");
        *turn = !me;
        drop(turn);
        table.moved.notify_one();
    }
}

fn notify(n: u64) -> Cost {
    let table = Arc::<Table>::default();
    let other = Arc::clone(&table);
    let meter = Meter::start();
    let thread = std::thread::spawn(move || play(&other, n / 2, true));
    play(&table, n / 2, false);
    thread.join().expect("it ends well");
    meter.stop(n)
}
