//! Runs sections at the same time where that uses a second core.
//!
//! Much of a section is sequential: the last crates of a build, its linking, tests that wait. So
//! two lanes take sections from one queue. Sections that build in the same target directory would
//! wait for cargo's lock, so they are never taken at the same time. The output of a section is
//! printed when it is complete.

use std::sync::{Condvar, Mutex};
use std::thread;

use super::Row;
use super::runner::{Runner, Totals};
use super::sections::Section;
use crate::workspace::Workspace;

const LANES: usize = 2;

/// Runs the sections, in the order of the list as far as target directories are free. Returns the
/// results in the order in which the sections ended.
pub(super) fn run(
    workspace: &Workspace,
    sections: Vec<&'static Section>,
    keep_going: bool,
) -> (Vec<Row>, Totals) {
    let queue = Queue { keep_going, state: Mutex::default(), changed: Condvar::new() };
    queue.state.lock().expect("no lane panics").waiting = sections;
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| queue.run_lane(workspace));
        }
    });
    let state = queue.state.into_inner().expect("no lane panics");
    (state.rows, state.totals)
}

struct Queue {
    keep_going: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<&'static Section>,
    /// The target directories that are in use.
    busy: Vec<&'static str>,
    rows: Vec<Row>,
    totals: Totals,
}

impl Queue {
    fn run_lane(&self, workspace: &Workspace) {
        let mut next = self.take();
        while let Some(section) = next {
            let mut runner = Runner::new(workspace.clone(), true);
            let row = Row::of(section, &mut runner);
            self.complete(row, runner);
            next = self.take();
        }
    }

    /// Takes the first section whose target directory is free.
    fn take(&self) -> Option<&'static Section> {
        let mut state = self.state.lock().expect("no lane panics");
        loop {
            if state.waiting.is_empty() {
                return None;
            }
            let is_free = |section: &&Section| !state.busy.contains(&section.builds);
            if let Some(index) = state.waiting.iter().position(is_free) {
                let section = state.waiting.remove(index);
                state.busy.push(section.builds);
                println!("started {}", section.name);
                return Some(section);
            }
            state = self.changed.wait(state).expect("no lane panics");
        }
    }

    fn complete(&self, row: Row, runner: Runner) {
        let mut state = self.state.lock().expect("no lane panics");
        state.busy.retain(|&directory| directory != row.section.builds);
        if row.outcome.is_err() && !self.keep_going {
            state.waiting.clear();
        }
        state.totals += runner.totals();
        println!("{}", runner.into_output());
        state.rows.push(row);
        self.changed.notify_all();
    }
}
