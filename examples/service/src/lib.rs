//! A web service on matou, as a library, so that its tests can run it in simulated runs too.

mod api;
mod config;
mod database;
mod jobs;
mod live;
mod metrics;
mod store;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use matou_http::net::TcpListener;
use matou_http::runtime::signal::termination;
use matou_http::runtime::{MainError, Promise, Task, domain_count, select, timeout, try_spawn};
use matou_http::tls::rustls::ServerConfig;
use matou_http::tls::{TlsListener, server_config};
use matou_http::{Limits, Listener, Served, serve, serve_on_all};
use matou_sync::{Queue, Trigger};

pub use config::Config;
pub use store::Note;

/// The state that all requests share.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) store: store::Store,
    pub(crate) jobs: Queue<i64>,
    pub(crate) hub: live::Hub,
    pub(crate) metrics: metrics::Metrics,
}

/// Runs the service until SIGINT or SIGTERM: then it completes the requests and the jobs that are
/// in progress. A second signal ends the process at once.
pub async fn run(config: Config, ready: impl FnOnce(SocketAddr)) -> Result<Served, MainError> {
    let terminated = termination()?;
    let mut listeners = TcpListener::options().listen_many(config.listen, domain_count())?;
    let address = listeners[0].local_addr()?;
    let app = Arc::new(App {
        store: store::Store::open(config.database.clone()).await?,
        jobs: Queue::bounded(jobs::QUEUE_LEN),
        hub: live::Hub::default(),
        metrics: metrics::Metrics::default(),
        config,
    });
    let mut workers = Task::new().name("jobs").try_spawn(jobs::work(Arc::clone(&app)));
    let stop = Arc::new(Trigger::latched());
    let mut server = match tls(&app.config)? {
        None => start(listeners, &app, &stop),
        Some(tls) => {
            let tls = |listener| TlsListener::new(listener, Arc::clone(&tls));
            start(listeners.into_iter().map(tls).collect(), &app, &stop)
        }
    };
    ready(address);
    select! {
        signal = terminated => eprintln!("{signal:?}: completing what is in progress"),
        served = &mut server => return Ok(served?),
        failed = &mut workers => return Ok(failed.map(|()| Served::default())?),
    }
    stop.signal();
    let served = server.await?;
    // No request is left that could add a job.
    app.jobs.close();
    if timeout(app.config.drain_limit, &mut workers).await.is_err() {
        eprintln!("jobs that are left: {}", app.jobs.len());
        workers.cancel().await;
    }
    Ok(served)
}

/// Starts a server on each domain, as a child of the current task, until `stop` is signaled.
fn start<L: Listener + Send + 'static>(
    listeners: Vec<L>,
    app: &Arc<App>,
    stop: &Arc<Trigger>,
) -> Promise<Served, io::Error> {
    let (app, stop) = (Arc::clone(app), Arc::clone(stop));
    let limits = Limits { drain_timeout: app.config.drain_limit, ..Limits::default() };
    try_spawn(serve_on_all(listeners, move |listener| {
        let stop = Arc::clone(&stop);
        serve(listener, api::router(Arc::clone(&app)))
            .limits(limits)
            .shutdown(async move { stop.wait().await })
    }))
}

/// Reads the certificate and its key.
fn tls(config: &Config) -> Result<Option<Arc<ServerConfig>>, MainError> {
    let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    Ok(Some(Arc::new(server_config(&read(cert)?, &read(key)?)?)))
}

/// Locks a mutex whose data a panic cannot leave half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
