//! A program whose `main` belongs to something else: a loop of events, as that of a graphical
//! interface. It must not block, so tasks do the work and send their results as events.
//!
//! ```console
//! $ cargo run -p matou-runtime --example event_loop
//! ```

#![expect(clippy::print_stdout, reason = "it prints the answers")]

use std::sync::mpsc;
use std::time::Duration;

use matou_runtime::{JoinHandle, RunError, Runtime, blocking, sleep, spawn};

enum Event {
    /// The user asks for the length of a file.
    Requested(&'static str),
    /// A task has the answer.
    Answered(&'static str, u64),
    Quit,
}

/// Reads a file on a thread of the pool while another child measures the time.
async fn length(path: &'static str) -> u64 {
    let warning = spawn(async move {
        sleep(Duration::from_secs(10)).await;
        println!("{path} takes long");
    });
    let length = blocking(move |_| std::fs::metadata(path).map_or(0, |found| found.len()));
    let length = length.await.unwrap_or(0);
    warning.cancel().await;
    length
}

fn main() -> Result<(), RunError> {
    let runtime = Runtime::new()?;
    let (events, queue) = mpsc::channel();
    // The interface would send these.
    for path in ["Cargo.toml", "README.md"] {
        events.send(Event::Requested(path)).expect("the loop is there");
    }
    // A window that is closed drops its handles, which cancels its tasks.
    let mut window: Vec<JoinHandle<()>> = Vec::new();
    let mut answers = 0;
    for event in queue {
        match event {
            Event::Requested(path) => {
                let events = events.clone();
                window.push(runtime.spawn(async move {
                    let answer = Event::Answered(path, length(path).await);
                    let _ = events.send(answer);
                }));
            }
            Event::Answered(path, length) => {
                println!("{path}: {length} bytes");
                answers += 1;
                if answers == 2 {
                    events.send(Event::Quit).expect("the loop is there");
                }
            }
            Event::Quit => break,
        }
    }
    drop(window);
    runtime.shutdown()
}
