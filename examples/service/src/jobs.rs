//! The job queue: the words of each new note are counted, on a thread where that may take long.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use matou_http::runtime::{MainError, Orphans, blocking, deadline, now, sleep};

use crate::App;

/// The most jobs that wait. Then the service is busy.
pub(crate) const QUEUE_LEN: usize = 1000;

const ATTEMPTS: u32 = 3;
const LIMIT: Duration = Duration::from_secs(10);

/// Runs the workers until the queue is closed and empty.
pub(crate) async fn work(app: Arc<App>) -> Result<(), MainError> {
    let workers = Orphans::new();
    for _ in 0..app.config.workers.get() {
        workers.spawn(worker(Arc::clone(&app)));
    }
    for note in app.store.unfinished().await? {
        app.jobs.push(note.id).await?;
    }
    while let Some(ended) = workers.next().await {
        ended?;
    }
    Ok(())
}

async fn worker(app: Arc<App>) {
    while let Ok(id) = app.jobs.pop().await {
        for attempt in 1..=ATTEMPTS {
            match deadline(now() + LIMIT, job(&app, id)).await {
                Ok(Ok(())) => {
                    app.metrics.jobs_done.fetch_add(1, Relaxed);
                    break;
                }
                Ok(Err(error)) => eprintln!("job {id}, attempt {attempt}: {error}"),
                Err(elapsed) => eprintln!("job {id}, attempt {attempt}: {elapsed}"),
            }
            app.metrics.jobs_failed.fetch_add(1, Relaxed);
            sleep(Duration::from_millis(100 << attempt)).await;
        }
    }
}

async fn job(app: &App, id: i64) -> Result<(), MainError> {
    let Some(note) = app.store.get(id).await? else { return Ok(()) };
    let words = blocking(move |_| note.text.split_whitespace().count() as i64).await?;
    if let Some(note) = app.store.set_words(id, words).await? {
        app.hub.publish("counted", &note);
    }
    Ok(())
}
