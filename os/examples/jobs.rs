//! Starts blocking jobs, ends the run while they are running, and shows that each has ended, was
//! reported, or has never begun: `cargo run -p matou-os --example jobs -- 1000 256`. Without
//! arguments there are 100 jobs and 16 threads.

#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use matou_os::runtime::{Builder, Diagnostic, Finding, MainError, Stop, blocking, sleep};

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
    reported: AtomicUsize,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let count = arguments.next().unwrap_or(Ok(100));
    let threads = arguments.next().unwrap_or(Ok(16));
    let (Ok(count), Ok(threads)) = (count, threads) else {
        eprintln!("usage: jobs [COUNT [THREADS]]");
        return ExitCode::FAILURE;
    };
    match is_each_accounted_for(count, threads) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs `count` jobs, and prints how they have ended.
pub(crate) fn is_each_accounted_for(count: usize, threads: usize) -> bool {
    let counts = Arc::new(Counts::default());
    let (of_reports, of_jobs) = (Arc::clone(&counts), Arc::clone(&counts));
    let builder = Builder::new().blocking_threads(threads).grace(Duration::from_millis(100));
    let builder = builder.on_report(move |report| {
        if let Diagnostic::Finding(Finding::JobUnfinished { .. }) = report {
            of_reports.reported.fetch_add(1, Ordering::Relaxed);
        }
    });
    let result = builder.run(async move {
        let start = |number| {
            let counts = Arc::clone(&of_jobs);
            blocking(move |stop| job(number, &stop, &counts))
        };
        let _jobs: Vec<_> = (0..count).map(start).collect();
        while of_jobs.begun.load(Ordering::Relaxed) < threads.min(count) {
            sleep(Duration::from_millis(1)).await;
        }
        Err::<(), MainError>("the program is asked to end".into())
    });
    let load = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (begun, ended) = (load(&counts.begun), load(&counts.ended));
    let reported = load(&counts.reported);
    println!("{count} jobs: {begun} begun, {ended} ended, {reported} left behind and reported");
    result.is_err() && begun > 0 && begun == ended + reported
}

/// A third of the jobs ends at once, a third when it is asked to, and a third never.
fn job(number: usize, stop: &Stop, counts: &Counts) {
    counts.begun.fetch_add(1, Ordering::Relaxed);
    match number % 3 {
        0 => {}
        1 => while !stop.wait(Duration::from_secs(60)) {},
        _ => loop {
            thread::park();
        },
    }
    counts.ended.fetch_add(1, Ordering::Relaxed);
}
